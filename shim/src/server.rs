//! The server: one per group of containers, alive as long as one of them is.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::ttrpc::r#async::Server;
use containerd_shim_protos::ttrpc::r#async::transport::Listener;
use lighter::layers::ContentStore;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::events::Events;
use crate::flags::Flags;
use crate::sandbox::{Anchor, Sandbox};
use crate::signals::Signals;
use crate::tasks::Tasks;
use crate::{logger, orphans, service, sys};

/// Threads for blocking calls go soon after they were last needed.
const THREAD_KEEP_ALIVE: Duration = Duration::from_millis(200);

/// How long the last events may take to reach containerd when the server ends.
const DRAIN: Duration = Duration::from_secs(3);

/// The answer to the request that ends the server is on its way for that long.
const LAST_ANSWER: Duration = Duration::from_millis(10);

/// How many events are taken from the kernel at once: of a pod, few happen at the same time.
const EVENTS: usize = 32;

/// What a thread of ours may take of its stack.
const STACK: usize = 512 << 10;

/// Serves until told to end, then ends the process. What serves a sandbox is a second thread; see [`crate::sandbox`].
pub(crate) fn run(flags: &Flags, listener: UnixListener, socket: &Path, is_sandbox: bool) -> ! {
    logger::init(Path::new("log"), &flags.id, flags.debug);
    sys::use_one_heap();
    if !is_sandbox {
        work(flags, listener, socket, None)
    }
    let (anchor, orders) = Anchor::new();
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("serve".to_owned()).stack_size(STACK);
        match worker.spawn_scoped(scope, || work(flags, listener, socket, Some(anchor))) {
            Ok(_) => orders.carry_out(),
            Err(error) => log::error!("start the thread that serves: {error}"),
        }
    });
    std::process::exit(1)
}

fn work(flags: &Flags, listener: UnixListener, socket: &Path, anchor: Option<Anchor>) -> ! {
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // The place for events is made at once, and by default one of a thousand.
        .max_io_events_per_tick(EVENTS)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .thread_stack_size(STACK)
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(serve(flags, listener, socket, anchor)));
    if let Err(error) = &result {
        log::error!("{error:#}");
    }
    std::process::exit(i32::from(result.is_err()))
}

async fn serve(
    flags: &Flags,
    listener: UnixListener,
    socket: &Path,
    anchor: Option<Anchor>,
) -> anyhow::Result<()> {
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        log::warn!("become the subreaper: {error}");
    }
    let (sender, happened) = mpsc::unbounded_channel();
    let containerd = std::env::var("TTRPC_ADDRESS").unwrap_or_default();
    let mut publisher =
        tokio::spawn(service::publish(containerd, flags.namespace.clone(), happened));
    let content = (!flags.address.is_empty()).then(|| ContentStore {
        address: flags.address.clone(),
        namespace: flags.namespace.clone(),
    });
    let tasks = Arc::new(Tasks::new(Events::new(sender), &flags.namespace, content));
    let sandbox = Arc::new(Sandbox::new(anchor));
    let mut orphans = tokio::spawn(orphans::reap(tasks.clone()));
    let terminate = Signals::of(libc::SIGTERM)?;
    let interrupt = Signals::of(libc::SIGINT)?;

    let mut server = Server::new().add_listener(Listener::try_from(listener)?);
    for services in service::services(&tasks, &sandbox) {
        server = server.register_service(services);
    }
    server.start().await?;
    log::debug!("serving on {}", socket.display());

    loop {
        tokio::select! {
            // A pod is there without containers, too.
            () = tasks.stop.notified() => if !sandbox.exists() { break },
            () = sandbox.shut_down.notified() => break,
            signal = terminate.next() => break signal?,
            signal = interrupt.next() => signal?,
            failed = &mut orphans => {
                anyhow::bail!("collecting orphans ended: {failed:?}");
            }
        }
    }

    // First, so that the next `start` of this group makes a server of its own.
    if let Err(error) = std::fs::remove_file(socket) {
        log::warn!("remove {}: {error}", socket.display());
    }
    tasks.close();
    if timeout(DRAIN, &mut publisher).await.is_err() {
        log::warn!("the last events did not reach containerd within {DRAIN:?}");
    }
    tokio::time::sleep(LAST_ANSWER).await;
    Ok(())
}
