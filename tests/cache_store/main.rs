//! The cache of compiled code, with the real compiler and real filesystems.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod command;
mod faults;
mod layers;
mod modules;
mod sharing;
mod world;
