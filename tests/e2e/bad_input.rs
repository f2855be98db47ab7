//! What cannot run is refused by Create, each with a sentence of its own that names field, path and value.

use libtest_mimic::Trial;

use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::remains::nothing_remains;
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        what_is_not_wasm_is_refused,
        a_native_program_named_wasm_is_refused,
        an_empty_file_is_refused,
        a_truncated_module_is_refused,
        a_truncated_component_is_refused,
        an_invalid_module_is_refused,
        an_unknown_import_is_named,
        a_missing_file_is_named,
        a_missing_program_of_path_is_named,
        a_directory_is_refused,
        a_missing_export_is_named_among_those_there_are,
        a_missing_export_of_a_component_is_named,
        an_export_with_parameters_is_refused,
        a_module_without_start_is_refused,
        compiled_code_is_refused,
    ]
}

fn what_is_not_wasm_is_refused(namespace: &Namespace<'_>) {
    let image = Image::guest("app", b"PK\x03\x04 and so on");
    expect_refusal(namespace, &image, &[], &["\"/app.wasm\"", "not WebAssembly", r"PK\x03\x04"]);
}

fn a_native_program_named_wasm_is_refused(namespace: &Namespace<'_>) {
    let program = std::fs::read("/proc/self/exe").unwrap();
    let image = Image::guest("app", &program);
    expect_refusal(namespace, &image, &[], &["\"/app.wasm\"", "native program (ELF)"]);
}

fn an_empty_file_is_refused(namespace: &Namespace<'_>) {
    let image = Image::guest("app", b"");
    expect_refusal(namespace, &image, &[], &["\"/app.wasm\"", "the file is empty"]);
}

fn a_truncated_module_is_refused(namespace: &Namespace<'_>) {
    let whole = guests::module("echo");
    let cut = Image::guest("cut", &whole[..whole.len() - 20]);
    expect_refusal(namespace, &cut, &[], &["\"/cut.wasm\"", "unexpected end"]);
    let stub = Image::guest("stub", &whole[..6]);
    expect_refusal(namespace, &stub, &[], &["\"/stub.wasm\"", "is truncated"]);
}

fn a_truncated_component_is_refused(namespace: &Namespace<'_>) {
    let whole = guests::component("echo");
    let cut = Image::guest("cut", &whole[..whole.len() / 2]);
    expect_refusal(namespace, &cut, &[], &["\"/cut.wasm\"", "section range", "out of bounds"]);
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

fn a_directory_is_refused(namespace: &Namespace<'_>) {
    let image = Image::new("example.test/directory:latest")
        .directory("/app.wasm", 0o755)
        .entrypoint(&["/app.wasm"]);
    expect_refusal(namespace, &image, &[], &["process.args[0] \"/app.wasm\"", "is a directory"]);
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

/// What one's own `lighter compile` makes is refused, too: where it came from cannot be seen.
fn compiled_code_is_refused(namespace: &Namespace<'_>) {
    let dir = tempfile::TempDir::new_in(Suite::get().scratch()).unwrap();
    let (wasm, compiled) = (dir.path().join("app.wasm"), dir.path().join("app.cwasm"));
    std::fs::write(&wasm, guests::module("hello")).unwrap();
    let status = std::process::Command::new(Suite::get().program("lighter"))
        .args(["compile".as_ref(), wasm.as_os_str()])
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let image = Image::guest("app", &std::fs::read(compiled).unwrap());
    let words = ["\"/app.wasm\"", "compiled code is not accepted from images"];
    expect_refusal(namespace, &image, &[], &words);
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
