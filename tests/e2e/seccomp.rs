//! Filters of system calls: tried by making the calls, from where a guest's process makes them.

use std::path::Path;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::command;
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::probe::{self, Answers};
use crate::support::process::Process;
use crate::support::spec::{directory, spec};
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        what_a_runner_needs_is_allowed,
        all_else_is_denied,
        other_interfaces_to_the_kernel_end_the_process,
        a_runner_can_still_do_its_work_and_fail,
        a_guest_runs_behind_a_filter,
        the_default_profile_is_applied_as_by_runc,
        a_profile_of_ones_own_is_applied_as_by_runc,
        a_profile_can_end_the_process,
        a_profile_that_is_too_narrow_for_a_runner_is_named,
        a_profile_that_asks_somebody_is_refused,
        a_profile_with_an_unknown_action_is_refused,
    ]
}

/// 128 + SIGSYS.
const BAD_CALL: i32 = 159;

fn what_a_runner_needs_is_allowed(namespace: &Namespace<'_>) {
    let answers = probe::run(namespace, &probe::image(), &[], &["needed"]);
    let denied: Vec<_> =
        answers.iter().filter(|(_, answer)| ["EPERM", "ENOSYS"].contains(answer)).collect();
    assert_eq!(denied, [], "{}", answers.output);
    assert!(answers.iter().count() >= 60, "{}", answers.output);
    answers.output.expect_success();
}

fn all_else_is_denied(namespace: &Namespace<'_>) {
    let answers = probe::run(namespace, &probe::image(), &[], &["others"]);
    for (request, answer) in answers.iter() {
        let expected = match request.strip_prefix("syscall ").unwrap() {
            // Programs know what to do without them.
            "clone3" | "memfd_create" => "ENOSYS",
            socket if socket.starts_with("socket-") => "EAFNOSUPPORT",
            _ => "EPERM",
        };
        assert_eq!(answer, expected, "{request}");
    }
    assert!(answers.iter().count() >= 100, "{}", answers.output);
    // Without the filter hardly any of them is denied, so that it is the filter's answer.
    let free = command::run(std::process::Command::new(probe::program()).arg("others"), b"", LIMIT);
    let text = free.text();
    let same = text.lines().filter(|line| {
        let (request, answer) = line.split_once(": ").unwrap();
        answers.to(request) == answer
    });
    let same: Vec<_> = same.collect();
    assert!(same.len() <= 8, "these say the same without a filter: {same:?}");
}

fn other_interfaces_to_the_kernel_end_the_process(namespace: &Namespace<'_>) {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    // To User Mode Linux a call of 32 bits is one of its own 64: it has no such interface.
    let machine = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let interfaces: &[&str] =
        if machine.contains("User Mode Linux") { &["x32"] } else { &["int80", "x32"] };
    for interface in interfaces {
        let requests = ["syscall getpid", *interface, "syscall gettid"];
        let answers = probe::run(namespace, &probe::image(), &[], &requests);
        assert_eq!(answers.output.text(), "syscall getpid: ok\n", "{interface}");
        answers.output.expect_status(BAD_CALL);
    }
}

/// Threads, name lookup and the ways in which a Rust program ends that has gone wrong.
fn a_runner_can_still_do_its_work_and_fail(namespace: &Namespace<'_>) {
    let dir = directory();
    std::fs::write(dir.path().join("hosts"), "10.1.2.3 db.example.test\n").unwrap();
    let hosts = dir.path().join("hosts");
    let mount = format!("type=bind,src={},dst=/etc/hosts,options=rbind:ro", hosts.display());
    let requests = [
        "thread",
        "lookup db.example.test",
        "lookup other.example.test",
        "udp 0",
        "bind 7000",
        "panic",
    ];
    let answers = probe::run(namespace, &probe::image(), &["--mount", &mount], &requests);
    let expected = [
        ("thread", "ok"),
        ("lookup db.example.test", "10.1.2.3"),
        ("udp 0", "ok"),
        ("bind 7000", "ok"),
        ("panic", "panicked"),
    ];
    for (request, answer) in expected {
        assert_eq!(answers.to(request), answer, "{}", answers.output);
    }
    assert!(answers.to("lookup other.example.test").contains("Temporary failure"));
    assert!(answers.output.errors().contains("as asked"), "{}", answers.output);

    // The first process of a pid namespace does not die of its own SIGABRT, and so of the instruction that follows.
    for (request, statuses) in [("abort", [134, 139]), ("overflow", [134, 139])] {
        let output = probe::run(namespace, &probe::image(), &[], &[request]).output;
        assert!(statuses.contains(&output.status), "{output}");
        if request == "overflow" {
            assert!(output.errors().contains("has overflowed its stack"), "{output}");
        }
    }
}

