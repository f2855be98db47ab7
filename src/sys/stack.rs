//! What a thread's stack keeps of calls that have returned.
#![allow(unsafe_code)]

/// How far down it may have been used: well within the megabyte below a stack that the kernel gives to nothing else.
const DEEPEST: usize = 256 << 10;

/// Gives the kernel back what calls that have returned left on the stack of the process's first thread: what nobody will read. The
/// deepest are those that begin, and what waits afterwards is shallow. Of another thread it gives nothing back, as the end of its
/// stack is not known.
#[inline(never)]
pub fn give_back_stack() {
    if rustix::thread::gettid() != rustix::process::getpid() {
        return;
    }
    // SAFETY: it takes a number and answers with one.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(64 << 10);
    let here = 0_u8;
    // A whole page is for this call and the one that it makes.
    let end = ((&raw const here).addr() & !(page - 1)).saturating_sub(page);
    let start = end.saturating_sub(DEEPEST);
    // SAFETY: no call that is under way has anything between a page below this one's variables and 256 KiB below that: it is
    // stack that is out of use, or is not mapped, as the kernel leaves room below the first thread's stack.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn use_much() -> u8 {
        let much = std::hint::black_box([1_u8; 128 << 10]);
        much[much.len() / 2]
    }

    /// Tests run in threads of their own, where nothing may be given back.
    #[test]
    fn what_is_in_use_stays() {
        let mine = std::hint::black_box([7_u8; 16 << 10]);
        assert_eq!(use_much(), 1);
        give_back_stack();
        assert!(mine.iter().all(|byte| *byte == 7));
        assert_eq!(use_much(), 1);
    }
}
