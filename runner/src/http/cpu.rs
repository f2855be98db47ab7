//! Processor time of one request, which ends a request that has had all of its own.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The request took more processor time than it may.
#[derive(Debug, thiserror::Error)]
#[error("its processor time is used up")]
pub(super) struct Spent;

/// How much a request has taken. It moves from thread to thread, and is at one of them at a time.
///
/// A thread's clock is a system call. Few requests take so long that it matters how much of their time they had a processor: for
/// the first sixteenth of the limit, what the turns took is looked at, which is no less. Only from then on are turns counted,
/// from nothing. So a request has what it may have, and a sixteenth more at most.
pub(crate) struct Meter {
    /// Nanoseconds.
    limit: AtomicU64,
    /// Nanoseconds that its turns may take before they are counted; nothing where a turn could take as long before it is looked at.
    free: u64,
    counts: AtomicBool,
    /// Nanoseconds, without those of the turn that it is at: of processor time if it counts, and else of any.
    spent: AtomicU64,
    /// What the clock showed when the turn began: the thread's if it counts, and else that of the machine.
    since: AtomicU64,
}

impl Meter {
    pub(super) fn new(limit: Duration) -> Self {
        let free = if limit > WORTH { nanoseconds(limit / 16) } else { 0 };
        let counts = (free == 0).into();
        Self { limit: nanoseconds(limit).into(), free, counts, spent: 0.into(), since: 0.into() }
    }

    /// Gives it `limit` more, or, `anew`, nothing but that.
    pub(super) fn grant(&self, limit: Duration, anew: bool) {
        if anew {
            self.spent.store(0, Ordering::Relaxed);
            self.limit.store(0, Ordering::Relaxed);
        }
        self.limit.fetch_add(nanoseconds(limit), Ordering::Relaxed);
    }

    /// Whether it is more than the limit; asked in a turn, by the thread whose turn it is.
    pub(super) fn is_over(&self) -> bool {
        self.is_more(self.with_turn())
    }

    /// Does `work`, and counts its turns, if there is a meter.
    pub(super) async fn count<T>(
        meter: Option<&Self>,
        work: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        let Some(meter) = meter else { return work.await };
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            meter.since.store(meter.now(), Ordering::Relaxed);
            let done = work.as_mut().poll(context);
            if done.is_ready() {
                return done;
            }
            let spent = meter.with_turn();
            meter.spent.store(spent, Ordering::Relaxed);
            // What the guest has the host do is not interrupted.
            if meter.is_more(spent) {
                return Poll::Ready(Err(Spent.into()));
            }
            done
        })
        .await
    }

    /// What is spent, with the turn that it is at.
    fn with_turn(&self) -> u64 {
        let turn = self.now().saturating_sub(self.since.load(Ordering::Relaxed));
        self.spent.load(Ordering::Relaxed).saturating_add(turn)
    }

    /// Whether `spent` is more than the limit. Begins to count if it may be in the end.
    fn is_more(&self, spent: u64) -> bool {
        if self.counts.load(Ordering::Relaxed) {
            return spent > self.limit.load(Ordering::Relaxed);
        }
        if spent > self.free {
            self.counts.store(true, Ordering::Relaxed);
            self.spent.store(0, Ordering::Relaxed);
            self.since.store(self.now(), Ordering::Relaxed);
        }
        false
    }

    fn now(&self) -> u64 {
        match self.counts.load(Ordering::Relaxed) {
            true => now(),
            false => elapsed(),
        }
    }
}

/// A limit of which a sixteenth is worth it: longer than it takes until a turn is looked at.
const WORTH: Duration = Duration::from_millis(320);

/// Nanoseconds since some time, without a system call.
fn elapsed() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| nanoseconds(Duration::from(time)))
}

/// Nanoseconds of processor time of this thread.
fn now() -> u64 {
    // It is there since Linux 2.6.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(0, |time| nanoseconds(Duration::from(time)))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(time: Duration) {
        let end = now() + u64::try_from(time.as_nanos()).unwrap();
        while now() < end {}
    }

    async fn turns(number: u32, each: Duration) -> wasmtime::Result<()> {
        for _ in 0..number {
            spend(each);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn run(limit: u64, work: impl Future<Output = wasmtime::Result<()>>) -> wasmtime::Result<()> {
        let meter = Meter::new(Duration::from_millis(limit));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Meter::count(Some(&meter), work))
    }

    #[test]
    fn turns_are_added_up_and_waiting_is_not() {
        let turn = Duration::from_millis(2);
        assert!(run(100, turns(10, turn)).is_ok());
        assert!(run(10, turns(10, turn)).unwrap_err().is::<Spent>());
        let waits = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            Ok(())
        };
        assert!(run(30, waits).is_ok());
    }

    #[test]
    fn turns_are_counted_once_they_have_taken_a_while() {
        let meter = Meter::new(Duration::from_millis(480));
        let work = async {
            assert!(!meter.is_over() && !meter.counts.load(Ordering::Relaxed));
            // Nobody had the processor: it is looked at from then on, and not counted.
            std::thread::sleep(Duration::from_millis(500));
            assert!(!meter.is_over() && meter.counts.load(Ordering::Relaxed));
            spend(Duration::from_millis(400));
            std::thread::sleep(Duration::from_millis(200));
            assert!(!meter.is_over(), "time without a processor was counted");
            spend(Duration::from_millis(90));
            assert!(meter.is_over());
            Ok(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(Meter::count(Some(&meter), work)).is_ok(), "it ended by itself");
    }

    #[test]
    fn it_is_known_in_the_middle_of_a_turn() {
        let meter = Meter::new(Duration::from_millis(5));
        let work = async {
            assert!(!meter.is_over());
            spend(Duration::from_millis(6));
            assert!(meter.is_over());
            Ok(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(Meter::count(Some(&meter), work)).is_ok(), "it ended by itself");
    }
}
