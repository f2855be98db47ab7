//! What a container costs, counted: no clock runs here, so nothing of this depends on how busy the machine is. Where a number
//! is exceeded, something was added on the way of every start, or to every idle container; it is lowered with what is saved.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::command::eventually;
use crate::support::grpc::{Client, Io};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::process::Process;
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// For what ends soon after a start: the shim's threads for calls that block stay for a fifth of a second.
const SOON: Duration = Duration::from_secs(20);

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        an_idle_container_is_two_threads,
        an_idle_container_holds_few_descriptors,
        an_idle_container_has_little_memory_of_its_own,
        an_idle_container_is_few_mappings,
        an_idle_container_has_few_mounts,
        the_programs_of_a_container_are_linked_statically,
        a_start_in_a_pod_executes_one_program_and_makes_few_calls,
        a_start_in_a_pod_copies_nothing_and_is_told_of_once,
        an_end_in_a_pod_makes_few_calls,
    ]
}

/// A guest that sleeps, and the server of its pod, which is the parent of its process.
fn idle(namespace: &Namespace<'_>) -> (Process, Process) {
    let image = Image::guest("sleep", &guests::module("sleep"));
    let id = unique_id();
    namespace.run_detached(&image, &id, &[], &["/sleep.wasm", "1000"]).expect_success();
    let runner = Process::of(namespace.task_pid(&id).expect("it runs"));
    let shim = Process::of(runner.status("PPid").parse().unwrap());
    assert!(shim.text("cmdline").contains("containerd-shim-wasmtime-v1"), "{shim:?}");
    (runner, shim)
}

/// One each: a guest is not parallel, and the shim's work is to wait.
fn an_idle_container_is_two_threads(namespace: &Namespace<'_>) {
    let (runner, shim) = idle(namespace);
    for (name, process) in [("runner", runner), ("shim", shim)] {
        let alone = || process.status("Threads") == "1";
        assert!(eventually(SOON, alone), "the {name} has {} threads", process.status("Threads"));
    }
}

/// Those of the runner are what ARCHITECTURE.md says it holds: three streams, the root, the code, and what the runtime
/// waits with. The shim has three streams, its log, its socket, connections to and from containerd, what its runtime waits
/// with, and two for each container: its end and its control group's events.
fn an_idle_container_holds_few_descriptors(namespace: &Namespace<'_>) {
    let (runner, shim) = idle(namespace);
    for (name, process, most) in [("runner", runner, 12), ("shim", shim, 26)] {
        let few = || process.descriptors().len() <= most;
        assert!(
            eventually(SOON, few),
            "the {name} holds more than {most} descriptors: {:#?}",
            process.descriptors()
        );
    }
}

/// Anonymous memory is what no other process shares and no file backs: the true price of one more container. Bounds are
/// a fifth above what is there, as allocators and kernels differ. (`Private_Dirty` would count pages of programs that were
/// just copied, until they are on the disk.)
///
/// The runner's 315 KB: 185 are its tables of pointers, which are written when it is loaded at an address of its own; 75 the heap, 30 its
/// data, 15 the stack, the rest what Wasmtime maps. The shim's 190 KB: 100 of heap, 50 of stacks, 40 of its data: it has a fixed
/// address, and no more is kept than the containers need.
fn an_idle_container_has_little_memory_of_its_own(namespace: &Namespace<'_>) {
    let (runner, shim) = idle(namespace);
    for (name, process, most) in [("runner", runner, 375), ("shim", shim, 230)] {
        let own = || kilobytes(&process, "Anonymous");
        assert!(eventually(SOON, || own() <= most), "the {name} has {} KB of its own", own());
    }
}

/// Each mapping is some 400 bytes of the kernel's, and those that lie far from others have page tables of their own: no less
/// memory than what is counted above, and nobody sees it there. Measured: 25 and 17 mappings, 64 and
/// 52 KB of tables. The bounds leave room for another place in the address space.
fn an_idle_container_is_few_mappings(namespace: &Namespace<'_>) {
    let (runner, shim) = idle(namespace);
    for (name, process, most, tables) in [("runner", runner, 29, 84), ("shim", shim, 21, 72)] {
        let mappings = || process.text("maps").lines().count();
        assert!(eventually(SOON, || mappings() <= most), "the {name} has {} mappings", mappings());
        let held = process.status("VmPTE");
        let kilobytes = held.split(' ').next().and_then(|number| number.parse::<u64>().ok());
        assert!(kilobytes.is_some_and(|held| held <= tables), "page tables of the {name}: {held}");
    }
}

