//! The socket of a server.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use lighter::error::{Refusal, Result};
use lighter::plan::HttpAddress;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind as bind_socket, listen, socket_with, sockopt,
};

/// Connections that the kernel keeps until they are taken; no more than `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Listens at `address`, in the network namespace that the process is in.
///
/// # Errors
/// Names the address that cannot be had.
pub(super) fn bind(address: &HttpAddress) -> Result<TcpListener> {
    let all_of_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port));
    let bound = match try_bind(address.socket()) {
        // A namespace, or a kernel, without IPv6.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if address.ip.is_none() => {
            try_bind(all_of_ipv4)
        }
        bound => bound,
    };
    bound.map(TcpListener::from).map_err(|e| {
        let privileged = e == Errno::ACCESS && address.port < 1024;
        let advice = match privileged {
            true => " (below 1024 takes the sysctl net.ipv4.ip_unprivileged_port_start, as guests have no capabilities)",
            false => "",
        };
        Refusal::system(format!("listen for HTTP at {address}"), format_args!("{e}{advice}"))
    })
}

fn try_bind(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A restarted container gets its port although connections of the last one are still closing.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind_socket(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
