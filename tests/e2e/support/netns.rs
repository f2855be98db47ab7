//! A network namespace with a name, as a network plugin makes one for a pod; gone when dropped.

use std::path::PathBuf;
use std::process::Command;

use super::{command, containerd, leaks};

/// Below `/run/netns`.
#[derive(Debug)]
pub struct NetworkNamespace {
    name: String,
}

impl NetworkNamespace {
    /// An empty one, its loopback up.
    #[track_caller]
    pub fn make(name: &str) -> Self {
        let namespace = Self { name: format!("{}{name}", leaks::mark()) };
        ip(&["netns", "add", &namespace.name]);
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// `ip ARGS` in it.
    #[track_caller]
    pub fn ip(&self, args: &[&str]) {
        ip(&[&["-n", &self.name], args].concat());
    }

    /// The path by which it is joined.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        // The search for leaks will tell.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

#[track_caller]
fn ip(args: &[&str]) {
    command::run(Command::new("ip").args(args), b"", containerd::LIMIT).expect_success();
}