/// A mount is a kilobyte of the kernel's, and so is a namespace for each. Of the eight that containerd asks for, a guest gets the
/// root and the three file systems that it can use: nothing of the host's is left behind, and nothing of ours added. The server
/// has no mounts of its own: it is in containerd's namespace.
fn an_idle_container_has_few_mounts(namespace: &Namespace<'_>) {
    let (runner, shim) = idle(namespace);
    let mounts = runner.mounts();
    assert!(mounts.len() <= 4, "mounts of the container: {mounts:#?}");
    assert_eq!(shim.namespace("mnt"), Process::own().namespace("mnt"), "the server's mounts");
}

/// The loader's work, and the pages that it writes to, would be each process's. The guest's process is still at an address of its
/// own, what its loader would have protected is protected, and no stack can be executed.
fn the_programs_of_a_container_are_linked_statically(_: &Namespace<'_>) {
    const ANYWHERE: u16 = 3;
    const FIXED: u16 = 2;
    const INTERPRETER: u32 = 3;
    const STACK: u32 = 0x6474_e551;
    const READ_ONLY_AFTERWARDS: u32 = 0x6474_e552;
    for (name, address) in [("lighter-runner", ANYWHERE), ("containerd-shim-wasmtime-v1", FIXED)] {
        let file = fs::read(Suite::get().program(name)).unwrap();
        let short = |at: usize| u16::from_le_bytes(file[at..at + 2].try_into().unwrap());
        let long = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        assert_eq!(short(16), address, "the type of {name}");
        // Those of a 64-bit ELF file: where they begin, how large and how many they are; of each, its kind and its flags.
        let (table, size, count) = (long(32) as usize, short(54) as usize, short(56) as usize);
        let headers = (0..count).map(|index| table + index * size);
        let headers: Vec<_> = headers.map(|at| (long(at), long(at + 4))).collect();
        let flags = |kind| headers.iter().find(|header| header.0 == kind).map(|header| header.1);
        assert_eq!(flags(INTERPRETER), None, "{name} needs a loader: run `make build`");
        assert!(flags(READ_ONLY_AFTERWARDS).is_some(), "{name}: {headers:x?}");
        assert_eq!(flags(STACK).map(|flags| flags & 1), Some(0), "{name}: {headers:x?}");
    }
}

fn kilobytes(process: &Process, field: &str) -> u64 {
    let rollup = process.text("smaps_rollup");
    let line = rollup.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {field} in:\n{rollup}"))
}

/// What it takes to start a second container of a pod, whose code is compiled: the runner is executed and nothing else, and
/// neither it nor the shim looks for what it could know. Bounds are a third above what is there, as kernels differ in what they
/// have; looking for a list of all mounts as `libcgroups` does is forty calls, and it did so for each controller.
fn a_start_in_a_pod_executes_one_program_and_makes_few_calls(namespace: &Namespace<'_>) {
    let calls = of_a_start_in_a_pod(namespace, &guests::module("sleep"));
    let all = || calls.iter().map(|(pid, call)| format!("{pid} {call}\n")).collect::<String>();
    let executed: Vec<_> = calls.iter().filter(|(_, call)| call.starts_with("execve")).collect();
    let [(runner, _)] = executed[..] else { panic!("programs executed:\n{}", all()) };
    let (of_runner, of_shim): (Vec<_>, Vec<_>) = calls.iter().partition(|(pid, _)| pid == runner);
    for (name, calls, most) in [("runner", of_runner, RUNNER_CALLS), ("shim", of_shim, SHIM_CALLS)]
    {
        assert!(calls.len() <= most, "the {name} makes {} system calls:\n{}", calls.len(), all());
    }
    assert_no_list_of_mounts(&calls);
    // It is executed and linked meanwhile, which takes it as long as the supervisor needs for all that it can do without it.
    let first =
        |name: &str| calls.iter().position(|(pid, call)| pid != runner && call.starts_with(name));
    let (spawned, mounted) = (first("clone3({flags=CLONE_PIDFD"), first("mount(\"overlay\""));
    assert!(
        spawned.is_some() && spawned < mounted,
        "the runner is not spawned at once:\n{}",
        all()
    );
}

/// The end of a container whose process is gone: its group is removed, its root unmounted, and nothing is looked for.
fn an_end_in_a_pod_makes_few_calls(namespace: &Namespace<'_>) {
    let (shim, second) = second_of_a_pod(namespace, &guests::module("sleep"));
    let client = Client::of(namespace);
    client.create(&second, &Io::default()).unwrap();
    client.start(&second, "").unwrap();
    client.kill(&second, "", 9, false).unwrap();
    client.wait(&second, "").unwrap();
    let trace = Trace::of(&shim);
    client.delete(&second).unwrap();
    let calls = trace.end();
    let all = || calls.iter().map(|(pid, call)| format!("{pid} {call}\n")).collect::<String>();
    assert!(calls.len() <= DELETE_CALLS, "an end is {} system calls:\n{}", calls.len(), all());
    assert_no_list_of_mounts(&calls);
}

