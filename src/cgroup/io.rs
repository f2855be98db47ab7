//! Block I/O of a control group: `io.stat` of version 2, and the files of `blkio` of version 1 that count what a limit would.

use std::collections::BTreeMap;
use std::path::Path;

use super::Cgroup;
use crate::host::Cgroups;
use crate::metrics::{IoCount, IoUsage};

const BYTES_V1: &str = "blkio.throttle.io_service_bytes_recursive";
const OPERATIONS_V1: &str = "blkio.throttle.io_serviced_recursive";

type Devices = BTreeMap<(u64, u64), IoUsage>;

impl Cgroup {
    /// What its processes, and those that were in it, have read from and written to devices, by device. None where that is
    /// not counted.
    pub fn io(&self) -> Vec<IoUsage> {
        let dir = self.directories().controller("blkio");
        let devices = match self.hierarchy {
            Cgroups::V1 => v1(&read(&dir, BYTES_V1), &read(&dir, OPERATIONS_V1)),
            _ => v2(&read(&dir, "io.stat")),
        };
        devices.into_values().collect()
    }
}

fn read(dir: &Path, file: &str) -> String {
    std::fs::read_to_string(dir.join(file)).unwrap_or_default()
}

/// Lines like `8:0 Read 4096`, in one file of bytes and one of operations.
fn v1(bytes: &str, operations: &str) -> Devices {
    let mut devices = Devices::new();
    let of_bytes: fn(&mut IoCount) -> &mut u64 = |count| &mut count.bytes;
    let of_operations: fn(&mut IoCount) -> &mut u64 = |count| &mut count.operations;
    for (text, field) in [(bytes, of_bytes), (operations, of_operations)] {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let Some(device) = words.next().and_then(device)
                && let (Some(way), Some(number)) = (words.next(), words.next())
                && let Ok(number) = number.parse()
            {
                let usage = entry(&mut devices, device);
                match way {
                    "Read" => *field(&mut usage.read) = number,
                    "Write" => *field(&mut usage.written) = number,
                    _ => {}
                }
            }
        }
    }
    devices
}

/// Lines like `8:0 rbytes=4096 wbytes=0 rios=1 wios=0`.
fn v2(text: &str) -> Devices {
    let mut devices = Devices::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(device) = words.next().and_then(device) else { continue };
        for (key, number) in words.filter_map(|word| word.split_once('=')) {
            let Ok(number) = number.parse() else { continue };
            let usage = entry(&mut devices, device);
            match key {
                "rbytes" => usage.read.bytes = number,
                "wbytes" => usage.written.bytes = number,
                "rios" => usage.read.operations = number,
                "wios" => usage.written.operations = number,
                _ => {}
            }
        }
    }
    devices
}

fn entry(devices: &mut Devices, device: (u64, u64)) -> &mut IoUsage {
    devices.entry(device).or_insert(IoUsage { device, ..IoUsage::default() })
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_count_bytes_and_operations() {
        let bytes = "8:0 Read 4096\n8:0 Write 512\n8:0 Total 4608\n8:16 Read 1\nTotal 4609\n";
        let operations = "8:0 Read 2\n8:0 Write 1\nTotal 3\n";
        let first = IoUsage {
            device: (8, 0),
            read: IoCount { bytes: 4096, operations: 2 },
            written: IoCount { bytes: 512, operations: 1 },
        };
        let of_v1 = v1(bytes, operations);
        assert_eq!((of_v1.len(), of_v1.get(&(8, 0))), (2, Some(&first)));
        let of_v2 = v2("8:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n254:0 \n");
        assert_eq!(of_v2.into_values().collect::<Vec<_>>(), [first]);
        assert!(v1("", "").is_empty() && v2("nonsense\n").is_empty());
    }
}
