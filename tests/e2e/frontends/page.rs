//! A page of the book, run as it stands.
//!
//! In its `console` blocks, a line that begins with `# ` is a command, with all that follow while one ends in `\`. It must succeed,
//! and if lines of output follow it up to the next command, it must have said those, on either stream. There, `…` stands
//! for any text in a line, and alone on a line for any lines; how many spaces are between words does not matter.

use std::path::Path;
use std::process::Command;

use crate::support::command;
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::spec::directory;
use crate::support::suite::repository;

/// A command of a page, and what it shall say.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    line: usize,
    command: String,
    output: Vec<String>,
}

/// Runs all commands of the page `docs/src/NAME` in order, in a directory with the programs and images that pages speak of, where
/// `environment` says how to reach what they talk to.
///
/// # Panics
/// When one does not do what the page says.
#[track_caller]
pub fn run(name: &str, environment: &[(&str, String)]) {
    let path = repository().join("docs/src").join(name);
    let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let dir = directory();
    images(dir.path());
    let steps = steps(&page);
    assert!(steps.len() > 5, "{name} has few commands: {steps:#?}");
    for Step { line, command, output } in &steps {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1\n{command}")]).current_dir(dir.path());
        shell.envs(environment.iter().map(|(name, value)| (name, value)));
        let did = command::run(&mut shell, b"", LIMIT);
        assert_eq!(did.status, 0, "{name}, line {line}: {did}");
        let text = did.text();
        let said: Vec<&str> = text.lines().collect();
        let wanted: Vec<&str> = output.iter().map(String::as_str).collect();
        assert!(wanted.is_empty() || said_all(&wanted, &said), "{name}, line {line}: {did}");
    }
}

/// The programs of the pages, and their images: what `docker save` makes of those that their readers build.
fn images(dir: &Path) {
    for (name, guest) in [("app", "hello-rust"), ("echo", "echo-rust")] {
        let path = format!("/{name}.wasm");
        std::fs::write(dir.join(&path[1..]), guests::example(guest)).unwrap();
        let image = Image::new(&format!("docker.io/library/{name}:latest"))
            .file(&path, &guests::example(guest))
            .entrypoint(&[&path]);
        image.write(&dir.join(format!("{name}.tar"))).unwrap();
        std::fs::write(dir.join(&path[1..]), guests::example(guest)).unwrap();
    }
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut in_block = false;
    let mut goes_on = false;
    for (number, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = line.trim() == "```console";
            goes_on = false;
        } else if !in_block {
        } else if let Some(step) = steps.last_mut().filter(|_| goes_on) {
            step.command = format!("{}\n{line}", step.command);
            goes_on = line.ends_with('\\');
        } else if let Some(command) = line.strip_prefix("# ") {
            steps.push(Step { line: number + 1, command: command.into(), output: Vec::new() });
            goes_on = line.ends_with('\\');
        } else {
            let step = steps.last_mut().expect("a command comes before output");
            step.output.push(line.to_owned());
        }
    }
    steps
}

fn said_all(wanted: &[&str], said: &[&str]) -> bool {
    match (wanted, said) {
        ([], []) => true,
        (["…", rest @ ..], _) => {
            said_all(rest, said)
                || said.split_first().is_some_and(|(_, later)| said_all(wanted, later))
        }
        ([line, rest @ ..], [first, later @ ..]) => is_line(line, first) && said_all(rest, later),
        _ => false,
    }
}

fn is_line(wanted: &str, said: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = words(said);
    let mut parts = wanted.split('…').map(words);
    let Some(mut rest) = said.strip_prefix(&parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(&part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last.is_some_and(|part| part.is_empty())
}

/// The reader of pages itself.
pub fn check() {
    let page = "x\n```console\n# one \\\n  more\nout …\n…\n# two\n```\n```sh\n# not\n```\n";
    let expected = [
        Step {
            line: 3,
            command: "one \\\n  more".into(),
            output: vec!["out …".into(), "…".into()],
        },
        Step { line: 7, command: "two".into(), output: vec![] },
    ];
    assert_eq!(steps(page), expected);
    assert!(said_all(&["a  … c", "…", "z"], &["a b c", "1", "2", "z"]));
    assert!(said_all(&["…"], &[]) && said_all(&["…b"], &["ab"]) && said_all(&["a …"], &["a b"]));
    assert!(!said_all(&["a"], &["a", "b"]) && !said_all(&["a…c"], &["a b"]) && !is_line("a", "ab"));
}
