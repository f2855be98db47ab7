//! A file is run: modules, components and text; what it is given, and what it is not.

use libtest_mimic::Trial;

use super::Here;
use crate::support::command::run;
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::trials::plain_trials;

pub(super) fn tests() -> Vec<Trial> {
    plain_trials![
        modules_components_and_text_run,
        arguments_and_environment_are_the_guests,
        input_is_read_if_it_is_given,
        a_guest_sees_its_volumes_and_nothing_else,
        exit_codes_are_the_guests_or_say_what_is_wrong,
    ]
}

fn modules_components_and_text_run() {
    let here = Here::new();
    here.file("module.wasm", guests::module("hello"))
        .file("component.wasm", guests::component("hello"))
        .file("text.wat", std::fs::read(guests::fixture("hello")).unwrap())
        .file("nameless", guests::module("hello"))
        .file("export.wasm", guests::module("export"));
    for program in ["module.wasm", "./component.wasm", "./text.wat", "./nameless"] {
        let output = here.run(&[program]).expect_success();
        assert_eq!((output.text().as_str(), output.errors().as_str()), ("hello\n", ""), "{output}");
    }
    here.run(&["./export.wasm#greet"]).expect_success();
    // Files whose names would mean something in a container.
    here.file("a#b.wasm", guests::module("hello"));
    here.run(&["./a#b.wasm"]).expect_success();
    here.is_clean();
}

fn arguments_and_environment_are_the_guests() {
    let here = Here::new();
    here.file("env.wasm", guests::module("env")).file("vars", "# remark\nB=of a file\nC=3\n");
    let mut command =
        here.run_command(&["--env-file", "vars", "-e", "A=x=y", "-e", "HERE", "-e", "C=4"]);
    command.env("HERE", "there").args([
        "-w",
        "/dir",
        "./env.wasm",
        "--flag",
        "-e",
        "X=1",
        "--",
        "-h",
    ]);
    let text = run(&mut command, b"", LIMIT).expect_success().text();
    let said: Vec<&str> = text.lines().collect();
    let expected = [
        "/env.wasm",
        "--flag",
        "-e",
        "X=1",
        "--",
        "-h",
        "B=of a file",
        "C=4",
        "A=x=y",
        "HERE=there",
        "PWD=/dir",
    ];
    assert_eq!(said, expected);
    here.is_clean();
}

fn input_is_read_if_it_is_given() {
    let here = Here::new();
    here.file("echo.wasm", guests::module("echo"));
    let output = run(&mut here.run_command(&["-i", "./echo.wasm"]), b"typed\n", LIMIT);
    assert_eq!(output.expect_success().text(), "typed\n");
    let output = run(&mut here.run_command(&["./echo.wasm"]), b"typed\n", LIMIT);
    assert_eq!(output.expect_success().text(), "");
}

fn a_guest_sees_its_volumes_and_nothing_else() {
    let here = Here::new();
    here.file("probe.wasm", guests::probe("probe"));
    std::fs::create_dir(here.path("data")).unwrap();
    here.file("data/file", "text");
    let requests = [
        "ls /",
        "cat /rw/file",
        "write /rw/new x",
        "cat /ro/new",
        "write /ro/other x",
        "write /new x",
        "write /t/a x",
        "fill /u/a 131072",
    ];
    let mounts = [
        "-v",
        "./data:/rw",
        "-v",
        "./data:/ro:ro",
        "--tmpfs",
        "/t",
        "--mount",
        "type=tmpfs,dst=/u,tmpfs-size=64k",
        "./probe.wasm",
    ];
    let output = here.run(&[&mounts[..], &requests].concat()).expect_success();
    let text = output.text();
    let answers: Vec<&str> = text.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(answers[0], "probe.wasm ro rw t u", "{output}");
    assert_eq!(answers[1..4], ["text", "ok", "x"], "{output}");
    assert!(answers[4].starts_with("error") && answers[5].starts_with("error"), "{output}");
    assert_eq!(answers[6..], ["ok", "no storage space after 64 KiB"], "{output}");
    assert_eq!(std::fs::read_to_string(here.path("data/new")).unwrap(), "x\n");
    here.is_clean();
}

fn exit_codes_are_the_guests_or_say_what_is_wrong() {
    let here = Here::new();
    here.file("exit.wasm", guests::module("exit"))
        .file("trap.wasm", guests::module("trap"))
        .file("import.wasm", guests::module("unknown-import"))
        .file("native.wasm", std::fs::read(Here::new().command(&[]).get_program()).unwrap())
        .file("broken.wasm", b"\0asm\x01\0\0\0garbage");
    here.run(&["./exit.wasm", "7"]).expect_status(7);
    here.run(&["./trap.wasm"]).expect_status(134);
    for (program, status, words) in [
        ("./none.wasm", 127, "there is no such file"),
        ("./native.wasm", 126, "is a native program (ELF), not WebAssembly"),
        ("./import.wasm", 125, "\"moon::phase\""),
        ("./broken.wasm", 125, "broken.wasm"),
    ] {
        let output = here.run(&[program]).expect_status(status);
        assert!(output.errors().contains(words), "no {words:?} in: {output}");
    }
    here.is_clean();
}
