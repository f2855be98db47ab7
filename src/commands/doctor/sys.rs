//! The system calls that are asked for without being made: no safe wrapper has them.
#![allow(unsafe_code)]

use std::io;

/// The version of Landlock's interface that this kernel has, see landlock_create_ruleset(2).
///
/// # Errors
/// `ENOSYS` without Landlock, `EOPNOTSUPP` if it was turned off at boot.
pub(super) fn landlock_abi() -> io::Result<u32> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no memory and makes nothing; it returns a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

/// A system call that is newer than the oldest kernels in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Its name.
    pub(super) name: &'static str,
    /// The first kernel that had it.
    pub(super) since: &'static str,
    number: libc::c_long,
    arguments: [usize; 5],
}

/// No descriptor.
const NONE: usize = usize::MAX;

/// Those that creating a container takes, each with arguments that no kernel accepts: a structure of no size, a
/// descriptor that is not one, an unknown flag. So it is refused before it does anything.
pub(super) const CALLS: [Call; 7] = [
    Call::new("move_mount", "5.2", libc::SYS_move_mount, [NONE, 0, NONE, 0, 1 << 31]),
    Call::new("open_tree", "5.2", libc::SYS_open_tree, [NONE, 0, 1 << 31, 0, 0]),
    Call::new("pidfd_open", "5.3", libc::SYS_pidfd_open, [0, NONE, 0, 0, 0]),
    Call::new("clone3", "5.3", libc::SYS_clone3, [0, 0, 0, 0, 0]),
    Call::new("openat2", "5.6", libc::SYS_openat2, [NONE, 0, 0, 0, 0]),
    Call::new("close_range", "5.9", libc::SYS_close_range, [1, 0, 0, 0, 0]),
    Call::new("mount_setattr", "5.12", libc::SYS_mount_setattr, [NONE, 0, 0, 0, 0]),
];

impl Call {
    const fn new(
        name: &'static str,
        since: &'static str,
        number: libc::c_long,
        arguments: [usize; 5],
    ) -> Self {
        Self { name, since, number, arguments }
    }

    /// How it is refused.
    pub(super) fn refusal(self) -> io::Error {
        let [a, b, c, d, e] = self.arguments;
        // SAFETY: the arguments are among those of `CALLS`: no pointer but null, and nothing that any
        // kernel would carry out.
        unsafe { libc::syscall(self.number, a, b, c, d, e) };
        io::Error::last_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_refused_without_harm() {
        for call in CALLS {
            let errno = call.refusal().raw_os_error();
            assert!(
                matches!(errno, Some(libc::EINVAL | libc::EBADF | libc::EPERM)),
                "{call:?}: {errno:?}"
            );
        }
    }
}
