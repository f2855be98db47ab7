//! The same in Linux containers, where any program runs.

use std::fs;

use libtest_mimic::Trial;

use super::{
    detached, exec, exec_with, expect_its_exit_before_the_firsts, expect_to_be_mapped, mapped, stop,
};
use crate::events::Events;
use crate::support::image::{Image, busybox};
use crate::support::namespace::{Namespace, unique_id};
use crate::support::process::Process;
use crate::support::spec::directory;
use crate::support::trials::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![
        a_program_runs_beside_the_first,
        it_is_confined_like_the_first,
        what_is_not_there_is_refused,
        it_runs_in_a_user_namespace,
        it_ends_with_the_first,
    ]
}

/// Those that depend on the kind of control groups.
pub(super) fn of_this_kernel() -> Vec<Trial> {
    trials![it_is_confined_like_the_first, it_runs_in_a_user_namespace]
}

/// Starts a Linux container, and returns its id.
#[track_caller]
fn start_linux(namespace: &Namespace<'_>) -> String {
    let id = unique_id();
    // A shell that has forgotten how to end: the first process of a pid namespace is asked in vain.
    let args = ["/bin/sh", "-c", "while :; do sleep 1; done"];
    namespace.run_detached(&Image::linux("beside"), &id, &["--null-io"], &args).expect_success();
    id
}

fn a_program_runs_beside_the_first(namespace: &Namespace<'_>) {
    let id = start_linux(namespace);
    exec(namespace, &id, &[], &["sh", "-c", "exit 7"]).expect_status(7);
    let script = "echo out $PATH $HOME; echo err >&2; cat; ls /proc/self/fd";
    let output = exec_with(namespace, &id, &["--cwd", "/bin"], &["sh", "-c", script], b"in\n");
    let text = output.text();
    let lines: Vec<_> = text.lines().collect();
    // Its three streams, and the directory that is read.
    assert_eq!(lines, ["out /bin /", "in", "0", "1", "2", "3"], "{output}");
    assert_eq!(output.errors(), "err\n", "{output}");
    assert_eq!(output.status, 0);
    stop(namespace, &id);
}

fn it_is_confined_like_the_first(namespace: &Namespace<'_>) {
    let id = unique_id();
    let args = ["/bin/sh", "-c", "while :; do sleep 1; done"];
    let flags = ["--null-io", "--seccomp"];
    namespace.run_detached(&Image::linux("beside"), &id, &flags, &args).expect_success();
    let first = Process::of(namespace.task_pid(&id).expect("it runs"));
    let process = detached(namespace, &id, "beside", &[], &["sleep", "1000"]);
    assert_eq!(process.text("cgroup"), first.text("cgroup"));
    for kind in ["mnt", "pid", "ipc", "uts", "net", "user", "cgroup"] {
        assert_eq!(process.namespace(kind), first.namespace(kind), "{kind}");
    }
    for field in ["CapBnd", "CapEff", "CapPrm", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Umask"]
    {
        assert_eq!(process.status(field), first.status(field), "{field}");
    }
    assert_eq!(process.status("Seccomp"), "2", "a filter");
    let flags = ["--user", "1000:2000"];
    let output = exec(namespace, &id, &flags, &["id"]).expect_success();
    assert!(output.text().contains("uid=1000 gid=2000"), "{output}");
    stop(namespace, &id);
}

fn what_is_not_there_is_refused(namespace: &Namespace<'_>) {
    let id = start_linux(namespace);
    for (args, words) in [
        (["/bin/absent"], "exec: \"/bin/absent\": stat /bin/absent: no such file or directory"),
        (["absent"], "exec: \"absent\": executable file not found in $PATH"),
        (["/bin"], "exec: \"/bin\": stat /bin: permission denied"),
    ] {
        let errors = exec(namespace, &id, &[], &args).expect_failure();
        // ctr quotes what it logs.
        assert!(errors.replace('\\', "").contains(words), "no {words:?} in {errors}");
    }
    stop(namespace, &id);
}

fn it_runs_in_a_user_namespace(namespace: &Namespace<'_>) {
    let (root, id) = (directory(), unique_id());
    fs::create_dir(root.path().join("bin")).unwrap();
    fs::copy(busybox(), root.path().join("bin/busybox")).unwrap();
    let args = ["/bin/busybox", "sleep", "1000"];
    let spec = mapped(namespace, &id, root.path(), &args);
    namespace.run_spec(&spec, &id, &["--detach", "--null-io"]).expect_success();
    let first = Process::of(namespace.task_pid(&id).expect("it runs"));
    let process = detached(namespace, &id, "mapped", &[], &args);
    expect_to_be_mapped(&process, &first);
    assert_eq!(process.status("CapEff"), first.status("CapEff"));
    stop(namespace, &id);
}

fn it_ends_with_the_first(namespace: &Namespace<'_>) {
    let events = Events::subscribe(namespace, &Image::linux("beside"));
    let id = start_linux(namespace);
    let process = detached(namespace, &id, "beside", &[], &["sleep", "1000"]);
    stop(namespace, &id);
    assert!(!process.path("stat").exists());
    expect_its_exit_before_the_firsts(&events.of(&id));
}
