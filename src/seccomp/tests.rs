//! The filters, as the kernel would run them on calls made up here.

use std::str::FromStr;

use super::*;
use crate::plan::SeccompRule;

const NATIVE: u32 = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = errno(libc::EPERM);
const ENOSYS: u32 = errno(libc::ENOSYS);

const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

/// What `filter` says to the call `number` with `args`.
fn answer(program: &[u64], arch: u32, number: u32, args: &[u64]) -> u32 {
    let word = |offset: u32| match offset {
        0 => number,
        4 => arch,
        16.. => {
            let value = args.get((offset as usize - 16) / 8).copied().unwrap_or(0);
            if offset.is_multiple_of(8) { value as u32 } else { (value >> 32) as u32 }
        }
        _ => panic!("the program looks at offset {offset}"),
    };
    let (mut at, mut value) = (0, 0);
    loop {
        let instruction = program[at];
        let constant = bpf::constant(instruction);
        let (then, other) =
            ((instruction >> 16 & 0xff) as usize, (instruction >> 24 & 0xff) as usize);
        let jump = |holds: bool| if holds { then } else { other };
        at += 1;
        match instruction & 0xffff {
            0x20 => value = word(constant),
            0x54 => value &= constant,
            0x06 => return constant,
            0x05 => at += constant as usize,
            0x15 => at += jump(value == constant),
            0x25 => at += jump(value > constant),
            0x35 => at += jump(value >= constant),
            other => panic!("the program has an instruction {other:#x}"),
        }
    }
}

fn native(filter: &SeccompFilter, name: &str, args: &[u64]) -> u32 {
    let number = number(name).unwrap_or_else(|| panic!("{name} is no system call here"));
    answer(&filter.program, NATIVE, number, args)
}

#[test]
fn every_call_of_the_list_is_one_and_is_listed_once() {
    use syscalls::{aarch64::Sysno as OfAarch64, x86_64::Sysno as OfX86};
    let x86_64 = |name: &str| OfX86::from_str(name).map(|call| call.id() as u32);
    let aarch64 = |name: &str| {
        let name = if name == "newfstatat" { "fstatat" } else { name };
        OfAarch64::from_str(name).map(|call| call.id() as u32)
    };
    for Call { name, .. } in CALLS {
        assert!(x86_64(name).is_ok(), "{name} is no system call of x86-64");
        assert!(aarch64(name).is_ok(), "{name} is no system call of aarch64");
    }
    for Call { name, .. } in CALLS_OF_X86_64 {
        assert!(x86_64(name).is_ok(), "{name} is no system call of x86-64");
        assert!(aarch64(name).is_err(), "{name} is one of aarch64, too");
    }
    let all = || CALLS.iter().chain(CALLS_OF_X86_64);
    assert_eq!(own_entries(all(), |name| x86_64(name).ok()).len(), all().count());
    assert_eq!(own_entries(CALLS.iter(), |name| aarch64(name).ok()).len(), CALLS.len());
}

/// The operator's book has the same list.
#[test]
fn the_book_names_every_call_of_the_list_and_no_other() {
    let page = include_str!("../../docs/src/system-calls.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| for "));
    let mut written: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    let mut listed: Vec<&str> = CALLS.iter().chain(CALLS_OF_X86_64).map(|call| call.name).collect();
    // What the list names to refuse it in its own way is in the text.
    listed.retain(|name| !["clone3", "memfd_create"].contains(name));
    written.sort_unstable();
    listed.sort_unstable();
    assert_eq!(written, listed);
}

