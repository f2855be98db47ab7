//! A container's limits as properties of its unit, see systemd.resource-control(5) and, for the names and types on the bus,
//! org.freedesktop.systemd1(5).
//!
//! All limits are written as files, too. systemd has to know those that it would otherwise undo when it next
//! looks at its units.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::message::Value;
use crate::error::{Refusal, Result};

/// "No limit", and for times "infinity".
const UNLIMITED: u64 = u64::MAX;
/// The kernel's period, and systemd's, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;
/// systemd keeps quotas as whole percents of a processor's second.
const PERCENT_USEC: u64 = 10_000;
/// The weight that stands for `cpu.idle`.
const IDLE: u64 = 0;

/// Properties that limit a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Limits(Vec<Limit>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    name: &'static str,
    value: Value,
    /// The first version of systemd that knows it; 0 for all that know version 2 of control groups.
    since: u32,
}

impl Limits {
    /// The limits of a bundle, with zeroes read as runc does.
    ///
    /// # Errors
    /// Names the entry of `linux.resources` that is not of its form.
    pub(in super::super) fn of(resources: &LinuxResources) -> Result<Self> {
        let mut limits = Self::default();
        if let Some(memory) = resources.memory() {
            limits.add_memory(memory);
        }
        if let Some(cpu) = resources.cpu() {
            limits.add_cpu(cpu)?;
        }
        if let Some(limit) = resources.pids().as_ref().map(|pids| pids.limit())
            && limit != 0
        {
            limits.set("TasksMax", quantity(limit));
        }
        // Last: they win over the others, as they do when they are written as files.
        let none = HashMap::new();
        let unified = resources.unified().as_ref().unwrap_or(&none);
        for (file, value) in unified {
            limits.add_file(file, value.trim()).map_err(|why| {
                Refusal::invalid(format!("linux.resources.unified: {file}: {value:?}: {why}"))
            })?;
        }
        // No weight is as little as being idle.
        if unified.get("cpu.idle").is_some_and(|idle| idle.trim() == "1") {
            limits.add("CPUWeight", Value::U64(IDLE), 252);
        }
        Ok(limits)
    }

