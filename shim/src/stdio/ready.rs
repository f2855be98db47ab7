//! Reading and writing descriptors that do not wait, on the runtime.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// Reads what is there, once there is something; 0 at the end.
pub(super) async fn read(from: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        // Where there is always something to read, others get their turn all the same.
        tokio::task::coop::consume_budget().await;
        let mut ready = from.readable().await.map_err(|_| Errno::IO)?;
        match rustix::io::read(from.get_ref(), &mut *buffer) {
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Writes all of `bytes`, as it is taken.
pub(super) async fn write_all(to: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let mut ready = to.writable().await.map_err(|_| Errno::IO)?;
        match rustix::io::write(to.get_ref(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