/// The real runner has the filter, too, and the bundle's below it.
fn a_guest_runs_behind_a_filter(namespace: &Namespace<'_>) {
    let image = Image::guest("sleep", &guests::module("sleep"));
    for (id, flags, filters) in [("plain", &[][..], "1"), ("profiled", &["--seccomp"][..], "2")] {
        namespace.run_detached(&image, id, flags, &["/sleep.wasm", "1000"]).expect_success();
        let process = Process::of(namespace.task_pid(id).expect("it runs"));
        assert_eq!(process.status("Seccomp"), "2", "filtered");
        assert_eq!(process.status("Seccomp_filters"), filters, "{id}");
    }
}

/// Which of Docker's and Kubernetes' `RuntimeDefault` containerd has.
fn default_profile(namespace: &Namespace<'_>) -> Value {
    let image = namespace.import(&probe::image());
    namespace.ctr(&["containers", "create", "--seccomp", &image, "profile"]).expect_success();
    let info = namespace.ctr(&["containers", "info", "profile"]).expect_success().text();
    let info: Value = serde_json::from_str(&info).expect("`ctr containers info` writes JSON");
    info["Spec"]["linux"]["seccomp"].clone()
}

fn the_default_profile_is_applied_as_by_runc(namespace: &Namespace<'_>) {
    let profile = default_profile(namespace);
    assert!(profile["syscalls"].as_array().is_some_and(|rules| rules.len() > 5), "{profile}");
    expect_same(namespace, &profile, 30);
}

fn a_profile_of_ones_own_is_applied_as_by_runc(namespace: &Namespace<'_>) {
    let none = u64::MAX;
    let rule = |names: &[&str], action: &str, errno: Value, args: Value| json!({"names": names, "action": action, "errnoRet": errno, "args": args});
    let arg = |index: u32, op: &str, value: u64, second: u64| json!({"index": index, "op": op, "value": value, "valueTwo": second});
    let errno = |names: &[&str], number: i32, args: Value| {
        rule(names, "SCMP_ACT_ERRNO", json!(number), args)
    };
    let rules = json!([
        errno(&["fsync", "no_such_call"], 5, json!(null)),
        rule(&["fdatasync"], "SCMP_ACT_ERRNO", json!(null), json!([])),
        rule(&["ftruncate"], "SCMP_ACT_TRACE", json!(7), json!([])),
        rule(&["fallocate"], "SCMP_ACT_LOG", json!(null), json!([])),
        errno(&["pread64"], 6, json!([arg(0, "SCMP_CMP_EQ", none, 0)])),
        errno(&["pwrite64"], 6, json!([arg(0, "SCMP_CMP_NE", none, 0)])),
        errno(&["preadv"], 6, json!([arg(0, "SCMP_CMP_GT", none - 1, 0)])),
        errno(&["pwritev"], 6, json!([arg(0, "SCMP_CMP_LT", none, 0)])),
        errno(&["readv"], 6, json!([arg(0, "SCMP_CMP_GE", 1 << 32, 0)])),
        errno(&["writev"], 6, json!([arg(0, "SCMP_CMP_LE", u64::from(u32::MAX), 0)])),
        errno(&["lseek"], 6, json!([arg(0, "SCMP_CMP_MASKED_EQ", 0xf0_0000_000f, 0xf0_0000_000f)])),
        errno(&["getdents64"], 6, json!([arg(0, "SCMP_CMP_MASKED_EQ", 0xf, 0x1f)])),
        // Both, of which one does not hold; and one of several on the same argument.
        errno(
            &["renameat"],
            6,
            json!([arg(0, "SCMP_CMP_EQ", none, 0), arg(2, "SCMP_CMP_EQ", 0, 0)])
        ),
        errno(&["linkat"], 6, json!([arg(0, "SCMP_CMP_EQ", 0, 0), arg(0, "SCMP_CMP_EQ", none, 0)])),
        // Without conditions beats with, before and after.
        errno(&["mkdirat"], 6, json!([arg(0, "SCMP_CMP_EQ", none, 0)])),
        errno(&["mkdirat"], 20, json!([])),
        errno(&["unlinkat"], 20, json!([])),
        errno(&["unlinkat"], 6, json!([arg(0, "SCMP_CMP_EQ", none, 0)])),
    ]);
    let profile = |flags: Value| {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
            "syscalls": rules,
            "flags": flags,
        })
    };
    let answers = expect_same(namespace, &profile(json!([])), 11);
    assert_eq!(answers.to("syscall fsync"), "EIO");
    assert_eq!(answers.to("syscall pwrite64"), "EBADF");
    assert_eq!(answers.to("syscall linkat"), "ENXIO");
    // runc has them from its version 1.2 on; they change no answer.
    let flags = json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    let flagged = profiled(namespace, profile(flags), &["needed"]);
    for (request, answer) in flagged.iter() {
        assert_eq!(answer, answers.to(request), "{request}");
    }
    flagged.output.expect_success();
}

