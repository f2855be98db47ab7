//! Text of an image or a bundle that ends up in messages, and amounts of it.

use std::fs;

use libtest_mimic::Trial;
use serde_json::json;

use super::{Refused, Row};
use crate::support::guests;
use crate::support::namespace::Namespace;
use crate::support::remains::nothing_remains;
use crate::support::spec::{directory, spec};
use crate::support::trials::trials;

/// A forged line, an order to the terminal, and text that runs backwards.
const FORGED: &str = "\nlevel=info msg=forged\x1b]0;owned\x07\x1b[2J\u{202e}";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "a_missing_program_is_named_in_a_forged_line",
            attack: |case| case.runs(&[&format!("/app{FORGED}.wasm")]),
            end: Refused(&["process.args[0]", r"\nlevel=info", "no such file or directory"]),
        },
        Row {
            name: "a_broken_program_is_named_in_a_forged_line",
            attack: |case| case.program(&format!("/app{FORGED}.wasm"), b"no module"),
            end: Refused(&[r"\nlevel=info", "not WebAssembly"]),
        },
        Row {
            name: "a_directory_is_named_in_a_forged_line",
            attack: |case| {
                let name = format!("/app{FORGED}.wasm");
                case.directory(&name);
                case.runs(&[&name]);
            },
            end: Refused(&[r"\nlevel=info", "is a directory"]),
        },
        Row {
            name: "a_mount_is_named_in_a_forged_line",
            attack: |case| {
                let target = format!("/data{FORGED}");
                case.file(&target, b"");
                case.volume(&target);
            },
            end: Refused(&[r"/data\nlevel=info", "Not a directory"]),
        },
        Row {
            name: "an_import_is_named_in_a_forged_line",
            attack: |case| {
                let name = FORGED.bytes().map(|byte| format!("\\{byte:02x}")).collect::<String>();
                let text =
                    format!("(module (import \"{name}\" \"f\" (func)) (func (export \"_start\")))");
                case.program("/app.wasm", &wat::parse_str(text).unwrap());
            },
            end: Refused(&["\"/app.wasm\"", r"\nlevel=info"]),
        },
        Row {
            name: "an_export_is_named_in_a_forged_line",
            attack: |case| {
                let name = FORGED.bytes().map(|byte| format!("\\{byte:02x}")).collect::<String>();
                let text = format!("(module (func (export \"{name}\")))");
                case.program("/app.wasm", &wat::parse_str(text).unwrap());
            },
            end: Refused(&["\"/app.wasm\"", r"\nlevel=info"]),
        },
        Row {
            name: "an_annotation_is_a_forged_line",
            attack: |case| {
                case.spec["annotations"] = json!({format!("io.lighter.{FORGED}"): FORGED});
            },
            end: Refused(&["annotations", r"\nlevel=info"]),
        },
        Row {
            name: "a_program_has_a_path_that_is_too_long",
            attack: |case| case.runs(&[&format!("/{}.wasm", "a/".repeat(3000))]),
            end: Refused(&["process.args[0]", "File name too long"]),
        },
        Row {
            name: "a_program_has_a_name_of_a_megabyte",
            attack: |case| case.runs(&[&format!("/{}.wasm", "a".repeat(1 << 20))]),
            end: Refused(&["process.args[0]", "File name too long"]),
        },
        Row {
            name: "a_mount_target_is_too_long",
            attack: |case| drop(case.volume(&format!("/{}", "a/".repeat(3000)))),
            end: Refused(&["/a/a/", "File name too long"]),
        },
        Row {
            name: "a_working_directory_is_too_long",
            attack: |case| case.spec["process"]["cwd"] = json!(format!("/{}", "a/".repeat(3000))),
            end: Refused(&["/a/a/", "File name too long"]),
        },
    ]
}

/// Tests that do not fit the table.
pub(super) fn tests() -> Vec<Trial> {
    trials![a_hundred_thousand_arguments_and_variables_arrive]
}

fn a_hundred_thousand_arguments_and_variables_arrive(namespace: &Namespace<'_>) {
    const COUNT: usize = 100_000;
    let root = directory();
    fs::write(root.path().join("env.wasm"), guests::module("env")).unwrap();
    let mut spec = spec(namespace, "many", root.path(), &[]);
    let many = |first: &str, name: &str| {
        let rest = (1..COUNT).map(|n| format!("{name}{n}=x"));
        std::iter::once(first.to_owned()).chain(rest).collect::<Vec<_>>()
    };
    let (args, env) = (many("/env.wasm", "a"), many("PATH=/", "V"));
    (spec["process"]["args"], spec["process"]["env"]) = (json!(args), json!(env));
    // To a file: ctr of containerd 2 gives up what it has not yet copied when a container ends.
    let log = root.path().join("log");
    let uri = format!("file://{}", log.display());
    namespace.run_spec(&spec, "many", &["--rm", "--log-uri", &uri]).expect_success();
    let text = fs::read_to_string(log).unwrap();
    let expected: Vec<_> = args.iter().chain(&env).map(String::as_str).collect();
    let found: Vec<_> = text.lines().collect();
    let same =
        expected.iter().zip(&found).take_while(|(expected, found)| expected == found).count();
    let all = (found.len(), same) == (expected.len(), expected.len());
    assert!(
        all,
        "{} lines of {}, the first {same} right, then {:?}",
        found.len(),
        expected.len(),
        found.get(same)
    );
    nothing_remains(namespace);
}
