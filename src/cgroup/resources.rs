//! What a bundle asks of its control group, in the terms in which `libcgroups` does what runc does.

use std::collections::HashMap;

use oci_spec::runtime::LinuxResources;

use crate::error::{Refusal, Result};
use crate::host::Cgroups;

/// Reads zeroes as runc does, and refuses names that lead out of the group.
///
/// # Errors
/// Names a key of `linux.resources.unified` that is not the name of a file.
pub(super) fn adapted(resources: &LinuxResources, hierarchy: Cgroups) -> Result<LinuxResources> {
    let mut adapted = resources.clone();
    let mut unified: HashMap<String, String> = adapted.unified().clone().unwrap_or_default();
    // libcgroups joins them to the group's directory as they are.
    if let Some(name) = unified.keys().filter(|name| !is_file_name(name)).min() {
        return Err(Refusal::invalid(format!(
            "linux.resources.unified: {name:?} is not the name of a control group's file"
        )));
    }
    if let Some(memory) = adapted.memory_mut() {
        // Zero is as good as not given.
        if memory.swap() == Some(0) {
            memory.set_swap(None);
        }
        // Memory and swap together: no more than memory alone means no swap, and libcgroups takes the
        // difference of zero for no limit.
        let limit = memory.limit().filter(|limit| *limit > 0);
        if hierarchy == Cgroups::V2 && limit.is_some() && memory.swap() == limit {
            unified.entry("memory.swap.max".to_owned()).or_insert_with(|| "0".to_owned());
        }
    }
    // Of a quota and a period, either may be left as it is.
    if let Some(cpu) = adapted.cpu_mut() {
        cpu.set_quota(cpu.quota().filter(|quota| *quota != 0));
        cpu.set_period(cpu.period().filter(|period| *period != 0));
    }
    // Zero is as good as not given here, too: a scope has systemd's default then.
    if adapted.pids().is_some_and(|pids| pids.limit() == 0) {
        adapted.set_pids(None);
    }
    if !unified.is_empty() {
        adapted.set_unified(Some(unified));
    }
    Ok(adapted)
}

/// Gives a quota the period that it has now, and a period its quota: on version 2 they are one value.
pub(super) fn complete_cpu(
    resources: &mut LinuxResources,
    quota: Option<i64>,
    period: Option<u64>,
) {
    let Some(cpu) = resources.cpu_mut() else { return };
    match (cpu.quota(), cpu.period()) {
        (Some(_), None) => cpu.set_period(period),
        (None, Some(_)) => cpu.set_quota(quota),
        _ => cpu,
    };
}

/// Gives memory and swap together the memory that there may be now: on version 2, swap is what is beyond that.
pub(super) fn complete_memory(resources: &mut LinuxResources, limit: u64) {
    let Some(memory) = resources.memory_mut() else { return };
    let given = memory.limit().is_some_and(|limit| limit != 0);
    if !given && memory.swap().is_some_and(|swap| swap > 0) {
        // Without a limit it stays what cannot be honoured.
        memory.set_limit(i64::try_from(limit).ok());
    }
}

/// All but the rules about devices.
pub(super) fn without_devices(mut resources: LinuxResources) -> LinuxResources {
    resources.set_devices(None);
    resources
}

/// The weight of block I/O as the value of `io.weight`, for a kernel without the scheduler BFQ and its file:
/// [10, 1000] becomes [1, 10000]. `libcgroups` does it too, in 16 bits, which are too few.
pub(super) fn with_io_weight(mut resources: LinuxResources) -> LinuxResources {
    let weight = resources.block_io().as_ref().and_then(|io| io.weight()).filter(|w| *w > 0);
    if let (Some(weight), Some(io)) = (weight, resources.block_io_mut()) {
        io.set_weight(None);
        let value = 1 + u32::from(weight.saturating_sub(10)) * 9999 / 990;
        let mut unified = resources.unified().clone().unwrap_or_default();
        unified.entry("io.weight".to_owned()).or_insert_with(|| value.to_string());
        resources.set_unified(Some(unified));
    }
    resources
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<LinuxResources> {
        adapted(&serde_json::from_str(json).expect("resources"), Cgroups::V2)
    }

    #[test]
    fn a_name_that_leads_out_of_the_group_is_refused() {
        for name in ["../memory.max", "a/b", "..", ""] {
            let refusal = of(&format!("{{\"unified\":{{\"{name}\":\"1\"}}}}")).unwrap_err();
            assert!(refusal.message.contains(&format!("{name:?}")), "{refusal}");
        }
        assert!(of("{\"unified\":{\"memory.high\":\"1\"}}").is_ok());
    }

    #[test]
    fn no_swap_beyond_the_memory_is_no_swap() {
        let adapted = of("{\"memory\":{\"limit\":64,\"swap\":64}}").unwrap();
        assert_eq!(adapted.unified().as_ref().unwrap()["memory.swap.max"], "0");
        let adapted = of("{\"memory\":{\"limit\":64,\"swap\":128}}").unwrap();
        assert_eq!(*adapted.unified(), None);
    }

    #[test]
    fn io_weights_are_those_of_runc() {
        for (weight, expected) in [(10, "1"), (100, "910"), (500, "4950"), (1000, "10000")] {
            let io = of(&format!("{{\"blockIO\":{{\"weight\":{weight}}}}}"))
                .map(with_io_weight)
                .unwrap();
            assert_eq!(io.unified().as_ref().unwrap()["io.weight"], expected);
            assert_eq!(io.block_io().as_ref().unwrap().weight(), None);
        }
        assert_eq!(*of("{\"blockIO\":{}}").map(with_io_weight).unwrap().unified(), None);
    }

    #[test]
    fn what_is_given_alone_is_completed() {
        let mut cpu = of(r#"{"cpu":{"period":50000}}"#).unwrap();
        complete_cpu(&mut cpu, Some(20_000), Some(100_000));
        assert_eq!(cpu.cpu().as_ref().unwrap().quota(), Some(20_000));
        assert_eq!(cpu.cpu().as_ref().unwrap().period(), Some(50_000));
        for (json, limit, expected) in [
            (r#"{"memory":{"swap":96}}"#, 64, Some(64)),
            (r#"{"memory":{"swap":96}}"#, u64::MAX, None),
            (r#"{"memory":{"swap":96,"limit":32}}"#, 64, Some(32)),
            (r#"{"memory":{"swap":-1}}"#, 64, None),
            (r#"{"memory":{"reservation":32}}"#, 64, None),
        ] {
            let mut resources = of(json).unwrap();
            complete_memory(&mut resources, limit);
            assert_eq!(resources.memory().as_ref().unwrap().limit(), expected, "{json} {limit}");
        }
    }

    #[test]
    fn zeroes_are_not_limits() {
        let adapted = of("{\"memory\":{\"limit\":64,\"swap\":0},\"pids\":{\"limit\":0}}").unwrap();
        assert_eq!(adapted.memory().as_ref().unwrap().swap(), None);
        assert_eq!(*adapted.pids(), None);
    }
}
