//! `lighter events`: what a container uses, in the words of runc.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use lighter::container::{Container, Status};
use lighter::error::Refusal;
use lighter::metrics::Usage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::{Globals, Outcome, find};

/// Show what a container uses, again and again, as a line of JSON each
///
/// Times are in nanoseconds, sizes in bytes. It ends when the container does.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Show it once
    #[arg(long)]
    stats: bool,

    /// Time from one to the next, like 500ms, 5s or 1m
    #[arg(long, default_value = "5s", value_parser = duration)]
    interval: Duration,

    /// The container
    id: String,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let found = find(globals, &args.id)?;
    if found.status()? == Status::Stopped {
        let message = format!("container {:?} is stopped: container not running", args.id);
        return Err(Refusal::not_found(message).into());
    }
    let container = found.container()?;
    let event = |usage: &Usage| json!({"type": "stats", "id": args.id, "data": stats(usage)});
    let mut out = std::io::stdout().lock();
    if args.stats {
        writeln!(out, "{}", event(&container.usage()?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out_of_memory = false;
    while !ends_within(container, args.interval)? {
        match container.usage() {
            Ok(usage) => writeln!(out, "{}", event(&usage))?,
            // Deleted by somebody.
            Err(_) if found.status()? == Status::Stopped => break,
            Err(refusal) => return Err(refusal.into()),
        }
        if container.ran_out_of_memory() && !std::mem::replace(&mut out_of_memory, true) {
            writeln!(out, "{}", json!({"type": "oom", "id": args.id}))?;
        }
    }
    if container.ran_out_of_memory() && !out_of_memory {
        writeln!(out, "{}", json!({"type": "oom", "id": args.id}))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ends_within(container: &Container, time: Duration) -> anyhow::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(container.pidfd(), PollFlags::IN)];
    let timeout = Timespec::try_from(time)?;
    Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))? > 0)
}

/// runc's type of the same name: nanoseconds and bytes. As there, swap is counted with memory.
fn stats(usage: &Usage) -> Value {
    let Usage { cpu, memory, pids, .. } = usage;
    let limit_with_swap = match memory.swap_limit {
        u64::MAX => u64::MAX,
        limit => limit.saturating_add(memory.limit),
    };
    let nothing = json!({"limit": 0, "failcnt": 0});
    json!({
        "cpu": {
            "usage": {"total": cpu.total, "kernel": cpu.system, "user": cpu.user},
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled,
            },
        },
        "memory": {
            "cache": memory.stat.get("cache").or(memory.stat.get("file")).copied().unwrap_or(0),
            "usage": {
                "limit": memory.limit,
                "usage": memory.usage,
                "max": memory.peak,
                "failcnt": memory.failures,
            },
            "swap": {
                "limit": limit_with_swap,
                "usage": memory.usage + memory.swap_usage,
                "failcnt": 0,
            },
            "kernel": nothing,
            "kernelTCP": nothing,
            "raw": memory.stat,
        },
        "pids": {"current": pids.current, "limit": pids.limit},
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// A time as Go's programs write it, of one unit: `5s`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds = match &text[digits.len()..] {
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3600e3,
        unit => return Err(format!("unknown unit {unit:?}; use ms, s, m or h")),
    };
    let number: f64 = digits.parse().map_err(|e| format!("{digits:?}: {e}"))?;
    Duration::try_from_secs_f64(number * milliseconds / 1e3)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "must be longer than nothing".into())
}

#[cfg(test)]
mod tests {
    use lighter::metrics::{CpuUsage, Hierarchy, MemoryUsage, PidsUsage};

    use super::*;

    #[test]
    fn the_keys_and_units_are_runcs() {
        let usage = Usage {
            hierarchy: Hierarchy::V2,
            cpu: CpuUsage { total: 3, user: 2, system: 1, throttled: 9, ..CpuUsage::default() },
            memory: MemoryUsage {
                usage: 4096,
                limit: 8192,
                swap_usage: 1,
                swap_limit: u64::MAX,
                stat: [("file".to_owned(), 512)].into(),
                ..MemoryUsage::default()
            },
            pids: PidsUsage { current: 1, limit: 0 },
        };
        let shown = stats(&usage);
        assert_eq!(shown["cpu"]["usage"], json!({"total": 3, "kernel": 1, "user": 2}));
        assert_eq!(shown["cpu"]["throttling"]["throttledTime"], 9);
        assert_eq!(
            shown["memory"]["usage"],
            json!({"limit": 8192, "usage": 4096, "max": 0, "failcnt": 0})
        );
        assert_eq!(shown["memory"]["swap"]["usage"], 4097);
        assert_eq!(shown["memory"]["swap"]["limit"], u64::MAX);
        assert_eq!(
            (&shown["memory"]["cache"], &shown["memory"]["raw"]["file"]),
            (&512.into(), &512.into())
        );
        assert_eq!(shown["pids"]["current"], 1);
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["5", "0s", "-1s", "s", "1y"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
