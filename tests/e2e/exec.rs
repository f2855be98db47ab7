//! Processes beside a container's first: `ctr task exec`.

mod linux;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::events::{Events, topics};
use crate::support::command::{self, Output, eventually};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::{Image, busybox};
use crate::support::namespace::{Namespace, unique_id};
use crate::support::process::Process;
use crate::support::remains::nothing_remains;
use crate::support::spec::{directory, spec};
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    let wasm = trials![
        a_guest_runs_beside_the_first,
        input_reaches_it_and_ends,
        an_export_of_a_module_runs,
        it_is_in_the_same_cgroup_and_namespaces_and_has_no_privileges,
        it_sees_the_same_mounts,
        it_has_a_user_and_a_directory_of_its_own,
        it_runs_in_a_user_namespace,
        what_cannot_run_is_refused_and_leaves_nothing,
        a_task_that_does_not_run_takes_none,
        an_id_is_given_once,
        it_is_killed_by_itself,
        it_ends_with_the_first_whose_exit_comes_last,
        it_ends_with_the_first_without_a_pid_namespace,
        twenty_at_once_leave_nothing,
    ];
    wasm.into_iter().chain(linux::tests()).collect()
}

/// Those that depend on the kind of control groups.
pub fn of_this_kernel() -> Vec<Trial> {
    let wasm = trials![
        it_is_in_the_same_cgroup_and_namespaces_and_has_no_privileges,
        it_ends_with_the_first_without_a_pid_namespace,
        twenty_at_once_leave_nothing,
    ];
    wasm.into_iter().chain(linux::of_this_kernel()).collect()
}

/// A guest that sleeps, and what the tests run beside it.
fn world() -> Image {
    let busybox = fs::read(busybox()).unwrap();
    let image = Image::guest("sleep", &guests::module("sleep")).cmd(&["1000"]);
    ["exit", "echo", "env", "export", "nap", "unknown-import"]
        .iter()
        .fold(image, |image, name| image.file(&format!("/{name}.wasm"), &guests::module(name)))
        .file("/probe.wasm", &guests::probe("probe"))
        .file("/bin/sh", &busybox)
        .file("/bin/script", b"#!/bin/sh\n")
}

/// Starts the container, and returns its id.
#[track_caller]
fn start(namespace: &Namespace<'_>, flags: &[&str]) -> String {
    let id = unique_id();
    let flags = [&["--null-io"], flags].concat();
    namespace.run_detached(&world(), &id, &flags, &[]).expect_success();
    id
}

#[track_caller]
fn exec(namespace: &Namespace<'_>, id: &str, flags: &[&str], args: &[&str]) -> Output {
    exec_with(namespace, id, flags, args, b"")
}

#[track_caller]
fn exec_with(
    namespace: &Namespace<'_>,
    id: &str,
    flags: &[&str],
    args: &[&str],
    stdin: &[u8],
) -> Output {
    let exec_id = unique_id();
    let start = ["task", "exec", "--exec-id", &exec_id];
    namespace.ctr_with_stdin(&[&start, flags, &[id], args].concat(), stdin)
}

/// Starts a process that goes on; returns it. `exec_id` is its id.
#[track_caller]
pub fn detached(
    namespace: &Namespace<'_>,
    id: &str,
    exec_id: &str,
    flags: &[&str],
    args: &[&str],
) -> Process {
    let start = ["task", "exec", "--detach", "--exec-id", exec_id];
    namespace.ctr(&[&start, flags, &[id], args].concat()).expect_success();
    Process::of(pid_of(namespace, id, exec_id).expect("it runs"))
}

/// The pid of an exec in `ctr task ps`, where it is beside its id.
fn pid_of(namespace: &Namespace<'_>, id: &str, exec_id: &str) -> Option<u32> {
    let list = namespace.ctr(&["task", "ps", id]).expect_success().text();
    let line = list.lines().find(|line| {
        line.contains(&format!("{exec_id:?}")) || line.contains(&format!("ExecID:{exec_id}"))
    })?;
    line.split_whitespace().next()?.parse().ok()
}

