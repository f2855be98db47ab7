//! How a guest's own end becomes the container's exit status.

use libtest_mimic::Trial;

use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::remains::nothing_remains;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_module_ends_with_the_code_that_it_exits_with,
        a_component_can_only_succeed_or_fail,
        a_trapping_module_ends_with_134_and_names_its_functions,
        a_trapping_component_ends_with_134_and_names_its_functions,
        an_exhausted_stack_ends_with_134,
        a_detached_task_keeps_its_code_until_it_is_deleted,
    ]
}

fn a_module_ends_with_the_code_that_it_exits_with(namespace: &Namespace<'_>) {
    let image = Image::guest("exit", &guests::module("exit"));
    for code in [0, 1, 3, 42, 255] {
        let output = namespace.run(&image, &["/exit.wasm", &code.to_string()]).expect_status(code);
        assert_eq!(output.text(), "");
    }
    nothing_remains(namespace);
}

/// `wasi:cli/exit` knows no numbers.
fn a_component_can_only_succeed_or_fail(namespace: &Namespace<'_>) {
    let image = Image::guest("exit", &guests::component("exit"));
    for (code, status) in [(0, 0), (1, 1), (3, 1), (42, 1)] {
        namespace.run(&image, &["/exit.wasm", &code.to_string()]).expect_status(status);
    }
    nothing_remains(namespace);
}

fn a_trapping_module_ends_with_134_and_names_its_functions(namespace: &Namespace<'_>) {
    expect_trap(namespace, &guests::module("trap"));
}

fn a_trapping_component_ends_with_134_and_names_its_functions(namespace: &Namespace<'_>) {
    expect_trap(namespace, &guests::component("trap"));
}

fn expect_trap(namespace: &Namespace<'_>, guest: &[u8]) {
    let output = namespace.run(&Image::guest("trap", guest), &[]).expect_status(134);
    assert_eq!(output.text(), "", "nothing on standard output");
    let errors = output.errors();
    let sentence = errors.lines().next().unwrap_or_default();
    assert!(sentence.contains("guest trapped") && sentence.contains("unreachable"), "{errors}");
    // The backtrace, innermost call first.
    let places = ["innermost", "middle", "outer"].map(|name| errors.find(&format!("!{name}")));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{errors}");
    nothing_remains(namespace);
}

fn an_exhausted_stack_ends_with_134(namespace: &Namespace<'_>) {
    let image = Image::guest("recurse", &guests::module("recurse"));
    let errors = namespace.run(&image, &[]).expect_status(134).errors();
    assert!(errors.contains("call stack exhausted") && errors.contains("deeper"), "{errors}");
}

fn a_detached_task_keeps_its_code_until_it_is_deleted(namespace: &Namespace<'_>) {
    let image = Image::guest("exit", &guests::module("exit"));
    let id = unique_id();
    let flags = ["--null-io"];
    namespace.run_detached(&image, &id, &flags, &["/exit.wasm", "42"]).expect_success();
    namespace.wait_for_end(&id);
    assert_eq!(namespace.delete_task(&id), 42);
    nothing_remains(namespace);
}
