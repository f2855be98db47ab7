//! What a guest sees of the world through WASI, from the guest's half of the plan.

use std::fs::File;
use std::io;

use lighter::error::{Refusal, Result};
use lighter::plan::{Access, Guest, LimitKind, Limits, Network, Ports, Preopen};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::http::{self, Exchange, Hooks};
use crate::limits::Limiter;
use crate::stdio::{BrokenPipe, Input, Output};
use crate::sys;

/// Resources that belong to one open descriptor of a component: itself, its streams, what is waited for, errors.
const RESOURCES_PER_HANDLE: usize = 8;
/// As many as descriptors for the standard streams, the environment, clocks and what else is always there.
const RESOURCES_OF_STREAMS: usize = 32;

/// The host's state in a guest's store, the same for modules and components.
pub(crate) struct Host {
    /// WASI's own state; preview 2 is served from inside preview 1's.
    pub(crate) wasi: WasiP1Ctx,
    /// What the guest's memories and tables may have.
    pub(crate) limiter: Limiter,
    /// The state of `wasi:http`, and of the request that a server's instance is at.
    pub(crate) exchange: Exchange,
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let table = self.wasi.ctx().table;
        WasiHttpCtxView { table, ctx: &mut self.exchange.context, hooks: &mut self.exchange.hooks }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl Host {
    /// Opens the guest's directories and gives it its arguments, environment, streams and network. `roots`: the host's
    /// certificates, for requests.
    ///
    /// # Errors
    /// Names the directory that cannot be opened.
    pub(crate) fn new(
        guest: &Guest,
        limits: &Limits,
        broken_pipe: BrokenPipe,
        roots: Option<File>,
    ) -> Result<Self> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdin(Input::stdin())
            .stdout(Output::stdout(broken_pipe))
            .stderr(Output::stderr(broken_pipe));
        // The process has nothing else to do while a guest waits for a file: no thread is needed for it.
        let files = files(guest, false)?;
        let hooks = Hooks::new(guest, looks_names_up(limits), roots);
        Ok(Self::with(wasi, guest, limits, hooks, &files, Limiter::new(limits)))
    }

    /// For one request of a server, or several, one after the other. `files`: its directories, by [`files`].
    pub(crate) fn of_request(
        guest: &Guest,
        limits: &Limits,
        hooks: &Hooks,
        files: &WasiFilesystemCtx,
        limiter: Limiter,
        output: &http::Output,
        error: &http::Output,
    ) -> Self {
        let mut wasi = WasiCtxBuilder::new();
        // There is no one request that a server's standard input would be for.
        wasi.stdout(output.clone()).stderr(error.clone());
        Self::with(wasi, guest, limits, hooks.clone(), files, limiter)
    }

    fn with(
        mut wasi: WasiCtxBuilder,
        guest: &Guest,
        limits: &Limits,
        hooks: Hooks,
        files: &WasiFilesystemCtx,
        limiter: Limiter,
    ) -> Self {
        wasi.args(&guest.args).envs(&guest.env).initial_cwd(&guest.cwd);
        wasi.allow_tcp(true).allow_udp(true);
        // The network namespace is the container's own: which addresses it reaches is decided there.
        let network = guest.network.clone();
        wasi.socket_addr_check(move |address, purpose| {
            let allowed = allows(&network, address.port(), purpose);
            Box::pin(async move { allowed })
        });
        wasi.allow_ip_name_lookup(hooks.looks_names_up());
        if let Some(bytes) = limits.call_bytes {
            wasi.max_random_size(bytes);
        }
        let exchange = Exchange::new(hooks);
        let mut wasi = wasi.build_p1();
        *wasi.ctx().ctx.filesystem() = files.clone();
        if let Some(handles) = limits.get(LimitKind::Handles) {
            let open = guest.preopens.len().saturating_add(RESOURCES_OF_STREAMS);
            let handles = usize::try_from(handles).unwrap_or(usize::MAX).saturating_add(open);
            wasi.ctx().table.set_max_capacity(handles.saturating_mul(RESOURCES_PER_HANDLE));
        }
        Self { wasi, limiter, exchange }
    }
}

/// Opens the guest's directories. The requests of a server have them in common: opening them for each would take as long as all
/// else that is done for it. `aside`: there are threads to wait for files, so that one that lets a request wait, such as
/// a FIFO or one of a file system that is slow, holds no other up.
///
/// # Errors
/// Names the directory that cannot be opened.
pub(crate) fn files(guest: &Guest, aside: bool) -> Result<WasiFilesystemCtx> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.allow_blocking_current_thread(!aside);
    for preopen in &guest.preopens {
        open(&mut wasi, preopen)?;
    }
    Ok(wasi.build().filesystem().clone())
}

/// Whether a guest may look names up. Asked once, before there is another thread.
pub(crate) fn looks_names_up(limits: &Limits) -> bool {
    // A name is looked up by a thread.
    let threads = limits.get(LimitKind::Threads).is_none_or(|most| most > 0);
    sys::fix_name_lookup() && threads
}

/// Whether a socket may use `port` for this purpose.
fn allows(network: &Network, port: u16, purpose: SocketAddrUse) -> bool {
    let within = |ports: &Option<Ports>| ports.as_ref().is_none_or(|ports| ports.contains(port));
    // No port yet: the kernel is to choose one, as it does for every socket that connects or sends. A server with
    // such a port is still asked for it when it listens.
    let to_be_chosen = port == 0;
    match purpose {
        SocketAddrUse::TcpBind => to_be_chosen || within(&network.tcp_bind),
        SocketAddrUse::TcpListen => within(&network.tcp_bind),
        SocketAddrUse::TcpConnect => within(&network.tcp_connect),
        SocketAddrUse::UdpBind => to_be_chosen || within(&network.udp_bind),
        SocketAddrUse::UdpSend => within(&network.udp_send),
        // From whom is the namespace's to decide.
        SocketAddrUse::TcpAccept | SocketAddrUse::UdpReceive => true,
    }
}

/// Opens one directory; what is none, or none for this user, is left out.
fn open(wasi: &mut WasiCtxBuilder, preopen: &Preopen) -> Result<()> {
    let access = match preopen.access {
        Access::ReadOnly => FsPerms::ReadOnly,
        Access::ReadWrite => FsPerms::ReadWrite,
    };
    let Err(error) = wasi.preopened_dir(&preopen.path, &preopen.name, access) else {
        return Ok(());
    };
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        // A file mounted by itself is reached through the directory that it is in; a directory closed
        // to the container's user, or missing, is none to a program of any container either.
        Some(
            io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound,
        ) => Ok(()),
        _ => {
            Err(Refusal::system(format!("open directory {:?} for the guest", preopen.path), error))
        }
    }
}
