//! What a verb ends with, and how the caller hears that it failed.

use std::io::Write;
use std::process::ExitCode;

use lighter::error::{Cause, Refusal};

use super::log;

/// What a verb ends with: the program's exit status if it is the workload's.
pub(crate) type Outcome = anyhow::Result<ExitCode>;

/// A verb that failed, with the exit status that says how.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// A process that could not be made: with the words by which Podman and dockerd tell what was wrong, and the exit
    /// status that shells have for it.
    pub(super) fn of_process(refusal: Refusal, otherwise: u8) -> Self {
        let Refusal { cause, message } = refusal;
        let says = |words: &[&str]| {
            let message = message.to_lowercase();
            words.iter().any(|words| message.contains(words))
        };
        let (code, words) = match cause {
            Cause::NotFound => (127, ["no such file or directory", "executable file not found in"]),
            Cause::Denied => (126, ["permission denied", "operation not permitted"]),
            Cause::Invalid | Cause::System => return Self { message, code: otherwise },
        };
        let message = match says(&words) {
            true => message,
            false => format!("{message}: {}", words[0]),
        };
        Self { message, code }
    }

    /// Any other failure of a verb, with an exit status of its own.
    pub(super) fn of(error: anyhow::Error, code: u8) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self { message: format!("{error:#}"), code },
        }
    }
}

/// Tells of the failure, on standard error and in the log: one sentence, and nothing else in a log of JSON.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let sentence = format!("{error:#}").replace('\n', " ");
    log::write_error(&sentence);
    let _ = writeln!(std::io::stderr(), "{sentence}");
    ExitCode::from(error.downcast_ref::<Failure>().map_or(1, |failure| failure.code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_callers_look_for() {
        for (refusal, message, code) in [
            (
                Refusal::not_found("process.args[0] \"x\": executable file not found in $PATH"),
                "process.args[0] \"x\": executable file not found in $PATH",
                127,
            ),
            (
                Refusal::not_found("mount /m: source \"/s\" does not exist"),
                "mount /m: source \"/s\" does not exist: no such file or directory",
                127,
            ),
            (
                Refusal::denied("\"/app\": is a directory, not a WebAssembly file"),
                "\"/app\": is a directory, not a WebAssembly file: permission denied",
                126,
            ),
            (
                Refusal::denied("\"/app\": Permission denied (os error 13)"),
                "\"/app\": Permission denied (os error 13)",
                126,
            ),
            (Refusal::invalid("process.cwd: empty"), "process.cwd: empty", 1),
        ] {
            let failure = Failure::of_process(refusal, 1);
            assert_eq!((failure.message.as_str(), failure.code), (message, code));
            let again = Failure::of(failure.into(), 255);
            assert_eq!((again.message.as_str(), again.code), (message, code));
        }
        let other = Failure::of(anyhow::anyhow!("inner").context("outer"), 255);
        assert_eq!((other.message.as_str(), other.code), ("outer: inner", 255));
    }
}
