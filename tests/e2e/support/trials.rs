//! From plain functions to a list of tests that run in parallel.
//!
//! A test is a function that panics to fail. One that takes a [`Namespace`](super::namespace::Namespace) gets its own.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::{Failed, Trial};

use super::cri::Kubelet;
use super::namespace::Namespace;

/// `trials![one, two]`: tests that run containers, each `fn(&Namespace)`.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::support::trials::in_namespace(module_path!(), stringify!($test), $test)),*]
    };
}

/// `plain_trials![one, two]`: tests without containers, each `fn()`.
macro_rules! plain_trials {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::support::trials::plain(module_path!(), stringify!($test), $test)),*]
    };
}

pub(crate) use {plain_trials, trials};

/// A test with a containerd namespace of its own.
pub fn in_namespace(
    module: &str,
    name: &str,
    test: impl FnOnce(&Namespace<'_>) + Send + 'static,
) -> Trial {
    let path = path(module, name);
    Trial::test(path.clone(), move || reported(|| test(&Namespace::for_test(&path))))
}

/// A test with pods of its own on the shared node.
pub fn of_kubelet(
    module: &str,
    name: &str,
    test: impl FnOnce(&Kubelet<'_>) + Send + 'static,
) -> Trial {
    let path = path(module, name);
    Trial::test(path.clone(), move || reported(|| test(&Kubelet::for_test(&path))))
}

/// A test that needs nothing.
pub fn plain(module: &str, name: &str, test: fn()) -> Trial {
    Trial::test(path(module, name), move || reported(test))
}

fn path(module: &str, name: &str) -> String {
    // Without the name of this crate.
    let module = module.split_once("::").map_or("", |(_, rest)| rest);
    format!("{module}::{name}")
}

thread_local! {
    /// What the test on this thread has panicked with, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics for the summary at the end, rather than between the lines of other tests.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| PANIC.set(Some(panic.to_string()))));
}

fn reported(test: impl FnOnce()) -> Result<(), Failed> {
    catch_unwind(AssertUnwindSafe(test)).map_err(|_| {
        let message = PANIC.take().unwrap_or_else(|| "panicked on another thread".into());
        message.into()
    })
}
