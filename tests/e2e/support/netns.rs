//! A network namespace with a name, as a network plugin makes one for a pod; gone when dropped.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

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

    /// What `work` returns on a thread inside; a socket that it makes stays there.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.path()).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).expect("enter a namespace");
                work()
            });
            inside.join().expect("the work does not panic")
        })
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
