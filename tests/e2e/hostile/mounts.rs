//! Links and dots in the targets of mounts, and in what is mounted.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::FileType;
use serde_json::json;

use super::paths::NO_SECRET;
use super::{Contained, Refused, Row};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "a_mount_over_the_root",
            attack: |case| drop(case.volume("/")),
            end: Refused(&["mounts[", "the root file system itself cannot be mounted over"]),
        },
        Row {
            name: "a_mount_over_the_root_by_dots",
            attack: |case| drop(case.volume("/a/../..")),
            end: Refused(&["mounts[", "the root file system itself cannot be mounted over"]),
        },
        Row {
            name: "a_mount_over_the_root_by_a_link",
            attack: |case| {
                case.link("/data", "/../..");
                case.volume("/data");
            },
            end: Refused(&["mount /data", "the root file system itself"]),
        },
        Row {
            name: "a_mount_target_is_a_link_to_the_host",
            attack: |case| {
                case.link("/data", &case.host());
                case.volume("/data");
            },
            end: Contained(&[("cat /data/note", "volume"), ("ls {host}", "note")]),
        },
        Row {
            name: "a_mount_target_is_a_link_that_climbs",
            attack: |case| {
                case.link("/data", &case.climbing(&case.host()));
                case.volume("/data");
            },
            end: Contained(&[("ls {host}", "note")]),
        },
        Row {
            name: "a_mount_target_is_below_a_link_to_the_host",
            attack: |case| {
                case.link("/data", &case.host());
                case.volume("/data/deep");
            },
            end: Contained(&[("cat /data/deep/note", "volume"), ("ls {host}", "deep")]),
        },
        Row {
            name: "a_mount_target_is_below_a_chain_of_links",
            attack: |case| {
                case.link("/data", "a");
                case.link("/a", "/b/../c");
                case.directory("/b");
                case.link("/c", &case.host());
                case.volume("/data/deep");
            },
            end: Contained(&[("cat /data/deep/note", "volume"), ("ls {host}", "deep")]),
        },
        Row {
            name: "a_mount_target_is_a_circle_of_links",
            attack: |case| {
                case.link("/data", "/a");
                case.link("/a", "/data");
                case.volume("/data/deep");
            },
            end: Refused(&["/data", "Too many levels of symbolic links"]),
        },
        Row {
            name: "a_mount_target_climbs",
            attack: |case| {
                let target = format!("/a/../../../../../..{}/deep", case.host());
                case.volume(&target);
            },
            end: Contained(&[("cat {host}/deep/note", "volume"), NO_SECRET]),
        },
        Row {
            name: "a_mount_target_is_behind_a_magic_link",
            attack: |case| {
                case.link("/proc/self/root", "/");
                case.volume("/proc/self/root/data");
            },
            end: Contained(&[("cat /data/note", "volume"), NO_SECRET]),
        },
        Row {
            name: "a_file_is_mounted_on_a_link_to_the_host",
            attack: |case| {
                case.link("/etc/hosts", &format!("{}/secret", case.host()));
                let file = case.beside("file").join("hosts");
                fs::write(&file, "hosts of the container").unwrap();
                case.bind(&file, "/etc/hosts");
            },
            end: Contained(&[("cat {host}/secret", "hosts of the container")]),
        },
        Row {
            name: "a_file_is_mounted_on_a_directory",
            attack: |case| {
                case.directory("/etc/hosts");
                let file = case.beside("file").join("hosts");
                fs::write(&file, "").unwrap();
                case.bind(&file, "/etc/hosts");
            },
            end: Refused(&["/etc/hosts"]),
        },
        Row {
            name: "a_mount_target_is_behind_a_link_of_another_volume",
            attack: |case| {
                let volume = case.volume("/outer");
                symlink(case.host(), volume.join("link")).unwrap();
                let inner = case.beside("inner");
                fs::write(inner.join("note"), "inner").unwrap();
                case.bind(&inner, "/outer/link/deep");
            },
            end: Contained(&[("cat {host}/deep/note", "inner"), ("cat /outer/note", "volume")]),
        },
        Row {
            name: "a_copied_directory_has_links_and_nodes",
            attack: |case| {
                case.link("/scratch/link", &format!("{}/secret", case.host()));
                case.link("/scratch/dir", &case.host());
                case.node("/scratch/fifo", FileType::Fifo, (0, 0));
                case.node("/scratch/zero", FileType::CharacterDevice, (1, 5));
                let mount = json!({"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]});
                case.spec["mounts"].as_array_mut().unwrap().push(mount);
            },
            end: Contained(&[
                ("ls /scratch", "dir link"),
                ("cat /scratch/link", "error"),
                ("ls /scratch/dir", "error"),
            ]),
        },
        Row {
            name: "a_volume_lies_in_a_root_that_cannot_be_written",
            attack: |case| {
                case.spec["root"]["readonly"] = json!(true);
                case.volume("/srv/data");
            },
            end: Contained(&[("cat /srv/data/note", "volume"), ("write /srv/x y", "error")]),
        },
        Row {
            name: "a_volume_is_full_of_links_to_the_host",
            attack: |case| {
                let volume = case.volume("/data");
                symlink(format!("{}/secret", case.host()), volume.join("absolute")).unwrap();
                symlink(case.climbing(&case.host()), volume.join("climbing")).unwrap();
            },
            end: Contained(&[
                ("cat /data/absolute", "error"),
                ("cat /data/climbing/secret", "error"),
                ("write /data/climbing/new x", "error"),
                ("cat /data/../../../../..{host}/secret", "error"),
            ]),
        },
    ]
}
