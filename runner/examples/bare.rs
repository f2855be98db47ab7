//! Runs one compiled guest without a sandbox: what the engine's tests drive, and what to profile.
//!
//! `bare ARTIFACT GUEST LIMITS REPORT [PROC [ROOT]]`: the compiled code, the guest's half of a plan and its limits as
//! JSON, the file that is told which limit ended it, whether to load through a descriptor of `/proc/self` (`fd`, else
//! `path`), and a directory to make the root first. Exits as the guest does; 99 if its code is stale, 98 if it is
//! refused.

#[path = "../src/engine/mod.rs"]
mod engine;
#[path = "../src/exit.rs"]
mod exit;
#[path = "../src/http/mod.rs"]
mod http;
#[path = "../src/last_words.rs"]
mod last_words;
#[path = "../src/limits/mod.rs"]
mod limits;
#[path = "../src/signals.rs"]
mod signals;
#[path = "../src/stdio.rs"]
mod stdio;
#[path = "../src/sys/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what enters the sandbox is not needed without one")]
mod sys;
#[path = "../src/wasi.rs"]
mod wasi;

use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;

use engine::LoadError;
use exit::Ends;
use last_words::LastWords;
use lighter::engine::Settings;
use lighter::plan::{Guest, LimitKind, Limits};
use limits::Report;

fn main() {
    let status = match run() {
        Ok(status) => status,
        Err(error) => {
            exit::complain(&format!("bare: {error}\n"));
            64
        }
    };
    std::process::exit(status.into())
}

fn run() -> Result<u8, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let code = File::open(args.next().ok_or("no artifact given")?)?;
    let guest: Guest = serde_json::from_str(&args.next().ok_or("no guest given")?)?;
    let limits: Limits = serde_json::from_str(&args.next().ok_or("no limits given")?)?;
    let report = File::options().read(true).write(true).open(args.next().ok_or("no report")?)?;
    let proc_self = match args.next().as_deref() {
        Some("fd") => Some(File::open("/proc/self")?),
        _ => None,
    };
    if let Some(root) = args.next() {
        rustix::process::chroot(&root)?;
        rustix::process::chdir("/")?;
    }
    signals::install()?;
    let fuel = limits.get(LimitKind::Fuel).is_some();
    let settings = Settings { fuel, ..Settings::default() };
    let last_words = guest.termination_message.as_deref().and_then(LastWords::open);
    let ends = Ends { report: Report::of(report)?, last_words };
    let proc = proc_self.as_ref().map(AsFd::as_fd);
    Ok(match engine::load(&settings, &guest, &limits, code, proc, None, || Ok(None)) {
        Ok(loaded) => {
            drop(proc_self);
            limits::arm(&limits, ends, None, loaded.serves())?;
            loaded.run(ends)
        }
        Err(LoadError::Stale(reason)) => {
            exit::complain(&format!("{reason}\n"));
            99
        }
        Err(LoadError::Refused(refusal)) => {
            exit::complain(&format!("{refusal}\n"));
            98
        }
    })
}
