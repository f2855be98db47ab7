//! Collecting the exits of processes that nobody waits for.
//!
//! As a subreaper, the server inherits whatever a container or a hook leaves behind. Waiting for any child would
//! steal exits that others wait for, so only a child is collected that stayed a zombie for a while, is no task's
//! and belongs to no call under way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::signals::Signals;
use crate::tasks::Tasks;

/// Whoever waits for a child of their own has collected it by then.
const GRACE: Duration = Duration::from_secs(1);

/// Collects orphans for as long as the server lives. Idle while no child ends.
///
/// # Errors
/// When SIGCHLD cannot be listened to.
pub(crate) async fn reap(tasks: Arc<Tasks>) -> std::io::Result<()> {
    let child_ended = Signals::of(libc::SIGCHLD)?;
    loop {
        child_ended.next().await?;
        // Mostly it is a container's own process, and collected at once.
        tokio::time::sleep(GRACE).await;
        let mut seen = zombies();
        while !seen.is_empty() {
            tokio::time::sleep(GRACE).await;
            let still = zombies();
            for pid in still.intersection(&seen) {
                if !tasks.waits_for(*pid)
                    && let Some(pid) = Pid::from_raw(*pid as i32)
                    && let Ok(Some(_)) = waitpid(Some(pid), WaitOptions::NOHANG)
                {
                    log::debug!("collected the orphan {}", pid.as_raw_nonzero());
                }
            }
            // A task's own is collected by it; what a call under way hides is looked at again.
            seen = zombies();
        }
    }
}

/// Our children that have ended and were not collected.
fn zombies() -> BTreeSet<u32> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return BTreeSet::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| {
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .filter(|pid| is_zombie(*pid))
        .collect()
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold anything.
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}
