//! What the tests have in common: a real containerd, images, guests, and the search for leaks.

pub mod command;
pub mod containerd;
pub mod cri;
pub mod grpc;
pub mod guests;
pub mod image;
pub mod leaks;
pub mod namespace;
pub mod netns;
pub mod node;
pub mod prerequisites;
pub mod probe;
pub mod process;
pub mod remains;
pub mod rootless;
pub mod spec;
pub mod subscription;
pub mod suite;
pub mod terminal;
pub mod trials;
