//! Entrypoints that are no module, or lie where none should be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use libtest_mimic::Trial;
use rustix::fs::FileType;
use serde_json::json;

use super::case::Case;
use super::{Refused, Row};
use crate::support::guests;
use crate::support::image::busybox;
use crate::support::leaks::entries;
use crate::support::namespace::Namespace;
use crate::support::process::Process;
use crate::support::spec::{directory, spec};
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// Tests that do not fit the table.
pub(super) fn tests() -> Vec<Trial> {
    trials![a_module_is_replaced_before_it_starts, a_setuid_program_gains_nothing]
}

pub(super) fn rows() -> Vec<Row> {
    [of_places(), of_contents()].into_iter().flatten().collect()
}

fn of_places() -> Vec<Row> {
    vec![
        Row {
            name: "the_program_is_a_link_to_the_host",
            attack: |case| {
                let host = hello_of_the_host(case);
                case.link("/app.wasm", &host);
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["process.args[0] \"/app.wasm\"", "no such file or directory"]),
        },
        Row {
            name: "the_program_is_a_link_that_climbs",
            attack: |case| {
                let host = hello_of_the_host(case);
                case.link("/app.wasm", &case.climbing(&host));
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["process.args[0] \"/app.wasm\"", "no such file or directory"]),
        },
        Row {
            // Without the suffix, only its first bytes could tell that it is WebAssembly.
            name: "the_program_is_a_link_to_the_host_without_a_suffix",
            attack: |case| {
                let host = hello_of_the_host(case);
                case.link("/app", &host);
                case.runs(&["/app"]);
            },
            end: Refused(&["/app", "no such file or directory"]),
        },
        Row {
            name: "the_program_climbs",
            attack: |case| {
                let host = hello_of_the_host(case);
                case.runs(&[&format!("/{}", case.climbing(&host))]);
            },
            end: Refused(&["process.args[0]", "no such file or directory"]),
        },
        Row {
            name: "the_program_is_a_magic_link",
            attack: |case| {
                case.link("/app.wasm", "/proc/self/exe");
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["process.args[0] \"/app.wasm\"", "no such file or directory"]),
        },
        Row {
            name: "the_program_is_a_circle_of_links",
            attack: |case| {
                case.link("/app.wasm", "/app.wasm");
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["process.args[0] \"/app.wasm\"", "symbolic links"]),
        },
        Row {
            name: "the_program_is_a_directory",
            attack: |case| {
                case.directory("/app.wasm");
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["process.args[0] \"/app.wasm\"", "is a directory"]),
        },
        Row {
            name: "the_program_is_a_fifo",
            attack: |case| {
                case.node("/app.wasm", FileType::Fifo, (0, 0));
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["process.args[0] \"/app.wasm\"", "is a named pipe"]),
        },
        Row {
            name: "the_program_is_a_fifo_without_a_suffix",
            attack: |case| {
                case.node("/app", FileType::Fifo, (0, 0));
                case.runs(&["/app"]);
            },
            end: Refused(&["/app"]),
        },
        Row {
            name: "the_program_is_a_character_device",
            attack: |case| {
                case.node("/app.wasm", FileType::CharacterDevice, (1, 5));
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["process.args[0] \"/app.wasm\"", "is a device"]),
        },
        Row {
            name: "the_program_is_a_block_device",
            attack: |case| {
                case.node("/app.wasm", FileType::BlockDevice, (7, 0));
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["process.args[0] \"/app.wasm\"", "is a device"]),
        },
        Row {
            name: "the_program_is_a_socket",
            attack: |case| {
                drop(UnixListener::bind(case.place("/app.wasm")).unwrap());
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["process.args[0] \"/app.wasm\"", "is a socket"]),
        },
        Row {
            name: "the_program_is_a_device_that_the_node_offers",
            attack: |case| case.runs(&["/dev/zero"]),
            end: Refused(&["/dev/zero"]),
        },
        Row {
            name: "the_program_may_not_be_read",
            attack: |case| {
                case.program("/app.wasm", &guests::module("hello"));
                let mode = fs::Permissions::from_mode(0o4111);
                fs::set_permissions(case.place("/app.wasm"), mode).unwrap();
                case.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            },
            end: Refused(&["process.args[0] \"/app.wasm\"", "permission denied"]),
        },
    ]
}

