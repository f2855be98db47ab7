//! What Landlock keeps from the process around a guest, tried from inside by the native probe. On a machine without
//! it (`LIGHTER_LANDLOCK=none`): that a guest runs all the same, that this is told, and that it can be refused.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use libtest_mimic::Trial;

use crate::support::command::eventually;
use crate::support::containerd::{Containerd, LIMIT};
use crate::support::guests;
use crate::support::image::{Image, busybox};
use crate::support::namespace::Namespace;
use crate::support::probe;
use crate::support::spec::directory;
use crate::support::suite::Suite;
use crate::support::trials::{plain_trials, trials};

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    if std::env::var("LIGHTER_LANDLOCK").as_deref() == Ok("none") {
        let mut tests = trials![without_landlock_a_guest_runs_and_this_is_told];
        tests.extend(plain_trials![landlock_can_be_demanded]);
        return tests;
    }
    trials![
        a_leaked_directory_of_the_host_opens_nothing,
        what_a_guest_may_do_with_files_it_still_may,
        nothing_is_executed_and_no_special_file_is_made,
        a_read_only_root_leaves_the_writable_places,
        only_ports_that_are_named_are_used,
        names_are_still_looked_up,
        nobody_outside_is_signalled,
        abstract_sockets_of_others_are_out_of_reach,
    ]
}

/// The answers of the probe in a container of `image`, of which each must be one of those that go with it.
#[track_caller]
fn expect(namespace: &Namespace<'_>, image: &Image, flags: &[&str], expected: &[(&str, &[&str])]) {
    let requests: Vec<&str> = expected.iter().map(|(request, _)| *request).collect();
    let answers = probe::run(namespace, image, flags, &requests);
    for (request, allowed) in expected {
        let answer = answers.to(request);
        assert!(
            allowed.contains(&answer),
            "{request}: {answer}, and not {allowed:?} (without Landlock in the kernel, run with \
             LIGHTER_LANDLOCK=none): {}",
            answers.output
        );
    }
    answers.output.expect_success();
}

const OK: &[&str] = &["ok"];
/// What Landlock says, or the filter of system calls, which comes first.
const DENIED: &[&str] = &["EACCES", "EPERM", "EAFNOSUPPORT"];
const BY_LANDLOCK: &[&str] = &["EACCES"];

fn a_leaked_directory_of_the_host_opens_nothing(namespace: &Namespace<'_>) {
    let requests = [
        ("read /hello.wasm", OK),
        ("leaked etc/passwd", BY_LANDLOCK),
        ("leaked etc", BY_LANDLOCK),
        ("leaked proc/self/status", BY_LANDLOCK),
        ("leaked dev/null", BY_LANDLOCK),
    ];
    expect(namespace, &probe::image(), &[], &requests);
}

fn what_a_guest_may_do_with_files_it_still_may(namespace: &Namespace<'_>) {
    let volume = directory();
    let mount = format!("type=bind,src={},dst=/data,options=rbind:rw", volume.path().display());
    let requests = [
        "mkdir /a",
        "mkdir /b",
        "create /a/file",
        "write /a/file",
        "rename /a/file /b/file",
        "link /b/file /a/link",
        "symlink file /b/symlink",
        "truncate /b/file",
        "read /b/symlink",
        "list /b",
        "remove /b/symlink",
        "remove /b/file",
        "remove /a/link",
        "rmdir /a",
        "create /data/file",
        "write /data/file",
        "mkdir /run/dir",
        "write /dev/null",
        "read /dev/zero",
        "udp 0",
    ];
    let expected: Vec<(&str, &[&str])> = requests.iter().map(|r| (*r, OK)).collect();
    expect(namespace, &probe::image(), &["--mount", &mount], &expected);
}

fn nothing_is_executed_and_no_special_file_is_made(namespace: &Namespace<'_>) {
    let image = probe::image().file("/bin/busybox", &std::fs::read(busybox()).unwrap());
    let requests = [
        ("read /bin/busybox", OK),
        ("exec /bin/busybox", DENIED),
        ("fifo /run/fifo", DENIED),
        ("device /run/device", DENIED),
        ("unix-bind /run/socket", DENIED),
    ];
    expect(namespace, &image, &[], &requests);
}

fn a_read_only_root_leaves_the_writable_places(namespace: &Namespace<'_>) {
    let (open, closed) = (directory(), directory());
    let mount = |dir: &tempfile::TempDir, name: &str, access: &str| {
        format!("type=bind,src={},dst=/{name},options=rbind:{access}", dir.path().display())
    };
    let image = probe::image().directory("/open", 0o755).directory("/closed", 0o755);
    let image = image.directory("/dev", 0o755).directory("/run", 0o755);
    let (open, closed) = (mount(&open, "open", "rw"), mount(&closed, "closed", "ro"));
    let flags = ["--read-only", "--mount", &open, "--mount", &closed];
    let read_only: &[&str] = &["EROFS", "EACCES"];
    let requests = [
        ("create /new", read_only),
        ("create /closed/new", read_only),
        ("create /open/new", OK),
        ("rename /open/new /open/newer", OK),
        ("create /run/new", OK),
        ("write /dev/null", OK),
        ("read /hello.wasm", OK),
        ("leaked etc/passwd", BY_LANDLOCK),
    ];
    expect(namespace, &image, &flags, &requests);
}