#[track_caller]
fn stop(namespace: &Namespace<'_>, id: &str) {
    namespace.ctr(&["task", "kill", "-s", "SIGKILL", id]).expect_success();
    namespace.wait_for_end(id);
    assert_eq!(namespace.delete_task(id), 137);
    namespace.ctr(&["containers", "delete", id]).expect_success();
    nothing_remains(namespace);
}

fn a_guest_runs_beside_the_first(namespace: &Namespace<'_>) {
    let id = start(namespace, &[]);
    exec(namespace, &id, &[], &["/exit.wasm", "7"]).expect_status(7);
    let output = exec(namespace, &id, &["--cwd", "/bin"], &["/env.wasm", "one", "two"]);
    let lines: Vec<_> = output.text().lines().map(str::to_owned).collect();
    assert_eq!(lines[..3], ["/env.wasm", "one", "two"], "{output}");
    assert!(lines.contains(&"PWD=/bin".to_owned()), "{output}");
    assert_eq!(namespace.task_status(&id).as_deref(), Some("RUNNING"));
    stop(namespace, &id);
}

fn input_reaches_it_and_ends(namespace: &Namespace<'_>) {
    let id = start(namespace, &[]);
    let input = "line\n".repeat(50_000);
    let output = exec_with(namespace, &id, &[], &["/echo.wasm"], input.as_bytes()).expect_success();
    assert!(output.text() == input, "{} of {} bytes", output.stdout.len(), input.len());
}

fn an_export_of_a_module_runs(namespace: &Namespace<'_>) {
    let id = start(namespace, &[]);
    let output = exec(namespace, &id, &[], &["/export.wasm#greet"]).expect_success();
    assert_eq!(output.text(), "greetings\n");
}

fn it_is_in_the_same_cgroup_and_namespaces_and_has_no_privileges(namespace: &Namespace<'_>) {
    let id = start(namespace, &[]);
    let first = Process::of(namespace.task_pid(&id).expect("it runs"));
    let process = detached(namespace, &id, "beside", &[], &["/sleep.wasm", "1000"]);
    assert_ne!(process.status("Pid"), first.status("Pid"));
    assert_eq!(process.text("cgroup"), first.text("cgroup"));
    for kind in ["mnt", "pid", "ipc", "uts", "net", "user", "cgroup"] {
        assert_eq!(process.namespace(kind), first.namespace(kind), "{kind}");
    }
    let inside = process.status("NSpid");
    assert_eq!(inside.split(' ').count(), 2, "{inside}: its pid on the host, and inside");
    assert_eq!(process.status("NoNewPrivs"), "1");
    assert_eq!(process.status("CapBnd"), "0000000000000000");
    assert_eq!(process.status("Seccomp_filters"), first.status("Seccomp_filters"));
    // Its streams and the directories of its guest, like the first: nothing of the host's, no socket.
    let leads = |process: &Process| {
        let open = process.descriptors().into_iter().skip(3).map(|(_, to)| to);
        let open = open.filter(|to| !to.starts_with("anon_inode"));
        open.collect::<Vec<_>>()
    };
    assert_eq!(leads(&process), leads(&first));
    stop(namespace, &id);
}

fn it_sees_the_same_mounts(namespace: &Namespace<'_>) {
    let mount = "type=tmpfs,src=tmpfs,dst=/data";
    let id = start(namespace, &["--mount", mount]);
    let ask = |request: &str| {
        exec(namespace, &id, &[], &["/probe.wasm", request]).expect_success().text()
    };
    assert_eq!(ask("write /data/a text"), "write /data/a text: ok\n");
    assert_eq!(ask("cat /data/a"), "cat /data/a: text\n");
    // What the image has is below both.
    assert_eq!(ask("write /new text"), "write /new text: ok\n");
    assert_eq!(ask("cat /new"), "cat /new: text\n");
}

