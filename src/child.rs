//! Starting a program from a process that has threads, with descriptors of one's choice.

pub use crate::sys::{Birthplace, Child, Spawn, spawn};
