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
    // The user namespace first, if it is another: the right to enter the other comes with it. Both are opened before, as
    // from inside that process is closed to us.
    let kinds = [("user", LinkNameSpaceType::User), ("net", LinkNameSpaceType::Network)];
    let opened = kinds.map(|(name, kind)| (name, kind, other(init, name)));
    for (name, kind, other) in opened {
        let enter = |namespace: File| move_into_link_name_space(namespace.as_fd(), Some(kind));
        other
            .and_then(|namespace| Ok(namespace.map_or(Ok(()), enter)?))
            .with_context(|| format!("enter /proc/{init}/ns/{name}"))?;
    }
    let mut links = LinkClient::new(create_network_client())?;
    let index = links.get_by_name("lo")?.header.index;
    links.set_up(index).context("bring up the loopback interface")
}

/// The namespace of process `init`, unless it is this one's, too.
fn other(init: Pid, name: &str) -> std::io::Result<Option<File>> {
    let (path, own) = (format!("/proc/{init}/ns/{name}"), format!("/proc/self/ns/{name}"));
    match fs::metadata(&path)?.ino() == fs::metadata(own)?.ino() {
        true => Ok(None),
        false => File::open(path).map(Some),
    }
}
