//! Docker: `docker run --runtime io.containerd.wasmtime.v1`, with the images in containerd's store unless a test says otherwise.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::client::{alone_with, resting};
use super::dockerd::Docker;
use crate::support::command::{Output, eventually};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::process::Process;
use crate::support::spec::directory;
use crate::support::suite::Suite;
use crate::support::trials::plain_trials;

/// The tests of this module. Where the kernel has no NAT, Docker's own proxy serves published ports.
pub fn tests() -> Vec<Trial> {
    let mut tests = shared_trials![
        a_guest_says_hello,
        the_exit_status_is_the_guests,
        a_trap_is_an_exit_status_with_its_trace_in_the_log,
        a_guest_reads_its_input,
        detached_it_is_listed_logged_and_waited_for,
        stop_and_kill_end_it,
        statistics_are_its_own,
        it_is_paused_and_goes_on,
        its_memory_is_limited,
        without_memory_it_is_oom_killed,
        processors_are_limited,
        volumes_are_its_directories,
        a_tmpfs_is_empty_and_writable,
        user_environment_and_host_name_are_as_said,
        a_read_only_root_is_read_only,
        files_are_copied_in_and_out,
        a_published_port_leads_to_it,
        names_are_as_the_command_says,
        restart_policies_are_followed,
        the_page_is_true,
        a_command_runs_beside_it,
        a_linux_command_runs_beside_a_linux_container,
        it_has_a_terminal,
        a_health_check_is_a_command_beside_it,
        its_limits_are_updated,
        what_cannot_run_is_said_in_one_sentence,
        a_linux_container_runs_under_the_same_runtime,
    ];
    tests.extend(plain_trials![
        containers_outlive_the_daemon,
        the_daemons_settings_name_the_runtime_and_its_options,
        images_of_a_graph_driver_run,
    ]);
    tests
}

/// Those that need kernel's NAT, as `docker` has it by default.
pub fn with_nat() -> Vec<Trial> {
    plain_trials![a_published_port_is_translated, guests_find_each_other_by_name]
}

static SHARED: OnceLock<Docker> = OnceLock::new();

/// Ends the shared daemon, if any test needed it.
pub fn stop_shared() {
    if let Some(shared) = SHARED.get() {
        shared.end();
    }
}

/// The daemon that most tests share; User Mode Linux has no NAT.
pub fn shared() -> &'static Docker {
    let settings = json!({
        "iptables": false,
        "ip6tables": false,
        "features": {"containerd-snapshotter": true},
    });
    SHARED.get_or_init(|| Docker::start(&settings))
}

macro_rules! shared_trials {
    ($($test:ident),* $(,)?) => {
        vec![$(alone_with(module_path!(), stringify!($test), shared, $test)),*]
    };
}
use shared_trials;

/// A daemon beside the shared one, which has the bridge.
fn daemon(settings: &Value) -> Docker {
    let mut all = json!({"bridge": "none", "iptables": false, "ip6tables": false});
    let settings = settings.as_object().expect("settings are an object").clone();
    all.as_object_mut().expect("this is one").extend(settings);
    Docker::start(&all)
}

fn a_guest_says_hello(docker: &Docker) {
    let output = docker.run(&["--rm", &docker.guest("hello")]).expect_success();
    assert_eq!((output.text().as_str(), output.errors().as_str()), ("hello\n", ""));
    let output = docker.run(&["--rm", &docker.guest("stderr")]).expect_success();
    assert_eq!((output.text().as_str(), output.errors().as_str()), ("out\n", "err\n"));
}

fn the_exit_status_is_the_guests(docker: &Docker) {
    let image = docker.guest("exit");
    for status in [0, 1, 42, 255] {
        docker.run(&["--rm", &image, &status.to_string()]).expect_status(status);
    }
}

fn a_trap_is_an_exit_status_with_its_trace_in_the_log(docker: &Docker) {
    let image = docker.guest("trap");
    let output = docker.run(&["--name", "trapped", &image]).expect_status(134);
    let logged = docker.call(&["logs", "trapped"]).expect_success();
    assert!(logged.errors().contains("unreachable"), "{logged}");
    assert_eq!(output.errors(), logged.errors());
}

fn a_guest_reads_its_input(docker: &Docker) {
    let image = docker.guest("echo");
    let output = docker.run_with_input(&["--rm", "-i", &image], b"one\ntwo\n");
    assert_eq!(output.expect_success().text(), "one\ntwo\n");
}

