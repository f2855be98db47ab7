//! `lighter build`: the images that it makes are run, and read by other people's tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::command::{Output, run};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::namespace::{Namespace, RUNTIME};
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        what_it_builds_runs,
        files_beside_the_program_are_there,
        the_same_input_makes_the_same_image,
        the_forms_are_what_others_read,
        what_is_no_program_is_refused,
        nothing_is_overwritten_by_halves,
    ]
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(Suite::get().scratch()).unwrap()
}

fn build(program: &Path, out: &Path, flags: &[&str]) -> Output {
    let mut lighter = Command::new(Suite::get().program("lighter"));
    run(lighter.arg("build").arg(program).arg("-o").arg(out).args(flags), b"", LIMIT)
}

/// Fixture `name` as a file in `dir`.
fn guest(dir: &Path, name: &str) -> PathBuf {
    let file = dir.join(format!("{name}.wasm"));
    std::fs::write(&file, guests::module(name)).unwrap();
    file
}

#[track_caller]
fn import_and_run(namespace: &Namespace<'_>, archive: &Path, image: &str) -> Output {
    namespace.ctr(&["images", "import", archive.to_str().unwrap()]).expect_success();
    namespace.ctr(&["run", "--rm", "--runtime", RUNTIME, image, "built"])
}

fn what_it_builds_runs(namespace: &Namespace<'_>) {
    let dir = scratch();
    // Text, too.
    let program = dir.path().join("hello.wat");
    std::fs::copy(guests::fixture("hello"), &program).unwrap();
    let archive = dir.path().join("hello.tar");
    let said = build(&program, &archive, &["-t", "hello:1"]).expect_success().text();
    let (digest, name) = said.trim().split_once('\n').expect("the digest and the name");
    assert!(digest.starts_with("sha256:"), "{said}");
    assert_eq!(name, "docker.io/library/hello:1");
    let expected = namespace.run(&guests_image("hello"), &[]).expect_success().text();
    let text = import_and_run(namespace, &archive, name).expect_success().text();
    assert_eq!(text, expected);
    let listed = namespace.ctr(&["images", "ls"]).expect_success().text();
    assert!(listed.contains(digest), "the image has another digest in containerd:\n{listed}");
}

fn guests_image(name: &str) -> crate::support::image::Image {
    crate::support::image::Image::guest(name, &guests::module(name))
}

fn files_beside_the_program_are_there(namespace: &Namespace<'_>) {
    let dir = scratch();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("note"), "from the image\n").unwrap();
    let archive = dir.path().join("print.tar");
    let add = format!("{}:/srv/data", data.display());
    let flags = ["-t", "example.test/print", "--entrypoint", "/bin/print.wasm", "--add", &add];
    let with_args: Vec<&str> = flags.into_iter().chain(["--", "srv/data/note"]).collect();
    build(&guest(dir.path(), "print-file"), &archive, &with_args).expect_success();
    let text =
        import_and_run(namespace, &archive, "example.test/print:latest").expect_success().text();
    assert_eq!(text, "from the image\n");
}

fn the_same_input_makes_the_same_image(_: &Namespace<'_>) {
    let dir = scratch();
    let program = guest(dir.path(), "hello");
    let archives = ["a.tar", "b.tar"].map(|name| {
        let archive = dir.path().join(name);
        build(&program, &archive, &["-t", "hello", "-e", "A=1", "-u", "7:8"]).expect_success();
        std::fs::read(archive).unwrap()
    });
    assert!(archives[0] == archives[1], "two builds differ");
}

/// The manifest in the layout `dir`.
fn manifest(dir: &Path) -> Value {
    let json =
        |path: PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let index = json(dir.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replacen(':', "/", 1);
    json(dir.join("blobs").join(digest))
}

fn the_forms_are_what_others_read(_: &Namespace<'_>) {
    let dir = scratch();
    let module = guest(dir.path(), "hello");
    let component = dir.path().join("component.wasm");
    std::fs::write(&component, guests::component("hello")).unwrap();
    let cases = [
        (&module, "layer", "application/vnd.wasm.content.layer.v1+wasm"),
        (&component, "layer", "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"),
        (&module, "artifact", "application/wasm"),
        (&component, "artifact", "application/wasm"),
        (&module, "rootfs", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ];
    for (number, (program, form, media_type)) in cases.into_iter().enumerate() {
        let layout = dir.path().join(format!("{form}-{number}"));
        build(program, &layout, &["-t", "hello", "--form", form]).expect_success();
        assert_eq!(manifest(&layout)["layers"][0]["mediaType"], media_type);
        let warmed = Command::new(Suite::get().program("lighter"))
            .env("LIGHTER_CONFIG", Suite::get().node_configuration())
            .args(["cache", "warm"])
            .arg(&layout)
            .output()
            .unwrap();
        assert!(warmed.status.success(), "{}", String::from_utf8_lossy(&warmed.stderr));
    }
}

fn what_is_no_program_is_refused(_: &Namespace<'_>) {
    let dir = scratch();
    let out = dir.path().join("x.tar");
    let program = guest(dir.path(), "hello");
    let script = dir.path().join("script.wasm");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let cases: [(&Path, &[&str], &str); 6] = [
        (&script, &["-t", "x"], "is a script, not WebAssembly"),
        (&dir.path().join("missing.wasm"), &["-t", "x"], "missing.wasm"),
        (&program, &["-t", "X"], "\"library/X\""),
        (&program, &["-t", "x", "--entrypoint", "../x"], "\"../x\": not the absolute path"),
        (
            &program,
            &["-t", "x", "--form", "artifact", "-e", "A=1"],
            "--env: an artifact has no place",
        ),
        (&program, &["-t", "x", "--form", "layer", "--add", "/etc:/etc"], "--add: only an image"),
    ];
    for (program, flags, words) in cases {
        let error = build(program, &out, flags).expect_failure();
        assert!(error.contains(words), "{flags:?}: {error}");
        assert!(!out.exists(), "{flags:?}: something was written");
    }
}

fn nothing_is_overwritten_by_halves(_: &Namespace<'_>) {
    let dir = scratch();
    let program = guest(dir.path(), "hello");
    let layout = dir.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    std::fs::write(layout.join("precious"), "").unwrap();
    let error = build(&program, &layout, &["-t", "x"]).expect_failure();
    assert!(error.contains("is there already, and not empty"), "{error}");
    // A tar file is replaced as a whole.
    let archive = dir.path().join("x.tar");
    std::fs::write(&archive, "old").unwrap();
    build(&program, &archive, &["-t", "x"]).expect_success();
    assert!(std::fs::metadata(&archive).unwrap().len() > 1000);
    let left = std::fs::read_dir(dir.path())
        .unwrap()
        .flatten()
        .any(|entry| entry.path().extension().is_some_and(|extension| extension == "new"));
    assert!(!left, "a temporary file is left");
}
