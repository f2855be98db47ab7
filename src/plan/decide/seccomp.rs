//! `linux.seccomp`, with the meaning that runc gives it.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall, Spec,
};

use crate::error::{Refusal, Result};
use crate::host::Host;
use crate::plan::{
    SeccompAction, SeccompComparison, SeccompCondition, SeccompProfile, SeccompRule,
};

/// The largest error number that a system call can return.
const MAX_ERRNO: u32 = 4095;
/// A system call has that many arguments.
const ARGUMENTS: usize = 6;

const NATIVE: Arch =
    if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 };

/// The bundle's profile, if it has one.
///
/// # Errors
/// Names the field that cannot be honoured.
pub(super) fn seccomp(spec: &Spec, host: &Host) -> Result<Option<SeccompProfile>> {
    let asked = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    if asked.is_some() && !host.seccomp {
        return Err(Refusal::invalid("linux.seccomp: this kernel does not filter system calls"));
    }
    asked.map(profile).transpose()
}

fn profile(seccomp: &LinuxSeccomp) -> Result<SeccompProfile> {
    const FIELD: &str = "linux.seccomp";
    let path = seccomp.listener_path().as_ref().map(|path| path.display().to_string());
    for (field, value) in
        [("listenerPath", &path), ("listenerMetadata", seccomp.listener_metadata())]
    {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            return Err(Refusal::invalid(format!(
                "{FIELD}.{field} {value:?}: nobody is asked about a guest's system calls; leave it out"
            )));
        }
    }
    let default = action(
        &format!("{FIELD}.defaultAction"),
        seccomp.default_action(),
        seccomp.default_errno_ret(),
    )?;
    let rules = seccomp.syscalls().iter().flatten().enumerate();
    let rules: Vec<Vec<SeccompRule>> = rules
        .map(|(index, entry)| rules_of(&format!("{FIELD}.syscalls[{index}]"), entry))
        .collect::<Result<_>>()?;
    let permissive =
        matches!(default, SeccompAction::Allow | SeccompAction::Log | SeccompAction::Trace(_));
    let native = |arch: &Arch| [Arch::ScmpArchNative, NATIVE].contains(arch);
    let flags = seccomp.flags().as_ref();
    let flag = |flag| flags.is_some_and(|flags| flags.contains(&flag));
    Ok(SeccompProfile {
        default,
        newer_are_missing: !permissive && seccomp.architectures().iter().flatten().any(native),
        log: flag(LinuxSeccompFilterFlag::SeccompFilterFlagLog),
        speculate: flags.is_none() || flag(LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow),
        rules: rules.into_iter().flatten().collect(),
    })
}

/// Usually one rule. If there is more than one condition on the same argument, a rule for each condition, of which one is
/// enough: that is how such profiles were always read.
fn rules_of(field: &str, entry: &LinuxSyscall) -> Result<Vec<SeccompRule>> {
    let action = action(&format!("{field}.action"), entry.action(), entry.errno_ret())?;
    let names = entry.names();
    let args = entry.args().iter().flatten().enumerate();
    let when: Vec<SeccompCondition> = args
        .map(|(index, arg)| condition(&format!("{field}.args[{index}]"), arg))
        .collect::<Result<_>>()?;
    let rule = |when| SeccompRule { names: names.clone(), action, when };
    let repeated = (1..when.len())
        .any(|i| when[..i].iter().any(|earlier| earlier.argument == when[i].argument));
    Ok(match repeated {
        true => when.into_iter().map(|condition| rule(vec![condition])).collect(),
        false => vec![rule(when)],
    })
}

fn action(field: &str, action: LinuxSeccompAction, errno: Option<u32>) -> Result<SeccompAction> {
    let number = || {
        let number = errno.unwrap_or(libc::EPERM as u32);
        if number > MAX_ERRNO {
            return Err(Refusal::invalid(format!(
                "{field}: {number} is not an error number; the largest is {MAX_ERRNO}"
            )));
        }
        Ok(number as u16)
    };
    Ok(match action {
        LinuxSeccompAction::ScmpActAllow => SeccompAction::Allow,
        LinuxSeccompAction::ScmpActLog => SeccompAction::Log,
        LinuxSeccompAction::ScmpActErrno => SeccompAction::Errno(number()?),
        LinuxSeccompAction::ScmpActTrace => SeccompAction::Trace(number()?),
        LinuxSeccompAction::ScmpActTrap => SeccompAction::Trap,
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            SeccompAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => SeccompAction::KillProcess,
        LinuxSeccompAction::ScmpActNotify => {
            return Err(Refusal::invalid(format!(
                "{field} SCMP_ACT_NOTIFY: nobody is asked about a guest's system calls; use another action"
            )));
        }
    })
}

