//! nerdctl: `nerdctl run --runtime io.containerd.wasmtime.v1`.

use std::sync::OnceLock;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;

use super::client::{alone_with, resting};
use super::nerd::Nerdctl;
use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::process::Process;
use crate::support::spec::directory;
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    shared_trials![
        a_guest_says_hello,
        the_exit_status_is_the_guests,
        a_guest_reads_its_input,
        volumes_are_its_directories,
        user_environment_and_host_name_are_as_said,
        its_memory_is_limited,
        it_has_the_network_it_is_given,
        names_are_as_the_command_says,
        what_cannot_run_is_said_in_one_sentence,
        detached_it_is_listed_logged_and_waited_for,
        stop_and_kill_end_it,
        its_process_is_shown,
        it_is_paused_and_goes_on,
        it_outlives_containerd,
        without_memory_it_is_oom_killed,
        restart_policies_are_followed,
        the_page_is_true,
        a_command_runs_beside_it,
        it_has_a_terminal,
        its_limits_are_updated,
    ]
}

/// Those that need the kernel's NAT.
pub fn with_nat() -> Vec<Trial> {
    plain_trials![a_published_port_is_translated]
}

static SHARED: OnceLock<Nerdctl> = OnceLock::new();

/// Ends the shared containerd, if any test needed it.
pub fn stop_shared() {
    if let Some(shared) = SHARED.get() {
        shared.end();
    }
}

/// What the tests share.
pub fn shared() -> &'static Nerdctl {
    SHARED.get_or_init(Nerdctl::start)
}

macro_rules! shared_trials {
    ($($test:ident),* $(,)?) => {
        vec![$(alone_with(module_path!(), stringify!($test), shared, $test)),*]
    };
}
use shared_trials;

/// Without a network of its own, unless a test is about that.
const NO_NETWORK: [&str; 2] = ["--net", "none"];

fn a_guest_says_hello(nerdctl: &Nerdctl) {
    let run = |name| nerdctl.run(&["--rm", "--net", "none", &nerdctl.guest(name)]);
    assert_eq!(run("hello").expect_success().text(), "hello\n");
    let output = run("stderr").expect_success();
    assert_eq!(output.text(), "out\n");
    assert!(output.errors().ends_with("err\n"), "{output}");
}

fn the_exit_status_is_the_guests(nerdctl: &Nerdctl) {
    let image = nerdctl.guest("exit");
    for status in [0, 1, 42] {
        let args = [&image, &status.to_string()[..]];
        nerdctl.run(&[&["--rm"], &NO_NETWORK[..], &args].concat()).expect_status(status);
    }
    let image = nerdctl.guest("trap");
    let output = nerdctl.run(&["--rm", "--net", "none", &image]).expect_status(134);
    assert!(output.errors().contains("unreachable"), "{output}");
}

fn a_guest_reads_its_input(nerdctl: &Nerdctl) {
    let image = nerdctl.guest("echo");
    let output = nerdctl.run_with_input(&["--rm", "-i", "--net", "none", &image], b"one\ntwo\n");
    assert_eq!(output.expect_success().text(), "one\ntwo\n");
}

fn volumes_are_its_directories(nerdctl: &Nerdctl) {
    let dir = directory();
    std::fs::write(dir.path().join("note"), "from the host\n").unwrap();
    let host = dir.path().display();
    let (rw, ro) = (format!("{host}:/rw"), format!("{host}:/ro:ro"));
    let flags = [&NO_NETWORK[..], &["-v", &rw, "-v", &ro, "--tmpfs", "/scratch"]].concat();
    let requests =
        ["cat /ro/note", "write /ro/new text", "write /rw/new text", "write /scratch/a text"];
    let answers = nerdctl.ask(&flags, &requests);
    assert_eq!(answers[0], "from the host");
    assert!(answers[1].starts_with("error: "), "{answers:?}");
    assert_eq!(answers[2..], ["ok", "ok"]);
    assert_eq!(std::fs::read_to_string(dir.path().join("new")).unwrap(), "text\n");

    // A named volume outlives its containers.
    let flags = [&NO_NETWORK[..], &["-v", "kept:/kept"]].concat();
    assert_eq!(nerdctl.ask(&flags, &["write /kept/it text"]), ["ok"]);
    assert_eq!(nerdctl.ask(&flags, &["cat /kept/it"]), ["text"]);
    nerdctl.call(&["volume", "rm", "kept"]).expect_success();

    // Nothing is written to a root that is read-only.
    let flags = [&NO_NETWORK[..], &["--read-only"]].concat();
    let [answer] = &nerdctl.ask(&flags, &["write /file text"])[..] else { panic!() };
    assert!(answer.starts_with("error: "), "{answer}");
}

