//! HTTP servers: `tests/guests/web`, asked over plain sockets in its container's network.

mod authority;
mod bodies;
mod conformance;
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
        bodies::tests(),
        conformance::tests(),
        h2c::tests(),
        isolation::tests(),
        limits::tests(),
        drain::tests(),
        outgoing::tests(),
        https::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
