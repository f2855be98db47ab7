//! The kernel: its release, the calls that containers take, and limits that Wasmtime meets.

use std::fs;

use super::finding::{Finding, Findings, Group, listed};
use super::sys::{CALLS, Call};

/// The oldest release that the documentation promises.
const OLDEST: (u32, u32) = (5, 14);

/// Bytes of address space without which nothing runs: what Wasmtime reserves for one memory of 32-bit WebAssembly, its
/// guards included, and the runner beside it.
const ADDRESS_SPACE: u64 = (4 << 30) + (128 << 20);

/// Mappings of a process that leave room for a large guest; the kernel's default is 65530.
const MAPPINGS: u64 = 1024;

/// How a machine's namespaces of the first process are known: `PROC_PID_INIT_INO` of linux/nsfs.h.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// What the kernel says of itself.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    release: String,
    machine: String,
    root: bool,
    /// We are in a container.
    contained: bool,
    /// Calls that are refused for another reason than the arguments, and the error number.
    refused: Vec<(Call, Option<i32>)>,
    /// `user.max_user_namespaces`; `None` if there are no user namespaces.
    user_namespaces: Option<u64>,
    /// Debian's switch `kernel.unprivileged_userns_clone`.
    userns_clone: Option<u64>,
    /// Ubuntu's switch `kernel.apparmor_restrict_unprivileged_userns`.
    userns_restricted: Option<u64>,
    /// Bytes of address space that containerd, and so its shims and runners, may have; else we.
    address_space: Option<u64>,
    overcommit: Option<u64>,
    max_mappings: Option<u64>,
}

impl Facts {
    /// `address_space` is the limit of the running containerd, if there is one; the largest number is none.
    pub(super) fn gather(address_space: Option<u64>) -> Self {
        let uname = rustix::system::uname();
        let own_limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
        let pid_namespace = fs::read_link("/proc/self/ns/pid").ok();
        Self {
            release: uname.release().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            root: rustix::process::geteuid().is_root(),
            contained: pid_namespace.is_some_and(|ns| ns.as_os_str() != FIRST_PID_NAMESPACE),
            refused: CALLS
                .into_iter()
                .map(|call| (call, call.refusal().raw_os_error()))
                .filter(|(_, error)| !matches!(error, Some(libc::EINVAL | libc::EBADF)))
                .collect(),
            user_namespaces: sysctl("user/max_user_namespaces"),
            userns_clone: sysctl("kernel/unprivileged_userns_clone"),
            userns_restricted: sysctl("kernel/apparmor_restrict_unprivileged_userns"),
            address_space: address_space.or(own_limit).filter(|&limit| limit != u64::MAX),
            overcommit: sysctl("vm/overcommit_memory"),
            max_mappings: sysctl("vm/max_map_count"),
        }
    }
}

fn sysctl(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings::of(Group::Kernel);
    release(facts, &mut found);
    calls(facts, &mut found);
    user_namespaces(facts, &mut found);
    memory(facts, &mut found);
    if facts.contained {
        found.hint(
            "kernel.contained",
            "this command runs in a container, and sees that container's node, not the machine's",
            "run it on the node itself",
        );
    }
    found.done()
}

fn release(facts: &Facts, found: &mut Findings) {
    let Facts { release, machine, .. } = facts;
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = OLDEST;
    if version < OLDEST {
        found.warning(
            "kernel.release",
            format!("Linux {release} is older than {major}.{minor}, the oldest that is tested"),
            format!("use a distribution with Linux {major}.{minor} or newer"),
        );
    } else {
        found.ok("kernel.release", format!("Linux {release}"));
    }
    match machine.as_str() {
        "x86_64" | "aarch64" => {
            found.ok("kernel.architecture", format!("the processor is {machine}"));
        }
        _ => found.warning(
            "kernel.architecture",
            format!("the processor is {machine}; Lighter is tested on x86_64 and aarch64 only"),
            "run WebAssembly containers on nodes with one of these",
        ),
    }
}