fn detached_it_is_listed_logged_and_waited_for(docker: &Docker) {
    let image = docker.guest("nap");
    let output = docker.run(&["-d", "--name", "napping", &image, "2", "7"]).expect_success();
    let id = output.text().trim().to_owned();
    let listed = docker.call(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"]);
    assert_eq!(listed.text(), format!("{id} napping running\n"));
    assert_eq!(docker.call(&["wait", "napping"]).expect_success().text(), "7\n");
    assert_eq!(docker.call(&["logs", "napping"]).expect_success().text(), "napping\nawake\n");
    let state = docker.inspect("napping")["State"].clone();
    assert_eq!(state["ExitCode"], 7);
    assert_eq!((&state["OOMKilled"], &state["Error"]), (&json!(false), &json!("")));
    docker.call(&["start", "napping"]).expect_success();
    assert_eq!(docker.call(&["wait", "napping"]).expect_success().text(), "7\n");
    docker.call(&["rm", "napping"]).expect_success();
}

/// A guest that rests, under the name `name`.
fn sleeping(docker: &Docker, name: &str, flags: &[&str]) -> Output {
    let image = docker.guest("sleep");
    docker.run(&[&["-d", "--name", name], flags, &[&image, "1000"]].concat()).expect_success()
}

fn stop_and_kill_end_it(docker: &Docker) {
    for (command, status) in [
        (&["stop", "it"][..], 143),
        (&["kill", "it"], 137),
        (&["kill", "--signal", "INT", "it"], 130),
        (&["kill", "--signal", "USR1", "it"], 138),
    ] {
        sleeping(docker, "it", &[]);
        let begin = Instant::now();
        docker.call(command).expect_success();
        docker.wait_for("it", "Running", &json!(false));
        assert!(begin.elapsed() < Duration::from_secs(9), "no waiting for docker's SIGKILL");
        assert_eq!(docker.inspect("it")["State"]["ExitCode"], status, "{command:?}");
        docker.call(&["rm", "it"]).expect_success();
    }
}

fn statistics_are_its_own(docker: &Docker) {
    let image = docker.guest("spin");
    docker.run(&["-d", "--name", "busy", "-m", "64m", &image]).expect_success();
    let stats = docker.call(&["stats", "--no-stream", "--format", "json", "busy"]);
    let stats: Value = serde_json::from_slice(&stats.expect_success().stdout).expect("JSON");
    let percent = |field: &str| {
        let text = stats[field].as_str().expect("text").trim_end_matches('%').to_owned();
        text.parse::<f64>().expect("a number")
    };
    assert!(percent("CPUPerc") > 30.0, "{stats}");
    assert!(percent("MemPerc") > 0.1 && percent("MemPerc") < 60.0, "{stats}");
    assert!(stats["MemUsage"].as_str().unwrap().ends_with("/ 64MiB"), "{stats}");
    assert_eq!(stats["PIDs"], "1");
    let processes = docker.call(&["top", "busy", "-o", "pid,args"]).expect_success().text();
    assert_eq!(processes.lines().count(), 2, "{processes}");
    assert!(processes.contains("lighter-runner"), "{processes}");
}

fn it_is_paused_and_goes_on(docker: &Docker) {
    let image = docker.guest("spin");
    docker.run(&["-d", "--name", "busy", &image]).expect_success();
    let pid = docker.pid("busy");
    let process = Process::of(pid);
    let ticks = || process.text("stat").split_whitespace().nth(13).unwrap().to_owned();
    docker.call(&["pause", "busy"]).expect_success();
    assert_eq!(docker.inspect("busy")["State"]["Status"], "paused");
    let before = ticks();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ticks(), before, "it goes on");
    docker.call(&["unpause", "busy"]).expect_success();
    assert!(eventually(LIMIT, || ticks() != before), "it stands still");
}

fn its_memory_is_limited(docker: &Docker) {
    let image = docker.guest("memory");
    let output = docker.run(&["--rm", "-m", "64m", &image, "50"]).expect_success();
    assert_eq!(output.text(), "grown\n");
    let output = docker.run(&["--rm", "-m", "64m", &image, "100"]).expect_status(9);
    assert!(output.errors().starts_with("lighter: memory limit: "), "{output}");
}

fn without_memory_it_is_oom_killed(docker: &Docker) {
    let image = docker.guest("hungry");
    docker.run(&["--name", "hungry", "-m", "32m", &image]).expect_status(137);
    let state = docker.inspect("hungry")["State"].clone();
    assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&json!(true), &json!(137)));
}

