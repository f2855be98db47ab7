//! Where ours answers otherwise than both runc and crun, and why. `docs/src/differences.md` tells it to users.

use super::Subject;

/// One answer that differs.
pub struct Difference {
    /// In which sequence.
    pub sequence: &'static str,
    /// To which command.
    pub call: &'static str,
    /// For which containers of ours.
    pub of: &'static [Subject],
    /// What ours answers.
    pub ours: &'static str,
    /// Why.
    #[expect(dead_code, reason = "for whoever reads it")]
    pub why: &'static str,
}

const LINUX: &[Subject] = &[Subject::Linux];
const WASM: &[Subject] = &[Subject::Wasm];
const BOTH: &[Subject] = &[Subject::Linux, Subject::Wasm];

/// All of them.
pub const ALL: &[Difference] = &[
    Difference {
        sequence: "exec_of_what_cannot_run",
        call: "exec Missing",
        of: BOTH,
        ours: "exits with 127, running",
        why: "the statuses are those of shells, and tell what was wrong",
    },
    Difference {
        sequence: "exec_of_what_cannot_run",
        call: "exec -- Missing",
        of: BOTH,
        ours: "exits with 127",
        why: "as above",
    },
    Difference {
        sequence: "exec_of_what_cannot_run",
        call: "exec Forbidden",
        of: LINUX,
        ours: "exits with 126, running",
        why: "as above",
    },
    Difference {
        sequence: "exec_of_what_cannot_run",
        call: "exec -- Forbidden",
        of: LINUX,
        ours: "exits with 126",
        why: "as above",
    },
    Difference {
        sequence: "exec_of_what_cannot_run",
        call: "exec Forbidden",
        of: WASM,
        ours: "exits with 0, running",
        why: "a guest is read, not executed",
    },
    Difference {
        sequence: "exec_of_what_cannot_run",
        call: "exec -- Forbidden",
        of: WASM,
        ours: "exits with 0",
        why: "as above",
    },
    Difference {
        sequence: "exec_of_what_cannot_run",
        call: "exec Directory",
        of: BOTH,
        ours: "exits with 126, running",
        why: "the statuses are those of shells, and tell what was wrong",
    },
    Difference {
        sequence: "exec_of_what_cannot_run",
        call: "exec -- Directory",
        of: BOTH,
        ours: "exits with 126",
        why: "as above",
    },
    Difference {
        sequence: "exec_detached_of_what_cannot_run",
        call: "exec --detach Forbidden",
        of: WASM,
        ours: "ok, running",
        why: "a guest is read, not executed",
    },
    Difference {
        sequence: "programs_that_cannot_run",
        call: "create",
        of: WASM,
        ours: "ok, created",
        why: "a guest is read, not executed",
    },
    Difference {
        sequence: "programs_that_cannot_run_at_once",
        call: "run",
        of: BOTH,
        ours: "exits with 127, absent",
        why: "the statuses are those of shells, and tell what was wrong",
    },
    Difference {
        sequence: "programs_that_cannot_run_at_once",
        call: "run",
        of: BOTH,
        ours: "exits with 126, absent",
        why: "as above",
    },
    Difference {
        sequence: "programs_that_cannot_run_at_once",
        call: "run",
        of: WASM,
        ours: "exits with 0, absent",
        why: "a guest is read, not executed",
    },
    Difference {
        sequence: "a_start_container_hook_fails",
        call: "start",
        of: WASM,
        ours: "failed",
        why: "the specification wants an error",
    },
];