fn of_contents() -> Vec<Row> {
    vec![
        Row {
            name: "the_program_is_empty",
            attack: |case| case.program("/app.wasm", b""),
            end: Refused(&["\"/app.wasm\"", "the file is empty"]),
        },
        Row {
            name: "the_program_is_the_start_of_a_header",
            attack: |case| case.program("/app.wasm", b"\0asm\x01\0"),
            end: Refused(&["\"/app.wasm\"", "is truncated"]),
        },
        Row {
            name: "the_program_is_half_a_module",
            attack: |case| {
                let whole = guests::module("echo");
                case.program("/app.wasm", &whole[..whole.len() - 20]);
            },
            end: Refused(&["\"/app.wasm\"", "unexpected end"]),
        },
        Row {
            name: "the_program_is_half_a_component",
            attack: |case| {
                let whole = guests::component("echo");
                case.program("/app.wasm", &whole[..whole.len() / 2]);
            },
            end: Refused(&["\"/app.wasm\"", "section range", "out of bounds"]),
        },
        Row {
            name: "the_program_is_a_header_and_noise",
            attack: |case| {
                let noise = (0u32..4096).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
                let bytes: Vec<u8> = b"\0asm\x01\0\0\0".iter().copied().chain(noise).collect();
                case.program("/app.wasm", &bytes);
            },
            end: Refused(&["\"/app.wasm\""]),
        },
        Row {
            name: "the_program_is_native",
            attack: |case| case.program("/app.wasm", &fs::read("/proc/self/exe").unwrap()),
            end: Refused(&["\"/app.wasm\"", "native program (ELF)"]),
        },
        Row {
            name: "the_program_is_a_script",
            attack: |case| case.program("/app.wasm", b"#!/bin/sh\ncat /etc/shadow\n"),
            end: Refused(&["\"/app.wasm\"", "is a script"]),
        },
        Row {
            name: "the_program_is_code_that_this_node_compiled",
            attack: |case| case.program("/app.wasm", &compiled_code()),
            end: Refused(&["\"/app.wasm\"", "compiled code is not accepted from images"]),
        },
        Row {
            name: "the_program_is_code_that_is_named_so",
            attack: |case| {
                case.program("/app.cwasm", &compiled_code());
                case.spec["annotations"] = json!({"io.lighter.handler": "wasm"});
            },
            end: Refused(&["\"/app.cwasm\"", "compiled code is not accepted from images"]),
        },
        Row {
            // Nor is it given to the kernel as a program.
            name: "the_program_is_code_that_claims_to_be_native",
            attack: |case| case.program("/app.cwasm", &compiled_code()),
            end: Refused(&["/app.cwasm"]),
        },
    ]
}

/// A module of the host's, where every user can read it.
fn hello_of_the_host(case: &Case<'_>) -> String {
    let path = case.beside("modules").join("hello.wasm");
    fs::write(&path, guests::module("hello")).unwrap();
    path.display().to_string()
}

/// What this run's store has of one module.
fn compiled_code() -> Vec<u8> {
    let code = || {
        let mut to_visit: Vec<PathBuf> = entries(&Suite::get().cache()).collect();
        while let Some(path) = to_visit.pop() {
            if path.extension().is_some_and(|extension| extension == "cwasm") {
                return Some(fs::read(path).unwrap());
            }
            to_visit.extend(entries(&path));
        }
        None
    };
    let found = code().or_else(|| {
        let namespace = Namespace::for_test("hostile::compiled_code");
        let (root, id) = (directory(), crate::support::namespace::unique_id());
        fs::write(root.path().join("hello.wasm"), guests::module("hello")).unwrap();
        let spec = spec(&namespace, &id, root.path(), &["/hello.wasm"]);
        namespace.run_spec(&spec, &id, &["--rm"]).expect_success();
        code()
    });
    found.expect("the store has what was run")
}

/// What Create has read is what runs, whatever the file is by then. A hook between the two replaces it.
fn a_module_is_replaced_before_it_starts(namespace: &Namespace<'_>) {
    let root = directory();
    let place = |name: &str| root.path().join(name);
    fs::write(place("app.wasm"), guests::module("hello")).unwrap();
    fs::write(place("other.wasm"), guests::module("trap")).unwrap();
    fs::copy(busybox(), place("busybox")).unwrap();
    let mut spec = spec(namespace, "replaced", root.path(), &["/app.wasm"]);
    let script = "/busybox cat /other.wasm >/app.wasm";
    spec["hooks"] =
        json!({"startContainer": [{"path": "/busybox", "args": ["busybox", "sh", "-c", script]}]});
    let output = namespace.run_spec(&spec, "replaced", &["--rm"]).expect_success();
    assert_eq!(output.text(), "hello\n");
    assert_eq!(fs::read(place("app.wasm")).unwrap(), guests::module("trap"), "it was replaced");
    // And the next one runs what is there now.
    let output = namespace.run_spec(&spec, "replaced", &["--rm"]);
    output.expect_status(134);
}

/// The mode of a file has no effect: the process is the container's user, without privileges.
fn a_setuid_program_gains_nothing(namespace: &Namespace<'_>) {
    let root = directory();
    let app = root.path().join("sleep.wasm");
    fs::write(&app, guests::module("sleep")).unwrap();
    fs::set_permissions(&app, fs::Permissions::from_mode(0o6755)).unwrap();
    let mut spec = spec(namespace, "setuid", root.path(), &["/sleep.wasm", "1000"]);
    spec["process"]["user"] = json!({"uid": 1000, "gid": 2000});
    spec["process"]["noNewPrivileges"] = json!(false);
    namespace.run_spec(&spec, "setuid", &["--detach"]).expect_success();
    let process = Process::of(namespace.task_pid("setuid").expect("it runs"));
    assert_eq!(process.status("Uid"), "1000 1000 1000 1000");
    assert_eq!(process.status("Gid"), "2000 2000 2000 2000");
    assert_eq!(process.status("NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(process.status(set), "0000000000000000", "{set}");
    }
}
