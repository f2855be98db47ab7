//! What the kernel has to confine a process with: Landlock, seccomp, the security modules.

use std::fs;

use lighter::plan::{OLDEST_LANDLOCK, Wall};

use super::finding::{Finding, Findings, Group, listed};
use super::sys;

/// What each version of Landlock's interface brought, see landlock(7).
const LANDLOCK: [(u32, &str, &str); 7] = [
    (1, "5.13", "rules for files"),
    (2, "5.19", "moving files between directories"),
    (3, "6.2", "truncating files"),
    (4, "6.7", "TCP ports"),
    (5, "6.10", "commands to devices (ioctl)"),
    (6, "6.12", "signals and abstract sockets of other processes"),
    (7, "6.15", "entries in the audit log"),
];

/// The actions of seccomp that filters need.
const ACTIONS: [&str; 4] = ["kill_process", "errno", "log", "allow"];

/// Whether a kernel has Landlock.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Landlock {
    Abi(u32),
    /// Built, but not among the modules chosen at boot.
    Off,
    Missing,
    Unknown(String),
}

/// What there is.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    landlock: Landlock,
    /// Actions of seccomp's filters, if there are such filters.
    seccomp: Option<Vec<String>>,
    /// The security modules in force, as far as the kernel shows them.
    modules: Option<Vec<String>>,
    apparmor: bool,
    /// `Some(true)` if SELinux enforces.
    selinux: Option<bool>,
    /// Yama's `ptrace_scope`.
    ptrace_scope: Option<u32>,
    /// Processes can give up gaining privileges.
    no_new_privs: bool,
    /// `/proc` could be read.
    proc: bool,
}

