//! What cannot run: the exit status that Podman gives it, and what it says.

use libtest_mimic::Trial;

use super::node::Podman;
use super::podman_trials;
use crate::support::guests;
use crate::support::image::Image;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    podman_trials![
        what_is_not_there_is_127,
        what_may_not_be_run_is_126,
        what_is_no_program_is_said_in_one_sentence,
        of_what_was_refused_nothing_is_left,
    ]
}

/// Runs `image` under the name `name`, and returns what Podman says of it, which is one line and ends with `status`.
#[track_caller]
fn refused(podman: &Podman, status: i32, args: &[&str]) -> String {
    let output = podman.run(&[&["--rm", "--net", "none"], args].concat()).expect_status(status);
    assert_eq!(output.text(), "", "{output}");
    let errors = output.errors();
    let one_line = errors.starts_with("Error: ") && errors.lines().count() == 1;
    assert!(one_line && !errors.contains('\u{1b}'), "{output}");
    // No JSON, nor the name twice.
    assert!(!errors.contains("\"msg\"") && errors.matches("lighter: ").count() <= 1, "{output}");
    errors
}

fn what_is_not_there_is_127(podman: &Podman) {
    let image = podman.guest("hello");
    let errors = refused(podman, 127, &["--entrypoint", "/absent.wasm", &image]);
    assert!(errors.contains("\"/absent.wasm\": no such file or directory"), "{errors}");
    let errors = refused(podman, 127, &["--entrypoint", "absent", &image]);
    assert!(errors.contains("\"absent\""), "{errors}");
    let errors = refused(podman, 127, &["--entrypoint", "/hello.wasm#none", &image]);
    assert!(errors.contains("no such export: \"none\""), "{errors}");
}

fn what_may_not_be_run_is_126(podman: &Podman) {
    let image = Image::guest("locked", &guests::module("hello"));
    let image = image.file_with_mode("/closed.wasm", 0o600, &guests::module("hello"));
    let image = podman.load(&image.directory("/directory", 0o755));
    let args = ["--user", "1000", "--entrypoint", "/closed.wasm", &image];
    let errors = refused(podman, 126, &args);
    assert!(errors.contains("/closed.wasm") && errors.contains("ermission denied"), "{errors}");
    let errors = refused(podman, 126, &["--entrypoint", "/directory", &image]);
    assert!(errors.contains("/directory"), "{errors}");
}

fn what_is_no_program_is_said_in_one_sentence(podman: &Podman) {
    let says = |image: &Image, words: &str| {
        let errors = refused(podman, 126, &[&podman.load(image)]);
        assert!(errors.contains(words), "{errors}");
    };
    says(&Image::guest("unknown", &guests::module("unknown-import")), "\"moon::phase\"");
    says(&Image::guest("broken", b"\0asm\x01\0\0\0\xff"), "/broken.wasm");
    says(&Image::guest("text", b"neither\n"), "is not WebAssembly");
}

fn of_what_was_refused_nothing_is_left(podman: &Podman) {
    let image = podman.load(&Image::guest("unknown", &guests::module("unknown-import")));
    let output = podman.run(&["--name", "refused", "--net", "none", &image]);
    assert_ne!(output.status, 0);
    assert_eq!(podman.inspect("refused")["State"]["Status"], "created");
    // It is as it was, and fails as it did.
    let errors = podman.call(&["start", "refused"]).expect_failure();
    assert!(errors.contains("moon::phase"), "{errors}");
    podman.call(&["rm", "refused"]).expect_success();
}
