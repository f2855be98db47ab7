//! What answers requests: a component of WASI 0.2, or one of 0.3.

use wasmtime::component::InstancePre;
use wasmtime::{Engine, Result, Store};
use wasmtime_wasi_http::{p2, p3};

use crate::wasi::Host;

/// A linked server.
pub(super) enum ProxyPre {
    /// `wasi:http/incoming-handler@0.2`.
    Two(p2::bindings::ProxyPre<Host>),
    /// `wasi:http/handler@0.3`.
    Three(p3::bindings::ServicePre<Host>),
}

/// An instance of one.
pub(super) enum Proxy {
    Two(p2::bindings::Proxy),
    Three(p3::bindings::Service),
}

impl ProxyPre {
    /// Of a component that was compiled `concurrent` if it is of WASI 0.3.
    pub(super) fn new(linked: InstancePre<Host>, concurrent: bool) -> Result<Self> {
        match concurrent {
            false => p2::bindings::ProxyPre::new(linked).map(Self::Two),
            true => p3::bindings::ServicePre::new(linked).map(Self::Three),
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        match self {
            Self::Two(proxy) => proxy.engine(),
            Self::Three(service) => service.engine(),
        }
    }

    pub(super) async fn instantiate_async(&self, store: &mut Store<Host>) -> Result<Proxy> {
        match self {
            Self::Two(proxy) => proxy.instantiate_async(store).await.map(Proxy::Two),
            Self::Three(service) => service.instantiate_async(store).await.map(Proxy::Three),
        }
    }
}
