//! The loopback interface of a new network namespace, which is there but down. Programs expect 127.0.0.1, and
//! other runtimes bring it up; libcontainer does not.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use libcontainer::network::link::LinkClient;
use libcontainer::network::wrapper::create_network_client;
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use nix::unistd::Pid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Brings it up in the network namespace of process `init`, if that was made for the bundle's container.
/// This process is in that namespace afterwards.
pub(super) fn bring_up(bundle: &Path, init: Pid) -> Result<()> {
    let spec = Spec::load(bundle.join("config.json"))?;
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
    let is_new = namespaces.unwrap_or_default().iter().any(|namespace| {
        let path = namespace.path().as_deref().unwrap_or(Path::new(""));
        namespace.typ() == LinuxNamespaceType::Network && path.as_os_str().is_empty()
    });
    if !is_new {
        return Ok(());
    }
    // The user namespace first, if it is another: the right to enter the other comes with it.
    for (name, kind) in [("user", LinkNameSpaceType::User), ("net", LinkNameSpaceType::Network)] {
        let path = format!("/proc/{init}/ns/{name}");
        enter(&path, &format!("/proc/self/ns/{name}"), kind)
            .with_context(|| format!("enter {path}"))?;
    }
    let mut links = LinkClient::new(create_network_client())?;
    let index = links.get_by_name("lo")?.header.index;
    links.set_up(index).context("bring up the loopback interface")
}

fn enter(path: &str, own: &str, kind: LinkNameSpaceType) -> std::io::Result<()> {
    if fs::metadata(path)?.ino() != fs::metadata(own)?.ino() {
        move_into_link_name_space(File::open(path)?.as_fd(), Some(kind))?;
    }
    Ok(())
}
