//! The bundle's own filter of system calls, `linux.seccomp`, as it asks for it. Lighter's own stands beside it
//! always, and is no part of a plan; see `src/seccomp/allowlist.rs`.

use serde::{Deserialize, Serialize};

/// A filter of system calls by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeccompProfile {
    /// What becomes of calls that no rule is about.
    pub default: SeccompAction,
    /// Calls newer than all those named fail as on a kernel that does not have them, whatever the default.
    pub newer_are_missing: bool,
    /// The kernel logs each call that is not simply allowed.
    pub log: bool,
    /// The processor may go on speculating past stores, which a filter would otherwise forbid on some kernels.
    pub speculate: bool,
    /// In the bundle's order.
    pub rules: Vec<SeccompRule>,
}

/// What becomes of some calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeccompRule {
    /// Names of system calls. One that this processor or release does not know has no effect.
    pub names: Vec<String>,
    /// What becomes of them.
    pub action: SeccompAction,
    /// Only if all of these hold for the call's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<SeccompCondition>,
}

/// What becomes of a call, see seccomp(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompAction {
    /// It is made.
    Allow,
    /// It is made, and logged.
    Log,
    /// It fails with this error number.
    Errno(u16),
    /// It is for a tracer to decide, who gets this number; without one it fails with `ENOSYS`.
    Trace(u16),
    /// The process gets SIGSYS.
    Trap,
    /// The thread ends.
    KillThread,
    /// The process ends by SIGSYS.
    KillProcess,
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeccompCondition {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub is: SeccompComparison,
    /// With what: all of its 64 bits.
    pub value: u64,
}

/// How an argument is compared, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompComparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `==`, in the bits of this mask alone.
    EqualIn(u64),
}
