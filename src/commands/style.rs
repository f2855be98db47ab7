//! Text as colourful and as wide as the reader's terminal allows.

use std::io::{self, IsTerminal};

/// What the reader's terminal can show.
#[derive(Clone, Debug, Default)]
pub(super) struct Style {
    /// Colours may be used.
    pub(super) colour: bool,
    /// Characters beyond ASCII are shown.
    pub(super) unicode: bool,
    /// Columns to keep within; without it, each sentence is one line.
    pub(super) width: Option<usize>,
}

impl Style {
    /// What suits our standard output.
    pub(super) fn of_stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self::default();
        }
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale =
            variable("LC_ALL").or_else(|| variable("LC_CTYPE")).or_else(|| variable("LANG"));
        let locale = locale.unwrap_or_default().to_ascii_uppercase();
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self {
            colour: variable("NO_COLOR").is_none() && variable("TERM").is_some_and(|t| t != "dumb"),
            unicode: locale.contains("UTF-8") || locale.contains("UTF8"),
            // On less, lines broken by the terminal read better than ours.
            width: width.filter(|&width| width >= 60).map(|width| width.min(120)),
        }
    }
}

/// Text in a colour, by the parameters of "select graphic rendition" of ECMA-48; none if they are empty.
pub(super) fn painted(text: &str, colour: &str, style: &Style) -> String {
    match style.colour && !colour.is_empty() {
        true => format!("\x1b[{colour}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// Breaks at spaces so that a line, indented, fits; at least one line.
pub(super) fn wrap(text: &str, indent: usize, width: Option<usize>) -> Vec<String> {
    let Some(room) = width.map(|width| width.saturating_sub(indent)) else {
        return vec![text.to_owned()];
    };
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let len = word.chars().count();
        if used > 0 && used + 1 + len > room {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += len;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sentences_are_broken_at_spaces() {
        let lines = wrap("one two three four five", 12, Some(12 + 9));
        assert_eq!(lines, ["one two", "three", "four five"]);
        assert_eq!(wrap("unbreakable-and-too-long", 12, Some(12 + 4)).len(), 1);
        assert_eq!(wrap("", 12, Some(80)), [""]);
    }
}