fn user_environment_and_host_name_are_as_said(nerdctl: &Nerdctl) {
    let image = nerdctl.guest("env");
    let flags = ["--rm", "--net", "none", "--env", "NAME=value", "--hostname", "box"];
    let output = nerdctl.run(&[&flags[..], &[&image, "argument"]].concat()).expect_success();
    let text = output.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["/env.wasm", "argument"]);
    assert!(lines.contains(&"NAME=value") && lines.contains(&"HOSTNAME=box"), "{output}");
    let flags = [&NO_NETWORK[..], &["--user", "4711:4712"]].concat();
    assert_eq!(nerdctl.ask(&flags, &["write /file text"]), ["error: permission denied"]);
}

fn its_memory_is_limited(nerdctl: &Nerdctl) {
    let image = nerdctl.guest("memory");
    let run =
        |megabytes: &str| nerdctl.run(&["--rm", "--net", "none", "-m", "64m", &image, megabytes]);
    assert_eq!(run("50").expect_success().text(), "grown\n");
    let output = run("100").expect_status(9);
    assert!(output.errors().contains("lighter: memory limit: "), "{output}");
}

fn it_has_the_network_it_is_given(nerdctl: &Nerdctl) {
    let address = nerdctl.ask(&["--net", "plain"], &["lookup localhost", "send 10.87.0.1:7 x"]);
    // The host's side of the bridge is there, and nobody listens.
    assert_eq!(address, ["127.0.0.1", "error: connection refused"]);
    let [answer] = &nerdctl.ask(&NO_NETWORK, &["send 10.87.0.1:7 x"])[..] else { panic!() };
    assert!(answer.contains("unreachable"), "{answer}");
}

fn names_are_as_the_command_says(nerdctl: &Nerdctl) {
    let flags = ["--net", "plain", "--add-host", "db.example.test:10.1.2.3"];
    assert_eq!(nerdctl.ask(&flags, &["lookup db.example.test"]), ["10.1.2.3"]);
    let image = nerdctl.probe();
    let flags = ["--rm", "--net", "plain", "--dns", "192.0.2.53", &image, "cat /etc/resolv.conf"];
    let text = nerdctl.run(&flags).expect_success().text();
    assert!(text.contains("nameserver 192.0.2.53"), "{text}");
}

fn what_cannot_run_is_said_in_one_sentence(nerdctl: &Nerdctl) {
    let says = |image: &Image, words: &str| {
        let image = nerdctl.load(image);
        let errors = nerdctl.run(&["--rm", "--net", "none", &image]).expect_failure();
        let last = errors.lines().last().unwrap_or_default();
        assert!(last.contains("level=fatal") && last.contains(words), "{errors}");
    };
    says(&Image::guest("unknown", &guests::module("unknown-import")), "moon::phase");
    says(&Image::guest("broken", b"\0asm\x01\0\0\0\xff"), "/broken.wasm");
}

fn detached_it_is_listed_logged_and_waited_for(nerdctl: &Nerdctl) {
    let image = nerdctl.guest("nap");
    let flags = [&["-d", "--name", "napping"], &NO_NETWORK[..]].concat();
    let output = nerdctl.run(&[&flags[..], &[&image, "3", "7"]].concat()).expect_success();
    let id = output.text().trim().to_owned();
    let listed = nerdctl.call(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"]);
    assert_eq!(listed.text(), format!("{id} napping\n"));
    assert_eq!(nerdctl.call(&["wait", "napping"]).expect_success().text(), "7\n");
    // Another program writes the log.
    let logs = || nerdctl.call(&["logs", "napping"]).expect_success().text();
    assert!(eventually(LIMIT, || logs() == "napping\nawake\n"), "{:?}", logs());
    let state = nerdctl.inspect("napping")["State"].clone();
    assert_eq!((&state["Status"], &state["ExitCode"]), (&json!("exited"), &json!(7)));
    nerdctl.call(&["start", "napping"]).expect_success();
    assert_eq!(nerdctl.call(&["wait", "napping"]).expect_success().text(), "7\n");
    nerdctl.call(&["rm", "napping"]).expect_success();
}

/// A guest in the background, and its process.
#[track_caller]
fn running(nerdctl: &Nerdctl, name: &str, flags: &[&str], args: &[&str]) -> Process {
    let image = nerdctl.guest(name);
    let begin = ["-d", "--name", "it", "--net", "none"];
    nerdctl.run(&[&begin[..], flags, &[&image], args].concat()).expect_success();
    let pid = nerdctl.pid("it");
    Process::of(pid)
}

fn stop_and_kill_end_it(nerdctl: &Nerdctl) {
    for (command, status) in [
        (&["stop", "it"][..], 143),
        (&["kill", "it"], 137),
        (&["kill", "--signal", "INT", "it"], 130),
    ] {
        running(nerdctl, "sleep", &[], &["1000"]);
        let output = nerdctl.call(command).expect_success();
        assert!(output.elapsed < Duration::from_secs(9), "no waiting for SIGKILL: {output}");
        nerdctl.wait_for("it", "Running", &json!(false));
        assert_eq!(nerdctl.inspect("it")["State"]["ExitCode"], status, "{command:?}");
        nerdctl.call(&["rm", "it"]).expect_success();
    }
}

fn its_process_is_shown(nerdctl: &Nerdctl) {
    running(nerdctl, "spin", &["-m", "64m", "--cpus", "0.5"], &[]);
    let processes = nerdctl.call(&["top", "it"]).expect_success().text();
    assert!(processes.contains("lighter-runner"), "{processes}");
    let pid = nerdctl.pid("it");
    assert_eq!(super::group_file(pid, "memory.max"), "67108864");
    assert_eq!(super::group_file(pid, "cpu.max"), "50000 100000");
}

fn it_is_paused_and_goes_on(nerdctl: &Nerdctl) {
    let process = running(nerdctl, "spin", &[], &[]);
    let ticks = || process.text("stat").split_whitespace().nth(13).unwrap().to_owned();
    nerdctl.call(&["pause", "it"]).expect_success();
    assert_eq!(nerdctl.inspect("it")["State"]["Status"], "paused");
    let before = ticks();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ticks(), before, "it goes on");
    nerdctl.call(&["unpause", "it"]).expect_success();
    assert!(eventually(LIMIT, || ticks() != before), "it stands still");
}

