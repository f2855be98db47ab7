//! An image is run: what its configuration says, and what is said in its place.

use std::process::Command;

use libtest_mimic::Trial;

use super::Here;
use crate::support::command::run;
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::trials::plain_trials;

pub(super) fn tests() -> Vec<Trial> {
    plain_trials![
        every_form_of_image_runs,
        its_configuration_counts_as_with_docker,
        what_is_written_is_gone_and_the_image_stays_as_it_is,
        an_image_of_linux_programs_is_refused,
    ]
}

fn every_form_of_image_runs() {
    let here = Here::new();
    here.file("hello.wasm", guests::module("hello"));
    for form in ["rootfs", "layer", "artifact"] {
        let (layout, archive) = (format!("./{form}"), format!("{form}.tar"));
        for output in [&layout, &archive] {
            let build =
                ["build", "hello.wasm", "--tag", "hello", "--form", form, "--output", output];
            here.lighter(&build).expect_success();
            assert_eq!(here.run(&[output]).expect_success().text(), "hello\n", "{output}");
        }
    }
    // What `docker save` writes, of what other tools have made of it.
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet", "oci:rootfs", "docker-archive:saved.tar:hello:1"]);
    run(copy.current_dir(here.path("")), b"", LIMIT).expect_success();
    assert_eq!(here.run(&["saved.tar"]).expect_success().text(), "hello\n");
    here.is_clean();
}

fn its_configuration_counts_as_with_docker() {
    let here = Here::new();
    let image = Image::new("example.test/env:latest")
        .file("/bin/env.wasm", &guests::module("env"))
        .file_with_mode("/etc/passwd", 0o644, b"alice:x:1000:1001::/home/alice:\n")
        .entrypoint(&["/bin/env.wasm", "first"])
        .cmd(&["second"])
        .env(&["A=1", "B=2"])
        .working_dir("/srv")
        .user("alice");
    image.write(&here.path("env.tar")).unwrap();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let text = here.run(&["--hostname", "named", "env.tar"]).expect_success().text();
    let said: Vec<&str> = text.lines().collect();
    let expected = [
        "/bin/env.wasm",
        "first",
        "second",
        "A=1",
        "B=2",
        path,
        "HOME=/home/alice",
        "HOSTNAME=named",
        "PWD=/srv",
    ];
    assert_eq!(said, expected);
    let flags = [
        "-e",
        "B=x",
        "--entrypoint",
        "/bin/env.wasm",
        "-u",
        "0",
        "-w",
        "/",
        "-h",
        "n",
        "env.tar",
        "arg",
    ];
    let text = here.run(&flags).expect_success().text();
    let said: Vec<&str> = text.lines().collect();
    assert_eq!(said, ["/bin/env.wasm", "arg", "A=1", "B=x", path, "HOME=/", "HOSTNAME=n"]);
    let error = here.run(&["--entrypoint", "/none.wasm", "env.tar"]).expect_status(127).errors();
    assert!(error.contains("/none.wasm"), "{error}");
    let error = here.run(&["-u", "bob", "env.tar"]).expect_status(125).errors();
    assert!(error.contains("the image has no user \"bob\""), "{error}");
    here.is_clean();
}

fn what_is_written_is_gone_and_the_image_stays_as_it_is() {
    let here = Here::new();
    let image =
        Image::guest("probe", &guests::probe("probe")).file_with_mode("/file", 0o644, b"old");
    image.write(&here.path("probe.tar")).unwrap();
    let requests = ["write /file new", "cat /file", "write /other x", "ls /volume"];
    let volume = ["-v", ".:/volume:ro", "--read-only"];
    for flags in [&volume[..2], &volume] {
        let args = [flags, &["probe.tar"], &requests].concat();
        let text = here.run(&args).expect_success().text();
        let wrote = text.contains("cat /file: new\n") && text.contains("write /other x: ok\n");
        assert_eq!(wrote, flags.len() == 2, "{text}");
        assert!(text.contains("probe.tar"), "{text}");
    }
    let text = here.run(&["probe.tar", "cat /file", "ls /"]).expect_success().text();
    assert!(text.contains("cat /file: old\n"), "{text}");
    assert!(!text.contains("other") && !text.contains("volume"), "{text}");
    here.is_clean();
}

fn an_image_of_linux_programs_is_refused() {
    let here = Here::new();
    Image::linux("native").write(&here.path("native.tar")).unwrap();
    let error = here.run(&["native.tar", "echo", "x"]).expect_status(126).errors();
    assert!(error.contains("ELF"), "{error}");
    Image::guest("none", b"x").entrypoint(&[]).write(&here.path("none.tar")).unwrap();
    let error = here.run(&["none.tar"]).expect_status(125).errors();
    assert!(error.contains("does not say what to run"), "{error}");
    here.run(&["--pull", "never", "localhost:1/no/image"]).expect_status(125);
    here.is_clean();
}