fn processors_are_limited(docker: &Docker) {
    let image = docker.guest("spin");
    let flags = ["--cpus", "0.25", "--pids-limit", "20", "--cpu-shares", "512"];
    docker.run(&[&["-d", "--name", "slow"], &flags[..], &[&image]].concat()).expect_success();
    let pid = docker.pid("slow");
    assert_eq!(super::group_file(pid, "cpu.max"), "25000 100000");
    assert_eq!(super::group_file(pid, "pids.max"), "20");
}

fn volumes_are_its_directories(docker: &Docker) {
    let dir = directory();
    std::fs::write(dir.path().join("note"), "from the host\n").unwrap();
    let host = dir.path().display();
    let (rw, ro) = (format!("{host}:/rw"), format!("{host}:/ro:ro"));
    let flags = ["-v", &rw, "-v", &ro];
    let requests = ["cat /ro/note", "write /ro/new text", "write /rw/new text", "cat /ro/new"];
    let answers = docker.ask(&flags, &requests);
    assert_eq!(answers[0], "from the host");
    assert!(answers[1].starts_with("error: "), "{answers:?}");
    assert_eq!(answers[2..], ["ok", "text"]);
    assert_eq!(std::fs::read_to_string(dir.path().join("new")).unwrap(), "text\n");

    // A volume of Docker's own outlives its containers.
    let flags = ["--mount", "type=volume,src=kept,dst=/kept"];
    assert_eq!(docker.ask(&flags, &["write /kept/it text"]), ["ok"]);
    assert_eq!(docker.ask(&flags, &["cat /kept/it"]), ["text"]);
    docker.call(&["volume", "rm", "kept"]).expect_success();
}

fn a_tmpfs_is_empty_and_writable(docker: &Docker) {
    let requests = ["ls /scratch", "fill /scratch/full 2097152"];
    let answers = docker.ask(&["--tmpfs", "/scratch:size=1m"], &requests);
    assert_eq!(answers[0], "");
    assert!(answers[1].ends_with(" after 1024 KiB"), "{answers:?}");
}

fn user_environment_and_host_name_are_as_said(docker: &Docker) {
    let image = docker.load(&Image::guest("env", &guests::module("env")));
    let flags = ["--rm", "--env", "NAME=value", "--hostname", "box"];
    let output = docker.run(&[&flags[..], &[&image, "argument"]].concat()).expect_success();
    let text = output.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["/env.wasm", "argument"]);
    assert!(lines.contains(&"NAME=value") && lines.contains(&"HOSTNAME=box"), "{output}");

    let dir = directory();
    rustix::fs::chown(dir.path(), Some(rustix::fs::Uid::from_raw(4711)), None).unwrap();
    let volume = format!("{}:/its", dir.path().display());
    let requests = ["write /its/file text", "write /file text"];
    let flags = ["--user", "4711:4712", "-v", &volume];
    assert_eq!(docker.ask(&flags, &requests), ["ok", "error: permission denied"]);
    use std::os::unix::fs::MetadataExt;
    let made = std::fs::metadata(dir.path().join("file")).unwrap();
    assert_eq!((made.uid(), made.gid()), (4711, 4712));
}

fn a_read_only_root_is_read_only(docker: &Docker) {
    assert_eq!(docker.ask(&[], &["write /file text"]), ["ok"]);
    let [answer] = &docker.ask(&["--read-only"], &["write /file text"])[..] else { panic!() };
    assert!(answer.starts_with("error: "), "{answer}");
}

fn files_are_copied_in_and_out(docker: &Docker) {
    let dir = directory();
    let (there, back) = (dir.path().join("there"), dir.path().join("back"));
    std::fs::write(&there, "text\n").unwrap();
    sleeping(docker, "it", &[]);
    let (there, back) = (there.display().to_string(), back.display().to_string());
    docker.call(&["cp", &there, "it:/file"]).expect_success();
    docker.call(&["cp", "it:/file", &back]).expect_success();
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "text\n");
    let changed = docker.call(&["diff", "it"]).expect_success().text();
    assert!(changed.lines().any(|line| line == "A /file"), "{changed}");
}

/// Has a guest serve, asks it through the host's port, and returns the answer.
#[track_caller]
fn through_a_port(docker: &Docker) -> String {
    let image = docker.probe();
    let serve = ["-d", "--name", "server", "-p", "127.0.0.1::7000", &image, "echo 0.0.0.0:7000"];
    docker.run(&serve).expect_success();
    docker.wait_for_log("server", "listening");
    let address = docker.call(&["port", "server", "7000"]).expect_success().text();
    super::converse(address.trim(), "hello")
}

