//! A process as the kernel shows it to the host, proc(5).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `/proc/PID`.
#[derive(Clone, Debug)]
pub struct Process(PathBuf);

/// One line of `mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The device of its file system, `major:minor`.
    pub device: String,
    /// What of its file system is mounted.
    pub root: String,
    /// Where it is, in the process's own tree.
    pub point: String,
    /// `ro` or `rw` first, then others; of the mount, not of its file system.
    pub options: Vec<String>,
    /// The file system's type.
    pub kind: String,
}

impl Process {
    /// The process `pid`, which must be there.
    #[track_caller]
    pub fn of(pid: u32) -> Self {
        let process = Self(PathBuf::from(format!("/proc/{pid}")));
        assert!(process.0.exists(), "there is no process {pid}");
        process
    }

    /// This one.
    pub fn own() -> Self {
        Self("/proc/self".into())
    }

    /// The calling thread, which may have namespaces of its own.
    pub fn thread() -> Self {
        Self("/proc/thread-self".into())
    }

    /// A file of it, such as `limits`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The text of a file of it, such as `limits`.
    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        let path = self.path(name);
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A field of `status`, its words separated by single spaces.
    #[track_caller]
    pub fn status(&self, field: &str) -> String {
        let status = self.text("status");
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let words = value.unwrap_or_else(|| panic!("no {field} in:\n{status}")).split_whitespace();
        words.collect::<Vec<_>>().join(" ")
    }

    /// The inode of its namespace of kind `net`, `pid`, …, which is the namespace's identity.
    #[track_caller]
    pub fn namespace(&self, kind: &str) -> u64 {
        inode(&self.path("ns").join(kind))
    }

    /// Its open descriptors and what they lead to, in order.
    #[track_caller]
    pub fn descriptors(&self) -> Vec<(u32, String)> {
        let entries = fs::read_dir(self.path("fd")).unwrap().flatten();
        let mut open: Vec<_> = entries
            .filter_map(|entry| {
                let number = entry.file_name().to_str()?.parse().ok()?;
                Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
            })
            .collect();
        open.sort();
        open
    }

    /// Whether a descriptor of it was opened only to read.
    #[track_caller]
    pub fn reads_only(&self, descriptor: u32) -> bool {
        let info = self.text(&format!("fdinfo/{descriptor}"));
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
        let flags = u32::from_str_radix(flags.trim(), 8).expect("flags are octal");
        flags & rustix::fs::OFlags::ACCMODE.bits() == rustix::fs::OFlags::RDONLY.bits()
    }

    /// All that is mounted in its mount namespace.
    #[track_caller]
    pub fn mounts(&self) -> Vec<Mount> {
        self.text("mountinfo").lines().map(mount).collect()
    }
}

/// The identity of a namespace by a path to it.
#[track_caller]
pub fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap_or_else(|e| panic!("stat {}: {e}", path.display())).ino()
}

fn mount(line: &str) -> Mount {
    let (of_mount, of_file_system) = line.split_once(" - ").expect("mountinfo has a separator");
    let words: Vec<&str> = of_mount.split(' ').collect();
    Mount {
        device: words[2].to_owned(),
        root: words[3].to_owned(),
        point: words[4].to_owned(),
        options: words[5].split(',').map(str::to_owned).collect(),
        kind: of_file_system.split(' ').next().expect("mountinfo has a type").to_owned(),
    }
}
