//! Completions and manual pages, as shells and `man` read them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;

use crate::support::command::{Output, run};
use crate::support::containerd::LIMIT;
use crate::support::suite::Suite;
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![bash_completes, other_shells_are_given_theirs, each_command_has_a_page]
}

fn lighter(args: &[&str]) -> Output {
    run(Command::new(Suite::get().program("lighter")).args(args), b"", LIMIT)
}

fn bash_completes() {
    let script = lighter(&["completions", "bash"]).expect_success().text();
    // As bash calls it when one presses Tab behind `lighter b` and behind `lighter build --fo`.
    let completed = |words: &str, current: usize| {
        let lines = format!(
            "set -u\n{script}\nCOMP_WORDS=({words})\nCOMP_CWORD={current}\n\
             _lighter lighter \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$COMP_CWORD-1]}}\"\n\
             echo \"${{COMPREPLY[@]}}\"\n"
        );
        let mut bash = Command::new("bash");
        run(bash.arg("--norc"), lines.as_bytes(), LIMIT).expect_success().text().trim().to_owned()
    };
    assert_eq!(completed("lighter buil", 1), "build");
    assert_eq!(completed("lighter build --fo", 2), "--form");
    assert_eq!(completed("lighter build --form ar", 3), "artifact");
    // What nobody types is not offered.
    assert_eq!(completed("lighter layer", 1), "");
}

fn other_shells_are_given_theirs() {
    for (shell, words) in [("zsh", "#compdef lighter"), ("fish", "complete -c lighter")] {
        let script = lighter(&["completions", shell]).expect_success().text();
        assert!(script.contains(words), "{shell}: {script}");
    }
    let error = lighter(&["completions", "csh"]).expect_failure();
    assert!(error.contains("bash") && error.contains("fish"), "{error}");
}

/// The verbs that `--help` shows: indented by two, in a word of lower-case letters.
fn verbs() -> BTreeSet<String> {
    let help = lighter(&["--help"]).expect_success().text();
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    let words = lines.filter_map(|line| line.split("  ").next());
    words
        .filter(|word| !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect()
}

fn each_command_has_a_page() {
    let dir = tempfile::tempdir_in(Suite::get().scratch()).unwrap();
    let pages = dir.path().join("man1");
    lighter(&["man", pages.to_str().unwrap()]).expect_success();
    let verbs = verbs();
    assert!(verbs.contains("build") && verbs.len() > 5, "{verbs:?}");
    for verb in verbs.iter().filter(|verb| *verb != "help") {
        let page = pages.join(format!("lighter-{verb}.1"));
        assert!(page.is_file(), "there is no {}", page.display());
    }
    assert!(!pages.join("lighter-layers.1").exists(), "a command that nobody types has a page");
    for entry in std::fs::read_dir(&pages).unwrap().flatten() {
        check(&entry.path());
    }
}

/// It is read without complaints, and says what the command is.
fn check(page: &Path) {
    let lint =
        run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(page), b"", LIMIT);
    assert!(lint.status == 0 && lint.stdout.is_empty(), "{lint}");
    let text = run(Command::new("mandoc").args(["-T", "ascii"]).arg(page), b"", LIMIT);
    let text = text.expect_success().text();
    assert!(text.contains("Lighter 0."), "{}:\n{text}", page.display());
}
