//! From rules about system calls to a program of the kernel's classic BPF, see seccomp(2) and
//! Documentation/networking/filter.rst of Linux.
//!
//! The program finds a call by halving the range of numbers, and then compares its arguments, if anything is asked about
//! them. So a call costs some eight instructions however many rules there are, and kernels from 5.11 on see
//! that a call is always allowed, and do not run the program for it at all.

use std::collections::BTreeMap;

use crate::plan::{SeccompAction, SeccompComparison, SeccompCondition};

/// What becomes of one system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The first of these whose conditions all hold decides.
    pub(super) cases: Vec<(Vec<SeccompCondition>, SeccompAction)>,
    /// What if none does.
    pub(super) otherwise: SeccompAction,
}

/// Which processor's numbers these are, `AUDIT_ARCH_*` of linux/audit.h: that of this program.
const ARCHITECTURE: u32 = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };

/// Offsets in `struct seccomp_data` of linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Operations, linux/bpf_common.h: load a word of the data, jump, compare with a constant and jump, mask, return.
const LD: u64 = 0x20;
const JA: u64 = 0x05;
const JEQ: u64 = 0x15;
const JGT: u64 = 0x25;
const JGE: u64 = 0x35;
const AND: u64 = 0x54;
const RET: u64 = 0x06;

/// The farthest that a comparison can jump.
const FAR: usize = 255;

/// Assembles a filter. A call made through the interface of another processor (32 bits, say) ends the process.
///
/// `entries` holds the calls by their numbers, `gaps` what becomes of all others from a number on to the next.
pub(super) fn assemble(
    entries: &BTreeMap<u32, Entry>,
    gaps: &BTreeMap<u32, SeccompAction>,
) -> Vec<u64> {
    let mut program = vec![
        insn(LD, 0, 0, ARCH),
        insn(JEQ, 1, 0, ARCHITECTURE),
        ret(SeccompAction::KillProcess),
        insn(LD, 0, 0, NUMBER),
    ];
    program.extend(search(&ranges(entries, gaps)));
    program
}

/// The instruction's constant.
pub(super) fn constant(instruction: u64) -> u32 {
    (instruction >> 32) as u32
}

/// The whole range of numbers, cut up: the first number of each part, and the code for it.
fn ranges(
    entries: &BTreeMap<u32, Entry>,
    gaps: &BTreeMap<u32, SeccompAction>,
) -> Vec<(u32, Vec<u64>)> {
    let gap = |number| match gaps.range(..=number).next_back() {
        Some((_, action)) => *action,
        None => SeccompAction::KillProcess,
    };
    let after = entries.keys().filter_map(|number| number.checked_add(1));
    let mut starts: Vec<u32> = [0]
        .into_iter()
        .chain(entries.keys().copied())
        .chain(after)
        .chain(gaps.keys().copied())
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let mut ranges: Vec<(u32, Vec<u64>)> = Vec::with_capacity(starts.len());
    for start in starts {
        let code = match entries.get(&start) {
            Some(entry) => cases(entry),
            None => vec![ret(gap(start))],
        };
        match ranges.last() {
            Some((_, same)) if *same == code => {}
            _ => ranges.push((start, code)),
        }
    }
    ranges
}

