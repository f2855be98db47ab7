//! What each thread has for itself, so that requests on several of them have nothing to wait for.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
    static TURN: Cell<u64> = const { Cell::new(0) };
    static NUMBERS: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
}

/// This thread's place among all that ask: the first gets `next`, which counts on.
pub(super) fn place(next: &AtomicUsize) -> usize {
    PLACE.with(|place| {
        let known = place.get().unwrap_or_else(|| next.fetch_add(1, Ordering::Relaxed));
        place.set(Some(known));
        known
    })
}

/// Whether it is the turn of one of `many`: of this thread's, the first, and each so many after it.
pub(super) fn is_turn(many: u64) -> bool {
    TURN.with(|turn| {
        let before = turn.get();
        turn.set(before.wrapping_add(1));
        many > 0 && before % many == 0
    })
}

/// A number that nobody else has, other than zero: the kernel's random key of this thread's, and a count under it.
pub(super) fn random() -> u64 {
    NUMBERS.with(|(key, count)| {
        loop {
            count.set(count.get().wrapping_add(1));
            match key.hash_one(count.get()) {
                0 => {}
                number => return number,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_has_its_turn() {
        let turns = std::thread::spawn(|| (0..10).filter(|_| is_turn(4)).count());
        assert_eq!(turns.join().unwrap(), 3);
        assert!(!is_turn(0));
    }

    #[test]
    fn numbers_are_not_repeated() {
        let of_thread = || std::thread::spawn(|| (0..1000).map(|_| random()).collect::<Vec<_>>());
        let threads = [of_thread(), of_thread()];
        let mut all: Vec<_> = threads.into_iter().flat_map(|all| all.join().unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2000);
    }
}
