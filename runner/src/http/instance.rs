//! Instances: a fresh one for each request, unless it is asked for that one serves several, one after the other.

use std::sync::{Arc, Mutex, PoisonError};

use lighter::plan::{Guest, Limits};
use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi_http::WasiHttpCtx;
use wasmtime_wasi_http::p2::body::HostOutgoingBody;

use super::cpu::{Meter, Spent};
use super::observe::Observer;
use super::outgoing::Hooks;
use super::output::Output;
use super::proxy::{Proxy, ProxyPre};
use super::three::Together;
use crate::engine;
use crate::limits::{Limiter, Shared};
use crate::wasi::Host;

/// What `wasi:http` keeps in a guest's store.
pub(crate) struct Exchange {
    pub(crate) context: WasiHttpCtx,
    pub(crate) hooks: Hooks,
    /// When the request that a server's instance is at must be done.
    deadline: Option<Instant>,
    /// How much processor time that request has had, if it may not have any.
    meter: Option<Arc<Meter>>,
}

impl Exchange {
    pub(crate) fn new(hooks: Hooks) -> Self {
        Self { context: WasiHttpCtx::new(), hooks, deadline: None, meter: None }
    }
}

impl Exchange {
    /// Has the guest be done by `deadline`.
    pub(super) fn must_end_by(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }
}

/// The request took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("its time is used up")]
pub(super) struct TimedOut;

/// Where requests get their instances.
pub(super) struct Instances {
    pub(super) proxy: ProxyPre,
    pub(super) guest: Guest,
    pub(super) limits: Limits,
    pub(super) hooks: Hooks,
    /// The directories that the guest may open, as all requests have them.
    pub(super) files: WasiFilesystemCtx,
    pub(super) memory: Arc<Shared>,
    pub(super) output: Output,
    pub(super) error: Output,
    pub(super) observer: Arc<Observer>,
    /// Requests that one instance serves at most.
    pub(super) most_requests: u64,
    /// Those that serve several at the same time, if that is asked for.
    pub(super) together: Option<Together>,
    /// Those that have not served as many yet, and serve nobody now.
    pub(super) idle: Mutex<Vec<Live>>,
}

/// A store, and the component in it once it is instantiated.
pub(super) struct Live {
    pub(super) store: Store<Host>,
    proxy: Option<Proxy>,
    served: u64,
}

impl Instances {
    /// One that has served nothing, or not as much as it may.
    pub(super) fn get(&self) -> wasmtime::Result<Live> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = idle.pop() {
            self.observer.instance(false);
            return Ok(live);
        }
        drop(idle);
        self.observer.instance(true);
        let limiter = Limiter::of_request(&self.memory);
        let Self { guest, limits, hooks, files, output, error, .. } = self;
        let host = Host::of_request(guest, limits, hooks, files, limiter, output, error);
        let mut store = engine::store(self.proxy.engine(), limits, host)
            .map_err(|e| wasmtime::format_err!("{e}"))?;
        engine::limit_calls(&mut store, limits);
        store.epoch_deadline_callback(|store| {
            let exchange = &store.data().exchange;
            if exchange.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(TimedOut.into());
            }
            if exchange.meter.as_ref().is_some_and(|meter| meter.is_over()) {
                return Err(Spent.into());
            }
            // Others get their turn.
            Ok(UpdateDeadline::Yield(1))
        });
        Ok(Live { store, proxy: None, served: 0 })
    }

    /// Keeps one that has served a request well for the next one, if it may serve more.
    pub(super) fn put_back(&self, mut live: Live) {
        live.served += 1;
        // In any case, as it may be gone next.
        let finished = live.close_bodies();
        if live.served < self.most_requests && finished && !live.owes() {
            let exchange = &mut live.store.data_mut().exchange;
            (exchange.deadline, exchange.meter) = (None, None);
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(live);
        }
    }
}

impl Live {
    /// Has it ready for a request that must be done by `deadline`, and in the time that `meter` gives it.
    pub(super) async fn prepare(
        &mut self,
        instances: &Instances,
        deadline: Instant,
        meter: Option<&Arc<Meter>>,
    ) -> wasmtime::Result<()> {
        let exchange = &mut self.store.data_mut().exchange;
        (exchange.deadline, exchange.meter) = (Some(deadline), meter.cloned());
        self.store.set_epoch_deadline(1);
        if self.proxy.is_none() {
            let proxy = instances.proxy.instantiate_async(&mut self.store).await?;
            self.store.data_mut().limiter.runs();
            self.proxy = Some(proxy);
        }
        Ok(())
    }

    /// Closes the bodies that a guest of WASI 0.3 writes, before it is gone; whether they were finished.
    pub(super) fn close_bodies(&mut self) -> bool {
        self.store.data_mut().exchange.hooks.bodies().close()
    }

    /// Whether somebody waits for the end of a body that it has not finished, and will not.
    fn owes(&mut self) -> bool {
        let table = self.store.data_mut().ctx().table;
        table.iter_mut().any(|entry| entry.is::<HostOutgoingBody>())
    }

    /// What handles requests, and the store that it does so in.
    pub(super) fn parts(&mut self) -> wasmtime::Result<(&Proxy, &mut Store<Host>)> {
        let proxy = self.proxy.as_ref();
        let proxy = proxy.ok_or_else(|| wasmtime::format_err!("it is not instantiated"))?;
        Ok((proxy, &mut self.store))
    }
}
