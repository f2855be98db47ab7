//! The six kinds of hooks: when each is run, what it is told, and what becomes of one that fails.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{Output, eventually};
use crate::support::guests;
use crate::support::image::{TOOLS, busybox};
use crate::support::namespace::Namespace;
use crate::support::process::Process;
use crate::support::spec::{directory, spec};
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        all_kinds_run_in_order_with_the_state_of_the_container,
        hooks_before_the_container_find_its_namespaces_by_its_pid,
        a_hook_has_its_own_environment_and_arguments,
        a_failing_hook_refuses_the_container_with_what_it_said,
        a_failing_poststart_hook_ends_the_container,
        a_hook_that_takes_too_long_is_ended,
        hooks_of_a_linux_container_run_too,
    ]
}

/// A container's files, and beside them a directory where hooks write, which the container has at the same path.
struct Bundle {
    root: TempDir,
    log: TempDir,
    spec: Value,
}

impl Bundle {
    fn new(namespace: &Namespace<'_>, id: &str, args: &[&str]) -> Self {
        let (root, log) = (directory(), directory());
        fs::write(root.path().join("sleep.wasm"), guests::module("sleep")).unwrap();
        // For the hooks that are found and run inside.
        fs::create_dir(root.path().join("bin")).unwrap();
        fs::copy(busybox(), root.path().join("bin/busybox")).unwrap();
        for tool in TOOLS {
            symlink("busybox", root.path().join("bin").join(tool)).unwrap();
        }
        let mut spec = spec(namespace, id, root.path(), args);
        let mount = json!({"destination": log.path(), "type": "bind", "source": log.path(), "options": ["rbind", "rw"]});
        spec["mounts"].as_array_mut().unwrap().push(mount);
        spec["annotations"] = json!({"test.example/color": "green"});
        Self { root, log, spec }
    }

    /// Adds a hook of `kind` that runs a shell script.
    fn hook(&mut self, kind: &str, script: &str) -> &mut Value {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"]});
        let hooks = &mut self.spec["hooks"][kind];
        if hooks.is_null() {
            *hooks = json!([]);
        }
        let hooks = hooks.as_array_mut().unwrap();
        hooks.push(hook);
        hooks.last_mut().unwrap()
    }

    /// Adds a hook of `kind` that writes its name and what it is told.
    fn telling_hook(&mut self, kind: &str) {
        let log = self.log.path().join("log").display().to_string();
        self.hook(kind, &format!("state=$(cat); echo \"{kind} $state\" >>{log}"));
    }

    /// What [`Self::telling_hook`]s have written: their names and the states that they were told.
    fn told(&self) -> Vec<(String, Value)> {
        let log = fs::read_to_string(self.log.path().join("log")).unwrap_or_default();
        let entry = |line: &str| {
            let (name, state) = line.split_once(' ').expect("a name and a state");
            let state = serde_json::from_str(state).unwrap_or_else(|e| panic!("{e} in {line}"));
            (name.to_owned(), state)
        };
        log.lines().map(entry).collect()
    }

    /// A file that a hook wrote.
    #[track_caller]
    fn written(&self, name: &str) -> String {
        let path = self.log.path().join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
    }

    #[track_caller]
    fn run(&self, namespace: &Namespace<'_>, id: &str) -> Output {
        namespace.run_spec(&self.spec, id, &["--detach"])
    }
}

const KINDS: [(&str, &[&str]); 6] = [
    ("prestart", &["creating"]),
    ("createRuntime", &["creating"]),
    ("createContainer", &["creating"]),
    // runc says `created` here, the specification leaves it open.
    ("startContainer", &["created", "starting"]),
    ("poststart", &["running"]),
    ("poststop", &["stopped"]),
];

fn all_kinds_run_in_order_with_the_state_of_the_container(namespace: &Namespace<'_>) {
    let mut bundle = Bundle::new(namespace, "hooked", &["/sleep.wasm", "1000"]);
    KINDS.iter().for_each(|(kind, _)| bundle.telling_hook(kind));
    // A hook inside is run as the container's user, without rights over the host's files.
    let log = bundle.log.path().join("log");
    fs::write(&log, "").unwrap();
    bundle.run(namespace, "hooked").expect_success();
    let pid = namespace.task_pid("hooked").expect("it runs");
    let names =
        |told: &[(String, Value)]| told.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&bundle.told()), KINDS[..5].iter().map(|(kind, _)| *kind).collect::<Vec<_>>());

    end(namespace, "hooked");
    let told = bundle.told();
    assert_eq!(names(&told), KINDS.iter().map(|(kind, _)| *kind).collect::<Vec<_>>());
    for ((kind, state), (_, statuses)) in told.iter().zip(KINDS) {
        assert!(statuses.contains(&state["status"].as_str().unwrap()), "{kind}: {state}");
        assert_eq!(state["id"], "hooked", "{kind}");
        assert_eq!(state["annotations"]["test.example/color"], "green", "{kind}: {state}");
        assert!(
            state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")),
            "{kind}: {state}"
        );
        let bundle = namespace.containerd().bundle(namespace.name(), "hooked");
        assert_eq!(state["bundle"].as_str().map(Path::new), Some(&*bundle), "{kind}");
        // Of a container that has ended there is no pid that must be told.
        if *kind != "poststop" {
            assert_eq!(
                state["pid"], pid,
                "{kind}: the container's first process, as the host counts"
            );
        }
    }
}

