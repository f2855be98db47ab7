//! What cannot run is refused by Create, each with a sentence of its own that names field, path and value.
//! Files that are no program at all are in `hostile`.

use libtest_mimic::Trial;

use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::remains::nothing_remains;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        what_is_not_wasm_is_refused,
        an_invalid_module_is_refused,
        an_unknown_import_is_named,
        a_missing_file_is_named,
        a_missing_program_of_path_is_named,
        a_missing_export_is_named_among_those_there_are,
        a_missing_export_of_a_component_is_named,
        an_export_with_parameters_is_refused,
        a_module_without_start_is_refused,
    ]
}

fn what_is_not_wasm_is_refused(namespace: &Namespace<'_>) {
    let image = Image::guest("app", b"PK\x03\x04 and so on");
    expect_refusal(namespace, &image, &[], &["\"/app.wasm\"", "not WebAssembly", r"PK\x03\x04"]);
}

/// Well-formed, but its function returns nothing where it promises a number.
fn an_invalid_module_is_refused(namespace: &Namespace<'_>) {
    let text = "(module (func (export \"_start\") (drop (call $f))) (func $f (result i32)))";
    let image = Image::guest("app", &wat::parse_str(text).unwrap());
    expect_refusal(namespace, &image, &[], &["\"/app.wasm\"", "type mismatch", "i32"]);
}

fn an_unknown_import_is_named(namespace: &Namespace<'_>) {
    let image = Image::guest("app", &guests::module("unknown-import"));
    expect_refusal(namespace, &image, &[], &["\"/app.wasm\"", "imports", "moon::phase"]);
}

fn a_missing_file_is_named(namespace: &Namespace<'_>) {
    let image = Image::guest("app", &guests::module("hello"));
    let args = ["/lib/other.wasm"];
    let words = ["process.args[0] \"/lib/other.wasm\"", "no such file or directory"];
    expect_refusal(namespace, &image, &args, &words);
}

fn a_missing_program_of_path_is_named(namespace: &Namespace<'_>) {
    let image = Image::guest("app", &guests::module("hello"));
    let words = ["process.args[0] \"other.wasm\"", "not found in $PATH"];
    expect_refusal(namespace, &image, &["other.wasm"], &words);
}

fn a_missing_export_is_named_among_those_there_are(namespace: &Namespace<'_>) {
    let image = Image::guest("export", &guests::module("export"));
    let words = ["\"/export.wasm#wave\"", "no such export: \"wave\"", "\"greet\"", "\"add\""];
    expect_refusal(namespace, &image, &["/export.wasm#wave"], &words);
}

fn a_missing_export_of_a_component_is_named(namespace: &Namespace<'_>) {
    let image = Image::guest("hello", &guests::component("hello"));
    let words = ["\"/hello.wasm#wave\"", "no such export: \"wave\"", "\"wasi:cli/run@0.2."];
    expect_refusal(namespace, &image, &["/hello.wasm#wave"], &words);
}

fn an_export_with_parameters_is_refused(namespace: &Namespace<'_>) {
    let image = Image::guest("export", &guests::module("export"));
    let words = ["\"/export.wasm#add\"", "\"add\" takes parameters (i32, i32)"];
    expect_refusal(namespace, &image, &["/export.wasm#add"], &words);
}

fn a_module_without_start_is_refused(namespace: &Namespace<'_>) {
    let image = Image::guest("export", &guests::module("export"));
    let words = ["\"/export.wasm\"", "\"_start\"", "\"greet\"", "\"add\""];
    expect_refusal(namespace, &image, &["/export.wasm"], &words);
}

/// `ctr run` fails and shows all of `words`, and nothing remains.
#[track_caller]
fn expect_refusal(namespace: &Namespace<'_>, image: &Image, args: &[&str], words: &[&str]) {
    let error = namespace.run(image, args).expect_failure();
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    nothing_remains(namespace);
}
