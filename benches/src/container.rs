//! One container's life, with the times at which things happened.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, Timespec};
use serde_json::Value;

use crate::client::Client;
use crate::contestant::Contestant;
use crate::guest::Guest;
use crate::http;
use crate::node::Node;
use crate::spec;

/// No guest is silent for longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pod that a container belongs to.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The id of its first container.
    pub id: String,
    /// The process whose namespaces the others share; none for the first itself.
    pub holder: Option<u32>,
}

/// How long a start took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The request Create.
    pub create: Duration,
    /// The request Start.
    pub start: Duration,
    /// From the request Create to the answer to Start.
    pub start_answered: Duration,
    /// From the request Create to the first byte of output.
    pub first: Duration,
}

/// A started container.
#[derive(Debug)]
pub struct Running {
    /// Its id.
    pub id: String,
    /// Its first process.
    pub pid: u32,
    /// When Create was requested, by the clock that does not stop (`CLOCK_MONOTONIC`).
    pub began: Duration,
    /// How long its start took.
    pub times: Times,
    output: Output,
}

impl Running {
    /// Starts a container of `guest` and waits for its first output.
    ///
    /// # Errors
    /// containerd's; there is then nothing left of it to remove, as far as that could be done.
    pub fn start(
        node: &Node,
        client: &Client,
        contestant: Contestant,
        guest: &Guest,
        pod: Option<&Pod>,
    ) -> Result<Self> {
        let id = match pod {
            Some(Pod { id, holder: None }) => id.clone(),
            _ => node.id(contestant.name()),
        };
        let spec = |args: &[String]| spec::container(&id, args, pod);
        Self::start_as(node, client, contestant, guest, &id, spec, Output::first)
    }

    /// Starts a container of Lighter's with an HTTP server that listens at `address`, in the machine's network, with these
    /// annotations, and waits until it takes connections.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn serve(
        node: &Node,
        client: &Client,
        guest: &Guest,
        address: SocketAddr,
        annotations: &[(&str, &str)],
    ) -> Result<Self> {
        let id = node.id("server");
        let spec = |args: &[String]| spec::server(&id, args, address, annotations);
        let ready = |_: &mut Output| http::wait_for(address);
        Self::start_as(node, client, Contestant::Ours, guest, &id, spec, ready)
    }

    fn start_as(
        node: &Node,
        client: &Client,
        contestant: Contestant,
        guest: &Guest,
        id: &str,
        spec: impl FnOnce(&[String]) -> Value,
        ready: impl FnOnce(&mut Output) -> Result<Instant>,
    ) -> Result<Self> {
        let id = id.to_owned();
        let program = node.program(contestant, guest)?;
        let rootfs = client.prepare(&id, &program.parent)?;
        let spec = spec(&program.args);
        client.add(&id, &program.image, contestant.runtime(), contestant.options(), &spec)?;
        let mut output = Output::make(node, &id)?;
        let path = output.path();
        let (began, at) = (Instant::now(), monotonic());
        let started = (|| {
            let pid = client.create(&id, rootfs, &path)?;
            let create = began.elapsed();
            let before = Instant::now();
            client.start(&id, "")?;
            Ok((pid, create, before.elapsed(), began.elapsed()))
        })();
        let heard = match &started {
            Ok(_) => ready(&mut output),
            Err(_) => Err(anyhow::anyhow!("it did not start")),
        };
        match (started, heard) {
            (Ok((pid, create, start, start_answered)), Ok(first)) => {
                let first = first.duration_since(began);
                let times = Times { create, start, start_answered, first };
                Ok(Self { id, pid, began: at, times, output })
            }
            (Err(error), _) | (Ok(_), Err(error)) => {
                output.give_up();
                let _ = client.kill(&id);
                let _ = client.remove(&id);
                Err(error).with_context(|| format!("{}: {}", contestant.name(), guest.name))
            }
        }
    }

    /// When the guest wrote again, after its first output.
    ///
    /// # Errors
    /// When it did not.
    pub fn next_output(&self) -> Result<Instant> {
        self.output.next()
    }

    /// Waits for the container's own end, and removes it.
    ///
    /// # Errors
    /// containerd's, and an exit status other than 0.
    pub fn finish(self, client: &Client) -> Result<()> {
        let status = client.wait(&self.id, "")?;
        client.remove(&self.id)?;
        if status != 0 {
            bail!("container {} ended with status {status}", self.id);
        }
        Ok(())
    }

    /// Ends the container, and removes it.
    ///
    /// # Errors
    /// containerd's.
    pub fn end(self, client: &Client) -> Result<()> {
        // What has ended cannot be killed.
        let _ = client.kill(&self.id);
        client.wait(&self.id, "")?;
        client.remove(&self.id)
    }
}

fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec.try_into().unwrap_or(0))
}

/// The reading end of a fifo.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    pipe: File,
    reader: Option<JoinHandle<Result<Instant>>>,
}

impl Output {
    /// Makes a fifo and waits, in a thread, for what is written first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make(node: &Node, name: &str) -> Result<Self> {
        let path = node.dir().join(format!("{name}.out"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )?;
        // Of both kinds: it never ends, whoever comes and goes.
        let pipe = rustix::fs::open(
            &path,
            OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let pipe = File::from(pipe);
        let of_reader = pipe.try_clone()?;
        let reader = Some(std::thread::spawn(move || read(&of_reader)));
        Ok(Self { path, pipe, reader })
    }

    /// As containerd takes it.
    pub fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// When the first byte came.
    ///
    /// # Errors
    /// When none did.
    pub fn first(&mut self) -> Result<Instant> {
        let reader = self.reader.take().context("the first output is asked for once")?;
        reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    }

    /// When more came.
    fn next(&self) -> Result<Instant> {
        read(&self.pipe)
    }

    /// Ends the reader.
    fn give_up(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = rustix::io::write(&self.pipe, b"-");
            let _ = reader.join();
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.give_up();
        let _ = fs::remove_file(&self.path);
    }
}

/// Waits for some bytes, takes them, and says when they came.
fn read(pipe: &File) -> Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => bail!("no output after {PATIENCE:?}"),
            Ok(_) => {
                let now = Instant::now();
                let mut bytes = [0; 4096];
                rustix::io::read(pipe, &mut bytes)?;
                return Ok(now);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
