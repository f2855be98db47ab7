//! Instances that serve several requests at the same time, where that is asked for.
//!
//! Each has a task of its own, which has its store, and which requests are sent to. What ends an instance ends all of
//! its requests; one that takes too long is answered for, and lets the instance have no further ones.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use http::Request;
use lighter::plan::{Http, HttpSetting};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use wasmtime::component::Accessor;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p3::bindings::Service;

use super::written::Writing;
use super::{Answered, Sender, answer};
use crate::http::Common;
use crate::http::answer::{Failure, Outcome, judge};
use crate::http::bodies::Course;
use crate::http::cpu::Meter;
use crate::http::instance::{Live, TimedOut};
use crate::http::proxy::{Proxy, ProxyPre};
use crate::wasi::Host;

/// The instances that may have further requests.
pub(in crate::http) struct Together {
    at_once: usize,
    most_requests: u64,
    open: Mutex<Vec<Open>>,
}

struct Open {
    jobs: UnboundedSender<Seated>,
    /// Requests that it is at.
    taken: Arc<AtomicUsize>,
    /// Requests that it may have yet.
    left: u64,
}

/// A request on its way to an instance.
pub(in crate::http) struct Job {
    pub(in crate::http) request: Request<WasiBody>,
    pub(in crate::http) deadline: Instant,
    pub(in crate::http) permit: Arc<OwnedSemaphorePermit>,
    pub(in crate::http) course: Arc<Course>,
}

struct Seated {
    job: Job,
    seat: Seat,
}

/// What a request has of an instance, until its answer's last byte.
pub(super) struct Seat {
    ticket: Arc<Ticket>,
    taken: Arc<AtomicUsize>,
}

/// What is known of a request by who waits for its end.
struct Ticket {
    course: Arc<Course>,
    /// Where the answer goes, until there is one, or nobody wants it any more.
    sender: Mutex<Option<Sender>>,
    answered: AtomicBool,
    ended: Mutex<Option<oneshot::Sender<Outcome>>>,
    body: Mutex<Option<Writing>>,
}

impl Seat {
    /// Notes that there is an answer, with this body if it has one.
    pub(super) fn answered(&self, body: Option<Writing>) {
        *lock(&self.ticket.body) = body;
        self.ticket.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        // Else the instance is gone, and knows why.
        if self.ticket.answered.load(Ordering::Relaxed) {
            self.ticket.ends(Ok(()));
        }
    }
}

impl Ticket {
    fn send(&self, answer: Answered) {
        if let Some(sender) = lock(&self.sender).take() {
            // The client may have left.
            let _ = sender.send(answer);
        }
    }

    fn ends(&self, outcome: Outcome) {
        if let Some(ended) = lock(&self.ended).take() {
            // Who waited may have had enough.
            let _ = ended.send(outcome);
        }
    }

    fn has_ended(&self) -> bool {
        lock(&self.ended).is_none()
    }
}

impl Together {
    /// For a server of WASI 0.3 whose instances are to have more than one.
    pub(in crate::http) fn of(http: &Http, proxy: &ProxyPre) -> Option<Self> {
        let at_once = http.get(HttpSetting::RequestsAtOnce);
        let most_requests = http.get(HttpSetting::RequestsPerInstance);
        if !matches!(proxy, ProxyPre::Three(_)) || at_once < 2 || most_requests < 2 {
            return None;
        }
        let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
        Some(Self { at_once, most_requests, open: Mutex::default() })
    }

    /// Has an instance answer, and waits until it has.
    pub(in crate::http) async fn serve(
        &self,
        common: &Arc<Common>,
        job: Job,
        sender: Sender,
    ) -> Outcome {
        let (ended, outcome) = oneshot::channel();
        let (deadline, course) = (job.deadline, Arc::clone(&job.course));
        let ticket = Arc::new(Ticket {
            course: Arc::clone(&course),
            sender: Mutex::new(Some(sender)),
            answered: false.into(),
            ended: Mutex::new(Some(ended)),
            body: Mutex::default(),
        });
        let jobs = self
            .send(common, job, &ticket)
            .map_err(|error| (Failure::Guest, format!("cannot be served: {error:#}")))?;
        match timeout_at(deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err((Failure::Guest, "its instance is gone".into())),
            Err(_) => {
                lock(&self.open).retain(|open| !open.jobs.same_channel(&jobs));
                course.fails();
                drop(lock(&ticket.sender).take());
                if let Some(body) = lock(&ticket.body).take() {
                    body.close();
                }
                let limit = common.settings.request_timeout;
                Err((Failure::Time, format!("it took longer than {limit:?}")))
            }
        }
    }