fn a_published_port_leads_to_it(docker: &Docker) {
    assert_eq!(through_a_port(docker), "hello");
    assert_eq!(docker.call(&["wait", "server"]).expect_success().text(), "0\n");
}

fn names_are_as_the_command_says(docker: &Docker) {
    let flags = ["--add-host", "db.example.test:10.1.2.3"];
    assert_eq!(docker.ask(&flags, &["lookup db.example.test"]), ["10.1.2.3"]);
    let flags = ["--dns", "192.0.2.53", "--dns-search", "example.test"];
    let image = docker.probe();
    let run = [&["--rm"], &flags[..], &[&image, "cat /etc/resolv.conf"]].concat();
    let text = docker.run(&run).expect_success().text();
    assert!(text.contains("nameserver 192.0.2.53\nsearch example.test\n"), "{text}");
}

fn restart_policies_are_followed(docker: &Docker) {
    let image = docker.guest("exit");
    let flags = ["-d", "--name", "again", "--restart", "on-failure:2"];
    docker.run(&[&flags[..], &[&image, "3"]].concat()).expect_success();
    let ended = || {
        let it = docker.inspect("again");
        it["RestartCount"] == 2 && it["State"]["Status"] == "exited"
    };
    assert!(eventually(LIMIT, ended), "{:#}", docker.inspect("again")["State"]);
    assert_eq!(docker.inspect("again")["State"]["ExitCode"], 3);
}

fn what_cannot_run_is_said_in_one_sentence(docker: &Docker) {
    let says = |image: &Image, words: &str| {
        let image = docker.load(image);
        let errors = docker.run(&["--rm", &image]).expect_failure();
        assert!(errors.contains(words), "{errors}");
        assert!(!errors.contains('\u{1b}') && errors.lines().count() < 5, "{errors}");
    };
    says(&Image::guest("unknown", &guests::module("unknown-import")), "\"moon::phase\"");
    says(&Image::guest("broken", b"\0asm\x01\0\0\0\xff"), "/broken.wasm");
    says(
        &Image::new("example.test/nothing:latest").file("/x", b"").entrypoint(&["/absent.wasm"]),
        "/absent.wasm",
    );
}

fn a_linux_container_runs_under_the_same_runtime(docker: &Docker) {
    let image = docker.load(&Image::linux("shell"));
    let output = docker.run(&["--rm", &image, "sh", "-c", "echo hello; exit 4"]).expect_status(4);
    assert_eq!(output.text(), "hello\n");
}

fn containers_outlive_the_daemon() {
    let docker = daemon(&json!({"live-restore": true}));
    let image = docker.guest("nap");
    let run = ["-d", "--name", "napping", "--network", "none", &image, "6", "7"];
    docker.run(&run).expect_success();
    sleeping(&docker, "asleep", &["--network", "none"]);
    let pid = docker.inspect("asleep")["State"]["Pid"].clone();
    docker.restart();
    assert_eq!(docker.inspect("asleep")["State"]["Pid"], pid);
    docker.crash();
    let state = docker.inspect("asleep")["State"].clone();
    assert_eq!((&state["Status"], &state["Pid"]), (&json!("running"), &pid));
    assert_eq!(docker.call(&["wait", "napping"]).expect_success().text(), "7\n");
    assert_eq!(docker.call(&["logs", "napping"]).expect_success().text(), "napping\nawake\n");
    docker.call(&["stop", "asleep"]).expect_success();
    assert_eq!(docker.inspect("asleep")["State"]["ExitCode"], 143);
}

fn the_daemons_settings_name_the_runtime_and_its_options() {
    let dir = directory();
    let path = dir.path().join("lighter.toml");
    let cache = Suite::get().cache();
    std::fs::write(&path, format!("[cache]\ndir = {cache:?}\n[limits]\nmemory = \"16Mi\"\n"))
        .unwrap();
    let runtime = |options: Value| {
        let kind = crate::support::namespace::RUNTIME;
        json!({"runtimeType": kind, "options": options})
    };
    let file = path.display().to_string();
    let docker = daemon(&json!({
        "default-runtime": "by-file",
        "runtimes": {
            "by-file": runtime(json!({"ConfigPath": file})),
            "wrong": runtime(json!({"ConfigPath": "/nonexistent/lighter.toml"})),
        },
    }));
    let image = docker.guest("memory");
    let run = |runtime: &[&str]| {
        let flags = ["run", "--rm", "--network", "none"];
        docker.call(&[&flags[..], runtime, &[&image, "30"]].concat())
    };
    for runtime in [&[][..], &["--runtime", "by-file"]] {
        let errors = run(runtime).expect_status(9).errors();
        assert!(errors.contains("limits.memory"), "{errors}");
    }
    let errors = run(&["--runtime", "wrong"]).expect_failure();
    assert!(errors.contains("/nonexistent/lighter.toml"), "{errors}");
}