/// With the number loaded: goes to the code of its range.
fn search(ranges: &[(u32, Vec<u64>)]) -> Vec<u64> {
    if let [(_, code)] = ranges {
        return code.clone();
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let first = high.first().map_or(u32::MAX, |(start, _)| *start);
    let (low, high) = (search(low), search(high));
    let mut code = match low.len() {
        len @ ..=FAR => vec![insn(JGE, len, 0, first)],
        len => vec![insn(JGE, 0, 1, first), insn(JA, 0, 0, len as u32)],
    };
    code.extend(low);
    code.extend(high);
    code
}

fn cases(entry: &Entry) -> Vec<u64> {
    let mut code = Vec::new();
    for (conditions, action) in &entry.cases {
        let mut case: Vec<Step> =
            conditions.iter().flat_map(|condition| steps(*condition)).collect();
        case.push(Step::Do(ret(*action)));
        // Every step that fails goes behind the case: to the next one.
        let end = case.len();
        code.extend(case.into_iter().enumerate().map(|(at, step)| step.into_insn(end - at - 1)));
    }
    code.push(ret(entry.otherwise));
    code
}

/// An instruction of a case.
enum Step {
    /// One that always goes on to the next.
    Do(u64),
    /// A comparison, and where it goes if it holds and if not.
    Test(u64, u32, To, To),
}

#[derive(Clone, Copy)]
enum To {
    /// Over so many instructions.
    Skip(usize),
    /// Out of the case.
    Fail,
}

impl Step {
    fn into_insn(self, to_end: usize) -> u64 {
        let distance = |to| match to {
            To::Skip(count) => count,
            To::Fail => to_end,
        };
        match self {
            Self::Do(instruction) => instruction,
            Self::Test(operation, constant, then, other) => {
                insn(operation, distance(then), distance(other), constant)
            }
        }
    }
}

/// The comparison of an argument, whose halves are loaded one after the other: the upper one first, and if that does
/// not decide, the lower one.
fn steps(condition: SeccompCondition) -> Vec<Step> {
    use SeccompComparison::{AtLeast, AtMost, Equal, EqualIn, Greater, Less, NotEqual};
    use Step::{Do, Test};
    use To::{Fail, Skip};

    let SeccompCondition { argument, is, value } = condition;
    let offset = ARGUMENTS + 8 * u32::from(argument);
    let (load_low, load_high) = (Do(insn(LD, 0, 0, offset)), Do(insn(LD, 0, 0, offset + 4)));
    let (low, high) = (value as u32, (value >> 32) as u32);
    let next = Skip(0);
    match is {
        Equal => vec![load_high, Test(JEQ, high, next, Fail), load_low, Test(JEQ, low, next, Fail)],
        NotEqual => {
            vec![load_high, Test(JEQ, high, next, Skip(2)), load_low, Test(JEQ, low, Fail, next)]
        }
        Greater | AtLeast => {
            let at_end = if is == Greater { JGT } else { JGE };
            vec![
                load_high,
                Test(JGT, high, Skip(3), next),
                Test(JEQ, high, next, Fail),
                load_low,
                Test(at_end, low, next, Fail),
            ]
        }
        Less | AtMost => {
            let at_end = if is == Less { JGE } else { JGT };
            vec![
                load_high,
                Test(JGT, high, Fail, next),
                Test(JEQ, high, next, Skip(2)),
                load_low,
                Test(at_end, low, Fail, next),
            ]
        }
        EqualIn(mask) => {
            let half = |load, mask: u32, value: u32| {
                // As libseccomp does: what the mask leaves out is left out on both sides.
                let test = Test(JEQ, value & mask, next, Fail);
                match mask {
                    0 => Vec::new(),
                    u32::MAX => vec![load, test],
                    _ => vec![load, Do(insn(AND, 0, 0, mask)), test],
                }
            };
            let mut steps = half(load_high, (mask >> 32) as u32, high);
            steps.extend(half(load_low, mask as u32, low));
            steps
        }
    }
}

fn ret(action: SeccompAction) -> u64 {
    // `SECCOMP_RET_*` of linux/seccomp.h.
    let value = match action {
        SeccompAction::Allow => libc::SECCOMP_RET_ALLOW,
        SeccompAction::Log => libc::SECCOMP_RET_LOG,
        SeccompAction::Errno(number) => libc::SECCOMP_RET_ERRNO | u32::from(number),
        SeccompAction::Trace(number) => libc::SECCOMP_RET_TRACE | u32::from(number),
        SeccompAction::Trap => libc::SECCOMP_RET_TRAP,
        SeccompAction::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        SeccompAction::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
    };
    insn(RET, 0, 0, value)
}

/// `struct sock_filter` as the number that has its bytes; both processors that we know are little-endian.
const fn insn(operation: u64, then: usize, other: usize, constant: u32) -> u64 {
    debug_assert!(then <= FAR && other <= FAR);
    operation | (then as u64) << 16 | (other as u64) << 24 | (constant as u64) << 32
}
