//! Images that Podman and `lighter build` make, for Linux's platform and for WebAssembly's own.

use std::process::Command;

use libtest_mimic::Trial;

use super::node::{Podman, RUNTIME};
use super::podman_trials;
use crate::support::command;
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::{Image, busybox};
use crate::support::spec::directory;
use crate::support::suite::Suite;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    podman_trials![
        what_podman_builds_runs,
        what_lighter_builds_runs,
        the_annotations_of_crun_choose,
    ]
}

fn what_podman_builds_runs(podman: &Podman) {
    let dir = directory();
    std::fs::write(dir.path().join("app.wasm"), guests::component("hello")).unwrap();
    let recipe = "FROM scratch\nCOPY app.wasm /app.wasm\nENTRYPOINT [\"/app.wasm\"]\n";
    std::fs::write(dir.path().join("Containerfile"), recipe).unwrap();
    let context = dir.path().display().to_string();
    for (name, platform) in [("built", None), ("built-wasi", Some("wasi/wasm"))] {
        let flag =
            platform.map_or_else(Vec::new, |platform| vec!["--no-cache", "--platform", platform]);
        let build = [&["build", "--quiet", "--tag", name], &flag[..], &[&context]].concat();
        podman.call(&build).expect_success();
        let run = [&["--rm", "--net", "none"], flag.get(1..).unwrap_or_default(), &[name]].concat();
        assert_eq!(podman.run(&run).expect_success().text(), "hello\n");
        // Where the drop-in's `platform_to_oci_runtime` is known, the platform chooses the runtime.
        if platform.is_some() && version(podman) >= (4, 5) {
            let run = [&["run"], &run[..]].concat();
            assert_eq!(podman.call(&run).expect_success().text(), "hello\n");
        }
    }
}

fn version(podman: &Podman) -> (u32, u32) {
    let text = podman.call(&["version", "--format", "{{.Client.Version}}"]).text();
    let mut numbers = text.split('.').map(|number| number.parse().expect("a number"));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn what_lighter_builds_runs(podman: &Podman) {
    let dir = directory();
    let program = dir.path().join("app.wasm");
    std::fs::write(&program, guests::module("exit")).unwrap();
    for platform in [&[][..], &["--platform", "wasi/wasm"]] {
        let archive = dir.path().join("app.tar");
        let mut build = Command::new(Suite::get().program("lighter"));
        build.arg("build").arg(&program).args(["--tag", "example.test/packed:1", "--output"]);
        build.arg(&archive).args(platform).args(["--", "7"]);
        command::run(&mut build, b"", LIMIT).expect_success();
        let archive = archive.display().to_string();
        podman.call(&["load", "--quiet", "--input", &archive]).expect_success();
        let run = [&["--rm", "--net", "none"], platform, &["example.test/packed:1"]].concat();
        podman.run(&run).expect_status(7);
    }
}

fn the_annotations_of_crun_choose(podman: &Podman) {
    let busybox = std::fs::read(busybox()).expect("read busybox");
    let image = Image::guest("both", &guests::module("hello")).file("/bin/echo", &busybox);
    let image = podman.load(&image);
    let run = |annotation: &str, args: &[&str]| {
        let flags = ["run", "--runtime", RUNTIME, "--rm", "--net", "none", "--annotation"];
        podman.call(&[&flags[..], &[annotation], args].concat())
    };
    let handler = "run.oci.handler=wasm";
    assert_eq!(run(handler, &[&image]).expect_success().text(), "hello\n");
    let linux = ["--entrypoint", "/bin/echo", &image, "linux"];
    let errors = run(handler, &linux).expect_failure();
    assert!(errors.contains("/bin/echo"), "{errors}");
    // The smart form means programs that are WebAssembly, and leaves others alone.
    let smart = "module.wasm.image/variant=compat-smart";
    assert_eq!(run(smart, &[&image]).expect_success().text(), "hello\n");
    assert_eq!(run(smart, &linux).expect_success().text(), "linux\n");
}