fn condition(field: &str, arg: &LinuxSeccompArg) -> Result<SeccompCondition> {
    let index = arg.index();
    if index >= ARGUMENTS {
        return Err(Refusal::invalid(format!(
            "{field}.index {index}: a system call has arguments 0 to {}",
            ARGUMENTS - 1
        )));
    }
    let second = arg.value_two().unwrap_or(0);
    let (is, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpEq => (SeccompComparison::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpNe => (SeccompComparison::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (SeccompComparison::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (SeccompComparison::AtMost, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (SeccompComparison::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (SeccompComparison::AtLeast, arg.value()),
        // The first value is the mask here.
        LinuxSeccompOperator::ScmpCmpMaskedEq => (SeccompComparison::EqualIn(arg.value()), second),
    };
    Ok(SeccompCondition { argument: index as u8, is, value })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host::Cgroups;

    fn host(seccomp: bool) -> Host {
        Host {
            cgroups: Cgroups::V2,
            root: true,
            kernel: "6.12".into(),
            seccomp,
            landlock: 6,
            apparmor: false,
            selinux: false,
        }
    }

    fn planned(profile: serde_json::Value) -> Result<SeccompProfile> {
        let spec = json!({"ociVersion": "1.2.0", "linux": {"seccomp": profile}});
        let spec: Spec = serde_json::from_value(spec).unwrap();
        Ok(seccomp(&spec, &host(true))?.expect("a profile"))
    }

    #[test]
    fn a_profile_is_read_as_runc_reads_it() {
        let profile = planned(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"],
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [
                    {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 255, "valueTwo": 3},
                    {"index": 1, "op": "SCMP_CMP_GE", "value": 7},
                ]},
                {"names": ["personality"], "action": "SCMP_ACT_TRACE", "errnoRet": 9, "args": [
                    {"index": 0, "op": "SCMP_CMP_EQ", "value": 0},
                    {"index": 0, "op": "SCMP_CMP_EQ", "value": 8},
                ]},
            ],
        }))
        .unwrap();
        assert_eq!(profile.default, SeccompAction::Errno(38));
        assert!(profile.newer_are_missing && profile.log && !profile.speculate);
        let on = |argument, is, value| SeccompCondition { argument, is, value };
        let [read, clone, eq0, eq8] = profile.rules.as_slice() else { panic!("{profile:?}") };
        assert_eq!((read.action, &*read.when), (SeccompAction::Allow, &[][..]));
        assert_eq!(clone.action, SeccompAction::Errno(1));
        let masked = on(0, SeccompComparison::EqualIn(255), 3);
        assert_eq!(clone.when, [masked, on(1, SeccompComparison::AtLeast, 7)]);
        assert_eq!(
            (eq0.action, &*eq0.when),
            (SeccompAction::Trace(9), &[on(0, SeccompComparison::Equal, 0)][..])
        );
        assert_eq!(eq8.when, [on(0, SeccompComparison::Equal, 8)]);
    }

    #[test]
    fn a_permissive_profile_lets_newer_calls_be() {
        let architectures = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]);
        for (action, missing) in
            [("ALLOW", false), ("LOG", false), ("TRACE", false), ("ERRNO", true), ("KILL", true)]
        {
            let action = format!("SCMP_ACT_{action}");
            let profile =
                planned(json!({"defaultAction": action, "architectures": architectures})).unwrap();
            assert_eq!(profile.newer_are_missing, missing, "{action}");
            assert!(profile.speculate, "no flags given");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let entry = |extra: serde_json::Value| {
            let mut entry = json!({"names": ["read"], "action": "SCMP_ACT_ERRNO"});
            entry.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]})
        };
        let condition = json!([{"index": 6, "op": "SCMP_CMP_EQ", "value": 0}]);
        for (profile, words) in [
            (
                json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
                "linux.seccomp.defaultAction SCMP_ACT_NOTIFY",
            ),
            (
                entry(json!({"action": "SCMP_ACT_NOTIFY"})),
                "linux.seccomp.syscalls[0].action SCMP_ACT_NOTIFY",
            ),
            (entry(json!({"errnoRet": 4096})), "linux.seccomp.syscalls[0].action: 4096"),
            (entry(json!({"args": condition})), "linux.seccomp.syscalls[0].args[0].index 6"),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/a"}),
                "linux.seccomp.listenerPath \"/run/a\"",
            ),
        ] {
            let refusal = planned(profile).unwrap_err();
            assert!(refusal.message.starts_with(words), "{refusal}");
        }
    }

    #[test]
    fn a_profile_needs_a_kernel_with_filters() {
        let spec = |linux| -> Spec {
            serde_json::from_value(json!({"ociVersion": "1.2.0", "linux": linux})).unwrap()
        };
        assert_eq!(seccomp(&spec(json!({})), &host(false)).unwrap(), None);
        let profile = json!({"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}});
        let refusal = seccomp(&spec(profile), &host(false)).unwrap_err();
        assert!(refusal.message.starts_with("linux.seccomp: this kernel"), "{refusal}");
    }
}
