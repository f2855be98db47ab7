//! What the shim and the command line of Lighter share: reading a bundle, deciding how to run it, and running it.
//!
//! The data flows one way; see `ARCHITECTURE.md`:
//! [`bundle`] and [`host`] feed the pure [`plan`], [`sandbox`] spawns the runner, [`cache`] hands it
//! compiled code over the [`wire`], and [`container`] is the life of the result.

pub mod annotations;
pub mod bundle;
pub mod cache;
pub mod config;
pub mod container;
pub mod engine;
pub mod error;
pub mod host;
pub mod linux;
pub mod metrics;
pub mod plan;
pub mod programs;
pub mod sandbox;
pub mod wire;
