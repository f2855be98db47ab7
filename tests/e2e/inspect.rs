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
    trials![a_bundle_is_shown_as_it_would_run, a_running_container_is_shown_as_recorded]
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