impl Facts {
    pub(super) fn gather() -> Self {
        let landlock = match sys::landlock_abi() {
            Ok(abi) => Landlock::Abi(abi),
            Err(e) => match e.raw_os_error() {
                Some(libc::EOPNOTSUPP) => Landlock::Off,
                Some(libc::ENOSYS) => Landlock::Missing,
                _ => Landlock::Unknown(e.to_string()),
            },
        };
        let words = |path: &str, separator: char| {
            let text = fs::read_to_string(path).ok()?;
            Some(text.trim().split(separator).map(str::to_owned).collect())
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let enforces = fs::read_to_string("/sys/fs/selinux/enforce").ok();
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
        Self {
            landlock,
            seccomp: words("/proc/sys/kernel/seccomp/actions_avail", ' '),
            modules: words("/sys/kernel/security/lsm", ','),
            apparmor: fs::read_to_string("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|enabled| enabled.trim() == "Y"),
            selinux: enforces.map(|enforces| enforces.trim() == "1"),
            ptrace_scope: scope.and_then(|scope| scope.trim().parse().ok()),
            no_new_privs: status.contains("NoNewPrivs:"),
            proc: !status.is_empty(),
        }
    }
}

/// What the kernel has, beside the walls that the configuration demands.
pub(super) fn judge(facts: &Facts, demanded: &[Wall]) -> Vec<Finding> {
    let mut found = Findings::of(Group::Isolation);
    let lacks = |wall: &Wall| match wall {
        Wall::Seccomp => facts.proc && facts.seccomp.is_none(),
        Wall::Landlock => !matches!(facts.landlock, Landlock::Abi(OLDEST_LANDLOCK..)),
        // Only containers that limit their ports miss it.
        Wall::Ports => false,
    };
    for wall in demanded.iter().filter(|wall| lacks(wall)) {
        found.problem(
            "isolation.require",
            format!(
                "isolation.require demands {wall}, which this kernel lacks: no guest runs here"
            ),
            format!("see below for {wall}, or take it out of isolation.require"),
        );
    }
    landlock(&facts.landlock, &mut found);
    seccomp(facts, &mut found);
    modules(facts, &mut found);
    if facts.proc && !facts.no_new_privs {
        found.problem(
            "isolation.no-new-privs",
            "the kernel does not have no_new_privs, which every guest gets",
            "use a kernel of this decade",
        );
    } else if facts.proc {
        found.ok("isolation.no-new-privs", "the kernel has no_new_privs");
    }
    found.done()
}

fn landlock(landlock: &Landlock, found: &mut Findings) {
    const ID: &str = "isolation.landlock";
    const NONE: &str = "there is no second wall around a guest's files beside its mounts";
    match landlock {
        Landlock::Abi(abi) if *abi < OLDEST_LANDLOCK => found.warning(
            ID,
            format!(
                "Landlock has version {abi} of its interface, with which guests could not rename files between \
                 directories; it is not used: {NONE}"
            ),
            "use a kernel of 5.19 or newer",
        ),
        Landlock::Abi(abi) => {
            let lacks: Vec<String> = LANDLOCK
                .iter()
                .filter(|(since, ..)| since > abi)
                .map(|(_, kernel, what)| format!("{what} (Linux {kernel})"))
                .collect();
            if lacks.is_empty() {
                found.ok(ID, format!("Landlock has version {abi} of its interface"));
            } else {
                found.note(
                    ID,
                    format!(
                        "Landlock has version {abi} of its interface, and no rules yet for: {}",
                        listed(&lacks)
                    ),
                );
            }
        }
        Landlock::Off => found.warning(
            ID,
            format!("Landlock is built into the kernel but not turned on: {NONE}"),
            "add landlock to the kernel's parameter lsm= (cat /sys/kernel/security/lsm shows what is on now), and boot",
        ),
        Landlock::Missing => found.warning(
            ID,
            format!("the kernel has no Landlock: {NONE}"),
            "use a kernel of 5.13 or newer with CONFIG_SECURITY_LANDLOCK",
        ),
        Landlock::Unknown(error) => found.warning(
            ID,
            format!("Landlock cannot be used here: {error}"),
            "if this is a container, its seccomp profile must allow landlock_create_ruleset",
        ),
    }
}

fn seccomp(facts: &Facts, found: &mut Findings) {
    const ID: &str = "isolation.seccomp";
    let Some(actions) = &facts.seccomp else {
        if facts.proc {
            found.warning(
                ID,
                "the kernel has no seccomp filters: nothing limits a process's system calls",
                "use a kernel with CONFIG_SECCOMP_FILTER",
            );
        }
        return;
    };
    let has = |action: &&str| actions.iter().any(|known| known == action);
    let lacks: Vec<&str> = ACTIONS.into_iter().filter(|action| !has(action)).collect();
    if lacks.is_empty() {
        found.ok(ID, "seccomp filters can be used");
    } else {
        found.warning(
            ID,
            format!("seccomp filters lack the actions {}", listed(&lacks)),
            "use a kernel of 4.14 or newer",
        );
    }
}

fn modules(facts: &Facts, found: &mut Findings) {
    const ID: &str = "isolation.lsm";
    let mut on = Vec::new();
    if facts.apparmor {
        on.push("AppArmor".to_owned());
    }
    match facts.selinux {
        Some(true) => on.push("SELinux (enforcing)".to_owned()),
        Some(false) => on.push("SELinux (permissive: it only logs)".to_owned()),
        None => {}
    }
    if facts.modules.as_ref().is_some_and(|modules| modules.iter().any(|name| name == "bpf")) {
        on.push("BPF".to_owned());
    }
    match facts.ptrace_scope {
        Some(0) => on.push("Yama (ptrace_scope 0: it restricts nothing)".to_owned()),
        Some(scope) => on.push(format!("Yama (ptrace_scope {scope})")),
        None => {}
    }
    match on.is_empty() {
        true => found.note(ID, "no security module is on (AppArmor, SELinux, BPF, Yama)"),
        false => found.ok(ID, format!("security modules that are on: {}", listed(&on))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Status, find};
    use super::*;

    fn good() -> Facts {
        Facts {
            landlock: Landlock::Abi(7),
            seccomp: Some(ACTIONS.map(str::to_owned).to_vec()),
            modules: Some(vec!["capability".into(), "bpf".into()]),
            apparmor: true,
            selinux: None,
            ptrace_scope: Some(1),
            no_new_privs: true,
            proc: true,
        }
    }

    #[test]
    fn a_good_kernel_has_nothing_but_ok() {
        let findings = judge(&good(), &[]);
        assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:#?}");
        let modules = &find(&findings, "isolation.lsm").message;
        assert!(modules.ends_with("AppArmor, BPF and Yama (ptrace_scope 1)"), "{modules}");
    }

    #[test]
    fn a_wall_that_is_demanded_and_not_there_is_a_problem() {
        let without = Facts { landlock: Landlock::Missing, ..good() };
        assert!(judge(&without, &[]).iter().all(|finding| finding.status != Status::Problem));
        let findings = judge(&without, &[Wall::Seccomp, Wall::Landlock]);
        let finding = find(&findings, "isolation.require");
        assert_eq!(finding.status, Status::Problem);
        assert!(finding.message.contains("demands landlock"), "{}", finding.message);
        let all = [Wall::Seccomp, Wall::Landlock, Wall::Ports];
        assert!(judge(&good(), &all).iter().all(|finding| finding.status == Status::Ok));
    }

    #[test]
    fn each_lack_of_landlock_has_its_own_remedy() {
        for (landlock, status, words) in [
            (Landlock::Abi(9), Status::Ok, "version 9"),
            (Landlock::Abi(6), Status::Note, "entries in the audit log (Linux 6.15)"),
            (Landlock::Abi(3), Status::Note, "TCP ports (Linux 6.7), commands"),
            (Landlock::Abi(1), Status::Warning, "rename"),
            (Landlock::Off, Status::Warning, "lsm="),
            (Landlock::Missing, Status::Warning, "CONFIG_SECURITY_LANDLOCK"),
            (Landlock::Unknown("EPERM".into()), Status::Warning, "seccomp profile"),
        ] {
            let findings = judge(&Facts { landlock, ..good() }, &[]);
            let finding = find(&findings, "isolation.landlock");
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(format!("{finding:?}").contains(words), "{finding:?}");
        }
    }

    #[test]
    fn what_is_off_is_said() {
        let bare = Facts {
            seccomp: None,
            modules: None,
            apparmor: false,
            ptrace_scope: None,
            no_new_privs: false,
            ..good()
        };
        let findings = judge(&bare, &[]);
        assert_eq!(find(&findings, "isolation.seccomp").status, Status::Warning);
        assert_eq!(find(&findings, "isolation.lsm").status, Status::Note);
        assert_eq!(find(&findings, "isolation.no-new-privs").status, Status::Problem);
        let permissive = Facts { selinux: Some(false), ptrace_scope: Some(0), ..good() };
        let findings = judge(&permissive, &[]);
        let modules = &find(&findings, "isolation.lsm").message;
        assert!(modules.contains("permissive") && modules.contains("restricts nothing"));
        let old = Facts { seccomp: Some(vec!["errno".into(), "allow".into()]), ..good() };
        let findings = judge(&old, &[]);
        assert!(find(&findings, "isolation.seccomp").message.contains("kill_process and log"));
    }
}
