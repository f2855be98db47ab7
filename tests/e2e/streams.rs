//! Standard input, output and error: everything arrives, in order, however fast the other side is.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::support::command::{Process, ended_within, eventually, run};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::remains::nothing_remains;
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        megabytes_of_input_come_back,
        input_that_is_empty_ends,
        input_that_ends_early_is_read_to_its_end,
        input_reaches_a_component,
        a_hundred_megabytes_of_output_arrive_whole,
        output_and_errors_are_kept_apart,
        a_slow_reader_loses_nothing,
        a_reader_that_leaves_and_comes_back_misses_nothing,
        a_guest_that_nobody_reads_can_be_killed,
    ]
}

fn megabytes_of_input_come_back(namespace: &Namespace<'_>) {
    let image = Image::guest("echo", &guests::module("echo"));
    let input = numbers(5);
    let output = namespace.run_with(&image, &[], &[], &input).expect_success();
    assert!(output.stdout == input, "{} of {} bytes came back", output.stdout.len(), input.len());
}

fn input_that_is_empty_ends(namespace: &Namespace<'_>) {
    let image = Image::guest("echo", &guests::module("echo"));
    let id = unique_id();
    let mut ctr = namespace.run_command(&image, &id, &[], &[]);
    let mut ctr = ctr.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // ctr forgets to pass on an end that comes before the task is created.
    let running = || namespace.task_status(&id).as_deref() == Some("RUNNING");
    assert!(eventually(LIMIT, running), "{id} does not run");
    drop(ctr.stdin.take());
    assert!(ended_within(&ctr, LIMIT), "it waits for more");
    let output = ctr.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &[][..]));
}

/// As from `echo … | ctr run …`: the writer has come and gone before the guest looks.
fn input_that_ends_early_is_read_to_its_end(namespace: &Namespace<'_>) {
    let image = Image::guest("echo", &guests::module("echo"));
    for _ in 0..10 {
        let mut ctr = namespace.run_command(&image, &unique_id(), &[], &[]);
        let output = run(&mut ctr, b"early", LIMIT).expect_success();
        assert_eq!(output.text(), "early");
    }
}

fn input_reaches_a_component(namespace: &Namespace<'_>) {
    let image = Image::guest("echo", &guests::component("echo"));
    let input = numbers(1);
    let output = namespace.run_with(&image, &[], &[], &input).expect_success();
    assert!(output.stdout == input, "{} of {} bytes came back", output.stdout.len(), input.len());
}

fn a_hundred_megabytes_of_output_arrive_whole(namespace: &Namespace<'_>) {
    let image = Image::guest("big", &guests::module("big"));
    let output = namespace.run(&image, &["/big.wasm", "100"]).expect_success();
    expect_numbers(&output.stdout, 100);
    assert_eq!(output.errors(), "");
    nothing_remains(namespace);
}

fn output_and_errors_are_kept_apart(namespace: &Namespace<'_>) {
    for guest in [guests::module("stderr"), guests::component("stderr")] {
        let output = namespace.run(&Image::guest("stderr", &guest), &[]).expect_success();
        assert_eq!((output.text().as_str(), output.errors().as_str()), ("out\n", "err\n"));
    }
}

fn a_slow_reader_loses_nothing(namespace: &Namespace<'_>) {
    const MEGABYTES: usize = 4;
    let image = Image::guest("big", &guests::module("big"));
    let id = unique_id();
    let mut ctr = namespace.run_command(&image, &id, &[], &["/big.wasm", &MEGABYTES.to_string()]);
    let mut ctr = ctr.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = ctr.stdout.take().unwrap();
    let mut bytes = vec![0; 100_000];
    output.read_exact(&mut bytes).unwrap();
    // All pipes on the way are full now; the guest has to wait, and the shim still answers.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(namespace.task_status(&id).as_deref(), Some("RUNNING"));
    output.read_to_end(&mut bytes).unwrap();
    assert_eq!(ctr.wait().unwrap().code(), Some(0));
    expect_numbers(&bytes, MEGABYTES);
}

fn a_reader_that_leaves_and_comes_back_misses_nothing(namespace: &Namespace<'_>) {
    let id = unique_id();
    let fifo = big_into_fifo(namespace, &id, 4);
    let mut bytes = vec![0; 100_000];
    File::open(&fifo).unwrap().read_exact(&mut bytes).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(namespace.task_status(&id).as_deref(), Some("RUNNING"));
    File::open(&fifo).unwrap().read_to_end(&mut bytes).unwrap();
    expect_numbers(&bytes, 4);
    namespace.wait_for_end(&id);
    assert_eq!(namespace.delete_task(&id), 0);
}

/// Starts the container `id`, which writes that many megabytes into the fifo whose path is returned.
#[track_caller]
pub fn big_into_fifo(namespace: &Namespace<'_>, id: &str, megabytes: usize) -> PathBuf {
    let path = Suite::get().scratch().join(format!("{}-{id}.fifo", namespace.name()));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let image = Image::guest("big", &guests::module("big"));
    let uri = format!("fifo://{}", path.display());
    let args = ["/big.wasm", &megabytes.to_string()];
    namespace.run_detached(&image, id, &["--log-uri", &uri], &args).expect_success();
    path
}

fn a_guest_that_nobody_reads_can_be_killed(namespace: &Namespace<'_>) {
    let image = Image::guest("big", &guests::module("big"));
    let id = unique_id();
    let mut ctr = namespace.run_command(&image, &id, &[], &["/big.wasm", "1000"]);
    let mut ctr = ctr.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let running = || namespace.task_status(&id).as_deref() == Some("RUNNING");
    assert!(eventually(LIMIT, running), "{id} does not run");
    let guest = Process::open(namespace.task_pid(&id).expect("it runs")).expect("it runs");
    namespace.ctr(&["task", "kill", &id]).expect_success();
    assert!(guest.ends_within(Duration::from_secs(5)), "it goes on");
    drop(ctr.stdout.take());
    assert!(ended_within(&ctr, LIMIT), "`ctr run` goes on");
    ctr.wait().unwrap();
}

/// What the guest `big` writes.
fn numbers(megabytes: usize) -> Vec<u8> {
    let count = (megabytes << 20) / size_of::<u64>();
    (0..count as u64).flat_map(u64::to_le_bytes).collect()
}

/// That `bytes` are what the guest `big` writes.
#[track_caller]
pub fn expect_numbers(bytes: &[u8], megabytes: usize) {
    assert_eq!(bytes.len(), megabytes << 20, "bytes that arrived");
    let (eights, _) = bytes.as_chunks::<8>();
    let wrong = eights.iter().zip(0..).position(|(&eight, n)| u64::from_le_bytes(eight) != n);
    assert_eq!(wrong, None, "the first of the numbers that is not in its place");
}
