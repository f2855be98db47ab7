//! `lighter-runner`: one process for one guest. It is told what to do over an inherited socket,
//! enters its sandbox, loads the compiled code it is given, and runs it.

mod confine;
mod engine;
mod enter;
mod exit;
mod setup;
mod signals;
mod stdio;
mod sys;
mod wasi;

use std::process::ExitCode;

use lighter::wire::{Peer, ToSupervisor};

fn main() -> ExitCode {
    let peer = match sys::inherited_socket() {
        Ok(socket) => Peer::from(socket),
        Err(e) => {
            exit::complain(&format!(
                "lighter-runner: started by the shim or `lighter`, not by hand: {e}\n"
            ));
            return ExitCode::from(exit::HOST_FAILED);
        }
    };
    match setup::set_up(&peer) {
        Ok((guest, _)) => {
            // From here on the process holds its standard streams and what the guest may open.
            drop(peer);
            // The guest is gone, and tearing down its engine would only delay telling so.
            std::process::exit(guest.run().into())
        }
        Err(refusal) => {
            // A supervisor that is gone cannot be told; it would have been the one to ask.
            let _ = peer.send(&ToSupervisor::Refused(refusal), None);
            ExitCode::from(exit::HOST_FAILED)
        }
    }
}
