//! Programs run beside a container's first: probes, hooks, and `kubectl exec`.

use std::time::{Duration, Instant};

use k8s_cri::v1::ExecRequest;
use libtest_mimic::Trial;

use super::{kubelet_trials, probe};
use crate::support::cri::socket::{STATUS, STDERR, STDIN, STDOUT, Socket};
use crate::support::cri::{Container, Kubelet};
use crate::support::guests;
use crate::support::image::Image;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        a_probe_of_a_guest,
        a_probe_of_a_linux_program,
        a_probe_that_takes_too_long_is_ended,
        a_probe_of_a_container_that_has_ended_is_refused,
        a_hook_before_the_stop,
        a_command_in_a_guest_is_streamed,
        a_command_in_a_linux_container_is_streamed,
    ]
}

const NO_LIMIT: Duration = Duration::ZERO;

/// A guest that runs for long, with others beside it.
fn app() -> Image {
    let tools = ["exit", "stderr", "spin", "note"];
    let image = Image::guest("sleep", &guests::module("sleep")).named("sleep-with-tools");
    let add = |image: Image, tool| image.file(&format!("/{tool}.wasm"), &guests::module(tool));
    let probe = guests::probe("probe-p2");
    tools.into_iter().fold(image, add).file("/probe.wasm", &probe).cmd(&["1000"])
}

fn a_probe_of_a_guest(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let container = pod.start(kubelet.container("app", &app(), &[]));
    for code in [0, 7] {
        let answer = container.exec(&["/exit.wasm", &code.to_string()], NO_LIMIT).unwrap();
        assert_eq!(answer.exit_code, code);
    }
    let answer = container.exec(&["/stderr.wasm"], Duration::from_secs(60)).unwrap();
    assert_eq!(
        (answer.stdout.as_slice(), answer.stderr.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    // There is no shell in it.
    let refused = container.exec(&["/bin/sh", "-c", "true"], NO_LIMIT).unwrap_err();
    assert!(refused.message().contains("/bin/sh"), "{refused}");
    // None of it is in the container's own log.
    assert_eq!(container.output(), "sleeping\n");
    pod.end();
}

fn a_probe_of_a_linux_program(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let command = ["sleep", "1000"];
    let container = pod.start(kubelet.container("app", &Image::linux("shell"), &command));
    for code in [0, 7] {
        let script = format!("echo out; echo err >&2; exit {code}");
        let answer = container.exec(&["sh", "-c", &script], Duration::from_secs(60)).unwrap();
        assert_eq!(answer.exit_code, code);
        assert_eq!(answer.stdout, b"out\n");
        assert_eq!(answer.stderr, b"err\n");
    }
    assert!(container.exec(&["/bin/absent"], NO_LIMIT).is_err());
    pod.end();
}

fn a_probe_that_takes_too_long_is_ended(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let guest = pod.start(kubelet.container("guest", &app(), &[]));
    let command = ["sleep", "1000"];
    let linux = pod.start(kubelet.container("linux", &Image::linux("shell"), &command));
    let slow = |container: &Container<'_>, command: &[&str]| {
        let begin = Instant::now();
        let answer = container.exec(command, Duration::from_secs(1));
        assert!(begin.elapsed() < Duration::from_secs(20), "it took {:?}", begin.elapsed());
        let refused = answer.unwrap_err();
        assert!(refused.message().contains("timeout"), "{refused}");
    };
    slow(&guest, &["/spin.wasm"]);
    slow(&linux, &["sh", "-c", "while :; do :; done"]);
    // The containers themselves go on, and can be probed again.
    assert_eq!(guest.exec(&["/exit.wasm", "0"], NO_LIMIT).unwrap().exit_code, 0);
    assert_eq!(linux.exec(&["sh", "-c", "exit 0"], NO_LIMIT).unwrap().exit_code, 0);
    pod.end();
}

fn a_probe_of_a_container_that_has_ended_is_refused(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let container = pod.start(kubelet.container("app", &app(), &["/exit.wasm", "0"]));
    container.wait();
    assert!(container.exec(&["/exit.wasm", "0"], NO_LIMIT).is_err());
    pod.end();
}

/// kubelet runs `preStop`, and then stops the container with what is left of its grace.
fn a_hook_before_the_stop(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = probe().named("probe-with-hook");
    let serve = kubelet.container("app", &image, &["/probe.wasm", "echo 127.0.0.1:7000"]);
    let container = pod.start(serve);
    container.wait_for_output("listening on 127.0.0.1:7000\n");
    let hook = ["/probe.wasm", "write /stopping now", "cat /stopping"];
    let answer = container.exec(&hook, Duration::from_secs(60)).unwrap();
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert_eq!(said, "write /stopping now: ok\ncat /stopping: now\n");
    container.stop(Duration::from_secs(60)).unwrap();
    assert_eq!(container.status().exit_code, 143);
    pod.end();
}

fn a_command_in_a_guest_is_streamed(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let container = pod.start(kubelet.container("app", &app(), &[]));
    let output = streamed(kubelet, &container, &["/probe.wasm", "line"]);
    assert_eq!(output, ("line: hello\n".into(), String::new(), "Success".into()));
    let (out, err, status) = streamed(kubelet, &container, &["/stderr.wasm"]);
    assert_eq!((out.as_str(), err.as_str(), status.as_str()), ("out\n", "err\n", "Success"));
    let (_, _, status) = streamed(kubelet, &container, &["/exit.wasm", "7"]);
    assert_eq!(status, "7");
    pod.end();
}

fn a_command_in_a_linux_container_is_streamed(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let command = ["sleep", "1000"];
    let container = pod.start(kubelet.container("app", &Image::linux("shell"), &command));
    let script = "read line; echo line: $line; echo err >&2; exit 3";
    let (out, err, status) = streamed(kubelet, &container, &["sh", "-c", script]);
    assert_eq!((out.as_str(), err.as_str(), status.as_str()), ("line: hello\n", "err\n", "3"));
    pod.end();
}

/// Runs `command` as `kubectl exec -i` does, with a line as its input. Returns its output, its errors, and how it went: its
/// exit code if that is not 0.
fn streamed(
    kubelet: &Kubelet<'_>,
    container: &Container<'_>,
    command: &[&str],
) -> (String, String, String) {
    let request = ExecRequest {
        container_id: container.id().into(),
        cmd: command.iter().map(|&word| word.into()).collect(),
        stdin: true,
        stdout: true,
        stderr: true,
        ..Default::default()
    };
    let answer = kubelet.ask(|mut cri| async move { cri.exec(request).await });
    let mut socket = Socket::connect(kubelet.node(), &answer.unwrap().url, "");
    socket.send(STDIN, b"hello\n");
    let (mut out, mut err, mut status) = (Vec::new(), Vec::new(), Vec::new());
    while let Some((channel, bytes)) = socket.receive() {
        match channel {
            STDOUT => out.extend(bytes),
            STDERR => err.extend(bytes),
            STATUS => status.extend(bytes),
            other => panic!("a message on channel {other}"),
        }
    }
    let status: serde_json::Value = serde_json::from_slice(&status).expect("the status is JSON");
    let code = status["details"]["causes"][0]["message"].as_str();
    let how = code.or(status["status"].as_str()).unwrap_or_default().to_owned();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    (text(out), text(err), how)
}
