//! What was found, as lines of a name and a text.

use std::io::{self, Write};

use crate::commands::style::{Style, painted, wrap};

/// Name and text of each line; a name that would repeat is left empty.
pub(super) type Lines = Vec<(&'static str, String)>;

/// Columns before the text.
const INDENT: usize = 13;

/// Adds a line for each item.
pub(super) fn list(lines: &mut Lines, name: &'static str, items: Vec<String>) {
    for (index, item) in items.into_iter().enumerate() {
        lines.push((if index == 0 { name } else { "" }, item));
    }
}

/// Writes them below a title, if there is one.
pub(super) fn write(
    out: &mut (impl Write + ?Sized),
    title: Option<&str>,
    lines: &Lines,
    style: &Style,
) -> io::Result<()> {
    if let Some(title) = title {
        writeln!(out, "{}", painted(title, "1", style))?;
    }
    for (name, text) in lines {
        let name = painted(&format!("{name:<12}"), if name.is_empty() { "" } else { "36" }, style);
        for (number, line) in wrap(text, INDENT, style.width).into_iter().enumerate() {
            match number {
                0 => writeln!(out, "{name} {line}")?,
                _ => writeln!(out, "{:INDENT$}{line}", "")?,
            }
        }
    }
    Ok(())
}
