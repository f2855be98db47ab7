//! `--user`: numbers, or names that the image has in its `/etc/passwd` and `/etc/group`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use lighter::inside;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

/// Who the guest's process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Groups beside that one.
    pub(super) groups: Vec<u32>,
    pub(super) home: Option<String>,
}

/// Bytes of a file of names that are read.
const MOST: u64 = 4 << 20;

impl User {
    /// Whom `text`, `USER[:GROUP]`, means in the file system at `root`, if there is one.
    ///
    /// # Errors
    /// Names the user or the group that is not there.
    pub(super) fn find(text: &str, root: Option<&Path>) -> Result<Self, String> {
        let read = |file| root.and_then(|root| contents(root, file)).unwrap_or_default();
        Self::among(text, &read("etc/passwd"), &read("etc/group"), root.is_some())
    }

    fn among(text: &str, passwd: &str, group: &str, has_files: bool) -> Result<Self, String> {
        let (name, group_name) = text.split_once(':').unwrap_or((text, ""));
        let name = if name.is_empty() { "0" } else { name };
        let nobody = |what: &str, name: &str| match has_files {
            true => {
                format!("--user {text}: the image has no {what} {name:?}; a number needs no name")
            }
            false => format!(
                "--user {text}: {name:?} is not a number; a file has no {what}s with names beside it"
            ),
        };
        let entry = entries(passwd).find(|entry| {
            entry.first() == Some(&name)
                || name.parse().is_ok_and(|uid| number(entry, 2) == Some(uid))
        });
        let uid = match (&entry, name.parse::<u32>()) {
            (_, Ok(uid)) => uid,
            (Some(entry), Err(_)) => number(entry, 2).ok_or_else(|| nobody("user", name))?,
            (None, Err(_)) => return Err(nobody("user", name)),
        };
        let home = entry.as_ref().and_then(|entry| entry.get(5)).map(|home| (*home).to_owned());
        let own = entry.as_ref().and_then(|entry| number(entry, 3)).unwrap_or(0);
        if !group_name.is_empty() {
            let gid = group_name.parse().ok().or_else(|| {
                number(&entries(group).find(|entry| entry.first() == Some(&group_name))?, 2)
            });
            let gid = gid.ok_or_else(|| nobody("group", group_name))?;
            return Ok(Self { uid, gid, groups: Vec::new(), home });
        }
        // Those that a login of that name would have.
        let login = entry.as_ref().and_then(|entry| entry.first().copied());
        let member = |entry: &Vec<&str>| {
            login.is_some_and(|login| {
                entry.get(3).is_some_and(|members| members.split(',').any(|one| one == login))
            })
        };
        let groups = entries(group)
            .filter(member)
            .filter_map(|entry| number(&entry, 2))
            .filter(|gid| *gid != own)
            .collect();
        Ok(Self { uid, gid: own, groups, home })
    }
}

fn entries(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().map(|line| line.trim().split(':').collect())
}

fn number(entry: &[&str], field: usize) -> Option<u32> {
    entry.get(field)?.parse().ok()
}

/// A text file of the image's, resolved below its root, whatever links are on the way.
fn contents(root: &Path, file: &str) -> Option<String> {
    let root = openat(CWD, root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let found = inside::open(&root, file, OFlags::PATH | OFlags::CLOEXEC).ok()?;
    // Looked at before it is opened: it may be a device.
    if FileType::from_raw_mode(fstat(&found).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let opened = inside::open(&root, file, flags).ok()?;
    let mut text = String::new();
    File::from(opened).take(MOST).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home/alice:\nbad:x\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:bob,alice\nalice:x:1001:alice\n";

    fn find(text: &str) -> Result<User, String> {
        User::among(text, PASSWD, GROUP, true)
    }

    #[test]
    fn names_and_numbers_are_found() {
        let alice = find("alice").unwrap();
        assert_eq!((alice.uid, alice.gid, &*alice.groups), (1000, 1001, &[50][..]));
        assert_eq!(alice.home.as_deref(), Some("/home/alice"));
        assert_eq!(find("1000").unwrap(), alice);
        let other = find("alice:staff").unwrap();
        assert_eq!((other.gid, other.groups), (50, vec![]));
        assert_eq!(find("7:8").unwrap(), User { uid: 7, gid: 8, ..User::default() });
        assert_eq!(find("7").unwrap().gid, 0);
        assert_eq!(find("").unwrap().uid, 0);
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert!(find("carol").unwrap_err().contains("no user \"carol\""));
        assert!(find("bad").unwrap_err().contains("no user \"bad\""));
        assert!(find("alice:none").unwrap_err().contains("no group \"none\""));
        assert!(User::find("alice", None).unwrap_err().contains("is not a number"));
    }
}
