//! HTTP servers: `tests/guests/web` and those of `languages`, asked over plain sockets in their containers' networks.

mod authority;
mod bodies;
mod collector;
mod conformance;
mod costs;
mod drain;
mod early;
mod h2c;
mod https;
mod isolation;
mod languages;
mod limits;
mod listening;
mod observe;
mod outgoing;
pub mod server;
mod soak;
mod three;

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
        soak::tests(),
        limits::tests(),
        drain::tests(),
        early::tests(),
        outgoing::tests(),
        https::tests(),
        costs::tests(),
        observe::tests(),
        three::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
