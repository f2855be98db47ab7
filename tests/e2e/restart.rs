//! containerd or a shim crashes: containers outlive the one, and nothing outlives the other.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::streams::{big_into_fifo, expect_numbers};
use crate::support::command::{Process, eventually};
use crate::support::containerd::{Containerd, LIMIT};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::leaks::entries;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::remains::nothing_remains;
use crate::support::suite::Suite;
use crate::support::terminal::Session;
use crate::support::trials::{plain_trials, trials};

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    let mut tests = plain_trials![containers_outlive_a_crash_of_containerd];
    tests.extend(trials![a_shim_that_crashes_leaves_nothing]);
    tests
}

fn containers_outlive_a_crash_of_containerd() {
    let containerd = Containerd::start("");
    let namespace = Namespace::of(&containerd, "restart");
    let nap = Image::guest("nap", &guests::module("nap"));
    let spin = Image::guest("spin", &guests::component("spin"));

    let spinning = Container::start(&namespace, &spin, &[], "spinning\n");
    let brief = Container::start(&namespace, &nap, &["/nap.wasm", "2", "5"], "napping\n");
    let long = Container::start(&namespace, &nap, &["/nap.wasm", "8", "42"], "napping\n");
    // The one whose output goes through fifos, which nobody reads for now.
    let by_fifo = unique_id();
    let fifos = Suite::get().scratch().join("fifos");
    let fifos = fifos.to_string_lossy().into_owned();
    let args = ["/nap.wasm", "8", "6"];
    namespace.run_detached(&nap, &by_fifo, &["--fifo-dir", &fifos], &args).expect_success();

    // One whose reader goes with containerd, and misses nothing of what was written; and one at a terminal.
    let chatty = unique_id();
    let fifo = big_into_fifo(&namespace, &chatty, 4);
    let mut written = vec![0; 100_000];
    File::open(&fifo).unwrap().read_exact(&mut written).unwrap();
    let typist = unique_id();
    let image = Image::guest("terminal", &guests::module("terminal"));
    let mut ctr = namespace.run_detached_command(&image, &typist, &["--tty"], &[]);
    assert_eq!(Session::start(&mut ctr).end().1, 0);

    containerd.kill9();
    assert!(brief.process.ends_within(LIMIT), "it waits for containerd");
    assert!(spinning.process.runs() && long.process.runs(), "they ended with containerd");
    containerd.restart();

    assert_eq!(namespace.task_status(&spinning.id).as_deref(), Some("RUNNING"));
    assert_eq!(namespace.task_pid(&spinning.id), Some(spinning.pid));
    assert_eq!(namespace.task_pid(&long.id), Some(long.pid));
    assert!(spinning.process.runs(), "it ended when containerd came back");
    // Its first line may have been read by the `ctr run` that started it.
    let attached = namespace.ctr(&["task", "attach", &by_fifo]).expect_status(6);
    assert!(attached.text().ends_with("awake\n"), "{attached}");

    File::open(&fifo).unwrap().read_to_end(&mut written).unwrap();
    expect_numbers(&written, 4);
    namespace.wait_for_end(&chatty);
    assert_eq!(namespace.delete_task(&chatty), 0);
    let mut session = Session::start(namespace.command().args(["task", "attach", &typist]));
    session.press("again\r");
    session.expect("\r\nagain\r\n");
    session.press("\x04");
    session.expect("end\r\n");
    assert_eq!(session.end().1, 0);
    namespace.ctr(&["task", "delete", &typist]);

    // The one that ended meanwhile is known to have, and how.
    namespace.wait_for_end(&brief.id);
    assert_eq!(namespace.delete_task(&brief.id), 5);
    assert_eq!(brief.output(), "napping\nawake\n");
    // The one that ends now, too.
    namespace.wait_for_end(&long.id);
    assert_eq!(namespace.delete_task(&long.id), 42);
    assert_eq!(long.output(), "napping\nawake\n");
    // The one that goes on can be killed.
    namespace.ctr(&["task", "kill", &spinning.id]).expect_success();
    namespace.wait_for_end(&spinning.id);
    assert_eq!(namespace.delete_task(&spinning.id), 143);
    namespace.ctr(&["task", "delete", &by_fifo]);
    nothing_remains(&namespace);
}

fn a_shim_that_crashes_leaves_nothing(namespace: &Namespace<'_>) {
    let spin = Image::guest("spin", &guests::module("spin"));
    let container = Container::start(namespace, &spin, &[], "spinning\n");
    shim_of(namespace, &container.id).kill9();

    // containerd notices by itself, and has what is left cleaned up.
    assert!(container.process.ends_within(Duration::from_secs(20)), "the guest goes on");
    let noticed =
        eventually(LIMIT, || namespace.task_status(&container.id).as_deref() != Some("RUNNING"));
    assert!(noticed, "containerd has not noticed");
    // Whether there is anything left to delete is up to its version.
    namespace.ctr(&["task", "delete", &container.id]);
    assert_eq!(namespace.task_status(&container.id), None);
    namespace.ctr(&["containers", "delete", &container.id]).expect_success();
    nothing_remains(namespace);
}

/// The process that serves the container `id`.
///
/// # Panics
/// When there is none.
pub fn shim_of(namespace: &Namespace<'_>, id: &str) -> Process {
    let program = Suite::get().program("containerd-shim-wasmtime-v1");
    let pid = entries("/proc".as_ref()).find_map(|process| {
        let cmdline = fs::read_to_string(process.join("cmdline")).ok()?;
        let words: Vec<_> = cmdline.split('\0').collect();
        let ours = words.contains(&namespace.name())
            && words.contains(&id)
            && fs::read_link(process.join("exe")).ok()? == program;
        ours.then(|| process.file_name()?.to_str()?.parse().ok()).flatten()
    });
    pid.and_then(Process::open).expect("a shim serves it")
}

/// A detached container that has written its first line to a file.
struct Container {
    id: String,
    log: PathBuf,
    pid: u32,
    process: Process,
}

impl Container {
    #[track_caller]
    fn start(namespace: &Namespace<'_>, image: &Image, args: &[&str], line: &str) -> Self {
        let id = unique_id();
        let log = Suite::get().scratch().join(format!("{id}.log"));
        let uri = format!("file://{}", log.display());
        namespace.run_detached(image, &id, &["--log-uri", &uri], args).expect_success();
        assert!(
            eventually(LIMIT, || fs::read_to_string(&log).is_ok_and(|text| text == line)),
            "{id} has not said {line:?}"
        );
        let pid = namespace.task_pid(&id).expect("it runs");
        Self { id, log, pid, process: Process::open(pid).expect("it runs") }
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}
