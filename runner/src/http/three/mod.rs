//! Requests to servers of WASI 0.3, whose functions wait beside each other.
//!
//! | file | what |
//! |---|---|
//! | `written` | bodies that such a guest writes |
//! | `together` | instances with several requests at the same time |

mod together;
mod written;

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use hyper::body::Body;
use tokio::sync::oneshot;
use wasmtime::component::Accessor;
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::p3::{self, bindings::Service};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView};

use crate::wasi::Host;

pub(super) use together::{Job, Together};
pub(super) use written::Bodies;

use together::Seat;

/// An answer, or the error that the guest gave for one.
type Answered = Result<Response<WasiBody>, String>;

/// Where it goes.
pub(super) type Sender = oneshot::Sender<Answered>;

/// What the guest made of the body of a request.
type Taken = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Has `service` answer `request`, and waits for all that it does beyond that.
///
/// # Errors
/// When the guest failed; there may have been an answer before that.
pub(super) async fn handle<B>(
    service: &Service,
    store: &mut Store<Host>,
    request: Request<B>,
    sender: Sender,
) -> wasmtime::Result<()>
where
    B: Body<Data = Bytes, Error = Error> + Send + 'static,
{
    let work = async |accessor: &Accessor<Host>| {
        // The client may have left.
        let send = |answer| drop(sender.send(answer));
        answer(service, accessor, request, send, None).await?;
        poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
        Ok(())
    };
    store.run_concurrent(work).await?
}

/// Sends the guest's answer as soon as it has begun; its body keeps the `seat`.
async fn answer<B>(
    service: &Service,
    accessor: &Accessor<Host>,
    request: Request<B>,
    send: impl FnOnce(Answered),
    seat: Option<Seat>,
) -> wasmtime::Result<()>
where
    B: Body<Data = Bytes, Error = Error> + Send + 'static,
{
    let asked =
        request.headers().get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let (mut request, taken) = accessor.with(|mut store| {
        let hooks = store.data_mut().http().hooks;
        let (request, taken) = p3::Request::from_http(hooks, request);
        let taken: Taken = Box::pin(taken);
        (request, taken)
    });
    // As guests of 0.2 are told.
    request.scheme = Some(Scheme::HTTP);
    request.authority = request.authority.or(asked);
    let answer = match service.handle(accessor, request).await? {
        Ok(answer) => accessor.with(|mut store| {
            let answer = answer.into_http(store.as_context_mut(), taken)?;
            let bodies = store.data_mut().exchange.hooks.bodies();
            wasmtime::error::Ok(Ok(answer.map(|body| bodies.written(body, seat))))
        })?,
        Err(code) => {
            if let Some(seat) = &seat {
                seat.answered(None);
            }
            Err(code.to_string())
        }
    };
    send(answer);
    Ok(())
}
