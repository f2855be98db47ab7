//! Findings as text: grouped, aligned, and as colourful as the terminal allows.

use std::io::{self, Write};

use super::finding::{Finding, Status};
use crate::commands::style::{Style, painted, wrap};

/// Columns before a finding's sentence.
const INDENT: usize = 12;

/// Writes all findings and what they amount to.
pub(super) fn write(out: &mut impl Write, findings: &[Finding], style: &Style) -> io::Result<()> {
    let mut group = None;
    for finding in findings {
        if group != Some(finding.group) {
            if group.is_some() {
                writeln!(out)?;
            }
            group = Some(finding.group);
            writeln!(out, "{}", painted(finding.group.title(), "1", style))?;
        }
        let lines = wrap(&finding.message, INDENT, style.width);
        let status = finding.status;
        let mark = if style.unicode { symbol(status) } else { ' ' };
        let mark = painted(&format!("{mark} {:<7}", status.word()), colour(status), style);
        writeln!(out, " {mark}  {}", lines[0])?;
        for line in &lines[1..] {
            writeln!(out, "{:INDENT$}{line}", "")?;
        }
        if let Some(remedy) = &finding.remedy {
            let arrow = if style.unicode { '→' } else { '>' };
            let lines = wrap(remedy, INDENT, style.width.map(|width| width - 2));
            writeln!(out, "{:INDENT$}{arrow} {}", "", lines[0])?;
            for line in &lines[1..] {
                writeln!(out, "{:INDENT$}  {line}", "")?;
            }
        }
    }
    writeln!(out)?;
    writeln!(out, "{}", verdict(findings))
}

/// What the findings amount to.
fn verdict(findings: &[Finding]) -> String {
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let counted = |n: usize, noun| match n {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    };
    let (problems, warnings) = (count(Status::Problem), count(Status::Warning));
    let warned = counted(warnings, "warning");
    match problems {
        0 => format!("No problems, {warned}."),
        n => format!("{}, {warned}: containers cannot run as things are.", counted(n, "problem")),
    }
}

fn symbol(status: Status) -> char {
    match status {
        Status::Ok => '✓',
        Status::Note => '·',
        Status::Warning => '!',
        Status::Problem => '✗',
    }
}

/// Parameters of "select graphic rendition", ECMA-48.
fn colour(status: Status) -> &'static str {
    match status {
        Status::Ok => "32",
        Status::Note => "36",
        Status::Warning => "33",
        Status::Problem => "1;31",
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Findings, Group};
    use super::*;

    fn findings() -> Vec<Finding> {
        let mut kernel = Findings::of(Group::Kernel);
        kernel.ok("a", "Linux 6.18");
        kernel.warning("b", "something is wrong with it", "put it right");
        let mut cache = Findings::of(Group::Cache);
        cache.problem("c", "there is none", "make one");
        cache.note("d", "by the way");
        [kernel.done(), cache.done()].concat()
    }

    fn text(findings: &[Finding], style: &Style) -> String {
        let mut out = Vec::new();
        write(&mut out, findings, style).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_text_is_aligned_and_has_one_line_for_each_finding() {
        let expected = "\
Kernel
   ok       Linux 6.18
   warning  something is wrong with it
            > put it right

Cache of compiled code
   problem  there is none
            > make one
   note     by the way

1 problem, 1 warning: containers cannot run as things are.
";
        assert_eq!(text(&findings(), &Style::default()), expected);
        assert_eq!(verdict(&findings()[..1]), "No problems, no warnings.");
    }

    #[test]
    fn colours_and_symbols_are_used_where_they_are_shown() {
        let style = Style { colour: true, unicode: true, width: None };
        let shown = text(&findings(), &style);
        assert!(shown.contains(" \x1b[1;31m✗ problem\x1b[0m  there is none\n"), "{shown}");
        assert!(shown.contains("→ put it right"), "{shown}");
        let plain = text(&findings(), &Style { width: Some(80), ..Style::default() });
        assert!(plain.is_ascii() && !plain.contains('\x1b'), "{plain}");
    }
}
