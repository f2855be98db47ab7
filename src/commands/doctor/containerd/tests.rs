//! Nodes with containerd in all conditions.

use super::super::finding::{Status, find};
use super::*;

const V1X: &str = r#"
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasmtime]
runtime_type = "io.containerd.wasmtime.v1"
pod_annotations = ["io.lighter.*"]
"#;

const V2X: &str = r#"
version = 3
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.wasmtime]
runtime_type = "io.containerd.wasmtime.v1"
pod_annotations = ["io.lighter.*"]
"#;

fn process() -> Process {
    Process {
        pid: "77".into(),
        config: None,
        address: None,
        path: Some("/usr/bin".into()),
        address_space: Some(u64::MAX),
        replaced: false,
    }
}

/// A node with Kubernetes and this containerd.
fn node(version: &str, files: &[&str]) -> Facts {
    let files: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(n, text)| config::File {
            path: format!("/etc/containerd/{n}.toml").into(),
            table: toml::from_str(text).unwrap(),
        })
        .collect();
    let mut loaded = Loaded { files, merged: toml::Table::new() };
    let release = release_of(version);
    loaded.merge(release);
    Facts {
        running: Some(process()),
        others: 0,
        installed: None,
        socket: SOCKET.into(),
        answer: Some(Ok(version.into())),
        program_says: None,
        config: CONFIGURATION.into(),
        runtimes: runtime::all(&loaded, release),
        loaded: Some(Ok(Some(loaded))),
        systemd: true,
        kubernetes: true,
    }
}

fn with_options(options: &str) -> String {
    format!(
        "{V1X}[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.wasmtime.options]\n{options}"
    )
}

fn finding(facts: &Facts, id: &str) -> Finding {
    find(&judge(facts), id).clone()
}

#[test]
fn good_nodes_have_nothing_but_ok() {
    for facts in [
        node("1.6.20~ds1", &[V1X]),
        node("v1.7.20", &[V1X]),
        node("v2.0.0", &[V2X]),
        node("v2.1.0", &["version = 3\n", V2X]),
        // containerd 2.x brings files of version 2 up to date as it reads them.
        node("v2.0.0", &[V1X]),
        node(
            "1.7.1",
            &[
                "[plugins.cri.containerd.runtimes.w]\nruntime_type = \"io.containerd.wasmtime.v1\"\n\
                         pod_annotations = []\n",
            ],
        ),
    ] {
        let findings = judge(&facts);
        assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:#?}");
        assert!(find(&findings, "containerd.runtime").message.contains("run on Lighter"));
    }
}

#[test]
fn without_a_runtime_pods_cannot_run_but_ctr_can() {
    for (version, text, remedy) in [
        ("1.6.20", "version = 2", "append packaging/containerd/wasmtime-1.x.toml to /etc"),
        ("1.6.20", "oom_score = 0", "in version 2, with the full names of plugins"),
        ("v2.0.0", "version = 2", "append packaging/containerd/wasmtime-1.x.toml to /etc"),
        ("v2.0.0", "version = 3", "and write version = 3 and imports = "),
        ("v2.0.0", "version = 3\nimports = [\"/x/*.toml\"]", "to a directory that /etc/containerd"),
    ] {
        let mut facts = node(version, &[text]);
        let pods = finding(&facts, "containerd.runtime");
        assert_eq!(pods.status, Status::Problem);
        assert!(pods.remedy.as_ref().unwrap().contains(remedy), "{pods:?}");
        facts.kubernetes = false;
        assert_eq!(finding(&facts, "containerd.runtime").status, Status::Note);
    }
    let defaults = Facts { loaded: Some(Ok(None)), ..node("v2.0.0", &[]) };
    assert!(finding(&defaults, "containerd.runtime").remedy.unwrap().contains("write version = 3"));
}

#[test]
fn the_section_of_another_release_is_not_read() {
    for facts in
        [node("1.7.20", &[V2X]), node("v2.0.0", &[&V1X.replace("version = 2", "version = 3")])]
    {
        assert_eq!(finding(&facts, "containerd.runtime").status, Status::Problem);
        let section = finding(&facts, "containerd.section");
        assert_eq!(section.status, Status::Warning);
        assert!(
            section.message.contains("\"wasmtime\" is in the section \"io.containerd."),
            "{section:?}"
        );
    }
}

#[test]
fn an_import_replaces_the_section_in_1_x() {
    let other = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"x\"\n";
    assert_eq!(
        finding(&node("1.7.20", &[V1X, other]), "containerd.runtime").status,
        Status::Problem
    );
    assert_eq!(finding(&node("v2.0.0", &[V1X, other]), "containerd.runtime").status, Status::Ok);
}

