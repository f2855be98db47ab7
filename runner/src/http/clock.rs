//! Epochs: compiled code looks at a counter in each loop and call, and gives way when it has moved.
//!
//! A thread moves it, as long as there are requests: a server that nobody asks anything sleeps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, Thread};
use std::time::Duration;

use wasmtime::Engine;

use super::areas::Areas;

/// How long a request may run before others get their turn.
const EPOCH: Duration = Duration::from_millis(10);
/// Epochs that are counted on after the last request, as the next one is likely to come.
const LINGER: u32 = 100;
/// The thread needs next to none.
const STACK: usize = 64 << 10;

/// Counts while there are requests.
pub(super) struct Clock {
    state: Arc<State>,
    thread: Thread,
}

struct State {
    running: AtomicUsize,
    asleep: AtomicBool,
}

/// A request that runs.
pub(super) struct Running(Arc<State>);

impl Clock {
    /// Starts the thread, which lives as long as the process, and gives back what is kept of `areas` before it sleeps.
    pub(super) fn start(engine: Engine, areas: Option<Arc<Areas>>) -> io::Result<Self> {
        let state = Arc::new(State { running: 0.into(), asleep: false.into() });
        let seen = Arc::clone(&state);
        let builder = Builder::new().name("epochs".into()).stack_size(STACK);
        let thread =
            builder.spawn(move || count(&engine, &seen, areas.as_deref()))?.thread().clone();
        Ok(Self { state, thread })
    }

    /// Notes a request, until what is returned is dropped.
    pub(super) fn run(&self) -> Running {
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(Arc::clone(&self.state))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn count(engine: &Engine, state: &State, areas: Option<&Areas>) {
    let mut idle = 0;
    loop {
        std::thread::sleep(EPOCH);
        engine.increment_epoch();
        idle = if state.running.load(Ordering::SeqCst) > 0 { 0 } else { idle + 1 };
        if idle < LINGER {
            continue;
        }
        // A server at rest keeps nothing.
        if let Some(areas) = areas {
            areas.give_back();
        }
        state.asleep.store(true, Ordering::SeqCst);
        // Whoever came in between did not see that.
        while state.running.load(Ordering::SeqCst) == 0 && state.asleep.load(Ordering::SeqCst) {
            std::thread::park();
        }
        state.asleep.store(false, Ordering::SeqCst);
        idle = 0;
    }
}
