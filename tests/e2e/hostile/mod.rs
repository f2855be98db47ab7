//! Images that mean harm, and bundles that let them: a table, one test for each row.
//!
//! A row ends in one of two ways: Create refuses it with a sentence, or the guest runs and finds nothing of the host.
//! Either way nothing of the host was changed, nothing is left, and the next container runs.

mod bombs;
mod case;
mod mounts;
mod names;
mod paths;
mod programs;

use libtest_mimic::Trial;

use crate::support::trials;
use case::Case;

/// One row of the table.
struct Row {
    name: &'static str,
    /// Puts into the image and its `config.json` what means harm.
    attack: fn(&mut Case<'_>),
    end: End,
}

/// How a row ends. `{host}` stands for a directory of the host that holds a file `secret`.
#[derive(Clone, Copy)]
enum End {
    /// Create fails with one line that has all of these words.
    Refused(&'static [&'static str]),
    /// The probe runs: what it is asked, and what it answers. `error` stands for any error.
    Contained(&'static [(&'static str, &'static str)]),
}

use End::{Contained, Refused};

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    let rows = [paths::rows(), mounts::rows(), programs::rows(), bombs::rows(), names::rows()]
        .into_iter()
        .flatten();
    let row = |Row { name, attack, end }| {
        trials::in_namespace(module_path!(), name, move |namespace| {
            let mut case = Case::new(namespace);
            attack(&mut case);
            match end {
                Refused(words) => case.expect_refusal(words),
                Contained(answers) => case.expect_contained(answers),
            }
        })
    };
    rows.map(row).chain(programs::tests()).chain(names::tests()).collect()
}
