//! Limits on time: timers of the kernel's whose signals end the process.
//!
//! So they hold in the tightest loop and inside of any call to the host, and cost the compiled code nothing. What
//! the guest was doing is not known then: a signal may come in the middle of anything, and no backtrace can be made
//! in its handler.

use std::time::Duration;

use lighter::error::{Refusal, Result};
use lighter::plan::{LimitKind, Limits};
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use crate::exit::Ends;
use crate::sys::{self, Alarm};

/// What timeout(1) exits with.
const TIMED_OUT: u8 = 124;
/// 128 + SIGXCPU, as of a process beyond its `RLIMIT_CPU`.
const OUT_OF_CPU_TIME: u8 = 152;

/// Starts the clocks that `limits` has.
///
/// # Errors
/// When the kernel refuses a timer.
pub(super) fn set(limits: &Limits, ends: Ends) -> Result<()> {
    // Goes on while the machine sleeps, and knows nothing of wall-clock time being set.
    let clock = ClockId::CLOCK_BOOTTIME;
    start(limits, LimitKind::Timeout, clock, Signal::SIGALRM, TIMED_OUT, ends)?;
    let clock = ClockId::CLOCK_PROCESS_CPUTIME_ID;
    start(limits, LimitKind::CpuTime, clock, Signal::SIGXCPU, OUT_OF_CPU_TIME, ends)
}

fn start(
    limits: &Limits,
    kind: LimitKind,
    clock: ClockId,
    signal: Signal,
    status: u8,
    ends: Ends,
) -> Result<()> {
    let Some(milliseconds) = limits.get(kind) else { return Ok(()) };
    let what = match kind {
        LimitKind::CpuTime => "processor time",
        _ => "time",
    };
    let sentence =
        format!("lighter: guest ended: its {what} is used up: {}\n", limits.describe(kind));
    let failed = |e: &dyn std::fmt::Display| Refusal::system(format!("limit {kind}"), e);
    sys::on_timer(Alarm { signal: signal as i32, sentence, status, kind, ends })
        .map_err(|e| failed(&e))?;
    let notify = SigevNotify::SigevSignal { signal, si_value: 0 };
    let mut timer = Timer::new(clock, SigEvent::new(notify)).map_err(|e| failed(&e))?;
    let after = Expiration::OneShot(Duration::from_millis(milliseconds).into());
    timer.set(after, TimerSetTimeFlags::empty()).map_err(|e| failed(&e))?;
    // It runs until the process ends.
    std::mem::forget(timer);
    Ok(())
}
