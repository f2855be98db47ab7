//! Containers of one pod: one shim for all, one network, Linux containers beside WebAssembly ones.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::support::command::eventually;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::process::Process;
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        containers_of_one_pod_share_a_shim_until_the_last_is_gone,
        containers_without_a_group_have_a_shim_each,
        a_linux_container_runs_beside_a_guest_and_talks_to_it,
        a_guest_talks_to_another_guest,
        a_linux_container_gives_its_output_and_exit_code,
        a_linux_container_reads_its_stdin,
        a_linux_container_can_be_killed,
        a_linux_program_that_is_not_there_is_refused,
    ]
}

const LIMIT: Duration = Duration::from_secs(20);

/// The pids of the shims that serve `namespace`.
fn shims(namespace: &Namespace<'_>) -> Vec<u32> {
    let program = Suite::get().program("containerd-shim-wasmtime-v1");
    let serves = |process: &Path| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        std::fs::read_link(process.join("exe")).is_ok_and(|exe| exe == program)
            && words.any(|word| word == namespace.name().as_bytes())
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let serving = processes.filter(|entry| serves(&entry.path()));
    serving.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn sleeper() -> (Image, [&'static str; 2]) {
    (Image::guest("sleep", &guests::module("sleep")), ["/sleep.wasm", "1000"])
}

/// Kills `id`, and deletes it once it has ended.
#[track_caller]
fn end(namespace: &Namespace<'_>, id: &str) {
    namespace.ctr(&["task", "kill", "--signal", "SIGKILL", id]).expect_success();
    let stopped = || namespace.task_status(id).is_some_and(|status| status == "STOPPED");
    assert!(eventually(LIMIT, stopped), "{id} still runs");
    namespace.ctr(&["task", "delete", id]).expect_success();
}

fn containers_of_one_pod_share_a_shim_until_the_last_is_gone(namespace: &Namespace<'_>) {
    let (image, args) = sleeper();
    for name in ["io.kubernetes.cri.sandbox-id", "io.containerd.runc.v2.group"] {
        let annotation = format!("{name}=pod");
        let flags = ["--annotation", &annotation];
        let ids = ["a", "b", "c"].map(|id| format!("{id}-{}", name.len()));
        for id in &ids {
            namespace.run_detached(&image, id, &flags, &args).expect_success();
        }
        let [shim] = shims(namespace)[..] else {
            panic!("shims of one pod: {:?}", shims(namespace));
        };
        for id in &ids[..2] {
            end(namespace, id);
            assert_eq!(shims(namespace), [shim], "the pod still has a container");
        }
        assert_eq!(namespace.task_status(&ids[2]).as_deref(), Some("RUNNING"));
        end(namespace, &ids[2]);
        let gone = || shims(namespace).is_empty();
        assert!(eventually(LIMIT, gone), "the shim outlives its last container");
    }
}

fn containers_without_a_group_have_a_shim_each(namespace: &Namespace<'_>) {
    let (image, args) = sleeper();
    for id in ["a", "b"] {
        namespace.run_detached(&image, id, &[], &args).expect_success();
    }
    assert_eq!(shims(namespace).len(), 2);
}

fn a_linux_container_runs_beside_a_guest_and_talks_to_it(namespace: &Namespace<'_>) {
    let linux = Image::linux("sidecar");
    let flags = ["--annotation", "io.kubernetes.cri.sandbox-id=pod"];
    // The first has the pod's network, as the pause container does.
    let pause = ["sh", "-c", "while :; do sleep 1; done"];
    namespace.run_detached(&linux, "pause", &flags, &pause).expect_success();
    let pause = Process::of(namespace.task_pid("pause").expect("it runs"));
    let network = format!("network:{}", pause.path("ns/net").display());
    let flags = [&flags[..], &["--with-ns", &network]].concat();

    // A guest that serves, a Linux program that asks.
    let probe = Image::guest("probe", &guests::probe("probe-p2"));
    let serve = ["/probe.wasm", "echo 127.0.0.1:7000"];
    namespace.run_detached(&probe, "guest", &flags, &serve).expect_success();
    let guest = Process::of(namespace.task_pid("guest").expect("it runs"));
    assert_eq!(guest.namespace("net"), pause.namespace("net"));
    assert_eq!(shims(namespace).len(), 1, "one shim for both kinds");
    wait_for_listener(&pause, 7000);
    let ask = ["sh", "-c", "echo hello guest | nc 127.0.0.1 7000"];
    let output = namespace.run_with(&linux, &flags, &ask, b"").expect_success();
    assert_eq!(output.text(), "hello guest\n");

    // And the other way round.
    let serve = ["sh", "-c", "exec nc -l -p 7001 -e cat"];
    namespace.run_detached(&linux, "server", &flags, &serve).expect_success();
    wait_for_listener(&pause, 7001);
    let ask = ["/probe.wasm", "send 127.0.0.1:7001 hello sidecar"];
    let output = namespace.run_with(&probe, &flags, &ask, b"").expect_success();
    assert_eq!(output.text(), "send 127.0.0.1:7001 hello sidecar: hello sidecar\n");

    assert_eq!(namespace.task_status("pause").as_deref(), Some("RUNNING"));
}

fn a_guest_talks_to_another_guest(namespace: &Namespace<'_>) {
    let probe = Image::guest("probe", &guests::probe("probe-p2"));
    let log = crate::support::spec::directory();
    let uri = format!("file://{}", log.path().join("log").display());
    let serve = ["/probe.wasm", "echo [::1]:7000"];
    namespace.run_detached(&probe, "server", &["--log-uri", &uri], &serve).expect_success();
    let server = Process::of(namespace.task_pid("server").expect("it runs"));
    wait_for_listener(&server, 7000);
    let network = format!("network:{}", server.path("ns/net").display());
    let ask = ["/probe.wasm", "send [::1]:7000 hello"];
    let output = namespace.run_with(&probe, &["--with-ns", &network], &ask, b"").expect_success();
    assert_eq!(output.text(), "send [::1]:7000 hello: hello\n");
    let said = || std::fs::read_to_string(log.path().join("log")).unwrap_or_default();
    assert!(eventually(LIMIT, || said().ends_with("echo [::1]:7000: hello\n")), "{}", said());
}

/// Waits until someone listens on TCP `port` in the network namespace of `process`.
#[track_caller]
fn wait_for_listener(process: &Process, port: u16) {
    const LISTENING: &str = "0A";
    let local = format!(":{port:04X}");
    let listens = || {
        let sockets = process.text("net/tcp") + &process.text("net/tcp6");
        sockets.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.len() > 3 && words[1].ends_with(&local) && words[3] == LISTENING
        })
    };
    assert!(eventually(LIMIT, listens), "nobody listens on port {port}");
}

