//! HTTP servers, the requests that they are asked, and what they take for one.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// No server takes longer to begin.
const PATIENCE: Duration = Duration::from_secs(30);
/// As many at the same time: more than there are processors, and fewer than any of the servers refuses.
const CONNECTIONS: &str = "32";
/// Of the times in `/proc/PID/stat`, in a second; the kernel's constant.
const TICKS: f64 = 100.0;

/// A server outside of containers; ended when dropped.
#[derive(Debug)]
pub struct Bare(Child);

/// What a server did in answer to some requests.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Answers in a second.
    pub rate: f64,
    /// Milliseconds that half of them took, and 99 of a hundred.
    pub p50: f64,
    /// See above.
    pub p99: f64,
    /// The server's time on a processor for each, in microseconds.
    pub cpu: f64,
    /// Pages that the server had to be given for each.
    pub faults: f64,
}

impl Bare {
    /// Starts a program that listens at `address`, and waits until it takes connections; what it says goes to `log`.
    ///
    /// # Errors
    /// The system's, and what the program says where it does not listen.
    pub fn start(command: &mut Command, address: SocketAddr, log: &Path) -> Result<Self> {
        let output = File::create(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let server = Self(child);
        wait_for(address).with_context(|| {
            format!("{command:?} says:\n{}", fs::read_to_string(log).unwrap_or_default())
        })?;
        Ok(server)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address of this machine's that nobody listens at.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until connections to `address` are taken; returns when they were.
///
/// # Errors
/// When they are not.
pub fn wait_for(address: SocketAddr) -> Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        ensure!(Instant::now() < deadline, "nobody listens at {address} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Instant::now())
}

/// Asks the server of process `pid` at `address` for `seconds`, as much as it can take, or `rate` times a second; `load`
/// is the program that does so.
///
/// # Errors
/// What that program says; an answer that is none is an error.
pub fn ask(
    load: &Path,
    pid: u32,
    address: SocketAddr,
    seconds: f64,
    rate: Option<f64>,
) -> Result<Work> {
    let mut command = Command::new(load);
    command.args([&address.to_string(), CONNECTIONS, &seconds.to_string()]);
    command.args(rate.map(|rate| rate.to_string()));
    let (faults, ticks) = used(pid)?;
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let (faults, ticks) = (used(pid)?.0 - faults, used(pid)?.1 - ticks);
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [count, p50, p99, _] = said[..] else { bail!("{command:?} said {said:?}") };
    Ok(Work {
        rate: count / seconds,
        p50: p50 / 1e3,
        p99: p99 / 1e3,
        cpu: ticks / TICKS * 1e6 / count,
        faults: faults / count,
    })
}

/// Pages that a process was given without reading any from a disk, and its time on processors, in ticks.
fn used(pid: u32) -> Result<(f64, f64)> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let rest = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    let fields: Vec<f64> = rest.split(' ').map(|word| word.parse().unwrap_or(0.0)).collect();
    // Counted from 1 in proc(5), where the state is the third.
    let field = |number: usize| fields.get(number - 3).copied().context("find a field of stat");
    Ok((field(10)?, field(14)? + field(15)?))
}
