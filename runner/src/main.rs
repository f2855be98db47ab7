//! `lighter-runner`: one process for one guest. It is told what to do over an inherited socket,
//! enters its sandbox, loads the compiled code it is given, and runs it.

mod confine;
mod engine;
mod enter;
mod exit;
mod http;
mod last_words;
mod limits;
mod setup;
mod signals;
mod stdio;
mod sys;
mod wasi;

use std::io::Write;
use std::process::ExitCode;

use lighter::engine::WASMTIME_VERSION;
use lighter::stack::give_back_stack;
use lighter::trace::{self, Who};
use lighter::wire::{Peer, ToSupervisor};

use setup::Ready;

fn main() -> ExitCode {
    let mut peer = match sys::inherited_socket() {
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
    trace::begin();
    trace::step(Who::Runner, "runs");
    match setup::set_up(&mut peer) {
        Ok(Ready { guest, ends, .. }) => {
            // From here on the process holds its standard streams and what the guest may open.
            drop(peer);
            give_back_stack();
            // The guest is gone, and tearing down its engine would only delay telling so.
            std::process::exit(guest.run(ends).into())
        }
        Err(refusal) => {
            // A supervisor that is gone cannot be told; it would have been the one to ask.
            let _ = peer.send(&ToSupervisor::Refused(refusal), None);
            ExitCode::from(exit::HOST_FAILED)
        }
    }
}
