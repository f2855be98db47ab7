//! What the runner provides to programs, by name.
//!
//! The runner links what these lists say; a test runs programs that import what is in them, and more.

use lighter::cache::Kind;
use lighter::engine::is_server_3;

/// The modules of functions that core modules import: previews 1 and 0 of WASI.
const PREVIEW1: &str = "wasi_snapshot_preview1";
const PREVIEW0: &str = "wasi_unstable";

/// The functions of preview 1; preview 0 has all but the last.
const FUNCTIONS: [&str; 46] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
    "sock_accept",
];

/// The interfaces of WASI 0.2, of whichever 0.2.x.
const INTERFACES: [&str; 29] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The interfaces of WASI 0.3, of whichever 0.3.x, which servers of that have beside those of 0.2.
const INTERFACES_3: [&str; 23] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/types",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:clocks/types",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/client",
    "wasi:http/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/types",
];

/// Those of `imports` that nobody provides to a program with these `exports`.
pub(super) fn missing(kind: Kind, imports: &[String], exports: &[String]) -> Vec<String> {
    let is_of_3 = is_server_3(exports.iter().map(String::as_str));
    let is_provided = |import: &&String| match kind {
        Kind::Component => {
            let (name, version) = import.split_once('@').unwrap_or((import, ""));
            match version.get(..4) {
                Some("0.2.") => INTERFACES.contains(&name),
                Some("0.3.") => is_of_3 && INTERFACES_3.contains(&name),
                _ => false,
            }
        }
        Kind::Module => match import.split_once('.') {
            Some((PREVIEW1, function)) => FUNCTIONS.contains(&function),
            Some((PREVIEW0, function)) => {
                FUNCTIONS.contains(&function) && function != "sock_accept"
            }
            _ => false,
        },
    };
    imports.iter().filter(|import| !is_provided(import)).cloned().collect()
}

/// The version of WASI that a program is for.
pub(super) fn wasi(kind: Kind, imports: &[String], exports: &[String]) -> Option<String> {
    match kind {
        Kind::Component => {
            let mut versions: Vec<&str> = imports
                .iter()
                .chain(exports)
                .filter(|name| name.starts_with("wasi:"))
                .filter_map(|name| Some(name.split_once('@')?.1))
                .collect();
            versions.sort_unstable();
            versions.dedup();
            (!versions.is_empty()).then(|| versions.join(", "))
        }
        Kind::Module => {
            let has = |module: &str| {
                imports.iter().any(|import| import.split('.').next() == Some(module))
            };
            [(PREVIEW1, "0.1"), (PREVIEW0, "0.0")]
                .into_iter()
                .find(|(module, _)| has(module))
                .map(|(_, version)| version.to_owned())
        }
    }
}

/// What its exports make of a program; `None` of one that is nothing in particular.
pub(super) fn world(kind: Kind, exports: &[String]) -> Option<&'static str> {
    let exports_any =
        |names: &[&str]| exports.iter().any(|export| names.iter().any(|n| export.starts_with(n)));
    match kind {
        Kind::Component if exports_any(&["wasi:cli/run@"]) => Some("wasi:cli/command"),
        Kind::Component if exports_any(&["wasi:http/incoming-handler@"]) => Some("wasi:http/proxy"),
        Kind::Component if exports_any(&["wasi:http/handler@"]) => Some("wasi:http/service"),
        Kind::Module if exports.iter().any(|export| export == "_start") => Some("command"),
        Kind::Module if exports.iter().any(|export| export == "_initialize") => Some("reactor"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_provided_is_named() {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let component = names(&[
            "wasi:cli/exit@0.2.3",
            "wasi:sockets/udp-create-socket@0.2.0",
            "wasi:keyvalue/store@0.2.0",
            "wasi:cli/stdin@0.3.0",
            "local:thing/it",
        ]);
        assert_eq!(missing(Kind::Component, &component, &[]), component[2..]);
        let server = names(&["wasi:http/handler@0.3.0"]);
        let others = [component[2].clone(), component[4].clone()];
        assert_eq!(missing(Kind::Component, &component, &server), others);
        let module = names(&[
            "wasi_snapshot_preview1.sock_accept",
            "wasi_unstable.fd_read",
            "wasi_unstable.sock_accept",
            "env.memory",
        ]);
        assert_eq!(missing(Kind::Module, &module, &[]), module[2..]);
    }

    #[test]
    fn programs_are_known_by_what_they_export() {
        let of = |kind, export: &str| world(kind, &[export.to_owned()]);
        assert_eq!(of(Kind::Component, "wasi:cli/run@0.2.3"), Some("wasi:cli/command"));
        assert_eq!(of(Kind::Module, "_start"), Some("command"));
        assert_eq!(of(Kind::Component, "wasi:http/handler@0.3.0"), Some("wasi:http/service"));
        assert_eq!(of(Kind::Module, "wasi:cli/run@0.2.3"), None);
        assert_eq!(wasi(Kind::Module, &["wasi_unstable.fd_read".into()], &[]).unwrap(), "0.0");
    }
}