fn hooks_before_the_container_find_its_namespaces_by_its_pid(namespace: &Namespace<'_>) {
    let mut bundle = Bundle::new(namespace, "hooked", &["/sleep.wasm", "1000"]);
    let dir = bundle.log.path().display().to_string();
    let pid = r#"pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/')"#;
    bundle.hook(
        "createRuntime",
        // As a network plugin does: it sets up the container's network from outside.
        &format!(
            "{pid}; stat -L -c %i /proc/$pid/ns/net >{dir}/net; stat -L -c %i /proc/self/ns/net >{dir}/own; \
             nsenter --net=/proc/$pid/ns/net ip address add 10.9.8.7/32 dev lo"
        ),
    );
    bundle.hook("createContainer", &format!("cat >/dev/null; stat -L -c %i /proc/self/ns/net >{dir}/inside; stat -L -c %i /proc/self/ns/mnt >{dir}/mounts"));
    bundle.run(namespace, "hooked").expect_success();
    let pid = namespace.task_pid("hooked").expect("it runs");
    let process = Process::of(pid);
    let inode = |name: &str| bundle.written(name).trim().parse::<u64>().unwrap();
    assert_eq!(inode("net"), process.namespace("net"), "the namespace that the guest runs in");
    assert_eq!(inode("own"), Process::own().namespace("net"), "the hook itself runs on the host");
    assert_eq!(
        inode("inside"),
        process.namespace("net"),
        "createContainer runs in the container's"
    );
    assert_eq!(inode("mounts"), process.namespace("mnt"));
    let addresses = process.text("net/fib_trie");
    assert!(addresses.contains("10.9.8.7"), "{addresses}");
}

fn a_hook_has_its_own_environment_and_arguments(namespace: &Namespace<'_>) {
    let mut bundle = Bundle::new(namespace, "hooked", &["/sleep.wasm", "1000"]);
    let file = bundle.log.path().join("env").display().to_string();
    let hook = bundle.hook("createRuntime", "");
    hook["args"] = json!([
        "sh",
        "-c",
        format!("tr '\\0' '\\n' </proc/$$/environ >{file}; echo $0 $1 >>{file}"),
        "zero",
        "one"
    ]);
    hook["env"] = json!(["COLOR=green", "PATH=/bin:/usr/bin"]);
    bundle.run(namespace, "hooked").expect_success();
    assert_eq!(bundle.written("env"), "COLOR=green\nPATH=/bin:/usr/bin\nzero one\n");
}

fn a_failing_hook_refuses_the_container_with_what_it_said(namespace: &Namespace<'_>) {
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        let mut bundle = Bundle::new(namespace, kind, &["/sleep.wasm", "1000"]);
        bundle.hook(kind, "cat >/dev/null; echo no bridge today >&2; exit 3");
        bundle.telling_hook("poststart");
        let error = bundle.run(namespace, kind).expect_failure();
        assert!(error.contains(kind) && error.contains("no bridge today"), "{error}");
        assert_eq!(bundle.told(), [], "poststart hooks are for what was started");
        if kind != "startContainer" {
            let left = namespace.containerd().bundle(namespace.name(), kind);
            assert_eq!(namespace.task_status(kind), None);
            assert!(!left.exists(), "{} is left", left.display());
        }
    }
}

fn a_failing_poststart_hook_ends_the_container(namespace: &Namespace<'_>) {
    let mut bundle = Bundle::new(namespace, "hooked", &["/sleep.wasm", "1000"]);
    bundle.hook("poststart", "cat >/dev/null; echo not like this >&2; exit 3");
    let error = bundle.run(namespace, "hooked").expect_failure();
    assert!(error.contains("poststart") && error.contains("not like this"), "{error}");
    let gone = || namespace.task_status("hooked").is_none_or(|status| status == "STOPPED");
    assert!(eventually(Duration::from_secs(10), gone), "it still runs");
}

fn a_hook_that_takes_too_long_is_ended(namespace: &Namespace<'_>) {
    let mut bundle = Bundle::new(namespace, "hooked", &["/sleep.wasm", "1000"]);
    let file = bundle.log.path().join("pid").display().to_string();
    bundle.hook("createRuntime", &format!("echo $$ >{file}; exec sleep 1000"))["timeout"] =
        json!(1);
    let output = bundle.run(namespace, "hooked");
    assert!(output.elapsed >= Duration::from_secs(1), "{output}");
    assert!(output.elapsed < Duration::from_secs(30), "{output}");
    let error = output.expect_failure();
    assert!(error.contains("createRuntime") && error.contains("timeout"), "{error}");
    let hook = format!("/proc/{}", bundle.written("pid").trim());
    assert!(!Path::new(&hook).exists(), "the hook still runs");
}

fn hooks_of_a_linux_container_run_too(namespace: &Namespace<'_>) {
    let script = "while :; do sleep 1; done";
    let mut bundle = Bundle::new(namespace, "hooked", &["/bin/sh", "-c", script]);
    KINDS.iter().for_each(|(kind, _)| bundle.telling_hook(kind));
    bundle.run(namespace, "hooked").expect_success();
    // libcontainer does not wait for the hooks inside before it runs those outside.
    let both = || bundle.told().len() >= 5;
    assert!(eventually(Duration::from_secs(10), both), "{:?}", bundle.told());
    end(namespace, "hooked");
    let mut names: Vec<String> = bundle.told().into_iter().map(|(name, _)| name).collect();
    names[3..5].sort_by_key(|name| name == "poststart");
    assert_eq!(names, KINDS.map(|(kind, _)| kind));
}

/// Ends the container `id` and deletes its task.
#[track_caller]
fn end(namespace: &Namespace<'_>, id: &str) {
    namespace.ctr(&["task", "kill", "--signal", "SIGKILL", id]).expect_success();
    let stopped = || namespace.task_status(id).is_some_and(|status| status == "STOPPED");
    assert!(eventually(Duration::from_secs(10), stopped), "it still runs");
    namespace.ctr(&["task", "delete", id]).expect_success();
}
