//! Asking containerd over its socket.

use std::path::Path;
use std::process::Command;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::super::child::{self, ask as ask_program};

/// The version that containerd at `socket` answers, or why it does not; `None` if we may not ask.
pub(super) fn ask(socket: &Path) -> Option<Result<String, String>> {
    match connect(socket) {
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => return None,
        Err(rustix::io::Errno::NOENT) => return Some(Err("there is no such socket".into())),
        Err(rustix::io::Errno::CONNREFUSED) => return Some(Err("nobody listens".into())),
        Err(e) => return Some(Err(e.to_string())),
        Ok(()) => {}
    }
    let mut ctr = Command::new("ctr");
    ctr.arg("--address").arg(socket).args(["--timeout", "3s", "version"]);
    let answer = match ask_program(&mut ctr, child::LIMIT) {
        Ok(answer) => answer,
        Err(why) => return Some(Err(format!("ctr version: {why}"))),
    };
    if !answer.success {
        let words = answer.stderr.trim();
        return Some(Err(words.strip_prefix("ctr: ").unwrap_or(words).to_owned()));
    }
    Some(server_version(&answer.stdout).ok_or_else(|| "ctr does not tell its version".into()))
}

/// Whether somebody listens. Does not wait: a socket whose queue is full says so.
fn connect(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

/// From what `ctr version` writes.
fn server_version(text: &str) -> Option<String> {
    let (_, server) = text.split_once("Server:")?;
    let version = server.lines().find_map(|line| line.trim().strip_prefix("Version:"))?;
    Some(version.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_version_is_read() {
        let text =
            "Client:\n  Version:  1.7.1\n  Revision: a\n\nServer:\n  Version:  v2.0.0\n  UUID: b\n";
        assert_eq!(server_version(text).as_deref(), Some("v2.0.0"));
        assert_eq!(server_version("Client:\n  Version: 1\n"), None);
    }

    #[test]
    fn silence_has_reasons() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        assert!(ask(&socket).unwrap().unwrap_err().contains("no such socket"));
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(ask(&socket).unwrap().unwrap_err().contains("nobody listens"));
    }

    /// One that takes a connection and never says a word.
    #[test]
    fn a_mute_socket_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let begin = std::time::Instant::now();
        assert!(ask(&socket).unwrap().is_err());
        assert!(begin.elapsed() < child::LIMIT * 2);
    }
}
