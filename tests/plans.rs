//! Golden plans: for each bundle below `tests/bundles`, the plan that it gets on an ordinary node.
//!
//! The bundles were written by real programs (`ctr`, containerd's CRI plugin, Podman); only their paths and
//! entrypoints were changed. `limits` was written by hand, to have all of them.
//! `UPDATE_PLANS=1 cargo test --test plans` writes what the code does now.

use std::path::Path;

use lighter::bundle::Bundle;
use lighter::host::{Cgroups, Host};
use lighter::plan::{LimitKind, Plan, plan};

fn planned(name: &str) -> Plan {
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
    plan("c1", &bundle, &host, &lighter::config::Config::default()).expect("a plan")
}

fn holds(name: &str) {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundles").join(name).join("plan.json");
    let plan = planned(name);
    let text = serde_json::to_string_pretty(&plan).expect("JSON") + "\n";
    if std::env::var_os("UPDATE_PLANS").is_some() {
        std::fs::write(&file, &text).expect("written");
    }
    let golden = std::fs::read_to_string(&file).expect("plan.json");
    assert!(text == golden, "{} differs from what is planned now:\n{text}", file.display());
    // What is sent over the wire comes back as it was.
    assert_eq!(serde_json::from_str::<Plan>(&golden).expect("a plan"), plan);
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
fn plans_differ_where_bundles_do() {
    let (ctr, podman) = (planned("ctr"), planned("podman"));
    let read_only = |plan: &Plan| plan.sandbox.root.as_ref().unwrap().read_only;
    assert!(!read_only(&ctr) && read_only(&podman));
    assert_eq!(ctr.guest.args, ["/app.wasm", "--verbose"]);
}
