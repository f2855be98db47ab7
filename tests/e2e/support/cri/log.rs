//! Containers' logs as the CRI plugin writes them: `TIME STREAM TAG TEXT`, where the tag `P` says that the line goes on.

use std::path::Path;

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// A line, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// RFC 3339, with nanoseconds.
    pub time: String,
    pub stream: Stream,
    /// Whether the line ends here.
    pub full: bool,
    pub text: String,
}

/// All lines of the log at `path`, in its order; none if there is no file.
///
/// # Panics
/// When a line has not the form that kubelet reads.
#[track_caller]
pub fn read(path: &Path) -> Vec<Line> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.split_terminator('\n').map(parse).collect()
}

#[track_caller]
fn parse(line: &str) -> Line {
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("a line of the log is {line:?}"));
    Line {
        time: word().to_owned(),
        stream: match word() {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            other => panic!("there is no stream {other:?}: {line:?}"),
        },
        full: match word() {
            "F" => true,
            "P" => false,
            other => panic!("there is no tag {other:?}: {line:?}"),
        },
        text: word().to_owned(),
    }
}

/// What was written to `stream`, as it was.
pub fn written(lines: &[Line], stream: Stream) -> String {
    let lines = lines.iter().filter(|line| line.stream == stream);
    lines.fold(String::new(), |text, line| text + &line.text + if line.full { "\n" } else { "" })
}