#[test]
fn what_is_not_listed_is_denied() {
    let own = own();
    let allowed: Vec<_> = CALLS.iter().chain(CALLS_OF_X86_64).map(|call| call.name).collect();
    let mut denied = 0;
    for call in Sysno::iter().filter(|call| !allowed.contains(&call.name())) {
        for args in [[0; 6], [1; 6], [u64::MAX; 6]] {
            assert_eq!(answer(&own.program, NATIVE, call.id() as u32, &args), EPERM, "{call}");
        }
        denied += 1;
    }
    assert!(denied > 200, "{denied}");
    let last = Sysno::last().id() as u32;
    assert_eq!(answer(&own.program, NATIVE, last + 1, &[]), ENOSYS);
    assert_eq!(answer(&own.program, NATIVE, X32 - 1, &[]), ENOSYS);
    for number in [X32, X32 + 1, u32::MAX] {
        assert_eq!(answer(&own.program, NATIVE, number, &[]), libc::SECCOMP_RET_KILL_PROCESS);
    }
    for arch in [0x4000_0003, 0x4000_0028, 0xc000_00f3, 0] {
        assert_eq!(answer(&own.program, arch, 1, &[]), libc::SECCOMP_RET_KILL_PROCESS);
    }
}

#[test]
fn arguments_decide() {
    let own = own();
    let flags = |flags: i32| flags as u32 as u64;
    let thread = 0x3d_0f00;
    let cases: &[(&str, &[u64], u32)] = &[
        ("mmap", &[0, 4096, 3, 0x22, u64::MAX], ALLOW),
        ("mmap", &[0, 4096, 4, 0x22, u64::MAX], EPERM),
        ("mmap", &[0, 4096, 7, 0x22, u64::MAX], EPERM),
        ("mprotect", &[0, 4096, 5], EPERM),
        ("clone", &[thread], ALLOW),
        ("clone", &[thread | flags(libc::CLONE_DETACHED)], ALLOW),
        ("clone", &[thread | flags(libc::CLONE_NEWUSER)], EPERM),
        ("clone", &[thread | 1 << 32], EPERM),
        ("clone", &[flags(libc::SIGCHLD)], EPERM),
        ("clone3", &[1, 88], ENOSYS),
        ("memfd_create", &[1], ENOSYS),
        ("socket", &[2, 1 | flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK), 6], ALLOW),
        ("socket", &[10, 2, 0], ALLOW),
        ("socket", &[0xffff_0000_0000_0002, 1, 0], ALLOW),
        ("socket", &[2, 3, 0], errno(libc::EAFNOSUPPORT)),
        ("socket", &[1, 1, 0], errno(libc::EAFNOSUPPORT)),
        ("socket", &[16, 3, 0], errno(libc::EAFNOSUPPORT)),
        ("socket", &[40, 1, 0], errno(libc::EAFNOSUPPORT)),
        ("ioctl", &[0, 0x5401], ALLOW),
        ("ioctl", &[0, 0x5412], EPERM),
        ("prctl", &[15], ALLOW),
        ("prctl", &[22, 2], EPERM),
        ("prlimit64", &[0, 3, 0, 4096], ALLOW),
        ("prlimit64", &[0, 3, 4096, 0], EPERM),
        ("prlimit64", &[0, 3, 1 << 40, 0], EPERM),
        ("prlimit64", &[1, 3, 0, 4096], EPERM),
        ("setsockopt", &[3, 6, 1], ALLOW),
        ("setsockopt", &[3, 1, 62], ALLOW),
        ("setsockopt", &[3, 1, 26], EPERM),
        ("setsockopt", &[3, 6, 31], EPERM),
        ("fcntl", &[3, 1030], ALLOW),
        ("fcntl", &[3, 8], EPERM),
        ("tgkill", &[u64::from(OWN_PID), 1, 6], ALLOW),
        ("tgkill", &[1, 1, 6], EPERM),
    ];
    for (name, args, expected) in cases {
        assert_eq!(native(&own, name, args), *expected, "{name} {args:x?}");
    }
}

#[test]
fn the_runner_finds_where_to_put_its_process_id() {
    let mut own = own();
    assert_eq!(own.own_pid.len(), 1);
    for at in std::mem::take(&mut own.own_pid) {
        own.program[at] = own.program[at] & 0xffff_ffff | 7 << 32;
    }
    assert_eq!(native(&own, "tgkill", &[7, 7, 6]), ALLOW);
    assert_eq!(native(&own, "tgkill", &[u64::from(OWN_PID), 7, 6]), EPERM);
}

