//! Links, dots and nodes where paths of the container are resolved: `/dev`, the working directory, the root itself, and
//! files that a C library would open.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::FileType;
use serde_json::json;

use super::{Contained, Refused, Row};
use crate::support::guests;

/// The guest sees the root that it was given, and no secret.
pub(super) const NO_SECRET: (&str, &str) = ("cat {host}/secret", "error: entity not found");

pub(super) fn rows() -> Vec<Row> {
    [of_devices(), of_the_process()].into_iter().flatten().collect()
}

fn of_devices() -> Vec<Row> {
    vec![
        Row {
            name: "dev_is_a_link_to_the_root",
            attack: |case| case.link("/dev", "/"),
            end: Refused(&["mount /dev", "the root file system itself"]),
        },
        Row {
            name: "dev_is_a_link_that_climbs",
            attack: |case| case.link("/dev", "../../../../../../../.."),
            end: Refused(&["mount /dev", "the root file system itself"]),
        },
        Row {
            name: "dev_is_a_link_to_the_host",
            attack: |case| case.link("/dev", &case.host()),
            end: Contained(&[("read /dev/zero 16", "16 bytes, sum 0"), NO_SECRET]),
        },
        Row {
            name: "dev_is_a_file",
            attack: |case| case.file("/dev", b""),
            end: Refused(&["/dev", "Not a directory"]),
        },
        Row {
            name: "a_device_is_a_link_to_the_host",
            attack: |case| {
                case.without_mounts_below("/dev");
                case.link("/dev/null", &format!("{}/secret", case.host()));
                case.spec["linux"]["devices"] =
                    json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]);
            },
            end: Contained(&[("cat {host}/secret", "")]),
        },
        Row {
            name: "a_device_is_a_file_already",
            attack: |case| {
                case.without_mounts_below("/dev");
                case.file("/dev/null", b"of the image");
                case.spec["linux"]["devices"] =
                    json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]);
            },
            end: Refused(&["device /dev/null", "the image has something else there"]),
        },
        Row {
            name: "a_device_is_made_in_the_root_itself",
            attack: |case| {
                case.without_mounts_below("/dev");
                case.spec["linux"]["devices"] =
                    json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5}]);
            },
            end: Contained(&[("ls /dev", "zero"), ("read /dev/zero 16", "16 bytes, sum 0")]),
        },
        Row {
            name: "nodes_of_the_image_open_no_device",
            attack: |case| {
                case.node("/zero", FileType::CharacterDevice, (1, 5));
                case.node("/kmsg", FileType::CharacterDevice, (1, 11));
                case.node("/disk", FileType::BlockDevice, (7, 0));
            },
            end: Contained(&[
                ("read /zero 16", "error"),
                ("read /kmsg 16", "error"),
                ("read /disk 16", "error"),
            ]),
        },
        Row {
            name: "masked_paths_are_links_to_the_host",
            attack: |case| {
                case.link("/proc/kcore", &format!("{}/secret", case.host()));
                case.link("/proc/acpi", &case.host());
                case.spec["linux"]["maskedPaths"] = json!(["/proc/kcore", "/proc/acpi"]);
                case.spec["linux"]["readonlyPaths"] = json!(["/proc/acpi"]);
            },
            end: Contained(&[("cat /proc/kcore", "error"), ("ls /proc/acpi", "error")]),
        },
    ]
}

fn of_the_process() -> Vec<Row> {
    vec![
        Row {
            name: "the_root_is_a_link",
            attack: |case| {
                let link = case.beside("link").join("rootfs");
                symlink("/", &link).unwrap();
                case.spec["root"]["path"] = json!(link);
            },
            end: Refused(&["root.path", "link/rootfs", "is a symbolic link"]),
        },
        Row {
            name: "the_root_is_a_file",
            attack: |case| {
                let file = case.beside("file").join("rootfs");
                fs::write(&file, "").unwrap();
                case.spec["root"]["path"] = json!(file);
            },
            end: Refused(&["root.path", "file/rootfs", "is not a directory"]),
        },
        Row {
            name: "the_root_is_the_hosts",
            attack: |case| case.spec["root"]["path"] = json!("/"),
            end: Refused(&["root.path \"/\"", "the host's own root"]),
        },
        Row {
            name: "the_working_directory_is_a_descriptor",
            attack: |case| case.spec["process"]["cwd"] = json!("/proc/self/fd/7"),
            end: Contained(&[("ls /proc/self/fd/7", ""), NO_SECRET]),
        },
        Row {
            name: "the_working_directory_climbs_from_a_descriptor",
            attack: |case| case.spec["process"]["cwd"] = json!("/proc/self/fd/7/../../.."),
            end: Contained(&[("ls /proc", "self"), NO_SECRET]),
        },
        Row {
            name: "the_working_directory_is_a_link_to_a_descriptor",
            attack: |case| {
                case.link("/srv", "/proc/self/fd/7");
                case.spec["process"]["cwd"] = json!("/srv");
            },
            end: Contained(&[("ls /proc/self/fd", "7"), NO_SECRET]),
        },
        Row {
            name: "the_working_directory_is_a_link_to_the_host",
            attack: |case| {
                case.link("/srv", &case.host());
                case.spec["process"]["cwd"] = json!("/srv");
            },
            end: Contained(&[("ls {host}", ""), ("write {host}/new x", "ok"), NO_SECRET]),
        },
        Row {
            name: "links_of_the_image_lead_nowhere",
            attack: |case| {
                case.link("/absolute", &format!("{}/secret", case.host()));
                case.link("/climbing", &case.climbing(&case.host()));
            },
            end: Contained(&[
                ("cat /absolute", "error"),
                ("cat /climbing/secret", "error"),
                ("cat /../../../..{host}/secret", "error"),
                NO_SECRET,
            ]),
        },
        Row {
            name: "files_of_the_bundle_are_in_the_image",
            attack: |case| {
                for name in ["config.json", "lighter.json", "options.json", "address", "init.pid"] {
                    case.file(&format!("/{name}"), b"{\"pid\": 1}");
                }
            },
            end: Contained(&[("cat /lighter.json", "{\"pid\": 1}"), NO_SECRET]),
        },
        Row {
            // Whoever opens one of these waits for ever.
            name: "a_c_librarys_files_are_traps",
            attack: |case| {
                case.file("/probe.wasm", &guests::probe("probe-p2"));
                case.file("/etc/nsswitch.conf", b"hosts: trap files\npasswd: trap\ngroup: trap\n");
                case.file("/etc/hosts", b"192.0.2.1 named\n");
                case.file("/etc/passwd", b"root:x:4242:4242::/:/bin/sh\n");
                for path in ["/etc/ld.so.preload", "/etc/ld.so.cache", "/etc/localtime"] {
                    case.node(path, FileType::Fifo, (0, 0));
                }
                let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
                for dir in ["/lib", "/usr/lib", "/lib64", "/usr/lib64"] {
                    for dir in [dir.to_owned(), format!("{dir}/{triplet}")] {
                        for name in [
                            "libnss_trap.so.2",
                            "libnss_files.so.2",
                            "libnss_dns.so.2",
                            "libgcc_s.so.1",
                        ] {
                            case.node(&format!("{dir}/{name}"), FileType::Fifo, (0, 0));
                        }
                    }
                }
            },
            end: Contained(&[("lookup named", "192.0.2.1")]),
        },
    ]
}