fn images_of_a_graph_driver_run() {
    let docker = daemon(&json!({"features": {"containerd-snapshotter": false}}));
    let driver = docker.call(&["info", "--format", "{{.Driver}}"]).expect_success().text();
    assert_eq!(driver, "overlay2\n");
    let flags = ["--rm", "--network", "none"];
    let image = docker.guest("hello");
    let output = docker.run(&[&flags[..], &[&image]].concat()).expect_success();
    assert_eq!(output.text(), "hello\n");
    assert_eq!(docker.ask(&flags[1..], &["write /file text", "cat /file"]), ["ok", "text"]);
    let image = docker.guest("exit");
    docker.run(&[&flags[..], &[&image, "42"]].concat()).expect_status(42);
}

fn a_published_port_is_translated() {
    let docker = Docker::start(&json!({}));
    assert_eq!(through_a_port(&docker), "hello");
}

fn guests_find_each_other_by_name() {
    let docker = Docker::start(&json!({}));
    docker.call(&["network", "create", "between"]).expect_success();
    let image = docker.probe();
    let server = ["-d", "--name", "server", "--network", "between", &image, "echo 0.0.0.0:7000"];
    docker.run(&server).expect_success();
    docker.wait_for_log("server", "listening");
    let answers = docker.ask(&["--network", "between"], &["send server:7000 hello"]);
    assert_eq!(answers, ["hello"]);
}

fn the_page_is_true(docker: &Docker) {
    super::page::run("docker.md", docker.environment());
}

fn a_command_runs_beside_it(docker: &Docker) {
    let image = docker.load(&resting("resting"));
    docker.run(&["-d", "--name", "it", &image]).expect_success();
    let exec = |args: &[&str]| docker.call(&[&["exec", "it"], args].concat());
    let output = exec(&["/probe.wasm", "write /file text", "cat /file"]).expect_success();
    assert_eq!(output.text(), "write /file text: ok\ncat /file: text\n");
    exec(&["/exit.wasm", "42"]).expect_status(42);
    // Docker says it on standard output.
    let refused = exec(&["/absent.wasm"]);
    assert!(refused.status != 0 && refused.text().contains("/absent.wasm"), "{refused}");
    docker.call(&["exec", "-d", "it", "/probe.wasm", "write /later text"]).expect_success();
    let there = || exec(&["/probe.wasm", "cat /later"]).text() == "cat /later: text\n";
    assert!(eventually(LIMIT, there), "nothing was written");
    assert_eq!(docker.inspect("it")["State"]["Running"], true);
}

fn a_linux_command_runs_beside_a_linux_container(docker: &Docker) {
    let image = docker.load(&Image::linux("shell"));
    docker.run(&["-d", "--name", "it", &image, "sleep", "1000"]).expect_success();
    let output = docker.call(&["exec", "it", "sh", "-c", "echo hello; exit 4"]);
    assert_eq!(output.expect_status(4).text(), "hello\n");
}

fn it_has_a_terminal(docker: &Docker) {
    let output = docker.run(&["--rm", "-t", &docker.guest("stderr")]).expect_success();
    assert_eq!(output.text(), "out\r\nerr\r\n");
}

fn a_health_check_is_a_command_beside_it(docker: &Docker) {
    for (name, status, health) in [("well", "0", "healthy"), ("ill", "1", "unhealthy")] {
        let image = docker.load(&resting(name).healthcheck(&["/exit.wasm", status]));
        docker.run(&["-d", "--name", name, &image]).expect_success();
        let is = || docker.inspect(name)["State"]["Health"]["Status"] == health;
        assert!(eventually(LIMIT, is), "{:#}", docker.inspect(name)["State"]);
    }
}

fn its_limits_are_updated(docker: &Docker) {
    sleeping(docker, "it", &["-m", "64m"]);
    let update = ["update", "-m", "96m", "--memory-swap", "96m", "--cpus", "0.5", "it"];
    docker.call(&update).expect_success();
    let pid = docker.pid("it");
    assert_eq!(super::group_file(pid, "memory.max"), "100663296");
    assert_eq!(super::group_file(pid, "cpu.max"), "50000 100000");
}
