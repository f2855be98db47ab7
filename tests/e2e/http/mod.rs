//! HTTP servers: `tests/guests/web` and those of `languages`, asked over plain sockets in their containers' networks.

mod authority;
mod bodies;
mod conformance;
mod costs;
mod drain;
mod h2c;
mod https;
mod isolation;
mod languages;
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
        languages::tests(),
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
