//! `lighter inspect`: what a bundle would get, and what a running container has got.

use std::process::Command;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::command::{Output, run};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::spec::{directory, spec};
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_bundle_is_shown_as_it_would_run,
        a_running_container_is_shown_as_recorded,
        a_program_is_shown,
        what_is_provided_is_what_the_runner_links,
        what_is_no_program_says_why,
    ]
}

fn inspect(args: &[&str]) -> Output {
    let suite = Suite::get();
    let mut command = Command::new(suite.program("lighter"));
    command.env("LIGHTER_CONFIG", suite.node_configuration());
    run(command.arg("inspect").args(args), b"", LIMIT)
}

/// The text of the line that begins with `name`.
#[track_caller]
fn line<'t>(text: &'t str, name: &str) -> &'t str {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no line {name:?} in:\n{text}")).trim()
}

fn a_bundle_is_shown_as_it_would_run(namespace: &Namespace<'_>) {
    let bundle = directory();
    let mut spec = spec(namespace, "shown", "root".as_ref(), &["/app.wasm", "--verbose"]);
    spec["annotations"] = json!({"io.lighter.network.tcp-bind": "8080"});
    spec["linux"]["maskedPaths"] = json!(["/secret"]);
    spec["linux"]["resources"] = json!({"memory": {"limit": 67108864}});
    spec["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind", "ro"],
    }));
    std::fs::write(bundle.path().join("config.json"), spec.to_string()).unwrap();
    let path = bundle.path().to_str().unwrap();

    let text = inspect(&[path]).expect_success().text();
    assert_eq!(line(&text, "entrypoint"), "/app.wasm");
    assert_eq!(line(&text, "arguments"), "2");
    assert_eq!(line(&text, "masked"), "/secret");
    assert_eq!(line(&text, "ports"), "tcp-bind 8080");
    assert!(text.contains(" cgroup memory.limit 67108864\n"), "{text}");
    let memory = line(&text, "limits");
    assert!(
        memory.starts_with("memory ") && memory.contains("linux.resources.memory.limit is 64 MiB"),
        "{text}"
    );
    assert_eq!(line(&text, "cgroup"), format!("/{}/shown", namespace.name()));
    assert!(text.contains("ro /data (/srv/data)"), "{text}");
    assert!(text.contains(" seccomp: Lighter's filter\n"), "{text}");

    let json = inspect(&["--json", path]).expect_success().text();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["planned"]["plan"]["guest"]["args"], json!(["/app.wasm", "--verbose"]));

    // What Create would refuse is refused here, in the same words.
    spec["annotations"] = json!({"io.lighter.network.tcp-bind": "http"});
    std::fs::write(bundle.path().join("config.json"), spec.to_string()).unwrap();
    let error = inspect(&[path]).expect_failure();
    assert!(error.contains("\"io.lighter.network.tcp-bind\" is \"http\""), "{error}");
}

fn a_running_container_is_shown_as_recorded(namespace: &Namespace<'_>) {
    let image = Image::guest("sleep", &guests::module("sleep"));
    namespace.run_detached(&image, "runs", &[], &["/sleep.wasm", "1000"]).expect_success();
    let bundle = namespace.containerd().bundle(namespace.name(), "runs");
    let bundle = bundle.to_str().unwrap();
    let pid = namespace.task_pid("runs").expect("it runs");

    let text = inspect(&[bundle]).expect_success().text();
    assert_eq!(line(&text, "container"), "runs");
    assert!(line(&text, "state").ends_with(&format!("process {pid}")), "{text}");
    assert_eq!(line(&text, "cgroup"), format!("/{}/runs", namespace.name()));

    let json: Value =
        serde_json::from_str(&inspect(&["--json", bundle]).expect_success().text()).unwrap();
    assert_eq!(json["recorded"]["pid"], json!(pid));
    assert_eq!(json["recorded"]["alive"], json!(true));
}

