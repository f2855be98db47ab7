//! The same calls to runc's shim and to ours: whoever worked with the one finds the same answers from the other.
//!
//! Each sequence goes through containerd's own API, to a Linux container under runc, and to a WebAssembly and
//! a Linux container under ours. What differs is in [`differences`], with the reason, or is a failure.

mod differences;
mod execs;
mod life;
mod sequences;

use libtest_mimic::Trial;

use crate::support::namespace::Namespace;
use crate::support::remains::nothing_remains;
use crate::support::trials::in_namespace;

use life::{Life, Step};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A Linux container under runc's shim.
    Runc,
    /// A WebAssembly container under ours.
    Wasm,
    /// A Linux container under ours.
    Linux,
}

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    [sequences::all(), execs::all()]
        .into_iter()
        .flatten()
        .map(|(name, sequence)| {
            let test = move |namespace: &Namespace<'_>| compare(namespace, name, sequence);
            in_namespace(module_path!(), name, test)
        })
        .collect()
}

/// What is done to a container, and asked.
type Sequence = fn(&mut Life<'_>);

/// Sequences and their names.
macro_rules! named {
    ($($name:ident),* $(,)?) => { vec![$((stringify!($name), $name as $crate::differential::Sequence)),*] };
}
use named;

fn compare(namespace: &Namespace<'_>, name: &str, sequence: Sequence) {
    let run = |subject| {
        let mut life = Life::new(namespace, subject);
        sequence(&mut life);
        life.end()
    };
    let expected = run(Subject::Runc);
    let mut wrong = Vec::new();
    for subject in [Subject::Wasm, Subject::Linux] {
        let steps = run(subject);
        assert_eq!(
            steps.iter().map(|step| &step.call).collect::<Vec<_>>(),
            expected.iter().map(|step| &step.call).collect::<Vec<_>>(),
        );
        wrong.extend(unexplained(name, subject, &expected, &steps));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    nothing_remains(namespace);
}

fn unexplained(name: &str, subject: Subject, runc: &[Step], ours: &[Step]) -> Vec<String> {
    let known: Vec<_> = differences::ALL
        .iter()
        .filter(|known| known.sequence == name && known.of.contains(&subject))
        .collect();
    let mut wrong = Vec::new();
    let differ = |(runc, ours): &(&Step, &Step)| {
        runc.answer != ours.answer && !differences::is_cut_short(runc, ours)
    };
    for (runc, ours) in runc.iter().zip(ours).filter(differ) {
        let elsewhere = differences::OF_SOME_RELEASES;
        let here = elsewhere.iter().filter(|it| it.sequence == name && it.of.contains(&subject));
        let explained = known.iter().copied().chain(here).any(|known| {
            known.call == ours.call && known.runc == runc.answer && known.ours == ours.answer
        });
        if !explained && !differences::is_named_better(&runc.answer, &ours.answer) {
            wrong.push(format!(
                "{subject:?}: {}: {} ({}), but runc {} ({})",
                ours.call, ours.answer, ours.message, runc.answer, runc.message
            ));
        }
    }
    for known in known {
        let seen = runc.iter().zip(ours).any(|(runc, ours)| {
            known.call == ours.call && known.runc == runc.answer && known.ours == ours.answer
        });
        if !seen {
            wrong.push(format!("{subject:?}: {}: no longer {}", known.call, known.ours));
        }
    }
    wrong
}
