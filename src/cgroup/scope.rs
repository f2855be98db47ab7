//! Control groups as systemd names them: `slice:prefix:name`, the form in which Kubernetes and nerdctl give
//! them with the systemd driver. See "Slices" in systemd.slice(5).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::{Cgroup, birth, read, systemd};
use crate::error::{Refusal, Result};

/// The slice of a container whose bundle names none.
const DEFAULT_SLICE: &str = "system.slice";
/// The one that all others are in.
const ROOT_SLICE: &str = "-.slice";

/// What it takes where systemd makes the group, see [`Cgroup::is_made_by_systemd`].
impl Cgroup {
    /// Has systemd make the group, with `pid` in it and with limits.
    ///
    /// # Errors
    /// When systemd cannot be asked, refuses or fails, or the kernel refuses a value.
    pub fn make_scope(&self, pid: u32, resources: Option<&LinuxResources>) -> Result<()> {
        let resources = self.adapted(resources)?;
        let limits = resources.as_ref().map(systemd::Limits::of).transpose()?.unwrap_or_default();
        let (slice, unit) = slice_and_unit(&self.directory)?;
        systemd::start_scope(unit, slice, pid, &limits).map_err(|e| self.refusal("make", e))?;
        // systemd hands on the controllers that it knows; hugetlb is not among them.
        birth::make(read::ROOT.as_ref(), &self.directory).map_err(|e| self.refusal("make", e))?;
        // Exactly, and those that systemd has no properties for.
        self.limit(resources.as_ref())
    }

    /// Limits a group that was made without limits.
    ///
    /// # Errors
    /// As [`Cgroup::make_scope`].
    pub fn limit_scope(&self, resources: Option<&LinuxResources>) -> Result<()> {
        let Some(resources) = self.adapted(resources)? else { return Ok(()) };
        let limits = systemd::Limits::of(&resources)?;
        let (_, unit) = slice_and_unit(&self.directory)?;
        systemd::limit(unit, &limits).map_err(|e| self.refusal("limit", e))?;
        self.limit(Some(&resources))
    }

    /// Ends what is in the group at once, which systemd would ask to end first, and has systemd forget it. Without an
    /// answer from systemd the empty group is left to it: were it removed under its eyes, it might never notice,
    /// and take the scope for running.
    pub(super) fn remove_scope(&self) -> Result<()> {
        let (_, unit) = slice_and_unit(&self.directory)?;
        self.directories().kill();
        match systemd::stop(unit) {
            Ok(()) => self.directories().remove().map_err(|e| self.refusal("remove", e)),
            Err(e) if self.pids().is_ok_and(|pids| !pids.is_empty()) => {
                Err(self.refusal("remove", e))
            }
            Err(e) => {
                log::warn!("stop {unit}: {e}");
                Ok(())
            }
        }
    }
}

/// Whether this machine's init is systemd, see sd_booted(3).
pub(super) fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The directory of the scope, below the hierarchy's root; `None` for what is not of systemd's form.
///
/// `kubepods-besteffort.slice:cri-containerd:ID` is
/// `kubepods.slice/kubepods-besteffort.slice/cri-containerd-ID.scope`.
pub(super) fn directory(path: &Path) -> Option<PathBuf> {
    let text = path.to_str().filter(|text| !text.starts_with('/'))?;
    let mut parts = text.split(':');
    let (slice, prefix, name, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    if name.is_empty() || text.contains('/') {
        return None;
    }
    let slice = if slice.is_empty() { DEFAULT_SLICE } else { slice };
    let unit = match name.ends_with(".slice") {
        true => name.to_owned(),
        false => format!("{prefix}-{name}.scope"),
    };
    Some(expand(slice)?.join(unit))
}

/// The slice and the scope whose directory this is.
///
/// # Errors
/// When it is a slice itself: those hold scopes, and no process.
pub(super) fn slice_and_unit(directory: &Path) -> Result<(&str, &str)> {
    let mut names = directory.iter().rev().filter_map(OsStr::to_str);
    match names.next() {
        Some(unit) if unit.ends_with(".scope") => Ok((names.next().unwrap_or(ROOT_SLICE), unit)),
        _ => Err(Refusal::invalid(format!(
            "linux.cgroupsPath: {} is not a scope, and systemd lets no process into others",
            directory.display()
        ))),
    }
}

/// `a-b-c.slice` is in `a-b.slice`, and that in `a.slice`; `-.slice` is the root.
fn expand(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice")?;
    let mut directory = PathBuf::new();
    if slice == ROOT_SLICE {
        return Some(directory);
    }
    for (end, _) in name.match_indices('-').chain([(name.len(), "")]) {
        if name[..end].is_empty() || name[..end].ends_with('-') {
            return None;
        }
        directory.push(format!("{}.slice", &name[..end]));
    }
    Some(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_found_where_systemd_makes_them() {
        for (path, expected) in [
            (
                "kubepods-besteffort-pod1.slice:cri-containerd:abc",
                "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-abc.scope",
            ),
            (":lighter:c1", "system.slice/lighter-c1.scope"),
            ("system.slice::c1", "system.slice/-c1.scope"),
            ("-.slice:a:b", "a-b.scope"),
        ] {
            assert_eq!(directory(Path::new(path)), Some(PathBuf::from(expected)), "{path}");
        }
    }

    #[test]
    fn a_directory_names_its_scope_and_slice() {
        for (directory, expected) in [
            ("a.slice/a-b.slice/c-1.scope", ("a-b.slice", "c-1.scope")),
            ("c-1.scope", ("-.slice", "c-1.scope")),
        ] {
            assert_eq!(slice_and_unit(Path::new(directory)), Ok(expected), "{directory}");
        }
        let refusal = slice_and_unit(Path::new("a.slice/a-b.slice")).unwrap_err();
        assert!(refusal.message.contains("a-b.slice is not a scope"), "{refusal}");
    }

    #[test]
    fn other_paths_are_left_alone() {
        for path in [
            "/default/c1",
            "default/c1",
            "a:b",
            "x:y:z:w",
            "no-slice:a:b",
            "a--b.slice:p:n",
            "s.slice:p:../n",
        ] {
            assert_eq!(directory(Path::new(path)), None, "{path}");
        }
    }
}
