//! `lighter update`: changes the limits of a container that runs.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use lighter::container::Resources;
use serde_json::{Map, Value, json};

use super::{Globals, Outcome, find_and_lock};

/// Change the limits of a container
///
/// What is not given stays as it is. A guest's own limit on memory follows that of its control group.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// linux.resources of the runtime specification, as JSON in a file, or "-" for standard
    /// input; then all other options are ignored
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,

    /// Most memory, in bytes or like 64M; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = memory, allow_hyphen_values = true)]
    memory: Option<i64>,

    /// Most memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = memory, allow_hyphen_values = true)]
    memory_swap: Option<i64>,

    /// Memory that is kept when memory is short
    #[arg(long, value_name = "BYTES", value_parser = memory, allow_hyphen_values = true)]
    memory_reservation: Option<i64>,

    /// Most processor time in a period, in microseconds; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,

    /// The period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,

    /// Unused quota that may be used later, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_burst: Option<u64>,

    /// Weight among others, 2 to 262144
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<u64>,

    /// 1: run only when nobody else wants to
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<i64>,

    /// Most real-time processor time in a period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,

    /// The real-time period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,

    /// Processors that may be used, like 0-2,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,

    /// Memory nodes that may be used
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,

    /// Weight of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,

    /// Most processes and threads; -1 for no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,

    /// Taken from others: no kernel has it any more
    #[arg(long, hide = true)]
    kernel_memory: Option<String>,

    /// Taken from others: no kernel has it any more
    #[arg(long, hide = true)]
    kernel_memory_tcp: Option<String>,

    /// The container
    id: String,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let json = match &args.resources {
        None => resources(&args).to_string().into_bytes(),
        Some(path) if path.as_os_str() == "-" => {
            let mut json = Vec::new();
            std::io::stdin().read_to_end(&mut json).context("read standard input")?;
            json
        }
        Some(path) => {
            std::fs::read(path).with_context(|| format!("--resources {}", path.display()))?
        }
    };
    let (container, _lock) = find_and_lock(globals, &args.id)?;
    container.container()?.update(&Resources::parse(&json)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The options as `linux.resources`, with nothing in it that was not given.
fn resources(args: &Args) -> Value {
    let given = |pairs: Vec<(&str, Option<Value>)>| -> Value {
        let given = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Value::Object(given.collect::<Map<_, _>>())
    };
    let number = |number: Option<i64>| number.map(Value::from);
    let count = |number: Option<u64>| number.map(Value::from);
    // Who lifts the limit on memory does not mean to keep one on swap.
    let swap = args.memory_swap.or(args.memory.filter(|limit| *limit == -1));
    let memory = given(vec![
        ("limit", number(args.memory)),
        ("swap", number(swap)),
        ("reservation", number(args.memory_reservation)),
    ]);
    let cpu = given(vec![
        ("quota", number(args.cpu_quota)),
        ("period", count(args.cpu_period)),
        ("burst", count(args.cpu_burst)),
        ("shares", count(args.cpu_share)),
        ("idle", number(args.cpu_idle)),
        ("realtimeRuntime", number(args.cpu_rt_runtime)),
        ("realtimePeriod", count(args.cpu_rt_period)),
        ("cpus", args.cpuset_cpus.clone().map(Value::from)),
        ("mems", args.cpuset_mems.clone().map(Value::from)),
    ]);
    let io = given(vec![("weight", args.blkio_weight.map(Value::from))]);
    let pids = args.pids_limit.map(|limit| json!({"limit": limit}));
    let some = |value: Value| value.as_object().is_some_and(|o| !o.is_empty()).then_some(value);
    given(vec![("memory", some(memory)), ("cpu", some(cpu)), ("blockIO", some(io)), ("pids", pids)])
}

/// Bytes as people and other runtimes write them: `1000`, `64m`, `64MiB`, `1gb`; −1 for no limit.
fn memory(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let lower = text.to_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        unit => return Err(format!("unknown unit {unit:?}; use k, m, g or t")),
    };
    let number: i64 = digits.trim().parse().map_err(|e| format!("{digits:?}: {e}"))?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_changed() {
        assert_eq!(resources(&Args::default()), json!({}));
        let args = Args {
            memory: Some(-1),
            cpu_quota: Some(20_000),
            cpuset_cpus: Some("0".into()),
            pids_limit: Some(7),
            blkio_weight: Some(100),
            ..Args::default()
        };
        assert_eq!(
            resources(&args),
            json!({
                "memory": {"limit": -1, "swap": -1},
                "cpu": {"quota": 20_000, "cpus": "0"},
                "blockIO": {"weight": 100},
                "pids": {"limit": 7},
            })
        );
        let json = resources(&args).to_string();
        assert!(Resources::parse(json.as_bytes()).is_ok());
    }

    #[test]
    fn memory_is_written_as_with_others() {
        assert_eq!(memory("-1"), Ok(-1));
        assert_eq!(memory("1000"), Ok(1000));
        assert_eq!(memory("64m"), Ok(64 << 20));
        assert_eq!(memory("2GiB"), Ok(2 << 30));
        assert_eq!(memory("1kb"), Ok(1024));
        for text in ["", "m", "1x", "99999999999t"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }
}
