//! HTTP servers: `tests/guests/web`, asked over plain sockets in its container's network.

mod authority;
mod collector;
mod conformance;
mod drain;
mod h2c;
mod https;
mod isolation;
mod limits;
mod listening;
mod observe;
mod outgoing;
mod server;

use libtest_mimic::Trial;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    [
        listening::tests(),
        conformance::tests(),
        h2c::tests(),
        isolation::tests(),
        limits::tests(),
        drain::tests(),
        outgoing::tests(),
        https::tests(),
        observe::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