/// A pod with one container that runs, and one that is to be created in it: the pod's server, and the second one's id.
fn second_of_a_pod(namespace: &Namespace<'_>, module: &[u8]) -> (String, String) {
    let image = Image::guest("sleep", module);
    let pod = ["--annotation", "io.kubernetes.cri.sandbox-id=pod"];
    let (first, second) = (unique_id(), unique_id());
    namespace.run_detached(&image, &first, &pod, &["/sleep.wasm", "1000"]).expect_success();
    let runner = Process::of(namespace.task_pid(&first).expect("it runs"));
    namespace.create_container(&image, &second, &pod, &["/sleep.wasm", "1000"]);
    (runner.status("PPid"), second)
}

fn assert_no_list_of_mounts(calls: &[(String, String)]) {
    let lists = ["mountinfo", "/proc/mounts"];
    let reads = |(_, call): &&(String, String)| lists.iter().any(|list| call.contains(list));
    assert_eq!(calls.iter().find(reads), None, "all mounts of the machine are read");
}

/// A module of a megabyte that is known is neither read nor hashed, and its code is mapped: what both programs read, of files and
/// of each other, is a tenth of it (configuration, plan). containerd asks for four things (Create, Connect, Start, State), and hears
/// of two events, in one request each.
fn a_start_in_a_pod_copies_nothing_and_is_told_of_once(namespace: &Namespace<'_>) {
    let mut module = guests::module("sleep");
    // A section of a name without letters, which nothing makes use of.
    module.extend([0, 0x81, 0x80, 0x40, 0]);
    module.resize(module.len() + (1 << 20), 0);
    // What a file is that was written just now is not remembered.
    namespace.import(&Image::guest("sleep", &module));
    std::thread::sleep(Duration::from_millis(2100));
    let calls = of_a_start_in_a_pod(namespace, &module);
    let read: u64 = calls.iter().filter_map(|(_, call)| bytes_read(call)).sum();
    assert!(read < 100 << 10, "{read} bytes are read:\n{calls:#?}");
    let with = |word: &str| calls.iter().filter(|(_, call)| call.contains(word)).count();
    assert!(with("containerd.task.v") <= 4, "requests:\n{calls:#?}");
    assert_eq!(with("events.ttrpc"), 2, "events:\n{calls:#?}");
}

/// What a call has copied from a file or a socket; `None` for all others.
fn bytes_read(call: &str) -> Option<u64> {
    let copies = ["read", "pread64", "readv", "recvmsg", "recvfrom", "sendfile", "copy_file_range"];
    let (name, rest) = call.split_once('(')?;
    let (_, result) = rest.rsplit_once(" = ")?;
    copies.contains(&name).then(|| result.parse().ok())?
}

/// The system calls of a shim, and of the runner, for the start of a second container of a pod.
#[track_caller]
fn of_a_start_in_a_pod(namespace: &Namespace<'_>, module: &[u8]) -> Vec<(String, String)> {
    let (shim, second) = second_of_a_pod(namespace, module);
    let trace = Trace::of(&shim);
    let client = Client::of(namespace);
    client.create(&second, &Io::default()).unwrap();
    client.start(&second, "").unwrap();
    trace.end()
}

/// About 41 drop capabilities, 100 make mounts and devices.
const RUNNER_CALLS: usize = 450;
/// About 60 make and fill the group on version 1, which has a directory for each controller; 50 answer containerd.
const SHIM_CALLS: usize = 450;
/// As many remove and unmount, and twice as many answer containerd and tell it.
const DELETE_CALLS: usize = 90;

/// The system calls of a process and of all that it makes.
struct Trace {
    strace: std::process::Child,
    file: tempfile::NamedTempFile,
}

impl Trace {
    #[track_caller]
    fn of(pid: &str) -> Self {
        let file = tempfile::NamedTempFile::new_in(Suite::get().scratch()).unwrap();
        let strace = Command::new("strace")
            .args(["--follow-forks", "--quiet=all", "--signal=none", "--string-limit=80"])
            .arg("--output")
            .arg(file.path())
            .args(["--attach", pid])
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("run strace: {error}: install strace (Debian, Fedora)"));
        let tracer = strace.id().to_string();
        let attached = || Process::of(pid.parse().unwrap()).status("TracerPid") == tracer;
        assert!(eventually(SOON, attached), "strace does not attach to {pid}");
        Self { strace, file }
    }

    /// The calls, each with the number of the thread that made it.
    fn end(mut self) -> Vec<(String, String)> {
        kill_process(Pid::from_child(&self.strace), Signal::INT).unwrap();
        self.strace.wait().unwrap();
        let text = fs::read_to_string(self.file.path()).unwrap();
        let call = |line: &str| {
            let (pid, call) = line.split_once(' ')?;
            let call = call.trim_start();
            // The second half of one that another thread's came between.
            (!call.starts_with("<...")).then(|| (pid.to_owned(), call.to_owned()))
        };
        text.lines().filter_map(call).collect()
    }
}
