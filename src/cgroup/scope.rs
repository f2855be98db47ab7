//! Control groups as systemd names them: `slice:prefix:name`, the form in which Kubernetes and nerdctl give
//! them with the systemd driver. See "Slices" in systemd.slice(5).

use std::path::{Path, PathBuf};

/// The slice of a container whose bundle names none.
const DEFAULT_SLICE: &str = "system.slice";

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

/// `a-b-c.slice` is in `a-b.slice`, and that in `a.slice`; `-.slice` is the root.
fn expand(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice")?;
    let mut directory = PathBuf::new();
    if name == "-" {
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
