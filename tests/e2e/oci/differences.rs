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

/// All of them.
pub const ALL: &[Difference] = &[];