fn a_program_is_shown(namespace: &Namespace<'_>) {
    let dir = directory();
    let path = dir.path().join("app.wasm");
    let file = path.to_str().unwrap();
    // One that no other test has run.
    let mut component = guests::component("hello");
    component.extend(b"\0\x08\x07inspect");
    std::fs::write(&path, &component).unwrap();
    let text = inspect(&[file]).expect_success().text();
    assert_eq!(line(&text, "kind"), "component");
    assert!(line(&text, "world").starts_with("wasi:cli/command (WASI 0.2"), "{text}");
    assert!(line(&text, "imports").starts_with("wasi:"), "{text}");
    assert!(line(&text, "runs").starts_with("yes"), "{text}");
    assert!(
        text.contains("As a container of which nothing else is asked\nentrypoint   /app.wasm\n"),
        "{text}"
    );
    assert!(line(&text, "cache").starts_with("not compiled yet"), "{text}");

    // Once it has run, it is in the cache.
    let image = Image::guest("hello", &component);
    namespace.run(&image, &[]).expect_success();
    let json = inspect(&["--json", file]).expect_success().text();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["program"]["cached"]["bytes"].as_u64().unwrap() > 1000, "{json}");
    assert_eq!(json["plan"]["guest"]["args"], json!(["/app.wasm"]));

    std::fs::write(&path, guests::module("unknown-import")).unwrap();
    let text = inspect(&[file]).expect_success().text();
    assert!(
        line(&text, "runs").starts_with("no: it imports what Lighter does not provide: "),
        "{text}"
    );
}

/// A program that imports what is said to be provided is linked; with anything more it is not, and that is said.
fn what_is_provided_is_what_the_runner_links(namespace: &Namespace<'_>) {
    // One thing that is in each, so that the linker looks for it.
    let resource = |name: &str| format!("(export {name:?} (type (sub resource)))");
    let function = |name: &str, ty: &str| format!("(export {name:?} (func {ty}))");
    let interfaces = [
        ("cli/environment", function("initial-cwd", "(result (option string))")),
        ("cli/exit", function("exit", r#"(param "status" (result))"#)),
        ("cli/terminal-input", resource("terminal-input")),
        ("cli/terminal-output", resource("terminal-output")),
        ("clocks/monotonic-clock", function("now", "(result u64)")),
        ("filesystem/types", resource("descriptor")),
        ("io/error", resource("error")),
        ("io/poll", resource("pollable")),
        ("io/streams", resource("output-stream")),
        ("random/insecure", function("get-insecure-random-u64", "(result u64)")),
        ("random/insecure-seed", function("insecure-seed", "(result (tuple u64 u64))")),
        ("random/random", function("get-random-u64", "(result u64)")),
        ("sockets/ip-name-lookup", resource("resolve-address-stream")),
        ("sockets/network", resource("network")),
        ("sockets/tcp", resource("tcp-socket")),
        ("sockets/udp", resource("udp-socket")),
    ];
    let imports: String = interfaces
        .iter()
        .map(|(name, item)| format!("(import \"wasi:{name}@0.2.6\" (instance {item}))"))
        .collect();
    let more = format!(
        r#"(import "wasi:keyvalue/store@0.2.0" (instance {}))"#,
        function("open", "(result u32)")
    );
    let dir = directory();
    let path = dir.path().join("all.wasm");
    for (name, more, runs) in [("all", "", "yes"), ("more", more.as_str(), "no: ")] {
        let text = format!(
            r#"(component {imports} {more}
                (core module $m (func (export "f") (result i32) i32.const 0))
                (core instance $i (instantiate $m))
                (func $f (result (result)) (canon lift (core func $i "f")))
                (instance $run (export "run" (func $f)))
                (export "wasi:cli/run@0.2.6" (instance $run)))"#
        );
        let wasm = wat::parse_str(text).unwrap();
        std::fs::write(&path, &wasm).unwrap();
        let text = inspect(&[path.to_str().unwrap()]).expect_success().text();
        assert!(line(&text, "runs").starts_with(runs), "{text}");
        let output = namespace.run(&Image::guest(name, &wasm), &[]);
        assert_eq!(output.status == 0, runs == "yes", "{output}");
    }
}

fn what_is_no_program_says_why(_: &Namespace<'_>) {
    let dir = directory();
    let path = dir.path().join("app.wasm");
    let file = path.to_str().unwrap();
    for (content, words) in [
        (&b"#!/bin/sh\n"[..], "is a script"),
        (b"", "the file is empty"),
        (b"\0asm\x01\0\0\0\xff", "app.wasm"),
        (b"\x7fELF\x02\x01\x01\0", "is a native program"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = inspect(&[file]).expect_status(1).errors();
        assert!(error.contains(words), "{words}: {error}");
    }
    let error = inspect(&["missing.wasm"]).expect_status(1).errors();
    assert!(error.contains("missing.wasm: there is no such file"), "{error}");
    let error = inspect(&[dir.path().to_str().unwrap()]).expect_status(1).errors();
    assert!(
        error.contains("no config.json in it (a bundle), and no index.json (an image)"),
        "{error}"
    );
}
