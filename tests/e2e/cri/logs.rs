//! Logs of containers, which `kubectl logs` shows: whole, in order, each line as it was written.

use std::time::Duration;

use k8s_cri::v1::ReopenContainerLogRequest;
use libtest_mimic::Trial;

use super::kubelet_trials;
use crate::support::command::eventually;
use crate::support::cri::{Container, Kubelet, Line, Stream};
use crate::support::guests;
use crate::support::image::Image;

/// The status of a container may be there a moment before the end of its log.
const SOON: Duration = Duration::from_secs(20);

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        output_and_errors_are_told_apart,
        a_line_without_an_end_is_marked,
        a_megabyte_arrives_whole,
        one_long_line_is_cut_into_parts,
        a_log_that_is_rotated_goes_on_in_a_new_file,
        a_linux_containers_log_is_whole,
    ]
}

fn output_and_errors_are_told_apart(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = Image::guest("stderr", &guests::module("stderr"));
    let container = pod.start(kubelet.container("app", &image, &[]));
    container.wait();
    eventually(SOON, || container.lines().len() == 2);
    let mut lines = container.lines();
    lines.sort_by_key(|line| line.stream == Stream::Stderr);
    let [out, err] = &lines[..] else { panic!("{lines:?}") };
    let expected = |stream, text: &str, line: &Line| Line {
        time: line.time.clone(),
        stream,
        full: true,
        text: text.into(),
    };
    assert_eq!(out, &expected(Stream::Stdout, "out", out));
    assert_eq!(err, &expected(Stream::Stderr, "err", err));
    assert!(out.time.starts_with("20") && out.time.contains('T'), "{}", out.time);
    pod.end();
}

fn a_line_without_an_end_is_marked(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = Image::guest("motd", &guests::module("print-file"))
        .file("/motd", b"first\n\n\xe2\x82\xac and no end");
    let container = pod.start(kubelet.container("app", &image, &["/motd.wasm", "motd"]));
    container.wait();
    container.wait_for_output("first\n\n€ and no end");
    let full: Vec<bool> = container.lines().iter().map(|line| line.full).collect();
    assert_eq!(full, [true, true, false]);
    pod.end();
}

fn a_megabyte_arrives_whole(kubelet: &Kubelet<'_>) {
    let text: String = (0..64 * 1024).map(|number| format!("line {number:>10}\n")).collect();
    let image = Image::guest("copy", &guests::module("copy-file")).file("/text", text.as_bytes());
    let pod = kubelet.run_pod("app");
    let container = pod.start(kubelet.container("app", &image, &["/copy.wasm", "text"]));
    assert_eq!(container.wait().exit_code, 0);
    arrives(&container, &text);
    let lines = container.lines();
    assert!(lines.iter().all(|line| line.full), "no line is cut");
    pod.end();
}

/// Waits until the container's standard output is `text`.
#[track_caller]
fn arrives(container: &Container<'_>, text: &str) {
    let arrived = eventually(SOON, || container.output() == text);
    let output = container.output();
    let same = output.bytes().zip(text.bytes()).take_while(|(is, should)| is == should).count();
    assert!(arrived, "{} of {} bytes arrived, the first {same} in order", output.len(), text.len());
}

/// `kubectl logs` puts the parts together again.
fn one_long_line_is_cut_into_parts(kubelet: &Kubelet<'_>) {
    let text = "0123456789abcde ".repeat(64 * 1024) + "\n";
    let image =
        Image::guest("copy-line", &guests::module("copy-file")).file("/text", text.as_bytes());
    let pod = kubelet.run_pod("app");
    let container = pod.start(kubelet.container("app", &image, &["/copy-line.wasm", "text"]));
    assert_eq!(container.wait().exit_code, 0);
    arrives(&container, &text);
    let lines = container.lines();
    assert!(lines.len() > 50, "{} parts", lines.len());
    assert_eq!(lines.iter().filter(|line| line.full).count(), 1, "it is one line");
    pod.end();
}

/// kubelet renames a log that has grown, and has the plugin open it anew.
fn a_log_that_is_rotated_goes_on_in_a_new_file(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = Image::guest("nap", &guests::module("nap"));
    let container = pod.start(kubelet.container("app", &image, &["/nap.wasm", "2", "0"]));
    container.wait_for_output("napping\n");
    let rotated = container.log().with_extension("old");
    std::fs::rename(container.log(), &rotated).unwrap();
    let request = ReopenContainerLogRequest { container_id: container.id().into() };
    kubelet.ask(|mut cri| async move { cri.reopen_container_log(request).await }).unwrap();
    container.wait();
    container.wait_for_output("awake\n");
    assert!(std::fs::read_to_string(rotated).unwrap().ends_with(" stdout F napping\n"));
    pod.end();
}

fn a_linux_containers_log_is_whole(kubelet: &Kubelet<'_>) {
    let text: String = (0..64 * 1024).map(|number| format!("{number:>15}\n")).collect();
    let image = Image::linux("long-text").file("/text", text.as_bytes());
    let pod = kubelet.run_pod("app");
    let command = ["sh", "-c", "cat /text; echo done >&2"];
    let container = pod.start(kubelet.container("app", &image, &command));
    assert_eq!(container.wait().exit_code, 0);
    arrives(&container, &text);
    assert_eq!(container.errors(), "done\n");
    pod.end();
}
