//! What was found, one sentence each.

use serde::Serialize;

/// How much a finding matters; the order is that of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// Containers run, but something is missing or wrong.
    Warning,
    /// Containers cannot run.
    Problem,
}

impl Status {
    /// As JSON has it, too.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// The areas that findings belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    Kernel,
    Cgroups,
    Isolation,
    Programs,
    Containerd,
    Engines,
    Configuration,
    Cache,
}

impl Group {
    /// For people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Kernel => "Kernel",
            Self::Cgroups => "Control groups",
            Self::Isolation => "Isolation",
            Self::Programs => "Lighter's programs",
            Self::Containerd => "containerd",
            Self::Engines => "Docker and Podman",
            Self::Configuration => "Configuration",
            Self::Cache => "Cache of compiled code",
        }
    }
}

/// One sentence about this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at; the same in all releases. Where there may be several of a thing, each has this.
    pub(super) id: &'static str,
    /// Where it belongs.
    pub(super) group: Group,
    /// How much it matters.
    pub(super) status: Status,
    /// The sentence, in one line.
    pub(super) message: String,
    /// What to do, in one line: always there for warnings and problems.
    pub(super) remedy: Option<String>,
}

/// The findings of one group, in the making.
#[derive(Debug)]
pub(super) struct Findings {
    group: Group,
    all: Vec<Finding>,
}

impl Findings {
    pub(super) fn of(group: Group) -> Self {
        Self { group, all: Vec::new() }
    }

    pub(super) fn ok(&mut self, id: &'static str, message: impl Into<String>) {
        self.push(id, Status::Ok, message.into(), None);
    }

    pub(super) fn note(&mut self, id: &'static str, message: impl Into<String>) {
        self.push(id, Status::Note, message.into(), None);
    }

    /// A note with something that can be done, if one cares.
    pub(super) fn hint(
        &mut self,
        id: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(id, Status::Note, message.into(), Some(remedy.into()));
    }

    pub(super) fn warning(
        &mut self,
        id: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(id, Status::Warning, message.into(), Some(remedy.into()));
    }

    pub(super) fn problem(
        &mut self,
        id: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(id, Status::Problem, message.into(), Some(remedy.into()));
    }

    pub(super) fn done(self) -> Vec<Finding> {
        self.all
    }

    fn push(&mut self, id: &'static str, status: Status, message: String, remedy: Option<String>) {
        let (message, remedy) = (one_line(&message), remedy.as_deref().map(one_line));
        self.all.push(Finding { id, group: self.group, status, message, remedy });
    }
}

/// Characters that a sentence may have.
const MAX_LENGTH: usize = 1000;

/// Without what a terminal would act on, and not endless: names and other programs' words come from anywhere.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_LENGTH));
    for c in text.trim().chars().take(MAX_LENGTH) {
        match c {
            '\n' | '\t' | '\r' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed<T: AsRef<str>>(words: &[T]) -> String {
    match words {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

/// For the tests of all judges: the finding of this id.
#[cfg(test)]
pub(super) fn find<'a>(findings: &'a [Finding], id: &str) -> &'a Finding {
    for finding in findings {
        let shortfall = finding.status >= Status::Warning;
        assert!(!shortfall || finding.remedy.is_some(), "no remedy: {finding:?}");
        assert!(!finding.message.is_empty() && !finding.message.ends_with('.'), "{finding:?}");
    }
    let mut named = findings.iter().filter(|finding| finding.id == id);
    let found = named.next().unwrap_or_else(|| panic!("no finding {id:?} in {findings:#?}"));
    assert!(named.next().is_none(), "several findings {id:?} in {findings:#?}");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_control_characters() {
        let mut findings = Findings::of(Group::Kernel);
        findings.warning("x", "a\x1b[31m\nb\u{9b}", "\x07do");
        let findings = findings.done();
        assert_eq!(findings[0].message, "a\\u{1b}[31m b\\u{9b}");
        assert_eq!(findings[0].remedy.as_deref(), Some("\\u{7}do"));
    }

    #[test]
    fn lists_read_well() {
        assert_eq!(listed::<&str>(&[]), "");
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
    }

    #[test]
    fn severity_has_an_order() {
        assert!(Status::Ok < Status::Note && Status::Note < Status::Warning);
        assert!(Status::Warning < Status::Problem);
    }
}
