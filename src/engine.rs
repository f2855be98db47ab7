//! Engine settings: what the compiler and the runner must agree on for compiled code to load.

use serde::{Deserialize, Serialize};

/// The Wasmtime release that all of Lighter's programs of one build contain.
///
/// A test compares it with `Cargo.lock`.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Settings that change the compiled code, and so are part of a cache key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Count fuel in the compiled code, for a deterministic limit on work.
    pub fuel: bool,
    /// Check an epoch counter in the compiled code, so that one request of a server does not keep the others waiting.
    pub epochs: bool,
    /// Copy the data of a module to its memory, where an image of the memory would be mapped for each instance: for servers
    /// that have little of it, whose memories the runner makes by itself.
    pub copies: bool,
}

/// The interface that makes a component a command, and the one that makes it an HTTP server.
const COMMAND: &str = "wasi:cli/run@0.2.";
const SERVER: &str = "wasi:http/incoming-handler@0.2.";

/// Whether a component with these exports is served: it handles requests, and is no command.
pub fn is_server<'a>(exports: impl IntoIterator<Item = &'a str>) -> bool {
    let mut serves = false;
    for export in exports {
        if export.starts_with(COMMAND) {
            return false;
        }
        serves |= export.starts_with(SERVER);
    }
    serves
}

#[cfg(feature = "engine")]
impl Settings {
    /// The Wasmtime configuration of these settings, the same in the compiler and in the runner.
    pub fn to_config(&self) -> wasmtime::Config {
        let mut config = wasmtime::Config::new();
        config.consume_fuel(self.fuel);
        config.epoch_interruption(self.epochs);
        config.memory_init_cow(!self.copies);
        // File names and line numbers in a trap's backtrace, where the module carries DWARF.
        config.wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable);
        // Decided here rather than by which crate features a program happens to be built with.
        config.concurrency_support(false);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::is_server;

    #[test]
    fn a_server_handles_requests_and_is_no_command() {
        let (run, handler) = ("wasi:cli/run@0.2.6", "wasi:http/incoming-handler@0.2.0");
        assert!(is_server(["other", handler]));
        assert!(!is_server([handler, run]) && !is_server([run]));
        assert!(!is_server(["wasi:http/incoming-handler@0.3.0"]) && !is_server([]));
    }

    #[test]
    fn the_release_is_the_linked_one() {
        let lock = include_str!("../Cargo.lock");
        let wanted = format!("name = \"wasmtime\"\nversion = \"{}\"\n", super::WASMTIME_VERSION);
        assert!(lock.contains(&wanted), "Cargo.lock has another release of wasmtime");
        assert_eq!(lock.matches("name = \"wasmtime\"\n").count(), 1);
    }
}