    /// The same for a unit that has limits: a period is said even if it is the usual one, as another may hold.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(in super::super) fn changing(resources: &LinuxResources) -> Result<Self> {
        let mut limits = Self::of(resources)?;
        if let Some(period) = resources.cpu().as_ref().and_then(LinuxCpu::period) {
            limits.add("CPUQuotaPeriodUSec", Value::U64(period), 242);
        }
        Ok(limits)
    }

    /// The version of systemd that it takes to know all of them.
    pub(super) fn needs(&self) -> u32 {
        self.0.iter().map(|limit| limit.since).max().unwrap_or(0)
    }

    /// Those that a version of systemd knows.
    pub(super) fn known_to(&self, version: u32) -> impl Iterator<Item = (&str, &Value)> {
        let known = self.0.iter().filter(move |limit| limit.since <= version);
        known.map(|limit| (limit.name, &limit.value))
    }

    fn set(&mut self, name: &'static str, value: u64) {
        self.add(name, Value::U64(value), 0);
    }

    /// In place of an earlier value of the same name.
    fn add(&mut self, name: &'static str, value: Value, since: u32) {
        self.0.retain(|limit| limit.name != name);
        self.0.push(Limit { name, value, since });
    }

    fn add_memory(&mut self, memory: &LinuxMemory) {
        let limit = memory.limit().filter(|limit| *limit != 0);
        if let Some(limit) = limit {
            self.set("MemoryMax", quantity(limit));
        }
        if let Some(reservation) = memory.reservation().filter(|reservation| *reservation != 0) {
            self.set("MemoryLow", quantity(reservation));
        }
        // Memory and swap together, which version 2 counts apart. What makes no sense, the files refuse.
        match (memory.swap().filter(|swap| *swap != 0), limit) {
            (Some(..0), _) | (None, Some(..0)) => self.set("MemorySwapMax", UNLIMITED),
            (Some(swap), Some(limit)) if 0 < limit && limit <= swap => {
                self.set("MemorySwapMax", quantity(swap - limit));
            }
            _ => {}
        }
    }

    fn add_cpu(&mut self, cpu: &LinuxCpu) -> Result<()> {
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            self.set("CPUWeight", weight(shares));
        }
        if cpu.idle() == Some(1) {
            self.add("CPUWeight", Value::U64(IDLE), 252);
        }
        if cpu.quota().is_some() || cpu.period().is_some() {
            let period = cpu.period().filter(|period| *period != 0);
            self.add_quota(cpu.quota().unwrap_or(0), period.unwrap_or(DEFAULT_PERIOD));
        }
        for (field, set, name) in
            [("cpus", cpu.cpus(), "AllowedCPUs"), ("mems", cpu.mems(), "AllowedMemoryNodes")]
        {
            let Some(set) = set.as_deref().filter(|set| !set.is_empty()) else { continue };
            let bits = bits(set).map_err(|why| {
                Refusal::invalid(format!("linux.resources.cpu.{field}: {set:?}: {why}"))
            })?;
            self.add(name, Value::Bytes(bits), 244);
        }
        Ok(())
    }

    /// `quota` microseconds of each `period` of them.
    fn add_quota(&mut self, quota: i64, period: u64) {
        let per_second = match u64::try_from(quota) {
            Ok(1..) => (u128::from(quota.unsigned_abs()) * 1_000_000 / u128::from(period))
                .next_multiple_of(PERCENT_USEC.into())
                .try_into()
                .unwrap_or(UNLIMITED),
            _ => UNLIMITED,
        };
        self.set("CPUQuotaPerSecUSec", per_second);
        if period != DEFAULT_PERIOD {
            self.add("CPUQuotaPeriodUSec", Value::U64(period), 242);
        }
    }

    /// A control group's file that systemd has a property for.
    fn add_file(&mut self, file: &str, value: &str) -> Result<(), &'static str> {
        match file {
            "memory.min" => self.set("MemoryMin", number(value)?),
            "memory.low" => self.set("MemoryLow", number(value)?),
            "memory.high" => self.set("MemoryHigh", number(value)?),
            "memory.max" => self.set("MemoryMax", number(value)?),
            "memory.swap.max" => self.set("MemorySwapMax", number(value)?),
            "pids.max" => self.set("TasksMax", number(value)?),
            "cpu.weight" => self.set("CPUWeight", number(value)?),
            "cpu.max" => {
                let mut parts = value.split_whitespace();
                let quota = match parts.next() {
                    Some("max") => 0,
                    quota => quota.and_then(|quota| quota.parse().ok()).ok_or(NOT_A_NUMBER)?,
                };
                let period = match parts.next() {
                    Some(period) => period.parse().map_err(|_| NOT_A_NUMBER)?,
                    None => DEFAULT_PERIOD,
                };
                if period == 0 || parts.next().is_some() {
                    return Err("it is not a quota and a period");
                }
                self.add_quota(quota, period);
            }
            "cpuset.cpus" => self.add("AllowedCPUs", Value::Bytes(bits(value)?), 244),
            "cpuset.mems" => self.add("AllowedMemoryNodes", Value::Bytes(bits(value)?), 244),
            _ => {}
        }
        Ok(())
    }
}

const NOT_A_NUMBER: &str = "it is not a number";

/// What a bundle says of a quantity: negative for no limit.
fn quantity(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(UNLIMITED)
}

/// What a control group's file says of a quantity.
fn number(value: &str) -> Result<u64, &'static str> {
    match value {
        "max" => Ok(UNLIMITED),
        number => number.parse().map_err(|_| NOT_A_NUMBER),
    }
}

