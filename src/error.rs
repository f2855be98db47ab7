//! Why a container cannot be created or run, in words for the person who typed the command.

use serde::{Deserialize, Serialize};

/// What sort of problem a [`Refusal`] is; front ends map it to their own codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The bundle, an annotation or the module asks for something invalid.
    Invalid,
    /// The entrypoint, a mount source or another named thing does not exist (exit code 127 in Docker and Podman).
    NotFound,
    /// The entrypoint may not be read or is not something we run (exit code 126).
    Denied,
    /// This node cannot do it now: a system call failed, a program of ours is missing.
    System,
}

/// A container refused: one sentence that names the field, the path and the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What sort of problem this is.
    pub cause: Cause,
    /// The sentence.
    pub message: String,
}

impl Refusal {
    /// The request itself is invalid.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Cause::Invalid, message.into())
    }

    /// Something the request names does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Cause::NotFound, message.into())
    }

    /// Something the request names may not be used.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Cause::Denied, message.into())
    }

    /// This node failed at `step` with `error`.
    pub fn system(step: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::new(Cause::System, format!("{step}: {error}"))
    }

    fn new(cause: Cause, message: String) -> Self {
        Self { cause, message: presentable(message) }
    }
}

/// Bytes of a message that are kept: its start has the field, its end the reason.
const MAX_MESSAGE: usize = 4096;

/// One line, of bounded length, that does nothing to a terminal: messages repeat names and text that an image's maker
/// has chosen, and go to logs.
fn presentable(message: String) -> String {
    let harmless = |c: char| !c.is_control() && !turns_text_around(c);
    let message = match message.chars().all(harmless) {
        true => message,
        false => message.chars().fold(String::with_capacity(message.len() * 2), |mut text, c| {
            match harmless(c) {
                true => text.push(c),
                false => text.extend(c.escape_debug()),
            }
            text
        }),
    };
    if message.len() <= MAX_MESSAGE {
        return message;
    }
    let start = message.floor_char_boundary(MAX_MESSAGE / 2);
    let end = message.ceil_char_boundary(message.len() - MAX_MESSAGE / 2);
    format!("{}… ({} bytes left out) …{}", &message[..start], end - start, &message[end..])
}

/// Line separators, and marks that make what follows appear elsewhere than it is.
fn turns_text_around(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Shorthand for what most of this library returns.
pub type Result<T, E = Refusal> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_that_orders_a_terminal_nothing() {
        let refusal = Refusal::invalid("a\nlevel=info\x1b[2J\u{202e}b\u{9b}31m ünïcode \"q\" \\n");
        assert_eq!(refusal.message, r#"a\nlevel=info\u{1b}[2J\u{202e}b\u{9b}31m ünïcode "q" \n"#);
    }

    #[test]
    fn a_long_message_keeps_its_start_and_its_end() {
        let refusal = Refusal::system(format!("process.cwd {:?}", "ü".repeat(1 << 20)), "too long");
        assert!(refusal.message.len() < MAX_MESSAGE + 100, "{} bytes", refusal.message.len());
        assert!(
            refusal.message.starts_with("process.cwd \"ü")
                && refusal.message.ends_with(": too long")
        );
    }
}
