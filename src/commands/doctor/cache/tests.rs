//! Stores in all conditions.

use super::super::finding::{Status, find};
use super::*;

fn good() -> Facts {
    Facts {
        dir: "/var/lib/lighter/cache".into(),
        max_bytes: 4 << 30,
        directory: Directory::Usable,
        space: Some(space()),
        entries: Some(Entries { count: 2, bytes: 1 << 30, verified: 2, broken: Vec::new() }),
        compiling: Some(Ok(3)),
    }
}

fn space() -> Space {
    Space {
        kind: "ext4".into(),
        read_only: false,
        no_exec: false,
        free: 20 << 30,
        free_inodes: Some(1 << 20),
    }
}

fn status(facts: &Facts, id: &str) -> Status {
    find(&judge(facts), id).status
}

#[test]
fn a_good_store_has_nothing_but_ok() {
    let findings = judge(&good());
    assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:#?}");
    assert_eq!(findings.len(), 5, "{findings:#?}");
}

#[test]
fn code_on_a_noexec_mount_cannot_run() {
    let facts = Facts { space: Some(Space { no_exec: true, ..space() }), ..good() };
    assert_eq!(status(&facts, "cache.mount"), Status::Problem);
    let facts = Facts { space: Some(Space { read_only: true, free: 0, ..space() }), ..good() };
    assert_eq!(status(&facts, "cache.mount"), Status::Warning);
    assert!(!judge(&facts).iter().any(|finding| finding.id == "cache.space"));
}

#[test]
fn room_is_measured_against_what_the_store_may_grow_to() {
    let with = |free| Facts { space: Some(Space { free, ..space() }), ..good() };
    assert_eq!(status(&with(3 << 30), "cache.space"), Status::Ok);
    assert_eq!(status(&with(2 << 30), "cache.space"), Status::Note);
    assert_eq!(status(&with(1 << 20), "cache.space"), Status::Warning);
    // A full store on a full disk is as it was meant.
    let full = Entries { count: 1, bytes: 4 << 30, verified: 1, broken: Vec::new() };
    assert_eq!(status(&Facts { entries: Some(full), ..with(1) }, "cache.space"), Status::Ok);

    let few = Space { free_inodes: Some(5), ..space() };
    assert_eq!(status(&Facts { space: Some(few), ..good() }, "cache.inodes"), Status::Warning);
    let uncounted = Space { free_inodes: None, ..space() };
    let findings = judge(&Facts { space: Some(uncounted), ..good() });
    assert!(!findings.iter().any(|finding| finding.id == "cache.inodes"), "{findings:#?}");
}

#[test]
fn damage_is_told_and_no_reason_to_stop() {
    let broken = vec!["abc...: its checksum is 1, not 2".to_owned(); 5];
    let entries = Entries { count: 9, bytes: 1, verified: 9, broken };
    let findings = judge(&Facts { entries: Some(entries), ..good() });
    let finding = find(&findings, "cache.broken");
    assert_eq!(finding.status, Status::Warning);
    assert!(finding.message.starts_with("5 of them will not be used: abc"), "{finding:?}");

    let entries = Entries { count: 9, bytes: 1, verified: 4, broken: Vec::new() };
    let findings = judge(&Facts { entries: Some(entries), ..good() });
    let finding = find(&findings, "cache.entries");
    assert!(finding.message.contains("the 4 used last were verified"), "{finding:?}");
}

#[test]
fn directories_are_told_apart() {
    for (directory, expected) in [
        (Directory::Missing, Status::Ok),
        (Directory::Foreign, Status::Note),
        (Directory::Unusable("cache.dir /x belongs to user 7".into()), Status::Warning),
    ] {
        let facts = Facts { directory, entries: None, ..good() };
        assert_eq!(status(&facts, "cache.directory"), expected);
    }
    let facts = Facts { compiling: Some(Err("it ended".into())), ..good() };
    assert_eq!(status(&facts, "cache.compiler"), Status::Problem);
}

#[test]
fn looking_does_not_make_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.cache.dir = dir.path().join("a/b");
    let facts = Facts::gather(&config, None);
    assert_eq!(facts.directory, Directory::Missing);
    assert!(facts.space.is_some_and(|space| space.free > 0));
    assert!(!dir.path().join("a").exists());
}
