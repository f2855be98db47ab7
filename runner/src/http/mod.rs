//! HTTP servers: components that export `wasi:http/incoming-handler`, or `wasi:http/handler` of WASI 0.3.
//!
//! | file | what |
//! |---|---|
//! | `listen` | the socket, bound before the container counts as created |
//! | `pool` | room for the instances of as many requests as may run at once |
//! | `areas` | memories and stacks of requests, for the next ones |
//! | `serve` | connections, from the start to the last one after a signal |
//! | `linger` | the end of a connection whose client may still be sending |
//! | `places` | how many connections there are |
//! | `admit` | how many requests run, and how many wait |
//! | `answer` | one request: what is refused, what its instance answers, what became of it |
//! | `proxy` | a server of WASI 0.2, or of 0.3 |
//! | `three/` | requests to those of 0.3 |
//! | `instance` | a fresh instance for each request, or one for several |
//! | `cpu` | the processor time of each |
//! | `settings` | what may be set, as it is used |
//! | `bodies` | those of requests and answers: what is too long, and what breaks off |
//! | `whole` | bodies that do not end as if they were whole when they are not |
//! | `clock` | the epochs by which requests in a loop give way |
//! | `files` | what is not opened, as it may never open |
//! | `output` | standard output and standard error, which the requests share |
//! | `observe/` | health, metrics, access log, traces |
//! | `outgoing` | requests that the guest makes |
//! | `tls`, `roots` | those by `https`, and whom they believe |
//! | `patience` | answers that come too slowly |

mod admit;
mod answer;
mod areas;
mod bodies;
mod clock;
mod cpu;
mod files;
mod instance;
mod linger;
mod listen;
mod observe;
mod outgoing;
mod output;
mod patience;
mod places;
mod pool;
mod proxy;
mod roots;
mod serve;
mod settings;
mod three;
mod tls;
mod whole;

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lighter::error::{Refusal, Result};
use lighter::plan::{Guest, HttpSetting, LimitKind, Limits};
use wasmtime::component::InstancePre;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

use crate::exit::{Ends, HOST_FAILED, complain};
use crate::limits::Shared;
use crate::sys;
use crate::wasi::{self, Host};

pub(crate) use areas::Areas;
pub(crate) use files::link_files;
pub(crate) use instance::Exchange;
pub(crate) use outgoing::Hooks;
pub(crate) use output::Output;
pub(crate) use pool::{areas, pool};
pub(crate) use roots::are_in_image;
pub(crate) use whole::link;

use admit::Admission;
use clock::Clock;
use instance::Instances;
use observe::Observer;
use places::Places;
use proxy::ProxyPre;
use settings::Settings;
use three::Together;

/// A server that is ready to run.
pub(crate) struct Server {
    application: Application,
    threads: Threads,
    listener: TcpListener,
    admin: Option<TcpListener>,
    /// Becomes readable when the container is to stop.
    stop: BorrowedFd<'static>,
}

/// What answers requests, and what it is given.
struct Application {
    proxy: ProxyPre,
    guest: Guest,
    limits: Limits,
    hooks: Hooks,
    files: WasiFilesystemCtx,
    /// Where its memories come from, if they are of our own.
    areas: Option<Arc<Areas>>,
}

/// What all requests have in common.
struct Common {
    instances: Instances,
    admission: Admission,
    places: Places,
    settings: Settings,
    clock: Clock,
    error: Output,
    observer: Arc<Observer>,
    /// The number of the next request.
    next: AtomicU64,
}

impl Server {
    /// Binds the socket, so that an address that cannot be had is an error of Create. `concurrent`: it is of WASI 0.3;
    /// `roots`: the host's certificates.
    ///
    /// # Errors
    /// Names the address, or what is wrong with it.
    pub(crate) fn new(
        linked: InstancePre<Host>,
        concurrent: bool,
        guest: &Guest,
        limits: &Limits,
        roots: Option<File>,
        areas: Option<Arc<Areas>>,
    ) -> Result<Self> {
        let name = &guest.entrypoint.name;
        let proxy = ProxyPre::new(linked, concurrent)
            .map_err(|e| Refusal::invalid(format!("process.args[0] {name:?}: {e:#}")))?;
        let address = guest.http.address.as_ref().map_err(|why| Refusal::invalid(why.clone()))?;
        let listener = listen::bind(address)?;
        let admin = guest.http.admin.as_ref().map(listen::bind).transpose()?;
        let threads = Threads::of(guest, limits)?;
        let names = threads.aside > 0 && wasi::looks_names_up(limits);
        let hooks = Hooks::new(guest, names, roots).of_server(concurrent);
        let files = wasi::files(guest, threads.aside > 0)?;
        let stop = sys::stop_event().map_err(|e| Refusal::system("make an event", e))?;
        let (guest, limits) = (guest.clone(), limits.clone());
        let application = Application { proxy, guest, limits, hooks, files, areas };
        Ok(Self { application, threads, listener, admin, stop })
    }

