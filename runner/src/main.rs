//! `lighter-runner`: one process for one guest. It is told what to do over an inherited socket,
//! enters its sandbox, loads the compiled code it is given, and runs it.

mod confine;
mod engine;
mod enter;
mod exit;
mod limits;
mod signals;
mod stdio;
mod sys;
mod wasi;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use lighter::engine::WASMTIME_VERSION;
use lighter::error::{Refusal, Result};
use lighter::hooks;
use lighter::wire::{Peer, Setup, ToRunner, ToSupervisor};

use engine::{LoadError, Loaded};
use limits::Report;

fn main() -> ExitCode {
    let peer = match sys::inherited_socket() {
        Ok(socket) => Peer::from(socket),
        // Only without a socket, as with one the first argument is a container's id.
        Err(_) if std::env::args().nth(1).as_deref() == Some("--version") => {
            let version = env!("CARGO_PKG_VERSION");
            return match writeln!(
                std::io::stdout(),
                "lighter-runner {version} (Wasmtime {WASMTIME_VERSION})"
            ) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            };
        }
        Err(e) => {
            exit::complain(&format!(
                "lighter-runner: started by the shim or `lighter`, not by hand: {e}\n"
            ));
            return ExitCode::from(exit::HOST_FAILED);
        }
    };
    match set_up(&peer) {
        Ok((guest, report)) => {
            // From here on the process holds its standard streams and what the guest may open.
            drop(peer);
            // The guest is gone, and tearing down its engine would only delay telling so.
            std::process::exit(guest.run(report).into())
        }
        Err(refusal) => {
            // A supervisor that is gone cannot be told; it would have been the one to ask.
            let _ = peer.send(&ToSupervisor::Refused(refusal), None);
            ExitCode::from(exit::HOST_FAILED)
        }
    }
}

/// Everything up to the guest's first instruction.
fn set_up(peer: &Peer) -> Result<(Loaded, Report)> {
    let (Setup { plan, state }, report) = match receive(peer)? {
        (ToRunner::Setup(setup), Some(report)) => (*setup, Report::of(report)?),
        (other, _) => return Err(out_of_turn(&other)),
    };
    signals::install().map_err(|e| Refusal::system("install signal handlers", e))?;
    let host_process = enter::host_process()?;
    enter::enter(&plan.sandbox, &plan.guest.cwd, &state, peer)?;
    let (path, module) = enter::open_entrypoint(&plan.guest.entrypoint)?;
    say(peer, &ToSupervisor::Entrypoint(path), Some(&module))?;
    drop(module);
    let guest = loop {
        let code = match receive(peer)? {
            (ToRunner::Code, Some(code)) => code,
            (other, _) => return Err(out_of_turn(&other)),
        };
        match engine::load(
            &plan.engine,
            &plan.guest,
            &plan.limits,
            code,
            Some(host_process.as_fd()),
        ) {
            Ok(guest) => break guest,
            Err(LoadError::Stale(reason)) => say(peer, &ToSupervisor::Stale(reason), None)?,
            Err(LoadError::Refused(refusal)) => return Err(refusal),
        }
    };
    drop(host_process);
    say(peer, &ToSupervisor::Ready, None)?;
    match receive(peer)? {
        (ToRunner::Start, _) => {}
        (other, _) => return Err(out_of_turn(&other)),
    }
    hooks::run("startContainer", &plan.sandbox.hooks.start_container, &state, "created")?;
    // After the hooks, which are programs of the operator's, and neither limited nor confined.
    limits::arm(&plan.limits, report, Some(peer.as_fd()))?;
    confine::confine(&plan)?;
    say(peer, &ToSupervisor::Started, None)?;
    Ok((guest, report))
}

/// Waits for the supervisor. One that is gone before the guest was started takes the runner with it.
fn receive(peer: &Peer) -> Result<(ToRunner, Option<File>)> {
    match peer.receive() {
        Ok(Some((message, fd))) => Ok((message, fd.map(File::from))),
        Ok(None) => Err(Refusal::system("hear from the supervisor", "it is gone")),
        Err(e) => Err(Refusal::system("hear from the supervisor", e)),
    }
}

fn say(peer: &Peer, message: &ToSupervisor, fd: Option<&File>) -> Result<()> {
    peer.send(message, fd.map(AsFd::as_fd)).map_err(|e| Refusal::system("tell the supervisor", e))
}

fn out_of_turn(message: &ToRunner) -> Refusal {
    Refusal::system("lighter-runner", format!("was told {message:?} out of turn"))
}
