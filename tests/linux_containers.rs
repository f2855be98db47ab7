//! Linux (ELF) containers, created by the real `lighter linux` in real namespaces and cgroups.
//!
//! Needs root and a statically linked busybox. Every test ends by looking for what may have been left:
//! state, cgroups, children of this process (which is the containers' subreaper).

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lighter::cgroup::CgroupManager;
use lighter::config::Config;
use lighter::container::{
    Container, CreateRequest, ExecRequest, ExecSpec, Process, Stdio, Streams,
};
use lighter::error::{Cause, Refusal};
use lighter::programs::Programs;
use lighter::record::Record;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitId, WaitIdOptions, set_child_subreaper, waitid};
use serde_json::{Value, json};

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// Children of this process are counted, so that only one test may have any.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn exit_code_output_and_namespaces_are_the_containers_own() {
    let bundle =
        Bundle::new("exit", &["sh", "-c", "echo pid $$ on $(hostname); ls /sys/class/net; exit 7"]);
    let (container, output) = bundle.create().expect("create");
    assert!(!bundle.is_readable(&output, 100), "the program ran before it was started");
    container.start().expect("start");
    assert_eq!(reap(&container), Ended::Exit(7));
    assert_eq!(read(output), "pid 1 on lighter-test\nlo\n");
    container.delete().expect("delete");
    bundle.assert_nothing_left();
    container.delete().expect("deleting again changes nothing");
}

#[test]
fn only_the_three_standard_descriptors_are_passed_on() {
    let bundle = Bundle::new("fds", &["sh", "-c", "/bin/ls /proc/1/fd; echo $PATH $HOME"]);
    let (container, output) = bundle.create().expect("create");
    container.start().expect("start");
    assert_eq!(reap(&container), Ended::Exit(0));
    let output = read(output);
    assert_eq!(output, "0\n1\n2\n/bin /\n");
    container.delete().expect("delete");
    bundle.assert_nothing_left();
}

#[test]
fn signals_reach_the_first_process() {
    let bundle = Bundle::new(
        "kill",
        &["sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done"],
    );
    let (container, mut output) = bundle.create().expect("create");
    container.start().expect("start");
    output.read_exact(&mut [0; 3]).expect("the program says that it is up");
    container.kill(SIGTERM, false).expect("kill");
    assert!(bundle.ends(&container), "a trapped SIGTERM should end the program");
    let late = container.kill(SIGTERM, false).expect_err("it has ended");
    assert_eq!(late.cause, Cause::NotFound, "{late}");
    assert_eq!(reap(&container), Ended::Exit(3));
    container.delete().expect("delete");
    bundle.assert_nothing_left();
}

