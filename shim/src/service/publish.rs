//! Sending events to containerd.

use std::time::Duration;

use containerd_shim_protos::api::ForwardRequest;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::ttrpc::{self, context};
use lighter::stack::give_back_stack;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::convert::{timestamp, topic_and_event};
use crate::events::Happened;
use crate::sys;

/// How long containerd may take over one event.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pauses between attempts while containerd is away double from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// When nothing has happened for that long, the server is at rest: the threads for blocking calls have gone.
const QUIET: Duration = Duration::from_secs(1);

/// What is dropped takes that long to be gone.
const GONE: Duration = Duration::from_millis(20);

/// Sends all that `happened`, one after the other, each until containerd has it; ends when no more can come.
pub(crate) async fn publish(
    address: String,
    namespace: String,
    mut happened: UnboundedReceiver<Happened>,
) {
    let address = if address.contains("://") { address } else { format!("unix://{address}") };
    let mut client = None;
    while let Some(next) = next(&mut happened, &mut client).await {
        let at = timestamp(next.at);
        let (topic, event) = match topic_and_event(next.event) {
            Ok(event) => event,
            Err(error) => {
                log::error!("encode an event: {error}");
                continue;
            }
        };
        let envelope = Envelope {
            timestamp: MessageField::some(at),
            namespace: namespace.clone(),
            topic: topic.to_owned(),
            event: MessageField::some(event),
            ..Envelope::default()
        };
        let request =
            ForwardRequest { envelope: MessageField::some(envelope), ..ForwardRequest::default() };
        send(&address, &mut client, &request).await;
    }
}

/// What happens next. While that takes its time, no memory is kept for it.
async fn next(
    happened: &mut UnboundedReceiver<Happened>,
    client: &mut Option<EventsClient>,
) -> Option<Happened> {
    if let Ok(next) = timeout(QUIET, happened.recv()).await {
        return next;
    }
    // The next event may be days away, and a connection costs both ends.
    *client = None;
    if let Ok(next) = timeout(GONE, happened.recv()).await {
        return next;
    }
    sys::give_back_memory();
    give_back_stack();
    happened.recv().await
}

async fn send(address: &str, client: &mut Option<EventsClient>, request: &ForwardRequest) {
    let mut pause = PAUSES.0;
    loop {
        let connected = match client.take() {
            Some(client) => Ok(client),
            None => Client::connect(address).await.map(EventsClient::new),
        };
        let error = match connected {
            Ok(connected) => {
                match connected.forward(context::with_duration(PATIENCE), request).await {
                    Ok(_) => {
                        *client = Some(connected);
                        return;
                    }
                    // containerd has it and does not want it.
                    Err(ttrpc::Error::RpcStatus(status))
                        if status.code() != ttrpc::Code::UNAVAILABLE =>
                    {
                        log::warn!(
                            "containerd refuses event {}: {}",
                            request.envelope.topic,
                            status.message
                        );
                        *client = Some(connected);
                        return;
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        log::debug!("send event {} to {address}: {error}", request.envelope.topic);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}