    /// Finds an instance with room, or makes one; returns the way to it.
    fn send(
        &self,
        common: &Arc<Common>,
        job: Job,
        ticket: &Arc<Ticket>,
    ) -> wasmtime::Result<UnboundedSender<Seated>> {
        let seated = |job, taken: &Arc<AtomicUsize>| {
            taken.fetch_add(1, Ordering::Relaxed);
            Seated { job, seat: Seat { ticket: Arc::clone(ticket), taken: Arc::clone(taken) } }
        };
        let mut all = lock(&self.open);
        all.retain(|open| open.left > 0 && !open.jobs.is_closed());
        let mut job = job;
        for open in all.iter_mut() {
            if open.taken.load(Ordering::Relaxed) >= self.at_once {
                continue;
            }
            match open.jobs.send(seated(job, &open.taken)) {
                Ok(()) => {
                    open.left -= 1;
                    common.observer.instance(false);
                    return Ok(open.jobs.clone());
                }
                // It has just ended.
                Err(back) => job = back.0.job,
            }
        }
        let live = common.instances.get()?;
        let (jobs, receiver) = unbounded_channel();
        let open = Open { jobs: jobs.clone(), taken: Arc::default(), left: self.most_requests - 1 };
        tokio::spawn(work(Arc::clone(common), live, receiver, job.deadline));
        // Its receiver is there.
        let _ = jobs.send(seated(job, &open.taken));
        all.push(open);
        Ok(jobs)
    }
}

/// An instance, from its first request to its last.
async fn work(
    common: Arc<Common>,
    mut live: Live,
    mut jobs: UnboundedReceiver<Seated>,
    first: Instant,
) {
    let limit = common.settings.cpu_time;
    let busy = Busy {
        tickets: Mutex::default(),
        meter: limit.map(|limit| Arc::new(Meter::new(limit))),
        until: watch::Sender::new(Some(first)),
    };
    let outcome = {
        let work = async {
            live.prepare(&common.instances, first, busy.meter.as_ref()).await?;
            let (Proxy::Three(service), store) = live.parts()? else { return Ok(()) };
            let serve = async |accessor: &Accessor<Host>| {
                serve(&common, service, accessor, &mut jobs, &busy).await
            };
            store.run_concurrent(serve).await?
        };
        tokio::select! {
            biased;
            outcome = Meter::count(busy.meter.as_deref(), work) => outcome,
            () = busy.is_late() => Err(TimedOut.into()),
        }
    };
    jobs.close();
    let mut tickets = std::mem::take(&mut *lock(&busy.tickets));
    while let Ok(seated) = jobs.try_recv() {
        tickets.push(Arc::clone(&seated.seat.ticket));
    }
    tickets.retain(|ticket| !ticket.has_ended());
    let failed = outcome.err().map(|error| judge(&common, &live, &error));
    for ticket in &tickets {
        if let Some(failed) = &failed {
            ticket.course.fails();
            ticket.ends(Err(failed.clone()));
        }
    }
    live.close_bodies();
    for ticket in tickets {
        ticket.ends(Ok(()));
    }
}

/// What an instance is at.
struct Busy {
    tickets: Mutex<Vec<Arc<Ticket>>>,
    meter: Option<Arc<Meter>>,
    /// When the last of its requests must be done; `None` while it has none.
    until: watch::Sender<Option<Instant>>,
}

impl Busy {
    /// Waits until it has taken longer than any of its requests may.
    async fn is_late(&self) {
        let mut until = self.until.subscribe();
        loop {
            let deadline = *until.borrow_and_update();
            tokio::select! {
                _ = until.changed() => {}
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return,
            }
        }
    }
}

/// Answers what comes, until nothing more does and all that the guest has begun is done.
async fn serve(
    common: &Common,
    service: &Service,
    accessor: &Accessor<Host>,
    jobs: &mut UnboundedReceiver<Seated>,
    busy: &Busy,
) -> wasmtime::Result<()> {
    let mut running: Vec<Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send + '_>>> =
        Vec::new();
    let (mut clock, mut open) = (None, true);
    poll_fn(|context| {
        loop {
            let mut at = 0;
            while let Some(answer) = running.get_mut(at) {
                match answer.as_mut().poll(context) {
                    Poll::Ready(Ok(())) => drop(running.swap_remove(at)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => at += 1,
                }
            }
            if open {
                match jobs.poll_recv(context) {
                    Poll::Ready(Some(Seated { job, seat })) => {
                        begin(common, accessor, busy, clock.is_none(), job.deadline, &seat);
                        clock.get_or_insert_with(|| common.clock.run());
                        let Job { request, permit, .. } = job;
                        running.push(Box::pin(async move {
                            let _permit = permit;
                            let ticket = Arc::clone(&seat.ticket);
                            let send = |answer| ticket.send(answer);
                            answer(service, accessor, request, send, Some(seat)).await
                        }));
                        continue;
                    }
                    Poll::Ready(None) => open = false,
                    Poll::Pending => {}
                }
            }
            if !running.is_empty() || accessor.poll_no_interesting_tasks(context).is_pending() {
                return Poll::Pending;
            }
            // It rests.
            if clock.take().is_some() {
                busy.until.send_replace(None);
            }
            return if open { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
    })
    .await
}

/// Gives an instance the time that one more request may take: all of them have it together.
fn begin(
    common: &Common,
    accessor: &Accessor<Host>,
    busy: &Busy,
    rested: bool,
    deadline: Instant,
    seat: &Seat,
) {
    let mut tickets = lock(&busy.tickets);
    tickets.retain(|ticket| !ticket.has_ended());
    tickets.push(Arc::clone(&seat.ticket));
    let deadline = busy.until.borrow().map_or(deadline, |until| until.max(deadline));
    busy.until.send_replace(Some(deadline));
    accessor.with(|mut store| store.data_mut().exchange.must_end_by(deadline));
    if let (Some(meter), Some(limit)) = (&busy.meter, common.settings.cpu_time) {
        meter.grant(limit, rested);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
