//! `lighter` as an OCI runtime: the command line that Podman, conmon, CRI-O and Docker's path runtimes drive.
//!
//! Each sequence of commands goes to runc, to crun, and to `lighter` with a Linux and with a WebAssembly container. What both
//! of the others do is what ours does; where they differ, ours does as one of them. What is otherwise is in
//! [`differences`], with the reason, or is a failure.

mod arguments;
mod bundle;
mod conmon;
mod crashes;
mod descriptors;
mod differences;
mod execs;
mod hooks;
mod life;
mod refusals;
mod runtime;
mod sequences;
mod states;
mod together;

use libtest_mimic::Trial;

use crate::support::trials::plain;

use life::{Life, Step};
use runtime::Subject;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    let sequences = [sequences::all(), execs::all(), refusals::all()].into_iter().flatten();
    let compared = sequences
        .map(|(name, sequence)| plain(module_path!(), name, move || compare(name, sequence)));
    let others = [
        arguments::tests(),
        states::tests(),
        hooks::tests(),
        descriptors::tests(),
        crashes::tests(),
        together::tests(),
        conmon::tests(),
    ];
    compared.chain(others.into_iter().flatten()).collect()
}

/// What is done to a container, and asked.
type Sequence = fn(&mut Life);

/// Sequences and their names.
macro_rules! named {
    ($($name:ident),* $(,)?) => { vec![$((stringify!($name), $name as $crate::oci::Sequence)),*] };
}
use named;

fn compare(name: &str, sequence: Sequence) {
    let run = |subject| {
        let mut life = Life::new(subject);
        sequence(&mut life);
        life.end()
    };
    let (runc, crun) = (run(Subject::Runc), run(Subject::Crun));
    let mut wrong = Vec::new();
    for subject in [Subject::Linux, Subject::Wasm] {
        let steps = run(subject);
        let calls = |steps: &[Step]| steps.iter().map(|step| step.call.clone()).collect::<Vec<_>>();
        assert_eq!(calls(&steps), calls(&runc));
        assert_eq!(calls(&steps), calls(&crun));
        wrong.extend(unexplained(name, subject, &runc, &crun, &steps));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn unexplained(
    name: &str,
    subject: Subject,
    runc: &[Step],
    crun: &[Step],
    ours: &[Step],
) -> Vec<String> {
    let known: Vec<_> = differences::ALL
        .iter()
        .filter(|known| known.sequence == name && known.of.contains(&subject))
        .collect();
    let mut wrong = Vec::new();
    for ((runc, crun), ours) in runc.iter().zip(crun).zip(ours) {
        let alike = ours.answer == runc.answer || ours.answer == crun.answer;
        let listed = known.iter().any(|it| it.call == ours.call && it.ours == ours.answer);
        if !alike && !listed {
            wrong.push(format!("{subject:?}: {ours}\n  but runc: {runc}\n  and crun: {crun}"));
        }
    }
    for known in known {
        let seen = ours.iter().any(|step| known.call == step.call && known.ours == step.answer);
        if !seen {
            wrong.push(format!("{subject:?}: {}: no longer {:?}", known.call, known.ours));
        }
    }
    wrong
}
