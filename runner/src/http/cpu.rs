//! Processor time of one request, which ends a request that has had all of its own.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The request took more processor time than it may.
#[derive(Debug, thiserror::Error)]
#[error("its processor time is used up")]
pub(super) struct Spent;

/// How much a request has taken. It moves from thread to thread, and is at one of them at a time.
pub(crate) struct Meter {
    /// Nanoseconds.
    limit: AtomicU64,
    /// Nanoseconds, without those of the turn that it is at.
    spent: AtomicU64,
    /// What the thread's clock showed when the turn began.
    since: AtomicU64,
}

impl Meter {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit: nanoseconds(limit).into(), spent: 0.into(), since: 0.into() }
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
        let turn = now().saturating_sub(self.since.load(Ordering::Relaxed));
        let spent = self.spent.load(Ordering::Relaxed).saturating_add(turn);
        spent > self.limit.load(Ordering::Relaxed)
    }

    /// Does `work`, and counts its turns, if there is a meter.
    pub(super) async fn count<T>(
        meter: Option<&Self>,
        work: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        let Some(meter) = meter else { return work.await };
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            let begin = now();
            meter.since.store(begin, Ordering::Relaxed);
            let done = work.as_mut().poll(context);
            let spent = now().saturating_sub(begin);
            let before = meter.spent.fetch_add(spent, Ordering::Relaxed);
            match done {
                // What the guest has the host do is not interrupted.
                Poll::Pending if before + spent > meter.limit.load(Ordering::Relaxed) => {
                    Poll::Ready(Err(Spent.into()))
                }
                done => done,
            }
        })
        .await
    }
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
