//! A shim that runs nothing: containerd's own cost, below which no shim can come.
//!
//! It has the shape of a fast shim: `start` binds a socket, leaves a forked server behind and prints the address, one
//! server for the containers of a pod. A task of it writes one line to its standard output when it is started, and has
//! then ended.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{EnumOrUnknown, Message, MessageField};
use containerd_shim_protos::shim_async::{Task, create_task};
use containerd_shim_protos::ttrpc::Result;
use containerd_shim_protos::ttrpc::r#async::transport::Listener;
use containerd_shim_protos::ttrpc::r#async::{Server, Service, TtrpcContext};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

fn main() {
    if let Err(error) = run() {
        eprintln!("containerd-shim-noop-v1: {error:#}");
        exit(1)
    }
}

fn run() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let value =
        |flag: &str| args.iter().position(|arg| arg == flag).and_then(|at| args.get(at + 1));
    let id = value("-id").context("flag -id is missing")?;
    let namespace = value("-namespace").context("flag -namespace is missing")?;
    let address = value("-address").context("flag -address is missing")?;
    match args.last().map(String::as_str) {
        Some("start") => start(id, namespace, address),
        Some("delete") => {
            let answer = api::DeleteResponse { exited_at: now(), ..Default::default() };
            Ok(std::io::stdout().write_all(&answer.write_to_bytes()?)?)
        }
        other => bail!("unknown action {other:?}"),
    }
}

fn start(id: &str, namespace: &str, address: &str) -> anyhow::Result<()> {
    let config = std::fs::read_to_string("config.json").context("read config.json")?;
    let group = sandbox(&config).unwrap_or(id);
    let name = Sha256::digest(format!("noop/{address}/{namespace}/{group}"));
    let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = format!("/run/containerd/s/{name}");
    std::fs::create_dir_all("/run/containerd/s")?;
    let url = format!("unix://{path}");
    std::fs::write("address", &url)?;
    if UnixStream::connect(&path).is_err() {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).with_context(|| format!("listen on {path}"))?;
        if fork()? {
            serve(listener, Path::new(&path))?;
            exit(0)
        }
    }
    print!("{url}");
    Ok(std::io::stdout().flush()?)
}

/// The pod that the container belongs to. No parser: the harness writes the annotation as one line of JSON.
fn sandbox(config: &str) -> Option<&str> {
    let (_, rest) = config.split_once(r#""io.kubernetes.cri.sandbox-id":""#)?;
    Some(rest.split_once('"')?.0)
}

/// Whether this is the child.
#[allow(clippy::disallowed_methods, reason = "there is a single thread")]
fn fork() -> anyhow::Result<bool> {
    // SAFETY: no thread was made, so none holds a lock.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()).context("fork"),
        0 => {
            // SAFETY: both take numbers; the descriptors are those that containerd waits for.
            unsafe {
                libc::setsid();
                let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
                (0..3).for_each(|fd| {
                    libc::dup2(null, fd);
                });
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn serve(listener: UnixListener, path: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = Arc::new(Noop::default());
        listener.set_nonblocking(true)?;
        let mut server = Server::new()
            .add_listener(Listener::try_from(listener)?)
            .register_service(under("containerd.task.v2.Task", &service))
            .register_service(under("containerd.task.v3.Task", &service));
        server.start().await?;
        service.stop.notified().await;
        std::fs::remove_file(path)?;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        Ok(())
    })
}

/// The service under one of its names: containerd 1.x and 2.x ask for different ones.
fn under(name: &str, service: &Arc<Noop>) -> HashMap<String, Service> {
    let methods = create_task(service.clone()).into_values();
    methods.map(|methods| (name.to_owned(), methods)).collect()
}

/// The tasks, each with its standard output and whether it was started.
#[derive(Default)]
struct Noop {
    tasks: Mutex<HashMap<String, (String, bool)>>,
    stop: Notify,
}

impl Noop {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, (String, bool)>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Task for Noop {
    async fn connect(
        &self,
        _: &TtrpcContext,
        _: api::ConnectRequest,
    ) -> Result<api::ConnectResponse> {
        let pid = std::process::id();
        Ok(api::ConnectResponse { shim_pid: pid, task_pid: pid, ..Default::default() })
    }

    async fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> Result<api::CreateTaskResponse> {
        self.all().insert(request.id, (request.stdout, false));
        Ok(api::CreateTaskResponse { pid: std::process::id(), ..Default::default() })
    }

    async fn start(
        &self,
        _: &TtrpcContext,
        request: api::StartRequest,
    ) -> Result<api::StartResponse> {
        if let Some((stdout, started)) = self.all().get_mut(&request.id) {
            *started = true;
            let pipe = std::fs::File::options()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(stdout);
            if let Ok(mut pipe) = pipe {
                let _ = pipe.write_all(b"hello\n");
            }
        }
        Ok(api::StartResponse { pid: std::process::id(), ..Default::default() })
    }

    async fn state(
        &self,
        _: &TtrpcContext,
        request: api::StateRequest,
    ) -> Result<api::StateResponse> {
        let started = self.all().get(&request.id).is_some_and(|task| task.1);
        let status = if started { api::Status::STOPPED } else { api::Status::CREATED };
        Ok(api::StateResponse {
            id: request.id,
            pid: std::process::id(),
            status: EnumOrUnknown::new(status),
            ..Default::default()
        })
    }

    async fn wait(&self, _: &TtrpcContext, _: api::WaitRequest) -> Result<api::WaitResponse> {
        Ok(api::WaitResponse { exited_at: now(), ..Default::default() })
    }

    async fn kill(&self, _: &TtrpcContext, _: api::KillRequest) -> Result<api::Empty> {
        Ok(api::Empty::default())
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: api::DeleteRequest,
    ) -> Result<api::DeleteResponse> {
        self.all().remove(&request.id);
        let pid = std::process::id();
        Ok(api::DeleteResponse { pid, exited_at: now(), ..Default::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> Result<api::Empty> {
        if self.all().is_empty() {
            self.stop.notify_one();
        }
        Ok(api::Empty::default())
    }
}

fn now() -> MessageField<Timestamp> {
    MessageField::some(Timestamp::now())
}