#[test]
fn nobody_inside_can_write_to_our_own_program() {
    let bundle = Bundle::new("protect", &["sleep", "1000"]);
    let (container, _output) = bundle.create().expect("create");
    // Until it is started, the first process runs a file of the host's; who has got hold of that waits until nobody runs it.
    let exe = format!("/proc/{}/exe", container.pid());
    let ours = File::options().read(true).custom_flags(libc::O_PATH).open(exe).expect("open");
    container.start().expect("start");
    let write = || File::options().append(true).open(format!("/proc/self/fd/{}", ours.as_raw_fd()));
    let busy = |error: &std::io::Error| error.raw_os_error() == Some(libc::ETXTBSY);
    let deadline = Instant::now() + Duration::from_secs(10);
    while write().is_err_and(|error| busy(&error)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let error = write().expect_err("our program can be written to");
    assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{error}");
    container.kill(SIGKILL, false).expect("kill");
    assert_eq!(reap(&container), Ended::Signal(SIGKILL));
    container.delete().expect("delete");
    bundle.assert_nothing_left();
}

#[test]
fn a_created_container_can_be_killed_without_a_start() {
    let bundle = Bundle::new("unstarted", &["sleep", "1000"]);
    let (container, _output) = bundle.create().expect("create");
    container.kill(SIGKILL, false).expect("kill");
    assert_eq!(reap(&container), Ended::Signal(SIGKILL));
    container.start().expect_err("what has ended cannot start");
    container.delete().expect("delete");
    bundle.assert_nothing_left();
}

#[test]
fn all_processes_can_be_killed_and_none_outlives_a_delete() {
    for all in [true, false] {
        // In the host's pid namespace: the kernel does not end the rest with the first process.
        let bundle = Bundle::new("all", &["sh", "-c", "sleep 1000 & echo up; wait"]).without("pid");
        let (container, mut output) = bundle.create().expect("create");
        container.start().expect("start");
        output.read_exact(&mut [0; 3]).expect("the program says that it is up");
        container.kill(SIGKILL, all).expect("kill");
        assert_eq!(reap(&container), Ended::Signal(SIGKILL));
        if !all {
            container.delete().expect("delete");
        }
        // Orphans are ours to reap, as they are the shim's.
        assert!(reap_orphan(), "the sleeping process is still there (all: {all})");
        container.delete().expect("delete");
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_missing_program_is_refused_by_create() {
    for (program, cause, words) in [
        (
            "/bin/absent",
            Cause::NotFound,
            "exec: \"/bin/absent\": stat /bin/absent: no such file or directory",
        ),
        ("absent", Cause::NotFound, "exec: \"absent\": executable file not found in $PATH"),
        ("/etc/plain", Cause::Denied, "exec: \"/etc/plain\": stat /etc/plain: permission denied"),
    ] {
        let bundle = Bundle::new("missing", &[program]);
        let refusal = bundle.create().map(drop).expect_err("refused");
        assert_eq!(refusal.cause, cause, "{refusal}");
        assert!(refusal.message.contains(words), "{refusal}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_refusal_names_the_cause() {
    let bundle = Bundle::new("mount", &["true"]).with("/mounts/0", json!({
        "destination": "/data", "type": "bind", "source": "/nonexistent/lighter", "options": ["bind"]
    }));
    let refusal = bundle.create().map(drop).expect_err("refused");
    assert!(refusal.message.contains("/nonexistent/lighter"), "{refusal}");
    assert!(refusal.message.contains("No such file"), "{refusal}");
    bundle.assert_nothing_left();
    drop(bundle);

    let bundle = Bundle::new("hook", &["true"])
        .with("/hooks", json!({"createRuntime": [{"path": "/bin/false"}]}));
    let refusal = bundle.create().map(drop).expect_err("refused");
    assert!(refusal.message.contains("hook"), "{refusal}");
    bundle.assert_nothing_left();
    drop(bundle);

    let bundle = Bundle::new("spec", &["true"]);
    fs::write(bundle.path.join("config.json"), "{").expect("write config.json");
    let refusal = bundle.create().map(drop).expect_err("refused");
    assert!(refusal.message.contains("config.json"), "{refusal}");
    bundle.assert_nothing_left();
}

#[test]
fn the_seccomp_profile_of_the_bundle_is_applied() {
    let bundle = Bundle::new(
        "seccomp",
        &["sh", "-c", "mkdir /tmp/x 2>&1; grep ^Seccomp: /proc/self/status"],
    )
    .with(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
        }),
    );
    let (container, output) = bundle.create().expect("create");
    container.start().expect("start");
    assert_eq!(reap(&container), Ended::Exit(0));
    let output = read(output);
    assert!(output.contains("Operation not permitted"), "{output}");
    assert!(output.contains("Seccomp:\t2"), "{output}");
    container.delete().expect("delete");
    bundle.assert_nothing_left();
}

#[test]
fn the_bundle_alone_is_enough_to_clean_up() {
    let bundle = Bundle::new("cleanup", &["sleep", "1000"]);
    let (container, _output) = bundle.create().expect("create");
    container.start().expect("start");
    let pid = Container::clean_up(&bundle.record(), &Ok(programs())).expect("clean up");
    assert_eq!(pid, Some(container.pid()));
    assert_eq!(reap(&container), Ended::Signal(SIGKILL));
    let again = Container::clean_up(&bundle.record(), &Ok(programs())).expect("clean up again");
    assert_eq!(again, None);
    bundle.assert_nothing_left();
}

#[test]
fn a_program_runs_beside_the_first_whether_that_has_been_started_or_not() {
    let bundle = Bundle::new("exec", &["sleep", "1000"]).with(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
        }),
    );
    let (container, _output) = bundle.create().expect("create");
    for started in [false, true] {
        if started {
            container.start().expect("start");
        }
        let script = "mkdir /tmp/x 2>&1; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; \
                      hostname; echo $HOME $A; exit 7";
        // With the promise to gain no privileges, and without: the filter goes on at another time.
        for promised in [false, true] {
            let process = json!({
                "user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", script], "cwd": "/tmp",
                "env": ["PATH=/bin", "A=b"], "noNewPrivileges": promised,
                "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
            });
            let (process, output) = bundle.exec(&container, &process).expect("exec");
            assert_eq!(process.reap().expect("its exit").status, 7);
            let text = read(output);
            let expected = format!(
                "mkdir: can't create directory '/tmp/x': Operation not permitted\nCapEff:\t0000000000000020\n\
                 NoNewPrivs:\t{}\nlighter-test\n/ b\n",
                u8::from(promised)
            );
            assert_eq!(text, expected, "started: {started}, promised: {promised}");
        }
    }
    let absent = json!({"user": {"uid": 0, "gid": 0}, "args": ["/bin/absent"], "cwd": "/"});
    let refusal = bundle.exec(&container, &absent).map(drop).expect_err("refused");
    assert_eq!(refusal.cause, Cause::NotFound, "{refusal}");
    container.kill(SIGKILL, false).expect("kill");
    assert!(bundle.ends(&container));
    let late = bundle.exec(&container, &absent).map(drop).expect_err("it has ended");
    assert!(late.message.contains("first process has ended"), "{late}");
    assert_eq!(reap(&container), Ended::Signal(SIGKILL));
    container.delete().expect("delete");
    bundle.assert_nothing_left();
}