fn it_outlives_containerd(nerdctl: &Nerdctl) {
    let image = nerdctl.guest("nap");
    let flags = ["-d", "--name", "napping", "--net", "none", &image, "4", "7"];
    nerdctl.run(&flags).expect_success();
    nerdctl.containerd().kill9();
    nerdctl.containerd().restart();
    // (What it says from now on is lost, as nerdctl's logging program has ended with containerd.)
    assert_eq!(nerdctl.call(&["wait", "napping"]).expect_success().text(), "7\n");
}

fn without_memory_it_is_oom_killed(nerdctl: &Nerdctl) {
    let image = nerdctl.guest("hungry");
    let flags = ["--name", "hungry", "--net", "none", "-m", "32m", &image];
    nerdctl.run(&flags).expect_status(137);
}

fn restart_policies_are_followed(nerdctl: &Nerdctl) {
    let image = nerdctl.guest("exit");
    let flags = ["-d", "--name", "again", "--restart", "on-failure:2", "--net", "none"];
    nerdctl.run(&[&flags[..], &[&image, "3"]].concat()).expect_success();
    let restarted = || nerdctl.inspect("again")["RestartCount"].as_u64() >= Some(1);
    assert!(eventually(LIMIT, restarted), "{:#}", nerdctl.inspect("again"));
}

fn a_published_port_is_translated() {
    let nerdctl = Nerdctl::start();
    let image = nerdctl.probe();
    let serve = ["-d", "--name", "server", "-p", "127.0.0.1:18080:7000"];
    nerdctl.run(&[&serve[..], &[&image, "echo 0.0.0.0:7000"]].concat()).expect_success();
    let logs = || nerdctl.call(&["logs", "server"]).text();
    assert!(eventually(LIMIT, || logs().contains("listening")), "{}", logs());
    assert_eq!(super::converse("127.0.0.1:18080", "hello"), "hello");
}

fn the_page_is_true(nerdctl: &Nerdctl) {
    super::page::run("nerdctl.md", nerdctl.environment());
}

fn a_command_runs_beside_it(nerdctl: &Nerdctl) {
    let image = nerdctl.load(&resting("resting"));
    nerdctl.run(&["-d", "--name", "it", "--net", "none", &image]).expect_success();
    let exec = |args: &[&str]| nerdctl.call(&[&["exec", "it"], args].concat());
    let output = exec(&["/probe.wasm", "write /file text", "cat /file"]).expect_success();
    assert_eq!(output.text(), "write /file text: ok\ncat /file: text\n");
    // Which is how nerdctl tells it.
    let errors = exec(&["/exit.wasm", "42"]).expect_failure();
    assert!(errors.contains("exit code 42"), "{errors}");
    let errors = exec(&["/absent.wasm"]).expect_failure();
    assert!(errors.contains("/absent.wasm"), "{errors}");
}

fn it_has_a_terminal(nerdctl: &Nerdctl) {
    // nerdctl asks for a terminal of its own before it gives one, unless nobody is attached.
    let image = nerdctl.guest("stderr");
    nerdctl.run(&["-d", "-t", "--name", "it", "--net", "none", &image]).expect_success();
    nerdctl.call(&["wait", "it"]).expect_success();
    let logs = || nerdctl.call(&["logs", "it"]).text();
    assert!(eventually(LIMIT, || logs() == "out\r\nerr\r\n"), "{:?}", logs());
}

fn its_limits_are_updated(nerdctl: &Nerdctl) {
    running(nerdctl, "sleep", &["-m", "64m"], &["1000"]);
    // Its --cpus sets nothing here, of runc's containers, too.
    let flags = ["-m", "96m", "--cpu-period", "100000", "--cpu-quota", "50000"];
    nerdctl.call(&[&["update"], &flags[..], &["it"]].concat()).expect_success();
    let pid = nerdctl.pid("it");
    assert_eq!(super::group_file(pid, "memory.max"), "100663296");
    assert_eq!(super::group_file(pid, "cpu.max"), "50000 100000");
}
