//! The heap of a process that lives for one compilation.
#![allow(unsafe_code)]

/// How much a heap grows by, and is not worth giving back: as the kernel gives nothing that is not touched, this costs nothing.
#[cfg(target_env = "gnu")]
const STEP: libc::c_int = 32 << 20;

/// Has each thread's heap grow in large steps. The C library asks the kernel for a page at a time where several threads compile, a
/// thousand times for a small module, and each time the other processors are interrupted.
pub(super) fn grow_in_large_steps() {
    #[cfg(target_env = "gnu")]
    for parameter in [libc::M_TOP_PAD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: it takes numbers, and there are no other threads yet.
        unsafe { libc::mallopt(parameter, STEP) };
    }
}
