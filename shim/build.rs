//! Links the shim for a fixed address.
//!
//! A program that can be loaded anywhere has its tables of pointers written to at each start, and what was written to is
//! shared with nobody: 340 KB of this one, half of what an idle server had of its own. The shim runs no guest's code,
//! and nothing of a guest's but what safe Rust parses; heap, stack and libraries are still where the kernel puts them. containerd's
//! own shim is built like this, too. The runner, which guests are in, is not.

fn main() {
    println!("cargo::rustc-link-arg-bins=-no-pie");
}
