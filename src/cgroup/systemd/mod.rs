//! Control groups that systemd makes: scopes, units that hold processes which somebody else started.
//!
//! systemd does what runc asks of it, see "D-Bus interface" in org.freedesktop.systemd1(5).

mod bus;
mod message;
mod properties;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::{Duration, Instant};

use bus::{Address, Failure, Manager, NO_SUCH_UNIT, UNIT_EXISTS};
use message::Value;

pub(super) use properties::Limits;

/// How long systemd may take to make a scope: it may be busy with a hundred of them.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long systemd may take to end a scope whose processes are dead. containerd allows its caller 5 s in all.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a unit of the same name may take to go away.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes the scope `unit` in `slice` with the process `pid` in it, which is limited before it is in.
///
/// # Errors
/// When systemd cannot be reached, refuses, fails, or is not done after [`START_TIMEOUT`].
pub(super) fn start_scope(
    unit: &str,
    slice: &str,
    pid: u32,
    limits: &Limits,
) -> Result<(), String> {
    start(&Address::of_system(), unit, slice, pid, limits, START_TIMEOUT)
        .map_err(|failure| failure.to_string())
}

/// Changes the limits of the scope `unit`.
///
/// # Errors
/// As for [`start_scope`].
pub(super) fn limit(unit: &str, limits: &Limits) -> Result<(), String> {
    let set = || {
        let mut manager = Manager::connect(&Address::of_system(), START_TIMEOUT)?;
        let known = known(&mut manager, limits)?;
        match known.is_empty() {
            true => Ok(()),
            false => manager.set_unit_properties(unit, known),
        }
    };
    set().map_err(|failure: Failure| failure.to_string())
}

/// Ends the scope `unit`, and waits until it is gone. One that is not there is as good as ended.
///
/// # Errors
/// When systemd cannot be reached, refuses, or is not done after [`STOP_TIMEOUT`].
pub(super) fn stop(unit: &str) -> Result<(), String> {
    stop_at(&Address::of_system(), unit, STOP_TIMEOUT).map_err(|failure| failure.to_string())
}

fn start(
    addresses: &[Address],
    unit: &str,
    slice: &str,
    pid: u32,
    limits: &Limits,
    timeout: Duration,
) -> Result<(), Failure> {
    let predecessor_until = Instant::now() + timeout.min(PREDECESSOR_TIMEOUT);
    loop {
        let mut manager = Manager::connect(addresses, timeout)?;
        let own = own_properties(unit, slice, pid);
        let limits = known(&mut manager, limits)?;
        let properties = own.iter().map(|(name, value)| (*name, value)).chain(limits);
        match manager.start_transient_unit(unit, properties) {
            Ok(()) => return Ok(()),
            // It was done, and we did not hear of it.
            Err(Failure::Late { .. } | Failure::Lost { .. }) if is_in(pid, unit) => return Ok(()),
            // Left over: failed, or about to go. A unit in use stays, and is not for us to join.
            Err(e) if e.is(UNIT_EXISTS) && Instant::now() < predecessor_until => {
                let _ = manager.reset_failed_unit(unit);
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => {
                if !e.is(UNIT_EXISTS) {
                    let _ = manager.reset_failed_unit(unit);
                }
                return Err(e);
            }
        }
    }
}

fn stop_at(addresses: &[Address], unit: &str, timeout: Duration) -> Result<(), Failure> {
    let mut manager = Manager::connect(addresses, timeout)?;
    match manager.stop_unit(unit) {
        Err(e) if e.is(NO_SUCH_UNIT) => Ok(()),
        Ok(()) => Ok(()),
        Err(e) => {
            let _ = manager.reset_failed_unit(unit);
            Err(e)
        }
    }
}

/// What any scope of ours is like. Its name says whose it is.
fn own_properties(unit: &str, slice: &str, pid: u32) -> Vec<(&'static str, Value)> {
    vec![
        ("Description", Value::Text(format!("Lighter container {unit}"))),
        ("Slice", Value::Text(slice.to_owned())),
        ("PIDs", Value::U32s(vec![pid])),
        // We write files in it, and all controllers are to be there.
        ("Delegate", Value::Bool(true)),
        ("CPUAccounting", Value::Bool(true)),
        ("MemoryAccounting", Value::Bool(true)),
        ("IOAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
        // Whoever asked for the container ends it when the machine shuts down.
        ("DefaultDependencies", Value::Bool(false)),
        // One whose processes were killed for want of memory has failed, and would otherwise stay.
        ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
    ]
}

/// Those limits that this systemd has properties for. What it does not know is in the files alone.
fn known<'a>(
    manager: &mut Manager,
    limits: &'a Limits,
) -> Result<Vec<(&'a str, &'a Value)>, Failure> {
    let version = match limits.needs() {
        0 => u32::MAX,
        _ => version(&manager.property("Version")?),
    };
    Ok(limits.known_to(version).collect())
}

/// The number in `252.39-1~deb12u1` or `v245.4`; 0 if there is none.
fn version(text: &str) -> u32 {
    let text = text.trim_start_matches('v');
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}

fn is_in(pid: u32, unit: &str) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups
        .lines()
        .filter_map(|line| line.strip_prefix("0::"))
        .any(|group| Path::new(group).file_name().is_some_and(|name| name == unit))
}
