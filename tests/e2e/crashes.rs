//! A shim that is killed, at any point of a container's life: containerd sees the container end, and nothing is left of it.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::restart::shim_of;
use crate::support::command::{Process, eventually};
use crate::support::containerd::LIMIT;
use crate::support::grpc::{Client, Io};
use crate::support::guests;
use crate::support::image::{Image, TOOLS, busybox};
use crate::support::namespace::{Namespace, unique_id};
use crate::support::remains::nothing_remains;
use crate::support::spec::{directory, spec};
use crate::support::subscription::Subscription;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_crash_after_the_create,
        a_crash_while_it_runs,
        a_crash_while_it_is_paused,
        a_crash_after_its_end,
        a_crash_while_another_runs_beside_it,
        a_crash_while_a_hook_of_the_create_runs,
        a_crash_while_its_program_is_compiled,
    ]
}

/// A WebAssembly and a Linux container: its image, what it runs for long, and what it runs beside that.
fn kinds() -> [(Image, [&'static str; 2]); 2] {
    [
        (Image::guest("sleep", &guests::module("sleep")), ["/sleep.wasm", "1000"]),
        (Image::linux("linux"), ["/bin/sleep", "1000"]),
    ]
}

/// Kills the shim of a container of each kind that `prepare` has brought where it shall be.
#[track_caller]
fn crash(namespace: &Namespace<'_>, prepare: impl Fn(&Client, &str, &[&str])) {
    let events = Subscription::to(namespace);
    for (image, args) in kinds() {
        let id = unique_id();
        namespace.create_container(&image, &id, &[], &args);
        let client = Client::of(namespace);
        let first = client.create(&id, &Io::default()).unwrap();
        let first = Process::open(first).expect("it was created");
        prepare(&client, &id, &args);
        let others = client.pids(&id).unwrap_or_default();
        let others: Vec<_> = others.into_iter().filter_map(Process::open).collect();
        shim_of(namespace, &id).kill9();
        for process in others.iter().chain([&first]) {
            assert!(process.ends_within(Duration::from_secs(20)), "a process of {args:?} goes on");
        }
        expect_to_be_forgotten(namespace, &id);
        let told = events.until_deleted(&id);
        let exited = told.iter().any(|event| event.topic == "exit" && event.exec.is_empty());
        assert!(exited, "{told:#?}");
    }
}

/// That containerd notices, deletes, and nothing is left.
#[track_caller]
fn expect_to_be_forgotten(namespace: &Namespace<'_>, id: &str) {
    let noticed = || {
        let status = namespace.task_status(id);
        status.is_none_or(|status| status == "STOPPED")
    };
    assert!(
        eventually(LIMIT, noticed),
        "containerd has not noticed: {:?}",
        namespace.task_status(id)
    );
    // Whether there is anything left to delete is up to its version.
    namespace.ctr(&["task", "delete", id]);
    assert_eq!(namespace.task_status(id), None);
    namespace.ctr(&["containers", "delete", id]).expect_success();
    nothing_remains(namespace);
}

fn a_crash_after_the_create(namespace: &Namespace<'_>) {
    crash(namespace, |_, _, _| ());
}

fn a_crash_while_it_runs(namespace: &Namespace<'_>) {
    crash(namespace, |client, id, _| {
        client.start(id, "").unwrap();
    });
}

fn a_crash_while_it_is_paused(namespace: &Namespace<'_>) {
    crash(namespace, |client, id, _| {
        client.start(id, "").unwrap();
        client.pause(id).unwrap();
    });
}

fn a_crash_after_its_end(namespace: &Namespace<'_>) {
    crash(namespace, |client, id, _| {
        client.start(id, "").unwrap();
        client.kill(id, "", 9, false).unwrap();
        client.wait(id, "").unwrap();
    });
}

fn a_crash_while_another_runs_beside_it(namespace: &Namespace<'_>) {
    crash(namespace, |client, id, args| {
        client.start(id, "").unwrap();
        let process = json!({
            "args": args, "env": ["PATH=/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0},
        });
        client.exec(id, "beside", &process, &Io::default()).unwrap();
        client.start(id, "beside").unwrap();
        assert_eq!(client.pids(id).unwrap().len(), 2);
    });
}

fn a_crash_while_a_hook_of_the_create_runs(namespace: &Namespace<'_>) {
    for args in [["/sleep.wasm", "1000"], ["/bin/sleep", "1000"]] {
        let (id, root) = (unique_id(), directory());
        fill(root.path());
        let mut spec = spec(namespace, &id, root.path(), &args);
        let mark = root.path().join("mark");
        // It ends by itself: hooks are the operator's, and not killed.
        let script = format!("echo $$ >{}; sleep 3", mark.display());
        let hook =
            json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]});
        spec["hooks"] = json!({"createRuntime": [hook]});
        crash_in_create(namespace, &id, &spec, || mark.exists());
    }
}

fn fill(root: &Path) {
    std::fs::write(root.join("sleep.wasm"), guests::module("sleep")).unwrap();
    std::fs::create_dir(root.join("bin")).unwrap();
    std::fs::copy(busybox(), root.join("bin/busybox")).unwrap();
    for tool in TOOLS {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(tool)).unwrap();
    }
}

fn a_crash_while_its_program_is_compiled(namespace: &Namespace<'_>) {
    let (id, root) = (unique_id(), directory());
    // So large that it is compiled for seconds, and like none that was before.
    let mut module = guests::program("python-3.12.0.wasm");
    module.extend([0, 9, 8]);
    module.extend(id.bytes().chain(std::iter::repeat(b'x')).take(8));
    std::fs::write(root.path().join("python.wasm"), module).unwrap();
    let spec = spec(namespace, &id, root.path(), &["/python.wasm"]);
    let compiling = || compiles_for(namespace);
    crash_in_create(namespace, &id, &spec, compiling);
}

/// Whether a compiler runs in a control group of this namespace's.
fn compiles_for(namespace: &Namespace<'_>) -> bool {
    crate::support::leaks::entries("/proc".as_ref()).any(|process| {
        let read = |file| std::fs::read_to_string(process.join(file)).unwrap_or_default();
        read("cgroup").contains(&format!("/{}/", namespace.name()))
            && read("cmdline").split('\0').any(|word| word == "compile")
    })
}

/// Kills the shim while `ctr` waits for it to create the container `id`, once `reached`.
#[track_caller]
fn crash_in_create(namespace: &Namespace<'_>, id: &str, spec: &Value, reached: impl Fn() -> bool) {
    std::thread::scope(|threads| {
        let run = threads.spawn(|| namespace.run_spec(spec, id, &["--detach", "--null-io"]));
        assert!(eventually(LIMIT, &reached), "it was created before: {:?}", run.is_finished());
        shim_of(namespace, id).kill9();
        let why = run.join().expect("ctr ends").expect_failure();
        assert!(!why.is_empty());
    });
    expect_to_be_forgotten(namespace, id);
}