fn it_has_a_user_and_a_directory_of_its_own(namespace: &Namespace<'_>) {
    let id = start(namespace, &[]);
    let flags = ["--user", "1000:2000", "--cwd", "/bin"];
    let process = detached(namespace, &id, "user", &flags, &["/sleep.wasm", "1000"]);
    assert_eq!(process.status("Uid"), "1000 1000 1000 1000");
    assert_eq!(process.status("Gid"), "2000 2000 2000 2000");
    let first = Process::of(namespace.task_pid(&id).expect("it runs"));
    assert_eq!(first.status("Uid"), "0 0 0 0");
}

/// A `config.json` with users mapped, of a container with the files of `root`.
#[track_caller]
fn mapped(namespace: &Namespace<'_>, id: &str, root: &Path, args: &[&str]) -> Value {
    for target in ["dev", "run", "proc", "sys"] {
        fs::create_dir(root.join(target)).unwrap();
    }
    let mut spec = spec(namespace, id, root, args);
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    spec["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    spec
}

#[track_caller]
fn expect_to_be_mapped(process: &Process, first: &Process) {
    assert_eq!(process.status("Uid"), "100000 100000 100000 100000", "as the host counts");
    assert_eq!(process.status("Gid"), "200000 200000 200000 200000", "as the host counts");
    for kind in ["user", "mnt", "pid", "net"] {
        assert_eq!(process.namespace(kind), first.namespace(kind), "{kind}");
        assert_ne!(process.namespace(kind), Process::own().namespace(kind), "{kind}");
    }
}

fn it_runs_in_a_user_namespace(namespace: &Namespace<'_>) {
    let (root, id) = (directory(), unique_id());
    fs::write(root.path().join("sleep.wasm"), guests::module("sleep")).unwrap();
    let spec = mapped(namespace, &id, root.path(), &["/sleep.wasm", "1000"]);
    namespace.run_spec(&spec, &id, &["--detach", "--null-io"]).expect_success();
    let first = Process::of(namespace.task_pid(&id).expect("it runs"));
    let process = detached(namespace, &id, "mapped", &[], &["/sleep.wasm", "1000"]);
    expect_to_be_mapped(&process, &first);
    stop(namespace, &id);
}

fn what_cannot_run_is_refused_and_leaves_nothing(namespace: &Namespace<'_>) {
    let id = start(namespace, &[]);
    let processes = || namespace.ctr(&["task", "ps", &id]).expect_success().text().lines().count();
    let alone = processes();
    for (args, words) in [
        (
            &["/bin/sh", "-c", "true"][..],
            "\"/bin/sh\": is a Linux program; in a WebAssembly container",
        ),
        (&["/bin/script"], "is a script, not WebAssembly"),
        (&["/absent.wasm"], "\"/absent.wasm\": no such file or directory"),
        (&["absent"], "executable file not found in $PATH"),
        (&["/unknown-import.wasm"], "import"),
        (&["/export.wasm#absent"], "absent"),
        (&["/bin"], "is a directory"),
    ] {
        let errors = exec(namespace, &id, &[], args).expect_failure();
        assert!(errors.contains(words), "no {words:?} in {errors}");
    }
    let errors = exec(namespace, &id, &["--cwd", "/absent"], &["/exit.wasm"]).expect_failure();
    assert!(errors.contains("process.cwd \"/absent\""), "{errors}");
    assert_eq!(processes(), alone, "something is left");
    exec(namespace, &id, &[], &["/exit.wasm", "3"]).expect_status(3);
    stop(namespace, &id);
}

fn a_task_that_does_not_run_takes_none(namespace: &Namespace<'_>) {
    let id = start(namespace, &[]);
    let refused = |why: &str| {
        let errors = exec(namespace, &id, &[], &["/exit.wasm"]).expect_failure();
        assert!(errors.contains(why), "no {why:?} in {errors}");
    };
    namespace.ctr(&["task", "pause", &id]).expect_success();
    refused("paused");
    namespace.ctr(&["task", "resume", &id]).expect_success();
    namespace.ctr(&["task", "kill", "-s", "SIGKILL", &id]).expect_success();
    namespace.wait_for_end(&id);
    refused("ended");
    namespace.ctr(&["task", "delete", &id]);
    refused("not found");
}

fn an_id_is_given_once(namespace: &Namespace<'_>) {
    let id = start(namespace, &[]);
    detached(namespace, &id, "taken", &[], &["/sleep.wasm", "1000"]);
    for taken in ["taken", &id] {
        let again = ["task", "exec", "--exec-id", taken, &id, "/exit.wasm"];
        let errors = namespace.ctr(&again).expect_failure();
        assert!(errors.contains("already exists"), "{errors}");
    }
    let errors = namespace.ctr(&["task", "kill", "--exec-id", "other", &id]).expect_failure();
    assert!(errors.contains("not found"), "{errors}");
}

fn it_is_killed_by_itself(namespace: &Namespace<'_>) {
    let id = start(namespace, &[]);
    for (signal, status) in [("SIGTERM", 143), ("SIGKILL", 137)] {
        let exec_id = unique_id();
        let mut ctr = namespace.command();
        ctr.args(["task", "exec", "--exec-id", &exec_id, &id, "/sleep.wasm", "1000"]);
        let mut ctr = ctr.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        assert!(eventually(LIMIT, || pid_of(namespace, &id, &exec_id).is_some()));
        namespace.ctr(&["task", "kill", "-s", signal, "--exec-id", &exec_id, &id]).expect_success();
        assert!(command::ended_within(&ctr, LIMIT), "it goes on");
        assert_eq!(ctr.wait().unwrap().code(), Some(status));
    }
    assert_eq!(namespace.task_status(&id).as_deref(), Some("RUNNING"));
    stop(namespace, &id);
}

fn it_ends_with_the_first_whose_exit_comes_last(namespace: &Namespace<'_>) {
    let events = Events::subscribe(namespace, &world());
    let id = start(namespace, &[]);
    let process = detached(namespace, &id, "beside", &[], &["/sleep.wasm", "1000"]);
    stop(namespace, &id);
    assert!(!process.path("stat").exists());
    expect_its_exit_before_the_firsts(&events.of(&id));
}

fn it_ends_with_the_first_without_a_pid_namespace(namespace: &Namespace<'_>) {
    let events = Events::subscribe(namespace, &world());
    let (root, id) = (directory(), unique_id());
    fs::write(root.path().join("sleep.wasm"), guests::module("sleep")).unwrap();
    let mut spec = spec(namespace, &id, root.path(), &["/sleep.wasm", "1000"]);
    spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
    namespace.run_spec(&spec, &id, &["--detach", "--null-io"]).expect_success();
    let process = detached(namespace, &id, "beside", &[], &["/sleep.wasm", "1000"]);
    assert_eq!(process.namespace("pid"), Process::own().namespace("pid"));
    stop(namespace, &id);
    assert!(!process.path("stat").exists());
    expect_its_exit_before_the_firsts(&events.of(&id));
}

#[track_caller]
fn expect_its_exit_before_the_firsts(told: &[String]) {
    let expected = ["create", "start", "exec-added", "exec-started", "exit", "exit", "delete"];
    assert_eq!(topics(told), expected, "{told:#?}");
    assert!(told[4].contains(r#""id":"beside""#), "{told:#?}");
    assert!(told[4].contains(r#""exit_status":137"#), "{told:#?}");
    assert!(!told[5].contains("beside"), "{told:#?}");
}

fn twenty_at_once_leave_nothing(namespace: &Namespace<'_>) {
    let id = start(namespace, &[]);
    std::thread::scope(|scope| {
        for number in 0..20 {
            let id = &id;
            scope.spawn(move || {
                let own = number.to_string();
                exec(namespace, id, &[], &["/exit.wasm", &own]).expect_status(number);
            });
        }
    });
    let processes = namespace.ctr(&["task", "ps", &id]).expect_success().text();
    assert_eq!(processes.lines().count(), 2, "{processes}");
    stop(namespace, &id);
}
