//! Looking at files and processes that may be anything.

use std::fs;
use std::path::{Path, PathBuf};

/// The processes whose program has this name, as directories in `/proc`; not those of containers.
pub(super) fn processes(name: &'static str) -> impl Iterator<Item = PathBuf> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(move |process| {
        let number =
            process.file_name().is_some_and(|id| id.as_encoded_bytes()[0].is_ascii_digit());
        let status = || fs::read_to_string(process.join("status")).unwrap_or_default();
        number
            && fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim() == name)
            && !is_contained(&status())
    })
}

/// Whether a process has an id in a pid namespace below ours.
fn is_contained(status: &str) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_whitespace().count() > 1)
}

/// Reads a file of text, but nothing that could keep us waiting, such as a named pipe.
///
/// # Errors
/// As reading has them, without the path.
pub(super) fn read(path: &Path) -> std::io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_containers_are_told_from_others() {
        assert!(!is_contained("Name:\tx\nNSpid:\t859\nNSsid:\t1\n"));
        assert!(is_contained("Name:\tx\nNSpid:\t859\t1\nNSsid:\t1\n"));
    }
}
