//! Podman, which calls `lighter` by the command line of OCI runtimes, and has conmon between.
//!
//! Tests share one Podman and run in parallel, so each gives its containers names of its own.

mod errors;
mod images;
mod inside;
mod life;
mod limits;
mod linux;
pub mod node;
mod pods;
mod rootless;
mod run;

use libtest_mimic::Trial;

use crate::support::trials::plain;
use node::Podman;

/// Those that any machine can run.
pub fn tests() -> Vec<Trial> {
    [
        run::tests(),
        life::tests(),
        inside::tests(),
        images::tests(),
        errors::tests(),
        pods::tests(),
        linux::tests(),
        rootless::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those that need cgroup v2.
pub fn of_cgroup_v2() -> Vec<Trial> {
    limits::tests()
}

/// A few that show whether the Podman of another machine works, too.
pub fn of_this_kernel() -> Vec<Trial> {
    [life::tests(), images::tests(), errors::tests()].into_iter().flatten().collect()
}

/// Ends what tests shared, and says what is left of it.
pub fn stop_shared() -> Vec<String> {
    [Podman::stop_shared(), rootless::stop_shared()].concat()
}

/// A test of the shared Podman.
fn of_podman(module: &str, name: &str, test: fn(&Podman)) -> Trial {
    plain(module, name, move || test(Podman::shared()))
}

/// `podman_trials![one, two]`: tests of the shared Podman, each `fn(&Podman)`.
macro_rules! podman_trials {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::podman::of_podman(module_path!(), stringify!($test), $test)),*]
    };
}
pub(crate) use podman_trials;
