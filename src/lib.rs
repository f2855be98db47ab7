//! What the shim and the command line of Lighter share: reading a bundle, deciding how to run it, and running it.
//!
//! The data flows one way; see `ARCHITECTURE.md`:
//! [`bundle`] and [`host`] feed the pure [`plan`], [`sandbox`] spawns the runner, [`cache`] hands it
//! compiled code over the [`wire`], and [`container`] is the life of the result.

//!
//! The runner takes only what it must agree on with its supervisor: [`plan`], [`engine`], [`wire`] and
//! [`error`]. All else is behind the feature `supervisor`.

#[cfg(feature = "supervisor")]
pub mod annotations;
#[cfg(feature = "supervisor")]
pub mod bundle;
#[cfg(feature = "supervisor")]
pub mod cache;
#[cfg(feature = "supervisor")]
pub mod config;
#[cfg(feature = "supervisor")]
pub mod container;
pub mod engine;
pub mod error;
#[cfg(feature = "supervisor")]
pub mod host;
#[cfg(feature = "supervisor")]
pub mod metrics;
pub mod plan;
#[cfg(feature = "supervisor")]
pub mod programs;
#[cfg(feature = "supervisor")]
pub mod sandbox;
pub mod wire;