fn a_linux_container_gives_its_output_and_exit_code(namespace: &Namespace<'_>) {
    let image = Image::linux("shell").env(&["PATH=/bin", "COLOR=green"]);
    let script = "echo $COLOR; echo $$; ls -d /proc/self /sys/kernel; echo oops >&2; exit 42";
    let output = namespace.run(&image, &["sh", "-c", script]).expect_status(42);
    assert_eq!(output.text(), "green\n1\n/proc/self\n/sys/kernel\n");
    assert_eq!(output.errors(), "oops\n");
}

fn a_linux_container_reads_its_stdin(namespace: &Namespace<'_>) {
    let image = Image::linux("shell");
    let output = namespace.run_with(&image, &[], &["cat"], b"one\ntwo\n").expect_success();
    assert_eq!(output.text(), "one\ntwo\n");
}

fn a_linux_container_can_be_killed(namespace: &Namespace<'_>) {
    let image = Image::linux("shell");
    let script = "trap 'exit 5' TERM; while :; do sleep 0.1; done";
    namespace.run_detached(&image, "trapping", &[], &["sh", "-c", script]).expect_success();
    namespace.run_detached(&image, "plain", &[], &["sleep", "1000"]).expect_success();
    for (id, signal, status) in [("trapping", "SIGTERM", 5), ("plain", "SIGKILL", 137)] {
        let signalled = || {
            namespace.ctr(&["task", "kill", "--signal", signal, id]);
            eventually(Duration::from_secs(1), || {
                namespace.task_status(id).is_some_and(|status| status == "STOPPED")
            })
        };
        // The shell may not have set its trap when the first signal comes.
        assert!(eventually(LIMIT, signalled), "{id} still runs");
        let deleted = namespace.ctr(&["task", "delete", id]).expect_success();
        let told = format!("exit code {status}");
        assert!(deleted.errors().contains(&told), "{deleted}");
    }
}

fn a_linux_program_that_is_not_there_is_refused(namespace: &Namespace<'_>) {
    let image = Image::linux("shell");
    let error = namespace.run(&image, &["/bin/absent"]).expect_failure();
    assert!(error.contains("/bin/absent"), "{error}");
    assert!(error.to_lowercase().contains("no such file or directory"), "{error}");
}
