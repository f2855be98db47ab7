//! What may be set about a server, as it is used.

use std::time::Duration;

use lighter::plan::{Http, HttpSetting};

/// The settings of requests and connections.
pub(super) struct Settings {
    pub(super) request_timeout: Duration,
    /// `None`: any.
    pub(super) cpu_time: Option<Duration>,
    pub(super) idle_timeout: Duration,
    pub(super) grace: Duration,
    pub(super) header_bytes: usize,
    /// `None`: any number.
    pub(super) body_bytes: Option<u64>,
}

impl Settings {
    pub(super) fn of(http: &Http) -> Self {
        let milliseconds = |setting| Duration::from_millis(http.get(setting));
        Self {
            request_timeout: milliseconds(HttpSetting::RequestTimeout),
            cpu_time: Some(milliseconds(HttpSetting::CpuTime)).filter(|most| !most.is_zero()),
            idle_timeout: milliseconds(HttpSetting::IdleTimeout),
            grace: milliseconds(HttpSetting::Grace),
            header_bytes: usize::try_from(http.get(HttpSetting::HeaderBytes)).unwrap_or(usize::MAX),
            body_bytes: Some(http.get(HttpSetting::BodyBytes)).filter(|most| *most > 0),
        }
    }
}