#[test]
fn a_newer_import_is_a_problem_in_2_x() {
    let facts = node("v2.0.0", &["version = 2\n", V2X]);
    let imports = finding(&facts, "containerd.imports");
    assert_eq!(imports.status, Status::Problem);
    assert!(
        imports.message.starts_with("/etc/containerd/1.toml is of a newer version"),
        "{imports:?}"
    );
}

#[test]
fn a_type_with_a_mistake_is_named() {
    let facts = node("1.7.20", &[&V1X.replace("wasmtime.v1\"", "wasmtime.v2\"")]);
    assert_eq!(finding(&facts, "containerd.type").status, Status::Warning);
    assert_eq!(finding(&facts, "containerd.runtime").status, Status::Problem);
}

#[test]
fn options_are_read_as_the_shim_will() {
    let status = |version: &str, options: &str| {
        finding(&node(version, &[&with_options(options)]), "containerd.options").status
    };
    assert_eq!(status("1.7.20", "cache = { max_bytes = 5 }\n"), Status::Ok);
    assert_eq!(status("1.7.20", "BinaryName = \"runc\"\n"), Status::Problem);
    assert_eq!(status("1.6.20", "cache = { max_bytes = 5 }\n"), Status::Warning);
    assert_eq!(status("1.6.20", "ConfigPath = \"/nonexistent/lighter.toml\"\n"), Status::Problem);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lighter.toml");
    std::fs::write(&file, "[cache]\nmax_bytes = 7\n").unwrap();
    assert_eq!(status("1.6.20", &format!("ConfigPath = {file:?}\n")), Status::Ok);
    assert_eq!(status("1.6.20", &format!("ConfigPath = {:?}\n", dir.path())), Status::Problem);

    let mut facts = node("1.7.20", &[&with_options("SystemdCgroup = true\n")]);
    assert!(judge(&facts).iter().all(|finding| finding.status == Status::Ok));
    facts.systemd = false;
    assert_eq!(finding(&facts, "containerd.systemd-cgroup").status, Status::Warning);
}

#[test]
fn a_path_must_be_there_and_annotations_are_optional() {
    let text = V1X.replace(
        "pod_annotations = [\"io.lighter.*\"]",
        "runtime_path = \"/x/containerd-shim-wasmtime-v1\"",
    );
    let facts = node("1.7.20", &[&text]);
    assert_eq!(finding(&facts, "containerd.runtime-path").status, Status::Problem);
    assert_eq!(finding(&facts, "containerd.annotations").status, Status::Note);
}

#[test]
fn a_disabled_plugin_matters_to_kubernetes() {
    let mut facts = node("1.7.20", &["disabled_plugins = [\"cri\"]\n"]);
    assert_eq!(finding(&facts, "containerd.cri").status, Status::Problem);
    facts.kubernetes = false;
    assert_eq!(finding(&facts, "containerd.cri").status, Status::Note);
}

#[test]
fn one_that_does_not_run_is_a_problem() {
    let stopped = Facts {
        running: None,
        installed: Some("/usr/bin/containerd".into()),
        answer: Some(Err("there is no such socket".into())),
        program_says: Some("1.6.20".into()),
        ..node("1.6.20", &[V1X])
    };
    let running = finding(&stopped, "containerd.running");
    assert_eq!(running.status, Status::Problem);
    assert!(running.remedy.unwrap().contains("systemctl enable --now containerd"));
    assert!(finding(&stopped, "containerd.version").message.contains("1.6.20"));

    let none = Facts { installed: None, ..stopped };
    let findings = judge(&none);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(find(&findings, "containerd.running").message, "containerd is not installed");
}

#[test]
fn what_may_not_be_looked_at_is_said() {
    let facts = Facts {
        answer: None,
        loaded: None,
        runtimes: Vec::new(),
        kubernetes: false,
        ..node("1.7.20", &[])
    };
    let findings = judge(&facts);
    assert_eq!(find(&findings, "containerd.socket").status, Status::Note);
    assert!(find(&findings, "containerd.configuration").message.contains("could not look"));
    assert!(findings.iter().all(|finding| finding.status <= Status::Note), "{findings:#?}");
}

#[test]
fn old_and_replaced_ones_are_named() {
    assert_eq!(finding(&node("1.5.18", &[V1X]), "containerd.version").status, Status::Problem);
    let mut facts = node("1.7.20", &[V1X]);
    facts.running.as_mut().unwrap().replaced = true;
    assert_eq!(finding(&facts, "containerd.replaced").status, Status::Note);
    assert_eq!(release_of("v2.1.0-rc.1"), Some((2, 1)));
    assert_eq!(release_of("unknown"), None);
}
