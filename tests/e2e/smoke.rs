//! The least that must work: an image goes in, a guest runs, its output and its status come out.

use libtest_mimic::Trial;

use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![a_module_says_hello, a_component_says_hello, the_exit_code_comes_back, stdin_comes_back]
}

fn a_module_says_hello(namespace: &Namespace<'_>) {
    let image = Image::guest("hello", &guests::module("hello"));
    let output = namespace.run(&image, &[]).expect_success();
    assert_eq!(output.text(), "hello\n");
}

fn a_component_says_hello(namespace: &Namespace<'_>) {
    let image = Image::guest("hello", &guests::component("hello"));
    let output = namespace.run(&image, &[]).expect_success();
    assert_eq!(output.text(), "hello\n");
}

fn the_exit_code_comes_back(namespace: &Namespace<'_>) {
    let image = Image::guest("exit", &guests::module("exit"));
    for code in [0, 1, 3, 42] {
        namespace.run(&image, &["/exit.wasm", &code.to_string()]).expect_status(code);
    }
}

fn stdin_comes_back(namespace: &Namespace<'_>) {
    let image = Image::guest("echo", &guests::module("echo"));
    let output = namespace.run_with(&image, &[], &[], b"one\ntwo\n").expect_success();
    assert_eq!(output.text(), "one\ntwo\n");
}
