//! Why a container cannot be created or run, in words for the person who typed the command.

use serde::{Deserialize, Serialize};

/// What sort of problem a [`Refusal`] is; front ends map it to their own codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The bundle, an annotation or the module asks for something invalid.
    Invalid,
    /// The entrypoint, a mount source or another named thing does not exist (exit code 127 in Docker and Podman).
    NotFound,
    /// The entrypoint may not be read or is not something we run (exit code 126).
    Denied,
    /// This node cannot do it now: a system call failed, a program of ours is missing.
    System,
}

/// A container refused: one sentence that names the field, the path and the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What sort of problem this is.
    pub cause: Cause,
    /// The sentence.
    pub message: String,
}

impl Refusal {
    /// The request itself is invalid.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { cause: Cause::Invalid, message: message.into() }
    }

    /// Something the request names does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { cause: Cause::NotFound, message: message.into() }
    }

    /// Something the request names may not be used.
    pub fn denied(message: impl Into<String>) -> Self {
        Self { cause: Cause::Denied, message: message.into() }
    }

    /// This node failed at `step` with `error`.
    pub fn system(step: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self { cause: Cause::System, message: format!("{step}: {error}") }
    }
}

/// Shorthand for what most of this library returns.
pub type Result<T, E = Refusal> = std::result::Result<T, E>;