fn calls(facts: &Facts, found: &mut Findings) {
    let name = |call: &Call| format!("{} (Linux {})", call.name, call.since);
    let with = |wanted: i32| -> Vec<String> {
        let refused = facts.refused.iter().filter(|(_, error)| *error == Some(wanted));
        refused.map(|(call, _)| name(call)).collect()
    };
    let missing = with(libc::ENOSYS);
    // Mounting calls are refused to all but root before their arguments are looked at.
    let forbidden = if facts.root { with(libc::EPERM) } else { Vec::new() };
    if !missing.is_empty() {
        found.problem(
            "kernel.calls",
            format!("the kernel does not have the system calls {}", listed(&missing)),
            "use a newer kernel; in a container, a newer seccomp profile of the outer runtime",
        );
    } else if !forbidden.is_empty() {
        found.problem(
            "kernel.calls",
            format!("root may not use the system calls {}", listed(&forbidden)),
            "run containerd outside of the container that forbids them, or with the capability CAP_SYS_ADMIN and \
             a seccomp profile that allows them",
        );
    } else {
        let names: Vec<&str> = CALLS.iter().map(|call| call.name).collect();
        found.ok("kernel.calls", format!("the kernel has {}", listed(&names)));
    }
}

/// Root needs them for pods with a user namespace only; everybody else for everything.
fn user_namespaces(facts: &Facts, found: &mut Findings) {
    const ID: &str = "kernel.user-namespaces";
    let who = match facts.root {
        true => "containers with a user namespace of their own cannot run",
        false => "containers cannot run without root's rights",
    };
    let (sign, remedy) = match facts {
        Facts { user_namespaces: None, .. } => (
            "the kernel has no user namespaces".to_owned(),
            "use a kernel with CONFIG_USER_NS, if you need them".to_owned(),
        ),
        Facts { user_namespaces: Some(0), .. } => (
            "user.max_user_namespaces is 0".to_owned(),
            "sysctl -w user.max_user_namespaces=15000, and the same in /etc/sysctl.d, if you need them"
                .to_owned(),
        ),
        Facts { userns_clone: Some(0), root: false, .. } => (
            "kernel.unprivileged_userns_clone is 0".to_owned(),
            "sysctl -w kernel.unprivileged_userns_clone=1, and the same in /etc/sysctl.d, if you need them"
                .to_owned(),
        ),
        Facts { userns_restricted: Some(1..), root: false, .. } => (
            "kernel.apparmor_restrict_unprivileged_userns is on".to_owned(),
            "give the rootless containerd an AppArmor profile with the rule \"userns,\", or sysctl -w \
             kernel.apparmor_restrict_unprivileged_userns=0, if you need them"
                .to_owned(),
        ),
        Facts { user_namespaces: Some(max), .. } => {
            return found.ok(ID, format!("user namespaces are allowed (at most {max})"));
        }
    };
    found.hint(ID, format!("{sign}: {who}"), remedy);
}