/// A bundle in a directory of its own, removed on drop.
struct Bundle {
    path: PathBuf,
    id: String,
    config: Value,
    _alone: MutexGuard<'static, ()>,
}

impl Bundle {
    /// A root filesystem of busybox, and a `config.json` that runs `args` in it, much as runc's default.
    fn new(name: &str, args: &[&str]) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests create containers: run them as root"
        );
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        set_child_subreaper(Some(rustix::process::getpid())).expect("become a subreaper");
        let id = format!("lighter-test-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(&id);
        let root = path.join("rootfs");
        for dir in ["bin", "proc", "dev", "sys", "tmp", "etc", "data"] {
            fs::create_dir_all(root.join(dir)).expect("create the root filesystem");
        }
        fs::write(root.join("etc/plain"), "").expect("write a plain file");
        fs::copy(busybox(), root.join("bin/busybox")).expect("copy busybox");
        fs::set_permissions(root.join("bin/busybox"), fs::Permissions::from_mode(0o755))
            .expect("make busybox executable");
        for tool in ["sh", "sleep", "true", "ls", "hostname", "mkdir", "grep", "env", "wc"] {
            let _ = symlink("busybox", root.join("bin").join(tool));
        }
        let namespaces =
            ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"],
                "cwd": "/", "noNewPrivileges": true,
                "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
            },
            "root": {"path": "rootfs", "readonly": false},
            "hostname": "lighter-test",
            "mounts": [
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs",
                 "options": ["nosuid", "noexec", "nodev", "ro"]},
            ],
            "linux": {
                "cgroupsPath": format!("/{id}"),
                "resources": {"pids": {"limit": 64}, "memory": {"limit": 64 << 20}},
                "namespaces": namespaces,
                "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
            },
        });
        let bundle = Self { path, id, config, _alone: alone };
        bundle.write();
        bundle
    }

    /// The same with `value` at `pointer`.
    fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        match self.config.pointer_mut(parent).expect("the parent exists") {
            Value::Array(array) => array[key.parse::<usize>().expect("an index")] = value,
            object => object[key] = value,
        }
        self.write();
        self
    }

    /// The same without a new namespace of this kind.
    fn without(mut self, namespace: &str) -> Self {
        let namespaces = self.config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|entry| entry["type"] != namespace);
        self.write();
        self
    }

    fn write(&self) {
        fs::write(self.path.join("config.json"), self.config.to_string())
            .expect("write config.json");
    }

    fn record(&self) -> Record {
        Record::in_bundle(&self.path)
    }

    /// Creates the container; also gives what reads its standard output.
    fn create(&self) -> Result<(Container, File), Refusal> {
        let (output, stdout) = std::io::pipe().expect("a pipe");
        let null = || {
            OwnedFd::from(File::options().read(true).write(true).open("/dev/null").expect("null"))
        };
        let streams =
            Streams::Given(Stdio { stdin: null(), stdout: stdout.into(), stderr: null() });
        let request = CreateRequest {
            id: self.id.clone(),
            bundle: self.path.clone(),
            record: self.record(),
            cgroups: CgroupManager::Cgroupfs,
            config: Config::default(),
            programs: programs(),
            content: None,
        };
        Ok((Container::create(request, streams)?, File::from(OwnedFd::from(output))))
    }

    /// Runs a process beside the container's first; also gives what reads its standard output.
    fn exec(&self, container: &Container, process: &Value) -> Result<(Process, File), Refusal> {
        let (output, stdout) = std::io::pipe().expect("a pipe");
        let null = || OwnedFd::from(File::open("/dev/null").expect("null"));
        let request = ExecRequest {
            spec: ExecSpec::from_json(process.to_string().as_bytes()).expect("a process"),
            streams: Streams::Given(Stdio { stdin: null(), stdout: stdout.into(), stderr: null() }),
            config: Config::default(),
            programs: programs(),
        };
        Ok((container.exec(request)?, File::from(OwnedFd::from(output))))
    }

    fn is_readable(&self, output: &File, milliseconds: i64) -> bool {
        let timeout = Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
        poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&timeout)).expect("poll") > 0
    }

    fn ends(&self, container: &Container) -> bool {
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        poll(&mut [PollFd::new(&container.pidfd(), PollFlags::IN)], Some(&timeout)).expect("poll")
            > 0
    }

    fn assert_nothing_left(&self) {
        assert!(!self.path.join("lighter-linux").exists(), "the state directory is still there");
        assert_eq!(cgroups_named(&self.id), Vec::<PathBuf>::new(), "cgroups are still there");
        let any = waitid(
            WaitId::All,
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
        );
        assert_eq!(any.err(), Some(rustix::io::Errno::CHILD), "a process is still there");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = Container::clean_up(&self.record(), &Ok(programs()));
        // Whatever a failed test left must not fail the next one.
        while let Ok(Some(_)) = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[derive(Debug, PartialEq)]
enum Ended {
    Exit(i32),
    Signal(i32),
}

fn reap(container: &Container) -> Ended {
    let status = waitid(WaitId::PidFd(container.pidfd()), WaitIdOptions::EXITED)
        .expect("the container's first process is our child")
        .expect("its status");
    match status.exit_status() {
        Some(code) => Ended::Exit(code),
        None => Ended::Signal(status.terminating_signal().expect("a signal")),
    }
}

/// Reaps one child of which nobody knows; false if none ends within 10 s.
fn reap_orphan() -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) => return true,
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("the orphan did not come to us: {error}"),
        }
    }
    false
}

fn read(mut output: File) -> String {
    let mut text = String::new();
    output.read_to_string(&mut text).expect("read the container's output");
    text
}

fn cgroups_named(id: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).expect("cgroups").flatten().map(|entry| entry.path());
    std::iter::once(root.to_path_buf())
        .chain(hierarchies)
        .map(|hierarchy| hierarchy.join(id))
        .filter(|cgroup| cgroup.exists())
        .collect()
}

fn programs() -> Programs {
    Programs { runner: "/nonexistent".into(), lighter: env!("CARGO_BIN_EXE_lighter").into() }
}

fn busybox() -> PathBuf {
    ["/bin/busybox", "/usr/bin/busybox", "/usr/sbin/busybox", "/sbin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
        .expect("a static busybox: install package busybox-static (Debian) or busybox (Fedora)")
}