/// On kernels before 5.11 each of a guest's calls runs the program.
#[test]
fn frequent_calls_are_found_quickly() {
    let own = own();
    assert!(own.program.len() < 400, "{}", own.program.len());
    for name in ["read", "write", "pread64", "epoll_pwait", "clock_gettime", "futex"] {
        let mut at = 0;
        let mut steps = 0;
        let number = number(name).unwrap();
        // Only jumps by number are on the way.
        loop {
            let instruction = own.program[at];
            let (then, other) =
                ((instruction >> 16 & 0xff) as usize, (instruction >> 24 & 0xff) as usize);
            steps += 1;
            at += 1 + match instruction & 0xffff {
                0x15 => then,
                0x35 if number >= bpf::constant(instruction) => then,
                0x35 => other,
                0x05 => bpf::constant(instruction) as usize,
                0x06 => break,
                _ => 0,
            };
        }
        assert!(steps <= 14, "{name} takes {steps} instructions");
    }
}

fn rule(names: &[&str], action: SeccompAction, when: &[SeccompCondition]) -> SeccompRule {
    SeccompRule {
        names: names.iter().map(|name| (*name).into()).collect(),
        action,
        when: when.into(),
    }
}

fn on(argument: u8, is: SeccompComparison, value: u64) -> SeccompCondition {
    SeccompCondition { argument, is, value }
}

fn profile(default: SeccompAction, rules: Vec<SeccompRule>) -> SeccompProfile {
    SeccompProfile { default, newer_are_missing: false, log: false, speculate: true, rules }
}

#[test]
fn every_comparison_takes_all_64_bits() {
    use SeccompComparison::*;
    const MASK: u64 = 0x0000_00f0_0000_000f;
    let values = [
        0,
        1,
        2,
        0xf,
        0x10,
        0xffff_fffe,
        0xffff_ffff,
        1 << 32,
        (1 << 32) + 1,
        (1 << 32) + 2,
        2 << 32,
        0x50_0000_0003,
        0xf0_0000_000f,
        u64::MAX - 1,
        u64::MAX,
    ];
    for is in [
        Equal,
        NotEqual,
        Less,
        AtMost,
        Greater,
        AtLeast,
        EqualIn(MASK),
        EqualIn(0),
        EqualIn(u64::MAX),
    ] {
        for value in values {
            let rules = vec![rule(&["mkdirat"], SeccompAction::Errno(5), &[on(5, is, value)])];
            let filter = of_bundle(&profile(SeccompAction::Allow, rules)).unwrap();
            for argument in values {
                let holds = match is {
                    Equal => argument == value,
                    NotEqual => argument != value,
                    Less => argument < value,
                    AtMost => argument <= value,
                    Greater => argument > value,
                    AtLeast => argument >= value,
                    EqualIn(mask) => argument & mask == value & mask,
                };
                let expected = if holds { errno(5) } else { ALLOW };
                let got = native(&filter, "mkdirat", &[0, 0, 0, 0, 0, argument]);
                assert_eq!(got, expected, "{argument:#x} {is:?} {value:#x}");
            }
        }
    }
}