/// The same profile around the same program, under runc and in the runner's place: the same answers, but for what
/// Lighter's own filter denies in any case. In at least `least` of them the profile has a say.
#[track_caller]
fn expect_same(namespace: &Namespace<'_>, profile: &Value, least: usize) -> Answers {
    let requests = ["needed", "others"];
    let root = directory();
    std::fs::write(root.path().join("hello.wasm"), guests::module("hello")).unwrap();
    let mut spec = spec(namespace, &unique_id(), root.path(), &[]);
    spec["process"]["capabilities"] = json!({});
    let own = probe::run_spec(namespace, &spec, &requests);
    let free = under_runc(namespace, &spec, &requests);
    spec["linux"]["seccomp"] = profile.clone();
    let theirs = under_runc(namespace, &spec, &requests);
    let ours = probe::run_spec(namespace, &spec, &requests);
    let mut matters = 0;
    for (request, answer) in theirs.iter() {
        // A kernel without some sockets says of itself what the filter says of them.
        let denied = own.to(request) != free.to(request) || own.to(request) == "EAFNOSUPPORT";
        let expected = if denied { own.to(request) } else { answer };
        assert_eq!(ours.to(request), expected, "{request} (under runc: {answer})");
        matters += usize::from(answer != free.to(request));
    }
    assert!(matters >= least, "the profile is about {matters} calls only: {}", theirs.output);
    ours
}

/// The probe as a Linux program, with the host's libraries.
#[track_caller]
fn under_runc(namespace: &Namespace<'_>, spec: &Value, requests: &[&str]) -> Answers {
    let mut spec = spec.clone();
    let bind = |source: &Path, destination: &str| json!({"type": "bind", "source": source, "destination": destination, "options": ["rbind", "ro"]});
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.push(bind(&probe::program(), "/probe"));
    for libraries in ["/lib", "/lib64", "/usr/lib", "/usr/lib64"] {
        if Path::new(libraries).exists() {
            mounts.push(bind(Path::new(libraries), libraries));
        }
    }
    let args = std::iter::once("/probe").chain(requests.iter().copied());
    spec["process"]["args"] = args.map(Value::from).collect();
    let id = unique_id();
    spec["linux"]["cgroupsPath"] = json!(format!("/{}/{id}", namespace.name()));
    let file = tempfile::NamedTempFile::new_in(Suite::get().scratch()).unwrap();
    std::fs::write(file.path(), spec.to_string()).unwrap();
    let mut ctr = namespace.command();
    ctr.args(["run", "--rm", "--runtime", "io.containerd.runc.v2", "--config"]).arg(file.path());
    let answers = Answers::of(command::run(ctr.arg(id), b"", LIMIT));
    assert_eq!(answers.output.status, 0, "{}", answers.output);
    answers
}

/// A container whose bundle has this profile and is asked for `requests`.
#[track_caller]
fn profiled(namespace: &Namespace<'_>, profile: Value, requests: &[&str]) -> Answers {
    let root = directory();
    std::fs::write(root.path().join("hello.wasm"), guests::module("hello")).unwrap();
    let mut spec = spec(namespace, &unique_id(), root.path(), &[]);
    spec["linux"]["seccomp"] = profile;
    probe::run_spec(namespace, &spec, requests)
}

fn a_profile_can_end_the_process(namespace: &Namespace<'_>) {
    for action in
        ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"]
    {
        let rules = json!([{"names": ["fsync"], "action": action}]);
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
        let requests = ["syscall read", "syscall fsync", "syscall write"];
        let answers = profiled(namespace, profile, &requests);
        assert_eq!(answers.output.text(), "syscall read: EBADF\n", "{action}: {}", answers.output);
        answers.output.expect_status(BAD_CALL);
    }
}

fn a_profile_that_is_too_narrow_for_a_runner_is_named(namespace: &Namespace<'_>) {
    for default in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
        let rules = json!([{"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}]);
        let profile = json!({"defaultAction": default, "syscalls": rules});
        let error = profiled(namespace, profile, &["syscall read"]).output.expect_failure();
        assert!(error.contains("linux.seccomp: the container ended"), "{error}");
    }
}

fn a_profile_that_asks_somebody_is_refused(namespace: &Namespace<'_>) {
    let rules = json!([{"names": ["fsync"], "action": "SCMP_ACT_NOTIFY"}]);
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    let error = profiled(namespace, profile, &[]).output.expect_failure();
    assert!(error.contains("linux.seccomp.syscalls[0].action SCMP_ACT_NOTIFY: "), "{error}");
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent"});
    let error = profiled(namespace, profile, &[]).output.expect_failure();
    assert!(error.contains("linux.seccomp.listenerPath \"/run/agent\": "), "{error}");
}

fn a_profile_with_an_unknown_action_is_refused(namespace: &Namespace<'_>) {
    let rules = json!([{"names": ["fsync"], "action": "SCMP_ACT_SHRUG"}]);
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    let error = profiled(namespace, profile, &[]).output.expect_failure();
    assert!(error.contains("linux.seccomp.syscalls[0].action"), "{error}");
    assert!(error.contains("SCMP_ACT_SHRUG"), "{error}");
    let profile =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_SHRUG"]});
    let error = profiled(namespace, profile, &[]).output.expect_failure();
    assert!(error.contains("linux.seccomp.flags[0]"), "{error}");
}
