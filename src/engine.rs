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
    /// The component model's asynchronous functions, which WASI 0.3 is made of. It is no part of a cache key: the compiler
    /// decides it by the component alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub concurrent: bool,
}

/// The interfaces that make a component a command, and those that make it an HTTP server.
const COMMAND: &str = "wasi:cli/run@0.2.";
const SERVER: &str = "wasi:http/incoming-handler@0.2.";
const COMMAND_3: &str = "wasi:cli/run@0.3.";
const SERVER_3: &str = "wasi:http/handler@0.3.";

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

/// Whether a component with these exports is one of WASI 0.3: a server or a command of that, and no command of 0.2.
pub fn is_of_wasi_3<'a>(exports: impl IntoIterator<Item = &'a str>) -> bool {
    let mut is = false;
    for export in exports {
        if export.starts_with(COMMAND) {
            return false;
        }
        is |= export.starts_with(SERVER_3) || export.starts_with(COMMAND_3);
    }
    is
}

/// Whether such a component is served: it handles requests, and is no command.
pub fn is_server_3<'a>(exports: impl IntoIterator<Item = &'a str>) -> bool {
    let mut serves = false;
    for export in exports {
        if export.starts_with(COMMAND) || export.starts_with(COMMAND_3) {
            return false;
        }
        serves |= export.starts_with(SERVER_3);
    }
    serves
}

#[cfg(feature = "engine")]
impl Settings {
    /// Those that a component with these exports is compiled with, for whatever the rest is.
    pub fn of_component(&self, exports: &[&str], has_little_data: impl FnOnce() -> bool) -> Self {
        let exports = || exports.iter().copied();
        Self {
            copies: self.copies || (is_server(exports()) && has_little_data()),
            // Nothing else needs them: a server's requests must not wait for each other.
            epochs: self.epochs || is_server(exports()) || is_server_3(exports()),
            concurrent: self.concurrent || is_of_wasi_3(exports()),
            ..self.clone()
        }
    }

    /// The Wasmtime configuration of these settings, the same in the compiler and in the runner.
    pub fn to_config(&self) -> wasmtime::Config {
        let mut config = wasmtime::Config::new();
        config.consume_fuel(self.fuel);
        config.epoch_interruption(self.epochs);
        config.memory_init_cow(!self.copies);
        // File names and line numbers in a trap's backtrace, where the module carries DWARF.
        config.wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable);
        // Decided here rather than by which crate features a program happens to be built with.
        config.concurrency_support(self.concurrent);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::{is_of_wasi_3, is_server, is_server_3};

    #[test]
    fn a_server_handles_requests_and_is_no_command() {
        let (run, handler) = ("wasi:cli/run@0.2.6", "wasi:http/incoming-handler@0.2.0");
        assert!(is_server(["other", handler]));
        assert!(!is_server([handler, run]) && !is_server([run]));
        assert!(!is_server(["wasi:http/incoming-handler@0.3.0"]) && !is_server([]));
    }

    #[test]
    fn those_of_wasi_3_are_told_apart() {
        let (run, handler) = ("wasi:cli/run@0.3.0", "wasi:http/handler@0.3.2");
        let (old_run, old_handler) = ("wasi:cli/run@0.2.6", "wasi:http/incoming-handler@0.2.0");
        assert!(is_server_3(["other", handler]) && is_server_3([old_handler, handler]));
        assert!(!is_server_3([handler, run]) && !is_server_3([handler, old_run]));
        assert!(!is_server_3([old_handler]) && !is_server_3(["wasi:http/handler@0.4.0"]));
        assert!(is_of_wasi_3([handler]) && is_of_wasi_3([run]));
        assert!(!is_of_wasi_3([old_run, handler]) && !is_of_wasi_3([old_handler]));
    }

    #[test]
    fn the_release_is_the_linked_one() {
        let lock = include_str!("../Cargo.lock");
        let wanted = format!("name = \"wasmtime\"\nversion = \"{}\"\n", super::WASMTIME_VERSION);
        assert!(lock.contains(&wanted), "Cargo.lock has another release of wasmtime");
        assert_eq!(lock.matches("name = \"wasmtime\"\n").count(), 1);
    }
}
