//! What processes hold, as the kernel counts it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The processes of all shims of the containerd at `socket`, and of their containers.
pub fn processes(socket: &Path) -> Result<BTreeSet<u32>> {
    let socket = socket.as_os_str().as_encoded_bytes();
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Whatever ends meanwhile is none.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        // One that has ended and was not collected has none.
        if line.is_empty() {
            continue;
        }
        let Some(parent) = parent(pid) else { continue };
        let is_shim = line.split(|byte| *byte == 0).any(|argument| argument == socket);
        all.push((pid, parent, is_shim));
    }
    let mut found: BTreeSet<u32> =
        all.iter().filter(|(_, _, is_shim)| *is_shim).map(|(pid, _, _)| *pid).collect();
    loop {
        let before = found.len();
        let children = all.iter().filter(|(_, parent, _)| found.contains(parent));
        let children: Vec<u32> = children.map(|(pid, _, _)| *pid).collect();
        found.extend(children);
        if found.len() == before {
            return Ok(found);
        }
    }
}

/// The sum of a field of `smaps_rollup` (`Pss`, `Private_Dirty`, …) over `processes`, in bytes.
pub fn sum(processes: &BTreeSet<u32>, field: &str) -> Result<u64> {
    let mut sum = 0;
    for pid in processes {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        sum += kilobytes(&text, field).with_context(|| format!("find {field} in {path}"))?;
    }
    Ok(sum << 10)
}

/// `MemAvailable` of the machine, in bytes.
pub fn available() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    Ok(kilobytes(&text, "MemAvailable").context("find MemAvailable")? << 10)
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let of_field = |line: &str| {
        line.strip_prefix(field)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok()
    };
    text.lines().find_map(of_field)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
