//! What containerd tells its subscribers of tasks, as they hear it over its API.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use containerd_client::events::{
    TaskCheckpointed, TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOom,
    TaskPaused, TaskResumed, TaskStart,
};
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::{PublishRequest, SubscribeRequest};
use containerd_client::types::Envelope;
use prost::Message;
use prost_types::Any;
use tokio::sync::oneshot;

use super::command::eventually;
use super::containerd::LIMIT;
use super::grpc::Client;
use super::namespace::Namespace;

/// One thing that happened to a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `create`, `start`, `exec-added`, …: what follows `/tasks/`.
    pub topic: String,
    /// The container.
    pub container: String,
    /// The process, if it was another than the container's first.
    pub exec: String,
    /// The process id; 0 where the event has none.
    pub pid: u32,
    /// The exit status, if the event has one.
    pub status: Option<u32>,
}

/// A subscription to one namespace's events; ends when dropped.
#[derive(Debug)]
pub struct Subscription {
    events: Arc<Mutex<Vec<Event>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Subscription {
    /// Returns once events arrive.
    #[track_caller]
    pub fn to(namespace: &Namespace<'_>) -> Self {
        const HELLO: &str = "/lighter-tests/hello";
        let events = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let listener = Client::of(namespace);
        let (collected, name) = (events.clone(), namespace.name().to_owned());
        let thread = std::thread::spawn(move || listener.listen(&name, &collected, stopped));
        let subscription = Self { events, stop: Some(stop), thread: Some(thread) };
        // containerd does not say when it begins to listen.
        let client = Client::of(namespace);
        let heard = eventually(LIMIT, || {
            let event = Any { type_url: "lighter.tests.Hello".to_owned(), value: Vec::new() };
            let hello = PublishRequest { topic: HELLO.to_owned(), event: Some(event) };
            let published = client.call(hello, |channel, request| async move {
                EventsClient::new(channel).publish(request).await
            });
            published.expect("publish");
            !subscription.events.lock().unwrap().is_empty()
        });
        assert!(heard, "no event comes");
        subscription
    }

    /// What happened to the container `id` so far, in order.
    pub fn of(&self, id: &str) -> Vec<Event> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| event.container == id).cloned().collect()
    }

    /// The same once the task of `id` has been deleted.
    #[track_caller]
    pub fn until_deleted(&self, id: &str) -> Vec<Event> {
        assert!(self.hears_of_deletion(id, LIMIT), "{id} is never deleted: {:#?}", self.of(id));
        self.of(id)
    }

    /// The same of a shim that may end before it has told of the deletion.
    pub fn most_of(&self, id: &str) -> Vec<Event> {
        self.hears_of_deletion(id, Duration::from_secs(3));
        self.of(id)
    }

    fn hears_of_deletion(&self, id: &str, limit: Duration) -> bool {
        let deleted = |event: &Event| event.topic == "delete" && event.exec.is_empty();
        eventually(limit, || self.of(id).iter().any(deleted))
    }
}

impl Client {
    fn listen(self, namespace: &str, into: &Mutex<Vec<Event>>, mut stop: oneshot::Receiver<()>) {
        let filters = vec![format!("namespace=={namespace}")];
        let (runtime, channel) = self.into_parts();
        runtime.block_on(async {
            let mut client = EventsClient::new(channel);
            // It answers only when there is a first event.
            let mut stream = tokio::select! {
                stream = client.subscribe(SubscribeRequest { filters }) => match stream {
                    Ok(stream) => stream.into_inner(),
                    Err(_) => return,
                },
                _ = &mut stop => return,
            };
            loop {
                let envelope = tokio::select! {
                    envelope = stream.message() => envelope,
                    _ = &mut stop => return,
                };
                let Ok(Some(envelope)) = envelope else { return };
                into.lock().unwrap().push(event(&envelope));
            }
        });
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn event(envelope: &Envelope) -> Event {
    let topic = envelope.topic.strip_prefix("/tasks/").unwrap_or(&envelope.topic).to_owned();
    let bytes = envelope.event.as_ref().map(|event| event.value.as_slice()).unwrap_or_default();
    let mut event = read(&topic, bytes).unwrap_or_default();
    event.topic = topic;
    // containerd names the first process by the container's id, or not at all.
    if event.exec == event.container {
        event.exec.clear();
    }
    event
}

fn read(topic: &str, bytes: &[u8]) -> Option<Event> {
    let about = |container: String| Event { container, ..Event::default() };
    Some(match topic {
        "create" => {
            let it = TaskCreate::decode(bytes).ok()?;
            Event { pid: it.pid, ..about(it.container_id) }
        }
        "start" => {
            let it = TaskStart::decode(bytes).ok()?;
            Event { pid: it.pid, ..about(it.container_id) }
        }
        "exit" => {
            let it = TaskExit::decode(bytes).ok()?;
            let status = Some(it.exit_status);
            Event { exec: it.id, pid: it.pid, status, ..about(it.container_id) }
        }
        "delete" => {
            let it = TaskDelete::decode(bytes).ok()?;
            let status = Some(it.exit_status);
            Event { exec: it.id, pid: it.pid, status, ..about(it.container_id) }
        }
        "exec-added" => {
            let it = TaskExecAdded::decode(bytes).ok()?;
            Event { exec: it.exec_id, ..about(it.container_id) }
        }
        "exec-started" => {
            let it = TaskExecStarted::decode(bytes).ok()?;
            Event { exec: it.exec_id, pid: it.pid, ..about(it.container_id) }
        }
        "oom" => about(TaskOom::decode(bytes).ok()?.container_id),
        "paused" => about(TaskPaused::decode(bytes).ok()?.container_id),
        "resumed" => about(TaskResumed::decode(bytes).ok()?.container_id),
        "checkpointed" => about(TaskCheckpointed::decode(bytes).ok()?.container_id),
        _ => return None,
    })
}