fn memory(facts: &Facts, found: &mut Findings) {
    match facts.address_space {
        None => found.ok("kernel.address-space", "address space is not limited"),
        Some(limit) if limit < ADDRESS_SPACE => found.problem(
            "kernel.address-space",
            format!(
                "address space is limited to {} (ulimit -v), but a guest needs more than 4 GiB of it, however little it uses",
                super::super::human_bytes(limit)
            ),
            "remove the limit: LimitAS=infinity in containerd's unit (systemctl edit containerd), or the line \
             \"as\" in /etc/security/limits.conf",
        ),
        Some(limit) => found.note(
            "kernel.address-space",
            format!(
                "address space is limited to {} (ulimit -v); a guest needs 4 GiB of it for each of its memories",
                super::super::human_bytes(limit)
            ),
        ),
    }
    if facts.overcommit == Some(2) {
        found.warning(
            "kernel.overcommit",
            "vm.overcommit_memory is 2: what a guest may touch counts as used, and memory.grow fails when the sum \
             is reached, however much is free",
            "sysctl -w vm.overcommit_memory=0, and the same in /etc/sysctl.d; else see that CommitLimit in \
             /proc/meminfo is well above Committed_AS",
        );
    }
    if let Some(max) = facts.max_mappings.filter(|&max| max < MAPPINGS) {
        found.warning(
            "kernel.mappings",
            format!(
                "vm.max_map_count is {max}: a guest with a large module may need more mappings"
            ),
            "sysctl -w vm.max_map_count=65530, and the same in /etc/sysctl.d",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Status, find};
    use super::*;

    fn good() -> Facts {
        Facts {
            release: "6.1.0-32-amd64".into(),
            machine: "x86_64".into(),
            root: true,
            contained: false,
            refused: Vec::new(),
            user_namespaces: Some(30000),
            userns_clone: None,
            userns_restricted: None,
            address_space: None,
            overcommit: Some(0),
            max_mappings: Some(65530),
        }
    }

    #[test]
    fn a_good_kernel_has_nothing_but_ok() {
        let findings = judge(&good());
        assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:#?}");
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        let status = |release: &str| {
            let findings = judge(&Facts { release: release.into(), ..good() });
            find(&findings, "kernel.release").status
        };
        assert_eq!(status("5.14.0-362.el9.x86_64"), Status::Ok);
        assert_eq!(status("10.0"), Status::Ok);
        assert_eq!(status("5.9.1"), Status::Warning);
        assert_eq!(status("4.18.0-553.el8"), Status::Warning);
    }

    #[test]
    fn missing_calls_are_a_problem_and_forbidden_ones_for_root() {
        let with = |errno, root| {
            let refused = vec![(CALLS[6], Some(errno))];
            judge(&Facts { refused, root, ..good() })
        };
        let findings = with(libc::ENOSYS, false);
        let missing = find(&findings, "kernel.calls");
        assert_eq!(missing.status, Status::Problem);
        assert!(missing.message.contains("mount_setattr (Linux 5.12)"), "{missing:?}");
        let status = |findings: &[Finding]| find(findings, "kernel.calls").status;
        assert_eq!(status(&with(libc::EPERM, true)), Status::Problem);
        assert_eq!(status(&with(libc::EPERM, false)), Status::Ok);
    }

    #[test]
    fn user_namespaces_have_several_switches() {
        let message = |facts: Facts| {
            let findings = judge(&facts);
            let finding = find(&findings, "kernel.user-namespaces");
            assert!(finding.status <= Status::Note);
            finding.message.clone()
        };
        assert!(message(Facts { user_namespaces: None, ..good() }).contains("has no user"));
        assert!(
            message(Facts { user_namespaces: Some(0), ..good() }).contains("is 0: containers with")
        );
        // Root is not concerned by what unprivileged users may not do.
        assert!(message(Facts { userns_clone: Some(0), ..good() }).contains("are allowed"));
        let user = Facts { root: false, ..good() };
        assert!(message(Facts { userns_clone: Some(0), ..user.clone() }).contains("without root"));
        assert!(message(Facts { userns_restricted: Some(1), ..user }).contains("apparmor"));
    }

    #[test]
    fn limits_of_memory_are_named() {
        let status = |facts: Facts, id| find(&judge(&facts), id).status;
        let limited = |limit| Facts { address_space: Some(limit), ..good() };
        assert_eq!(status(limited(4 << 30), "kernel.address-space"), Status::Problem);
        assert_eq!(status(limited(64 << 30), "kernel.address-space"), Status::Note);
        let strict = Facts { overcommit: Some(2), ..good() };
        assert_eq!(status(strict, "kernel.overcommit"), Status::Warning);
        let few = Facts { max_mappings: Some(100), ..good() };
        assert_eq!(status(few, "kernel.mappings"), Status::Warning);
    }
}