    /// Serves until the container is stopped, and returns the exit status.
    ///
    /// The walls are up by now: threads that are made here have them, too.
    pub(crate) fn run(self, ends: Ends) -> u8 {
        match self.try_run(ends) {
            Ok(status) => status,
            Err(refusal) => {
                complain(&format!("lighter: cannot serve: {refusal}\n"));
                HOST_FAILED
            }
        }
    }

    fn try_run(self, ends: Ends) -> Result<u8> {
        let Self { application, threads, listener, admin, stop } = self;
        let runtime = runtime(threads)?;
        let error = Output::stderr();
        let (observer, background) = Observer::new(&application.guest, admin, &error);
        let common = Arc::new(application.common(ends, error, observer)?);
        let background = background.start(&common)?;
        // From here on a signal asks, and only the next one ends at once.
        sys::stop_by_signal(stop);
        let status = runtime
            .block_on(serve::serve(&common, listener, stop))
            .map_err(|e| Refusal::system("wait for connections", e));
        background.finish();
        // As after any guest: the kernel frees it all at once.
        std::mem::forget((runtime, common));
        status
    }
}

impl Application {
    fn common(self, ends: Ends, error: Output, observer: Arc<Observer>) -> Result<Common> {
        let http = &self.guest.http;
        let number = |setting| usize::try_from(http.get(setting)).unwrap_or(usize::MAX);
        let (running, waiting) = (number(HttpSetting::Concurrency), number(HttpSetting::Queue));
        let clock = Clock::start(self.proxy.engine().clone(), self.areas.clone())
            .map_err(|e| Refusal::system("start a thread that counts epochs", e))?;
        Ok(Common {
            admission: Admission::new(running, waiting),
            places: Places::new(http.get(HttpSetting::Connections)),
            settings: Settings::of(http),
            clock,
            error: error.clone(),
            observer: Arc::clone(&observer),
            next: AtomicU64::new(1),
            instances: self.instances(ends, error, observer),
        })
    }

    fn instances(self, ends: Ends, error: Output, observer: Arc<Observer>) -> Instances {
        let Self { proxy, guest, limits, hooks, files, areas } = self;
        let each = guest.http.get(HttpSetting::Memory);
        let memory = Shared::new(&limits, each, ends.report, areas);
        Instances {
            together: Together::of(&guest.http, &proxy),
            proxy,
            most_requests: guest.http.get(HttpSetting::RequestsPerInstance),
            guest,
            limits,
            hooks,
            files,
            memory: Arc::new(memory),
            output: Output::stdout(),
            error,
            observer,
            idle: Default::default(),
        }
    }
}

/// How many threads there are for what.
#[derive(Clone, Copy)]
struct Threads {
    /// Run requests: as many as there are processors for the container, by its quota and by its set of them.
    workers: usize,
    /// There is room for beside those and the clock's: for files, which may be slow, and for name lookups.
    aside: usize,
}

impl Threads {
    /// # Errors
    /// Names the container's limit, if it has no room for the least that there must be.
    fn of(guest: &Guest, limits: &Limits) -> Result<Self> {
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let granted = guest.http.processors.map_or(MOST_WORKERS, |most| most as usize);
        let workers = available.min(granted).max(1);
        let most = limits.get(LimitKind::Threads).unwrap_or(1);
        let observing = observe::threads(guest);
        let taken = workers + 1 + observing;
        let aside = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(taken);
        let least = 2 + observing.min(1) as u64;
        match guest.http.processes.filter(|most| *most < least) {
            None => Ok(Self { workers, aside }),
            Some(most) => Err(Refusal::invalid(format!(
                "linux.resources.pids.limit is {most}: a server needs {least} threads, for requests, for its clock{}",
                match observing {
                    0 => "",
                    _ => ", and for its health, access log or spans",
                }
            ))),
        }
    }
}

fn runtime(Threads { workers, aside }: Threads) -> Result<tokio::runtime::Runtime> {
    let mut builder = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder
        .enable_all()
        .worker_threads(workers)
        // It cannot be told that there are none.
        .max_blocking_threads(aside.max(1))
        // A request in a loop gives way once in an epoch: between two of those, look for what came in.
        .event_interval(4)
        .build()
        .map_err(|e| Refusal::system("make the event loop", e))
}

/// Threads where nothing limits the container's processors: a node of a hundred is not one server's.
const MOST_WORKERS: usize = 8;
