//! The `delete` action: cleans up after a container whose server is gone.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use lighter::container::{Container, Exit};
use lighter::programs::Programs;
use lighter::record::Record;

use crate::flags::Flags;
use crate::{mounts, sandbox, service};

/// containerd gives up after 5 s; the answer is worth more than the last step.
const PATIENCE: Duration = Duration::from_secs(4);

/// 128 + SIGKILL: what is left was killed.
const KILLED: u32 = 137;

/// Kills, unmounts and removes what is left of the container; returns the answer to print. What goes wrong is
/// said on stderr, which containerd logs, and does not keep the rest from being done.
///
/// # Errors
/// When not even the bundle is known.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Vec<u8>> {
    let bundle = match &flags.bundle {
        Some(bundle) => bundle.clone(),
        None => {
            std::env::current_dir().context("find the bundle, which is the working directory")?
        }
    };
    let record = Record::in_bundle(&bundle);
    // Mostly nothing is left: containerd has it cleaned up after what has gone well, too.
    let pid = if record.is_there() { clean_up(record, &bundle) } else { 0 };
    for result in [mounts::unmount(&bundle.join("rootfs")), sandbox::clean_up(&bundle)] {
        if let Err(error) = result {
            warn(&error);
        }
    }
    remove_dead_socket(&bundle);
    service::delete_answer(
        pid,
        Exit { status: KILLED, at: SystemTime::now(), oom: false, limit: None },
    )
}

/// Cleans up after the container; returns the id of its first process, or 0.
fn clean_up(record: Record, bundle: &Path) -> u32 {
    let (done, outcome) = mpsc::channel();
    // A thread, so that a hook that hangs does not cost us the answer; it ends with this process.
    std::thread::spawn(move || done.send(Container::clean_up(&record, &Programs::locate())));
    match outcome.recv_timeout(PATIENCE) {
        Ok(Ok(pid)) => pid.unwrap_or(0),
        Ok(Err(error)) => warn(&error),
        Err(_) => {
            warn(&format_args!("clean up {}: not done within {PATIENCE:?}", bundle.display()))
        }
    }
}

fn warn(problem: &dyn std::fmt::Display) -> u32 {
    let _ = writeln!(std::io::stderr(), "{problem}");
    0
}

/// Removes the socket that the bundle names, unless a server still answers there, for its other containers.
fn remove_dead_socket(bundle: &Path) {
    let Ok(address) = fs::read_to_string(bundle.join("address")) else {
        return;
    };
    let path = PathBuf::from(address.trim().trim_start_matches("unix://"));
    if UnixStream::connect(&path).is_err() {
        let _ = fs::remove_file(&path);
    }
}
