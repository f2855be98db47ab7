//! A native program in the runner's place: enters the sandbox and puts up the walls exactly as the runner does,
//! then tries what its arguments say instead of running the guest, and says what the kernel answered.
//!
//! Each argument of the container is one request, a verb and its operands separated by spaces. The answer is a line
//! of standard output that repeats the request: `read /etc/passwd: ok`, `exec /bin/sh: EPERM`. Without a supervisor
//! (`probe REQUEST…`) it does the same as a plain Linux program, to compare with.

#[path = "../../src/confine/mod.rs"]
mod confine;
#[path = "../../src/engine/mod.rs"]
#[allow(
    dead_code,
    reason = "the guest is loaded, as the walls stand around a loaded one, but never runs"
)]
mod engine;
#[path = "../../src/enter/mod.rs"]
mod enter;
#[path = "../../src/exit.rs"]
#[allow(dead_code, reason = "no guest ends here")]
mod exit;
#[path = "../../src/http/mod.rs"]
#[allow(dead_code, reason = "no request comes here")]
mod http;
#[path = "../../src/last_words.rs"]
#[allow(dead_code, reason = "no guest ends here")]
mod last_words;
#[path = "../../src/limits/mod.rs"]
#[allow(dead_code, reason = "no guest runs into them here")]
mod limits;
#[path = "../../src/setup.rs"]
mod setup;
#[path = "../../src/signals.rs"]
mod signals;
#[path = "../../src/stdio.rs"]
#[allow(dead_code, reason = "no guest reads or writes here")]
mod stdio;
#[path = "../../src/sys/mod.rs"]
#[allow(dead_code, reason = "no guest runs here")]
mod sys;
#[path = "../../src/wasi.rs"]
#[allow(dead_code, reason = "no guest runs here")]
mod wasi;

mod attempts;
mod calls;

use std::process::ExitCode;

use lighter::wire::{Peer, ToSupervisor};

use setup::Ready;

fn main() -> ExitCode {
    let Ok(leak) = attempts::Leak::open() else { return ExitCode::FAILURE };
    let Ok(socket) = sys::inherited_socket() else {
        attempts::attempt_all(std::env::args().skip(1), &leak);
        return ExitCode::SUCCESS;
    };
    let mut peer = Peer::from(socket);
    match setup::set_up(&mut peer) {
        Ok(Ready { guest, plan, .. }) => {
            drop(peer);
            attempts::attempt_all(plan.guest.args.into_iter().skip(1), &leak);
            // As little is torn down as after a guest.
            std::mem::forget(guest);
            std::process::exit(0)
        }
        Err(refusal) => {
            let _ = peer.send(&ToSupervisor::Refused(refusal), None);
            ExitCode::from(exit::HOST_FAILED)
        }
    }
}