/// Shares of version 1 (2 to 262144, usually 1024) as a weight of version 2 (1 to 10000, usually 100): along the curve through
/// these three points on which the runtimes agreed.
fn weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
        }
    }
}

/// A list such as `0-2,7` as a set of bits, the lowest first.
fn bits(list: &str) -> Result<Vec<u8>, &'static str> {
    /// More processors than there are in any machine: a list must not make us allocate without end.
    const MOST: usize = 1 << 16;
    const NOT_A_LIST: &str = "it is not a list of numbers and ranges";
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let parse = |text: &str| text.trim().parse::<usize>().map_err(|_| NOT_A_LIST);
        let (first, last) = (parse(first)?, parse(last)?);
        if first > last || last >= MOST {
            return Err(NOT_A_LIST);
        }
        if bits.len() <= last / 8 {
            bits.resize(last / 8 + 1, 0);
        }
        (first..=last).for_each(|bit| bits[bit / 8] |= 1 << (bit % 8));
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The properties of `linux.resources` for the newest systemd, in the order of their names.
    fn of(json: &str) -> Result<BTreeMap<&'static str, Value>> {
        let limits = Limits::of(&serde_json::from_str(json).expect("resources"))?;
        Ok(limits.0.into_iter().map(|limit| (limit.name, limit.value)).collect())
    }

    #[track_caller]
    fn check(json: &str, expected: &[(&'static str, u64)]) {
        let expected = expected.iter().map(|(name, value)| (*name, Value::U64(*value))).collect();
        assert_eq!(of(json).unwrap(), expected, "{json}");
    }

    #[test]
    fn memory() {
        check("{}", &[]);
        check("{\"memory\":{\"limit\":0,\"reservation\":0,\"swap\":0}}", &[]);
        check(
            "{\"memory\":{\"limit\":64,\"reservation\":32}}",
            &[("MemoryLow", 32), ("MemoryMax", 64)],
        );
        check(
            "{\"memory\":{\"limit\":64,\"swap\":96}}",
            &[("MemoryMax", 64), ("MemorySwapMax", 32)],
        );
        check(
            "{\"memory\":{\"limit\":64,\"swap\":64}}",
            &[("MemoryMax", 64), ("MemorySwapMax", 0)],
        );
        check(
            "{\"memory\":{\"limit\":64,\"swap\":-1}}",
            &[("MemoryMax", 64), ("MemorySwapMax", UNLIMITED)],
        );
        check(
            "{\"memory\":{\"limit\":-1}}",
            &[("MemoryMax", UNLIMITED), ("MemorySwapMax", UNLIMITED)],
        );
        // For the files to refuse.
        check("{\"memory\":{\"limit\":64,\"swap\":32}}", &[("MemoryMax", 64)]);
        check("{\"memory\":{\"swap\":32}}", &[]);
    }

    #[test]
    fn processors() {
        check("{\"cpu\":{\"shares\":1024}}", &[("CPUWeight", 100)]);
        check("{\"cpu\":{\"shares\":2}}", &[("CPUWeight", 1)]);
        check("{\"cpu\":{\"shares\":262144}}", &[("CPUWeight", 10_000)]);
        check("{\"cpu\":{\"shares\":0}}", &[]);
        check("{\"cpu\":{\"shares\":512,\"idle\":1}}", &[("CPUWeight", 0)]);
        check("{\"cpu\":{\"quota\":20000,\"period\":100000}}", &[("CPUQuotaPerSecUSec", 200_000)]);
        check("{\"cpu\":{\"quota\":150000}}", &[("CPUQuotaPerSecUSec", 1_500_000)]);
        // A third of a second is 33.3 %, and rounded up.
        check(
            "{\"cpu\":{\"quota\":20000,\"period\":60000}}",
            &[("CPUQuotaPerSecUSec", 340_000), ("CPUQuotaPeriodUSec", 60_000)],
        );
        check("{\"cpu\":{\"quota\":-1}}", &[("CPUQuotaPerSecUSec", UNLIMITED)]);
        check(
            "{\"cpu\":{\"period\":50000}}",
            &[("CPUQuotaPerSecUSec", UNLIMITED), ("CPUQuotaPeriodUSec", 50_000)],
        );
        check(
            "{\"cpu\":{\"quota\":9223372036854775807,\"period\":1}}",
            &[("CPUQuotaPerSecUSec", UNLIMITED), ("CPUQuotaPeriodUSec", 1)],
        );
        let sets = of("{\"cpu\":{\"cpus\":\"0,2-4,9\",\"mems\":\"0\"}}").unwrap();
        assert_eq!(sets["AllowedCPUs"], Value::Bytes(vec![0b0001_1101, 0b0000_0010]));
        assert_eq!(sets["AllowedMemoryNodes"], Value::Bytes(vec![1]));
    }

    #[test]
    fn processes() {
        check("{\"pids\":{\"limit\":100}}", &[("TasksMax", 100)]);
        check("{\"pids\":{\"limit\":-1}}", &[("TasksMax", UNLIMITED)]);
        check("{\"pids\":{\"limit\":0}}", &[]);
    }

    #[test]
    fn files() {
        check(
            "{\"unified\":{\"memory.high\":\"33\",\"memory.low\":\" 4\\n\",\"memory.min\":\"0\"}}",
            &[("MemoryHigh", 33), ("MemoryLow", 4), ("MemoryMin", 0)],
        );
        check(
            "{\"memory\":{\"limit\":64},\"unified\":{\"memory.max\":\"max\",\"pids.max\":\"5\"}}",
            &[("MemoryMax", UNLIMITED), ("TasksMax", 5)],
        );
        check("{\"unified\":{\"cpu.max\":\"max\"}}", &[("CPUQuotaPerSecUSec", UNLIMITED)]);
        check(
            "{\"unified\":{\"cpu.max\":\"30000 50000\",\"cpu.weight\":\"7\"}}",
            &[("CPUQuotaPerSecUSec", 600_000), ("CPUQuotaPeriodUSec", 50_000), ("CPUWeight", 7)],
        );
        check("{\"unified\":{\"cpu.weight\":\"7\",\"cpu.idle\":\"1\"}}", &[("CPUWeight", 0)]);
        // systemd has nothing for these.
        check("{\"unified\":{\"memory.oom.group\":\"1\",\"hugetlb.2MB.max\":\"0\"}}", &[]);
    }

    #[test]
    fn what_is_not_of_its_form_is_refused_by_name() {
        for (json, named) in [
            ("{\"unified\":{\"memory.max\":\"1G\"}}", "memory.max: \"1G\""),
            ("{\"unified\":{\"cpu.max\":\"\"}}", "cpu.max"),
            ("{\"unified\":{\"cpu.max\":\"1 0\"}}", "cpu.max"),
            ("{\"unified\":{\"cpu.max\":\"1 2 3\"}}", "cpu.max"),
            ("{\"cpu\":{\"cpus\":\"3-1\"}}", "linux.resources.cpu.cpus: \"3-1\""),
            ("{\"cpu\":{\"cpus\":\"0-99999999999\"}}", "linux.resources.cpu.cpus"),
            ("{\"cpu\":{\"mems\":\"a\"}}", "linux.resources.cpu.mems"),
        ] {
            let refusal = of(json).unwrap_err();
            assert!(refusal.message.contains(named), "{json}: {refusal}");
        }
    }

    #[test]
    fn an_older_systemd_is_told_what_it_knows() {
        let json = "{\"cpu\":{\"quota\":10000,\"period\":50000,\"cpus\":\"0\"}}";
        let limits = Limits::of(&serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!(limits.needs(), 244);
        let names = |version| limits.known_to(version).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(241), ["CPUQuotaPerSecUSec"]);
        assert_eq!(names(243), ["CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec"]);
        assert_eq!(names(244).len(), 3);
    }
}
