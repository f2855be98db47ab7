//! Where ours answers otherwise than runc's, and why. `docs/src/differences.md` tells it to users.

use super::Step;
use super::Subject::{self, Linux, Wasm};

/// One answer that differs.
pub struct Difference {
    /// In which sequence.
    pub sequence: &'static str,
    /// To which call.
    pub call: &'static str,
    /// For which containers of ours.
    pub of: &'static [Subject],
    /// What runc's answers.
    pub runc: &'static str,
    /// What ours answers.
    pub ours: &'static str,
    /// Why.
    #[expect(dead_code, reason = "for whoever reads it")]
    pub why: &'static str,
}

const BOTH: &[Subject] = &[Wasm, Linux];

/// All of them, beside [`is_named_better`].
pub const ALL: &[Difference] = &[
    Difference {
        sequence: "deleted_when_created",
        call: "delete",
        of: BOTH,
        runc: "Ok 0",
        ours: "Ok 137",
        why: "it was killed, and did not exit with 0",
    },
    Difference {
        sequence: "killed_after_its_end",
        call: "kill 9 all",
        of: BOTH,
        runc: "Ok",
        ours: "NotFound",
        why: "as without `all`: nobody is left who could get a signal; containerd's clients take it as done",
    },
    Difference {
        sequence: "looked_at_in_each_state",
        call: "pids",
        of: BOTH,
        runc: "Ok 0 of them",
        ours: "Ok 1 of them",
        why: "a containerd that restarts takes a shim without processes for a leak, and would lose the exit status",
    },
];

/// Where runc's shim itself differs from one release to another.
pub const OF_SOME_RELEASES: &[Difference] = &[Difference {
    sequence: "deleted_when_created",
    call: "events",
    of: BOTH,
    runc: "create delete",
    ours: "create exit delete",
    why: "as containerd 1.6's: the process was there, and whoever waits for its exit hears of it",
}];

/// runc's shim of containerd 2 may end before its last event, of the deletion, has gone out; ours sends all of them first.
pub fn is_cut_short(runc: &Step, ours: &Step) -> bool {
    runc.call == "events" && ours.answer.strip_suffix(" delete") == Some(&runc.answer)
}

/// runc's shim has no kind for most of its errors. Ours says what is wrong with the request: an error is an error in both, and
/// who looks for `Unknown` looks for none.
pub fn is_named_better(runc: &str, ours: &str) -> bool {
    runc == "Unknown" && ["FailedPrecondition", "InvalidArgument", "Unimplemented"].contains(&ours)
}
