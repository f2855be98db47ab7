//! Bodies that a guest left unfinished must not look whole to whoever reads them.
//!
//! The engine ends the body of a guest that is gone as it ends one that is finished. What tells them apart are trailers: a
//! body that is finished always has some, if only none at all, and those go no further than here.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, HyperOutgoingBody};
use wasmtime_wasi_http::{Error, FieldMap, WasiBody};

use crate::wasi::Host;

/// The interface as the engine's crate links it; guests of any 0.2 get this one.
const TYPES: &str = "wasi:http/types@0.2.12";

/// Links what finishes a body, in place of the engine's.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap("[static]outgoing-body.finish", finish)?;
    linker.allow_shadowing(false);
    Ok(())
}

type Finished = (Result<(), ErrorCode>,);

fn finish(
    mut store: StoreContextMut<'_, Host>,
    (body, trailers): (Resource<HostOutgoingBody>, Option<Resource<FieldMap>>),
) -> wasmtime::Result<Finished> {
    let table = store.data_mut().ctx().table;
    let body = table.delete(body)?;
    let trailers = trailers.map(|trailers| table.delete(trailers)).transpose()?;
    Ok((body.finish(Some(trailers.unwrap_or_default())),))
}

/// A body that ends only if it was finished, and breaks off if it was not.
pub(super) struct Whole {
    body: HyperOutgoingBody,
    finished: bool,
}

impl Whole {
    /// One that a guest writes.
    pub(super) fn of_guest(body: HyperOutgoingBody) -> Self {
        // The engine's own, of an answer whose body the guest did not ask for.
        let finished = body.is_end_stream();
        Self { body, finished }
    }

    /// One that is whole already.
    pub(super) fn ours(body: HyperOutgoingBody) -> Self {
        Self { body, finished: true }
    }
}

/// A body that a guest sends, as [`Whole`] has it.
pub(super) fn sent(body: WasiBody) -> WasiBody {
    Whole::of_guest(body).boxed_unsync()
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            None if !self.finished => {
                self.finished = true;
                return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
            }
            other => return Poll::Ready(other),
        };
        Poll::Ready(match frame.into_trailers() {
            Ok(trailers) => {
                self.finished = true;
                (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)))
            }
            Err(data) => Some(Ok(data)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.finished && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
