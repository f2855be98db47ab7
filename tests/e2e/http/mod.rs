//! HTTP servers: `tests/guests/web`, asked over plain sockets in its container's network.

mod authority;
mod conformance;
mod costs;
mod drain;
mod h2c;
mod https;
mod isolation;
mod limits;
mod listening;
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
        costs::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
