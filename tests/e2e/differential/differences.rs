//! Where ours answers otherwise than runc's, and why.

use super::Subject;

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

/// All of them.
pub const ALL: &[Difference] = &[];
