//! The `start` action: finds or makes the server of a container's group. No threads, no runtime: this is
//! on the way of every container's start.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;

use crate::bootstrap::{SOCKET_DIR, group, is_sandbox, socket_path};
use crate::flags::Flags;
use crate::server;
use crate::service::{Caller, bootstrap_answer};
use crate::sys::{self, Fork};

/// How long containerd may take to write what it writes to our stdin.
const STDIN_PATIENCE: Duration = Duration::from_secs(2);

/// More than this on stdin is not from containerd.
const STDIN_MAX: u64 = 10 << 20;

/// Runs the action; the working directory is the bundle. Returns in the caller's process, and never in the server's.
///
/// # Errors
/// What kept a server from being there.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<()> {
    let caller = Caller::read(&stdin(), &flags.id, &flags.namespace);
    let config = match fs::read("config.json") {
        Ok(config) => Some(config),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).context("read config.json in the bundle"),
    };
    let is_sandbox = config.as_deref().map_or(Ok(true), is_sandbox)?;
    let path = match &flags.socket {
        Some(socket) => socket.trim_start_matches("unix://").to_owned(),
        None => {
            let group = match &config {
                Some(config) => group(config, &flags.id)?,
                None => flags.id.clone(),
            };
            let dir = caller.socket_dir().unwrap_or(SOCKET_DIR);
            socket_path(dir, &flags.address, &flags.namespace, &group)?
        }
    };
    let address = format!("unix://{path}");
    let listener = listen(&path)?;
    fs::write("address", &address).context("write file \"address\" in the bundle")?;
    if let Some(listener) = listener {
        // Without it a node short of memory may end us a little early; that is no reason not to start.
        let _ = raise_oom_score();
        if let Fork::Child = sys::fork().context("fork the server")? {
            detach()?;
            // The server lives as long as the pod, and needs neither.
            drop((config, caller));
            server::run(flags, listener, Path::new(&path), is_sandbox);
        }
    }
    crate::print(&bootstrap_answer(&caller, &address)?)
}

/// What containerd wrote to our stdin: up to its end, but never waiting for long, as it may have no end.
fn stdin() -> Vec<u8> {
    let mut input = Vec::new();
    // Not the standard library's, whose buffer would stay with the server.
    let stdin = rustix::stdio::stdin();
    let deadline = Instant::now() + STDIN_PATIENCE;
    if std::io::IsTerminal::is_terminal(&stdin) {
        return input;
    }
    let mut chunk = [0; 4096];
    while (input.len() as u64) < STDIN_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        match rustix::io::read(stdin, &mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(n) => input.extend_from_slice(&chunk[..n]),
        }
    }
    input
}

/// Listens on `path`; `None` if another shim already does.
fn listen(path: &str) -> anyhow::Result<Option<UnixListener>> {
    if let Some(dir) = Path::new(path).parent()
        && !dir.is_dir()
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("create {}", dir.display()))?;
    }
    for _ in 0..3 {
        match UnixListener::bind(path) {
            Ok(listener) => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))
                    .with_context(|| format!("set the mode of {path}"))?;
                return Ok(Some(listener));
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                if UnixStream::connect(path).is_ok() {
                    return Ok(None);
                }
                // Left behind by a shim that was killed.
                remove_dead(Path::new(path)).with_context(|| format!("remove {path}"))?;
            }
            Err(error) => return Err(error).with_context(|| format!("listen on {path}")),
        }
    }
    anyhow::bail!("listen on {path}: another shim keeps appearing there and going away")
}

fn remove_dead(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The server must go after its containers, but before containerd, when memory is short.
fn raise_oom_score() -> std::io::Result<()> {
    let parent = std::os::unix::process::parent_id();
    let score = fs::read_to_string(format!("/proc/{parent}/oom_score_adj"))?;
    let score = score.trim().parse::<i32>().unwrap_or(0);
    fs::write("/proc/self/oom_score_adj", (score + 1).min(1000).to_string())
}

/// Leaves the caller's session and descriptors: it waits for their end.
fn detach() -> anyhow::Result<()> {
    rustix::process::setsid().context("start a session")?;
    let null =
        fs::File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // Only how it looks: nothing depends on it.
    let _ = call_it_serve();
    Ok(())
}

/// Lets `ps` show the server as `… serve`: it is not `start` any more.
fn call_it_serve() -> Option<()> {
    const ARG_END: usize = 49;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may hold anything; the third follows the last of them.
    let (_, fields) = stat.rsplit_once(')')?;
    let end: u64 = fields.split_whitespace().nth(ARG_END - 3)?.parse().ok()?;
    let memory = fs::File::options().read(true).write(true).open("/proc/self/mem").ok()?;
    let (mut last, at) = ([0; 6], end.checked_sub(6)?);
    memory.read_exact_at(&mut last, at).ok()?;
    (last == *b"start\0").then(|| memory.write_all_at(b"serve", at).ok()).flatten()
}
