//! What the shim and the command line of Lighter share: reading a bundle, deciding how to run it, and running it.
//!
//! The data flows one way; see `ARCHITECTURE.md`: [`bundle`] and [`host`] feed the pure [`plan`],
//! [`sandbox`] spawns the runner, [`cache`] hands it compiled code over the [`wire`], and
//! [`container`] is the life of the result. The runner shares only [`plan`], [`calendar`], [`certificates`], [`engine`],
//! [`error`], [`hooks`], [`inside`], [`report`], [`stack`], [`sysctl`], [`trace`] and [`wire`]; the rest is behind the feature `supervisor`.

pub mod calendar;
pub mod certificates;
pub mod engine;
pub mod error;
pub mod hooks;
pub mod inside;
pub mod plan;
pub mod report;
#[path = "sys/stack.rs"]
pub mod stack;
pub mod sysctl;
pub mod trace;
pub mod wire;

#[cfg(feature = "supervisor")]
pub mod annotations;
#[cfg(feature = "supervisor")]
pub mod bundle;
#[cfg(feature = "supervisor")]
pub mod cache;
#[cfg(feature = "supervisor")]
pub mod cgroup;
#[cfg(feature = "supervisor")]
pub mod child;
#[cfg(feature = "supervisor")]
pub mod config;
#[cfg(feature = "supervisor")]
pub mod container;
#[cfg(feature = "supervisor")]
pub mod host;
#[cfg(feature = "supervisor")]
pub mod inspect;
#[cfg(feature = "supervisor")]
pub mod layers;
#[cfg(feature = "supervisor")]
pub mod metrics;
#[cfg(feature = "supervisor")]
pub mod programs;
#[cfg(feature = "supervisor")]
mod quantity;
#[cfg(feature = "supervisor")]
pub mod record;
#[cfg(feature = "supervisor")]
pub mod sandbox;
#[cfg(feature = "supervisor")]
mod seccomp;
#[cfg(feature = "supervisor")]
mod state;
#[cfg(feature = "supervisor")]
mod sys;
