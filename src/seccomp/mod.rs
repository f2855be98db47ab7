//! Filters of system calls, seccomp(2), made here for the runner to put on: Lighter's own, and under it the bundle's.
//!
//! The kernel asks all filters of a process, and the strictest answer counts.

mod allowlist;
mod bpf;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;
use std::sync::LazyLock;

use syscalls::Sysno;

use crate::error::{Refusal, Result};
use crate::plan::{SeccompAction, SeccompComparison, SeccompCondition, SeccompProfile};
use crate::wire::SeccompFilter;
use allowlist::{CALLS, CALLS_OF_X86_64, Call, DENIED, MISSING, OWN_PID};
use bpf::{Entry, assemble};

/// The longest program that the kernel takes, `BPF_MAXINSNS` of linux/bpf_common.h.
const LONGEST: usize = 4096;

/// Numbers from here on are of the x32 interface to x86-64, `__X32_SYSCALL_BIT` of asm/unistd.h.
const X32: u32 = 0x4000_0000;

/// The same for every guest, and made when the first one comes.
static OWN: LazyLock<SeccompFilter> = LazyLock::new(own);

/// The filters for a guest whose bundle has `profile`, in the order in which they are to be put on.
///
/// # Errors
/// When the profile makes too long a program.
pub(crate) fn filters(profile: Option<&SeccompProfile>) -> Result<Vec<SeccompFilter>> {
    let mut filters = Vec::with_capacity(2);
    // First, as ours does not let another one follow.
    if let Some(profile) = profile {
        filters.push(of_bundle(profile)?);
    }
    filters.push(OWN.clone());
    Ok(filters)
}

fn own() -> SeccompFilter {
    let more = if cfg!(target_arch = "x86_64") { CALLS_OF_X86_64 } else { &[] };
    let program = assemble(
        &own_entries(CALLS.iter().chain(more), number),
        &BTreeMap::from([
            (0, DENIED),
            // Those of kernels to come.
            (Sysno::last().id() as u32 + 1, MISSING),
            (X32, SeccompAction::KillProcess),
        ]),
    );
    let own_pid = program
        .iter()
        .enumerate()
        .filter(|(_, instruction)| bpf::constant(**instruction) == OWN_PID)
        .map(|(at, _)| at)
        .collect();
    // A processor that stops speculating for the filter's sake would slow guests down, and keep nothing from them that
    // they do not have anyway: one process has one guest.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;
    SeccompFilter { name: "Lighter's own".into(), program, own_pid, flags }
}

fn own_entries<'a>(
    calls: impl Iterator<Item = &'a Call>,
    number: impl Fn(&str) -> Option<u32>,
) -> BTreeMap<u32, Entry> {
    calls
        .filter_map(|call| {
            let cases = call.when.iter().map(|when| (when.to_vec(), SeccompAction::Allow));
            let entry = Entry { cases: cases.collect(), otherwise: call.otherwise };
            Some((number(call.name)?, entry))
        })
        .collect()
}

fn of_bundle(profile: &SeccompProfile) -> Result<SeccompFilter> {
    let mut entries: BTreeMap<u32, Entry> = BTreeMap::new();
    let mut settled = HashSet::new();
    let mut newest = 0;
    for rule in &profile.rules {
        for number in rule.names.iter().filter_map(|name| number(name)) {
            newest = newest.max(number);
            if rule.action == profile.default || settled.contains(&number) {
                continue;
            }
            let entry = entries
                .entry(number)
                .or_insert_with(|| Entry { cases: Vec::new(), otherwise: profile.default });
            if rule.when.is_empty() {
                // As libseccomp has it, a rule without conditions is above those with them.
                *entry = Entry { cases: Vec::new(), otherwise: rule.action };
                settled.insert(number);
            } else {
                entry.cases.push((rule.when.clone(), rule.action));
            }
        }
    }
    let mut gaps = BTreeMap::from([(0, profile.default)]);
    if profile.newer_are_missing && newest > 0 {
        gaps.insert(newest + 1, MISSING);
    }
    let_another_follow(&mut entries, profile.default);
    let program = assemble(&entries, &gaps);
    if program.len() > LONGEST {
        return Err(Refusal::invalid(format!(
            "linux.seccomp: its program has {} instructions; the kernel takes {LONGEST}",
            program.len()
        )));
    }
    let mut flags = 0;
    if profile.log {
        flags |= libc::SECCOMP_FILTER_FLAG_LOG;
    }
    if profile.speculate {
        flags |= libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    }
    let name = "linux.seccomp".into();
    Ok(SeccompFilter { name, program, own_pid: Vec::new(), flags: flags as u32 })
}

/// Ours goes on when the bundle's is there already; it then denies what is allowed here.
fn let_another_follow(entries: &mut BTreeMap<u32, Entry>, default: SeccompAction) {
    let entry = entries
        .entry(Sysno::seccomp.id() as u32)
        .or_insert_with(|| Entry { cases: Vec::new(), otherwise: default });
    let install = SeccompCondition {
        argument: 0,
        is: SeccompComparison::Equal,
        value: u64::from(libc::SECCOMP_SET_MODE_FILTER),
    };
    entry.cases.insert(0, (vec![install], SeccompAction::Allow));
}

/// The call's number for this processor.
fn number(name: &str) -> Option<u32> {
    Sysno::from_str(in_table(name)).ok().map(|call| call.id() as u32)
}

/// The table has one call of aarch64 under a name that neither Linux nor a profile gives it.
fn in_table(name: &str) -> &str {
    if cfg!(target_arch = "aarch64") && name == "newfstatat" { "fstatat" } else { name }
}
