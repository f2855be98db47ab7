//! A container as others read of it: the state of the runtime specification, with what runc adds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lighter::bundle::Bundle;
use lighter::calendar::Utc;
use lighter::container::Recorded;
use lighter::error::Result;
use nix::unistd::{Uid, User};
use serde::Serialize;

/// The keys of `runc state` and `runc list --format json`, in their order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    pub(super) oci_version: String,
    pub(super) id: String,
    /// 0 once it has ended.
    pub(super) pid: u32,
    pub(super) status: String,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    /// RFC 3339, with nanoseconds.
    pub(super) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    /// Whose the record is.
    pub(super) owner: String,
}

impl Shown {
    pub(super) fn of(container: &Recorded, owner: u32) -> Result<Self> {
        let status = container.status()?;
        // A bundle may be gone before its container is.
        let rootfs = Bundle::load(container.bundle()).ok().and_then(|bundle| bundle.root());
        Ok(Self {
            oci_version: container.oci_version().to_owned(),
            id: container.id().to_owned(),
            pid: match status {
                lighter::container::Status::Stopped => 0,
                _ => container.pid(),
            },
            status: status.to_string(),
            bundle: container.bundle().to_owned(),
            rootfs: rootfs.unwrap_or_default(),
            created: rfc3339(container.created()),
            annotations: container.annotations().clone(),
            owner: name_of(owner),
        })
    }
}

fn name_of(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("#{uid}"),
    }
}

/// A time as Go writes it: in UTC, with as many digits of the nanoseconds as it takes.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let Utc { year, month, day, hour, minute, second } = Utc::of(time);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let fraction = match since.subsec_nanos() {
        0 => String::new(),
        nanos => format!(".{}", format!("{nanos:09}").trim_end_matches('0')),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (951_868_799, 120_000_000, "2000-02-29T23:59:59.12Z"),
            (1_709_164_800, 1, "2024-02-29T00:00:00.000000001Z"),
            (1_735_689_599, 0, "2024-12-31T23:59:59Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
            (13_574_563_200, 0, "2400-02-29T00:00:00Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
            assert_eq!(rfc3339(time), text);
        }
    }

    #[test]
    fn a_user_without_a_name_has_a_number() {
        assert_eq!(name_of(0), "root");
        assert_eq!(name_of(4_294_000_000), "#4294000000");
    }
}
