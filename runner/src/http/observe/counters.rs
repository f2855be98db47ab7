//! What is counted: by each thread in a place of its own, and added up when somebody asks.
//!
//! A place is a few cache lines that no other thread writes to, so that counting is an addition to what is at hand already;
//! the additions are atomic for those who read, and for more threads than there are places.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

use super::local;

/// Places, for the most threads that run requests, and those that do not.
const PLACES: usize = 16;

/// The methods that are told apart.
pub(super) const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "other"];
/// The statuses that are told apart: those that are registered, and that of a request whose client has left.
pub(super) const STATUSES: [u16; 63] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304,
    305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415,
    416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504,
    505, 506, 507, 508, 510, 511,
];
/// Up to how many nanoseconds there is a bucket, and as seconds.
pub(super) const BUCKETS: [(u64, &str); 18] = [
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5.0"),
    (10_000_000_000, "10.0"),
    (30_000_000_000, "30.0"),
    (60_000_000_000, "60.0"),
];

/// What is counted without further distinction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Nanoseconds,
    BytesIn,
    BytesOut,
    Opened,
    Closed,
    Created,
    Reused,
    LinesWritten,
    LinesDropped,
    SpansExported,
    SpansDropped,
}

const COUNTS: usize = Count::SpansDropped as usize + 1;

/// Why a request was refused before the guest had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Busy,
    Malformed,
    BodyTooLarge,
    Unsupported,
}

/// Its names, in the same order.
pub(super) const REFUSED: [&str; 4] = ["busy", "malformed", "body_too_large", "unsupported"];

/// Why the guest did not serve a request that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Failed {
    /// It trapped, exited, or gave no answer.
    Guest,
    /// It took too long.
    Timeout,
    /// Other requests had the memory.
    Memory,
}

/// Its names, in the same order.
pub(super) const FAILED: [&str; 3] = ["guest", "timeout", "memory"];

/// What became of requests of the guest's: the class of their status, or none.
pub(super) const OUTGOING: [&str; 6] = ["error", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// One thread's.
#[repr(align(128))]
struct Place {
    /// By method and status; the last status is all others.
    requests: [[AtomicU64; STATUSES.len() + 1]; METHODS.len()],
    /// The last is for what took longer.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    refused: [AtomicU64; REFUSED.len()],
    failed: [AtomicU64; FAILED.len()],
    outgoing: [AtomicU64; OUTGOING.len()],
    counts: [AtomicU64; COUNTS],
}

/// All that is counted.
pub(super) struct Counters {
    places: Box<[Place]>,
    next: AtomicUsize,
}

/// All places together, as they were at about the same time.
pub(super) struct Sums {
    /// By method and status, where it is not zero.
    pub(super) requests: Vec<(&'static str, Option<u16>, u64)>,
    pub(super) buckets: [u64; BUCKETS.len() + 1],
    pub(super) refused: [u64; REFUSED.len()],
    pub(super) failed: [u64; FAILED.len()],
    pub(super) outgoing: [u64; OUTGOING.len()],
    counts: [u64; COUNTS],
}

impl Counters {
    pub(super) fn new() -> Self {
        let place = || Place {
            requests: std::array::from_fn(|_| zeros()),
            buckets: zeros(),
            refused: zeros(),
            failed: zeros(),
            outgoing: zeros(),
            counts: zeros(),
        };
        Self { places: (0..PLACES).map(|_| place()).collect(), next: 0.into() }
    }

    fn place(&self) -> &Place {
        &self.places[local::place(&self.next) % PLACES]
    }

    pub(super) fn add(&self, count: Count, much: u64) {
        add(&self.place().counts[count as usize], much);
    }

    pub(super) fn request(&self, method: &Method, status: StatusCode, took: Duration) {
        let place = self.place();
        let last = METHODS.len() - 1;
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(last);
        let status = STATUSES.binary_search(&status.as_u16()).unwrap_or(STATUSES.len());
        add(&place.requests[method][status], 1);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&place.buckets[BUCKETS.partition_point(|(most, _)| *most < took)], 1);
        add(&place.counts[Count::Nanoseconds as usize], took);
    }

    pub(super) fn refused(&self, why: Refused) {
        add(&self.place().refused[why as usize], 1);
    }

    pub(super) fn failed(&self, why: Failed) {
        add(&self.place().failed[why as usize], 1);
    }

    /// `None`: there was no answer.
    pub(super) fn outgoing(&self, status: Option<StatusCode>) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        add(&self.place().outgoing[class.min(OUTGOING.len() - 1)], 1);
    }

    pub(super) fn sums(&self) -> Sums {
        let sum = |of: &dyn Fn(&Place) -> &AtomicU64| -> u64 {
            self.places.iter().map(|place| of(place).load(Ordering::Relaxed)).sum()
        };
        let mut requests = Vec::new();
        for (method, name) in METHODS.iter().enumerate() {
            for status in 0..=STATUSES.len() {
                match sum(&|place| &place.requests[method][status]) {
                    0 => {}
                    many => requests.push((*name, STATUSES.get(status).copied(), many)),
                }
            }
        }
        Sums {
            requests,
            buckets: std::array::from_fn(|i| sum(&|place| &place.buckets[i])),
            refused: std::array::from_fn(|i| sum(&|place| &place.refused[i])),
            failed: std::array::from_fn(|i| sum(&|place| &place.failed[i])),
            outgoing: std::array::from_fn(|i| sum(&|place| &place.outgoing[i])),
            counts: std::array::from_fn(|i| sum(&|place| &place.counts[i])),
        }
    }
}

impl Sums {
    pub(super) fn get(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

fn add(to: &AtomicU64, much: u64) {
    to.fetch_add(much, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_together() {
        let counters = Counters::new();
        let took = Duration::from_micros(100);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    counters.request(&Method::GET, StatusCode::OK, took);
                    counters.add(Count::BytesOut, 5);
                });
            }
        });
        let odd = StatusCode::from_u16(299).unwrap();
        let method = Method::from_bytes(b"PROPFIND").unwrap();
        counters.request(&method, odd, Duration::from_secs(100));
        counters.outgoing(StatusCode::from_u16(999).ok());
        counters.outgoing(None);
        let sums = counters.sums();
        assert_eq!(sums.requests, [("GET", Some(200), 20), ("other", None, 1)]);
        assert_eq!((sums.buckets[0], sums.buckets[BUCKETS.len()]), (20, 1));
        assert_eq!(sums.get(Count::BytesOut), 100);
        assert_eq!(sums.get(Count::Nanoseconds), 100_002_000_000);
        assert_eq!(sums.outgoing, [1, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn tables_are_in_order() {
        assert!(STATUSES.is_sorted() && BUCKETS.is_sorted_by_key(|(most, _)| *most));
        for (most, seconds) in BUCKETS {
            assert_eq!(seconds.parse::<f64>().unwrap() * 1e9, most as f64);
        }
    }
}
