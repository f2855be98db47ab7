//! Golden plans: for each bundle below `tests/bundles`, the plan that it gets on an ordinary node.
//!
//! The bundles were written by real programs (`ctr`, containerd's CRI plugin, Podman); only their paths and
//! entrypoints were changed. `limits` was written by hand, to have all of them.
//! `UPDATE_PLANS=1 cargo test --test plans` writes what the code does now.

use std::path::Path;

use lighter::bundle::Bundle;
use lighter::config::Config;
use lighter::host::{Cgroups, Host};
use lighter::plan::{LimitKind, Plan, exec_plan, plan};

fn bundle_and_host(name: &str) -> (Bundle, Host) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundles").join(name);
    let mut bundle = Bundle::load(&directory).expect("a bundle");
    // The plan names it, and must not depend on where the tests are.
    bundle.path = "/run/bundle".into();
    let host = Host {
        cgroups: Cgroups::V2,
        root: true,
        kernel: "6.12".into(),
        seccomp: true,
        landlock: 6,
        apparmor: true,
        selinux: false,
    };
    (bundle, host)
}

fn planned(name: &str) -> Plan {
    let (bundle, host) = bundle_and_host(name);
    plan("c1", &bundle, &host, &Config::default()).expect("a plan")
}

fn holds(name: &str) {
    is_held(&planned(name), &format!("{name}/plan.json"));
}

fn is_held(plan: &Plan, file: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundles").join(file);
    let text = serde_json::to_string_pretty(plan).expect("JSON") + "\n";
    if std::env::var_os("UPDATE_PLANS").is_some() {
        std::fs::write(&file, &text).expect("written");
    }
    let golden = std::fs::read_to_string(&file).expect("a golden plan");
    assert!(text == golden, "{} differs from what is planned now:\n{text}", file.display());
    // What is sent over the wire comes back as it was.
    assert_eq!(serde_json::from_str::<Plan>(&golden).expect("a plan"), *plan);
}

#[test]
fn a_bundle_of_ctr() {
    holds("ctr");
}

#[test]
fn a_bundle_of_cri() {
    holds("cri");
    let plan = planned("cri");
    assert!(plan.sandbox.namespaces.joined(lighter::plan::Namespace::Ipc).is_some());
    assert!(plan.sandbox.root.unwrap().read_only);
}

#[test]
fn a_bundle_of_podman() {
    holds("podman");
}

#[test]
fn a_bundle_with_limits() {
    holds("limits");
    let plan = planned("limits");
    let limits = &plan.limits;
    assert_eq!(limits.each.len(), LimitKind::ALL.len());
    // Its control group allows less than its annotation.
    assert!(limits.get(LimitKind::Memory).is_some_and(|bytes| bytes < 128 << 20));
    assert_eq!(limits.get(LimitKind::Threads), Some(4));
    assert!(plan.engine.fuel && !planned("ctr").engine.fuel, "fuel is counted only where limited");
}

#[test]
fn a_process_beside_the_first_of_a_bundle_of_cri() {
    let (bundle, host) = bundle_and_host("cri");
    // As containerd sends it: the bundle's process, with a command of its own.
    let mut process = bundle.spec.process().clone().expect("a process");
    process.set_args(Some(vec!["probe.wasm#ready".into(), "--quick".into()]));
    process.set_cwd("/tmp".into());
    let exec = exec_plan("c1", &bundle, &process, 4711, &host, &Config::default()).expect("a plan");
    is_held(&exec, "cri/exec.json");
    let first = planned("cri");
    assert_eq!(exec.limits, first.limits);
    assert_eq!(exec.guest.preopens[1..], first.guest.preopens, "one more, for its directory");
    let namespaces = &first.sandbox.namespaces;
    assert_eq!(exec.sandbox.namespaces.join.len(), namespaces.new.len() + namespaces.join.len());
}

#[test]
fn plans_differ_where_bundles_do() {
    let (ctr, podman) = (planned("ctr"), planned("podman"));
    let read_only = |plan: &Plan| plan.sandbox.root.as_ref().unwrap().read_only;
    assert!(!read_only(&ctr) && read_only(&podman));
    assert_eq!(ctr.guest.args, ["/app.wasm", "--verbose"]);
}
