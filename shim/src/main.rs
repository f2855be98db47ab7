//! `containerd-shim-wasmtime-v1`: what containerd starts for the runtime `io.containerd.wasmtime.v1`.
//!
//! `start` binds a socket, leaves a server behind and prints the socket's address; the server keeps the
//! containers of one pod; `delete` cleans up after a server that is gone.

use std::io::Write;
use std::process::ExitCode;

use crate::flags::{Action, Flags};

mod bootstrap;
mod delete;
mod events;
mod flags;
mod logger;
mod mounts;
mod options;
mod orphans;
mod process;
mod sandbox;
mod server;
mod service;
mod signals;
mod start;
mod stdio;
mod sys;
mod task;
mod tasks;

/// The runtime's name, as containerd's users write it.
const RUNTIME: &str = "io.containerd.wasmtime.v1";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // containerd shows stderr to the user; nothing can be done where even that is closed.
            let _ = writeln!(std::io::stderr(), "containerd-shim-wasmtime-v1: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let flags = Flags::parse(std::env::args().skip(1))?;
    match flags.action {
        Action::Version => print(version().as_bytes()),
        Action::Info => print(&service::runtime_info()?),
        Action::Start => start::run(&flags),
        Action::Delete => print(&delete::run(&flags)?),
    }
}

fn version() -> String {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    format!("{name}:\n  Version:  {version}\n  Wasmtime: {}\n", lighter::engine::WASMTIME_VERSION)
}

fn print(answer: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(answer)?;
    Ok(stdout.flush()?)
}