#[test]
fn a_profile_has_all_actions_and_the_last_word_on_none() {
    use SeccompAction::*;
    use SeccompComparison::Equal;
    let filter = of_bundle(&profile(
        Errno(1),
        vec![
            rule(&["read", "write", "no_such_call", "openat2"], Allow, &[]),
            rule(&["getpid"], Log, &[]),
            rule(&["gettid"], Trace(9), &[]),
            rule(&["getuid"], Trap, &[]),
            rule(&["getgid"], KillThread, &[]),
            rule(&["geteuid"], KillProcess, &[]),
            rule(&["personality"], Allow, &[on(0, Equal, 8)]),
            rule(&["personality"], Errno(2), &[on(0, Equal, 9)]),
            // Both must hold.
            rule(&["fchmod"], Allow, &[on(0, Equal, 1), on(1, Equal, 2)]),
            // One without conditions counts, wherever it stands.
            rule(&["kill"], Errno(3), &[on(0, Equal, 1)]),
            rule(&["kill"], Allow, &[]),
            rule(&["tkill"], Allow, &[]),
            rule(&["tkill"], Errno(3), &[on(0, Equal, 1)]),
            rule(&["tkill"], Errno(4), &[]),
            // Nothing new.
            rule(&["chdir"], Errno(1), &[]),
        ],
    ))
    .unwrap();
    let cases: &[(&str, &[u64], u32)] = &[
        ("read", &[], ALLOW),
        ("openat2", &[], ALLOW),
        ("getpid", &[], libc::SECCOMP_RET_LOG),
        ("gettid", &[], libc::SECCOMP_RET_TRACE | 9),
        ("getuid", &[], libc::SECCOMP_RET_TRAP),
        ("getgid", &[], libc::SECCOMP_RET_KILL_THREAD),
        ("geteuid", &[], libc::SECCOMP_RET_KILL_PROCESS),
        ("personality", &[8], ALLOW),
        ("personality", &[9], errno(2)),
        ("personality", &[7], EPERM),
        ("fchmod", &[1, 2], ALLOW),
        ("fchmod", &[1, 3], EPERM),
        ("kill", &[1], ALLOW),
        ("tkill", &[1], ALLOW),
        ("chdir", &[], EPERM),
        ("mount", &[], EPERM),
        // Ours must still go on, and denies it then.
        ("seccomp", &[1, 4], ALLOW),
        ("seccomp", &[2], EPERM),
    ];
    for (name, args, expected) in cases {
        assert_eq!(native(&filter, name, args), *expected, "{name} {args:?}");
    }
    assert_eq!(filter.flags, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32);
}

#[test]
fn calls_newer_than_a_profile_are_missing() {
    let mut profile =
        profile(SeccompAction::Errno(1), vec![rule(&["openat2"], SeccompAction::Allow, &[])]);
    let beyond = |profile: &SeccompProfile| {
        let filter = of_bundle(profile).unwrap();
        [0, 1, 2]
            .map(|more| answer(&filter.program, NATIVE, number("openat2").unwrap() + more, &[]))
    };
    assert_eq!(beyond(&profile), [ALLOW, EPERM, EPERM]);
    profile.newer_are_missing = true;
    assert_eq!(beyond(&profile), [ALLOW, ENOSYS, ENOSYS]);
}

#[test]
fn a_profile_beyond_the_kernels_limit_is_refused() {
    let when = |value| [0, 1, 2, 3].map(|argument| on(argument, SeccompComparison::Greater, value));
    let rules =
        |count| (0..count).map(|i| rule(&["kill"], SeccompAction::Errno(5), &when(i))).collect();
    assert!(of_bundle(&profile(SeccompAction::Allow, rules(100))).is_ok());
    let refusal = of_bundle(&profile(SeccompAction::Allow, rules(300))).unwrap_err();
    assert!(refusal.message.contains("linux.seccomp"), "{refusal}");
    assert!(refusal.message.contains("4096"), "{refusal}");
}

/// Jumps over more than 255 instructions.
#[test]
fn a_large_profile_finds_its_calls() {
    use SeccompComparison::Equal;
    let calls: Vec<Sysno> = Sysno::iter().filter(|call| call.name() != "seccomp").collect();
    let rules = calls.iter().map(|call| {
        rule(&[call.name()], SeccompAction::Errno(7), &[on(0, Equal, call.id() as u64)])
    });
    let filter = of_bundle(&profile(SeccompAction::Allow, rules.collect())).unwrap();
    assert!(filter.program.len() > 2000);
    for call in calls {
        let id = call.id() as u64;
        assert_eq!(native(&filter, call.name(), &[id]), errno(7), "{call}");
        assert_eq!(native(&filter, call.name(), &[id + 1]), ALLOW, "{call}");
    }
}