fn only_ports_that_are_named_are_used(namespace: &Namespace<'_>) {
    let flags = [
        "--annotation",
        "io.lighter.network.tcp-bind=8080,9000-9001",
        "--annotation",
        "io.lighter.network.tcp-connect=7",
    ];
    let nobody_there: &[&str] = &["ECONNREFUSED"];
    let requests = [
        ("bind 8080", OK),
        ("bind 9001", OK),
        ("bind 8081", BY_LANDLOCK),
        // A port of the kernel's choice is none of those.
        ("bind 0", BY_LANDLOCK),
        ("connect 7", nobody_there),
        ("connect 8080", BY_LANDLOCK),
        // Landlock has no say in UDP.
        ("udp 8081", OK),
    ];
    expect(namespace, &probe::image(), &flags, &requests);

    let none = [
        "--annotation",
        "io.lighter.network.tcp-bind=",
        "--annotation",
        "io.lighter.network.tcp-connect=",
    ];
    let requests = [("bind 8080", BY_LANDLOCK), ("connect 7", BY_LANDLOCK)];
    expect(namespace, &probe::image(), &none, &requests);
    expect(namespace, &probe::image(), &[], &[("bind 8081", OK), ("connect 8", nobody_there)]);
}

fn names_are_still_looked_up(namespace: &Namespace<'_>) {
    let image = probe::image().file("/etc/hosts", b"10.1.2.3 db.example.test\n");
    expect(namespace, &image, &[], &[("lookup db.example.test", &["10.1.2.3"])]);
}

fn nobody_outside_is_signalled(namespace: &Namespace<'_>) {
    let mut victim = Command::new("sleep").arg("1000").spawn().unwrap();
    let request = format!("kill {} 15", victim.id());
    let flag = format!("pid:/proc/{}/ns/pid", std::process::id());
    expect(
        namespace,
        &probe::image(),
        &["--with-ns", &flag],
        &[(request.as_str(), &["EPERM"]), ("syscall kill-none", &["ESRCH", "EPERM"])],
    );
    let alive = victim.try_wait().unwrap().is_none();
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(alive, "a process of the host was ended");
}

fn abstract_sockets_of_others_are_out_of_reach(namespace: &Namespace<'_>) {
    let name = format!("lighter-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let request = format!("abstract {name}");
    expect(namespace, &probe::image(), &["--net-host"], &[(request.as_str(), DENIED)]);
}

fn without_landlock_a_guest_runs_and_this_is_told(namespace: &Namespace<'_>) {
    // What Landlock would deny, so that the tests of it can fail.
    expect(namespace, &probe::image(), &[], &[("leaked etc/passwd", OK)]);

    let image = Image::guest("sleep", &guests::module("sleep"));
    namespace.run_detached(&image, "told", &[], &["/sleep.wasm", "1000"]).expect_success();
    let warning = || {
        let log = namespace.containerd().log();
        log.lines()
            .any(|line| line.contains("container told runs without a wall, landlock: kernel "))
    };
    assert!(eventually(LIMIT, warning), "{}", namespace.containerd().log());

    let bundle = namespace.containerd().bundle(namespace.name(), "told");
    let mut inspect = Command::new(Suite::get().program("lighter"));
    inspect.arg("inspect").arg(&bundle);
    let shown = crate::support::command::run(&mut inspect, b"", LIMIT).expect_success().text();
    let missing = shown.lines().find(|line| line.starts_with("missing "));
    let missing = missing.unwrap_or_else(|| panic!("nothing is missing: {shown}"));
    assert!(missing.contains("landlock: kernel "), "{shown}");
}

fn landlock_can_be_demanded() {
    let file = Suite::get().scratch().join("demanding.toml");
    let cache = Suite::get().cache();
    std::fs::write(
        &file,
        format!("[cache]\ndir = {cache:?}\n[isolation]\nrequire = [\"landlock\"]\n"),
    )
    .unwrap();
    let containerd = Containerd::start_on_node("", &file);
    let namespace = Namespace::of(&containerd, "landlock-can-be-demanded");
    let image = Image::guest("hello", &guests::module("hello"));
    let error = namespace.run(&image, &[]).expect_failure();
    for word in ["isolation.require", "landlock", "kernel "] {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    crate::support::remains::nothing_remains(&namespace);
}
