//! Where a container has its bundle: a directory below the state directory, beside its record.
//!
//! Whoever has it locked attends to its container. If nobody has, because this command was killed, the next one clears
//! it away.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lighter::container::Container;
use lighter::error::Refusal;
use lighter::programs::Programs;
use lighter::record::{Lock, Record};
use oci_spec::runtime::Spec;
use rustix::fs::{FlockOperation, flock};

/// Below the state directory. No container has such a name.
const BUNDLES: &str = ".run";
/// The root file system, below the bundle.
pub(super) const ROOT: &str = "rootfs";
/// Says that its container is not to outlive this command.
const ATTENDED: &str = "attended";

/// A container's place.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) record: Record,
    dir: PathBuf,
    /// Locked for as long as this command attends to it.
    _held: File,
}

impl Place {
    /// Makes one for the container `id`, or for one whose name is made up.
    pub(super) fn make(root: &Path, id: Option<&str>, attended: bool) -> Result<(Self, Lock)> {
        let id = match id {
            Some(id) => id.to_owned(),
            None => made_up().context("make up a name")?,
        };
        let (record, lock) = Record::make(root, &id)?;
        let dir = root.join(BUNDLES).join(&id);
        match prepare(&dir, attended) {
            Ok(_held) => Ok((Self { id, record, dir, _held }, lock)),
            Err(e) => {
                let _ = fs::remove_dir_all(&dir);
                let _ = fs::remove_dir(record.dir());
                Err(e).with_context(|| format!("make {}", dir.display()))
            }
        }
    }

    /// The bundle's directory.
    pub(super) fn bundle(&self) -> &Path {
        &self.dir
    }

    /// The root file system's.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join(ROOT)
    }

    /// Writes the bundle's configuration.
    pub(super) fn write(&self, spec: &Spec) -> Result<()> {
        let file = self.dir.join("config.json");
        fs::write(&file, serde_json::to_vec(spec)?).with_context(|| file.display().to_string())
    }

    /// Clears it away, with all that may be left of its container.
    pub(super) fn remove(&self, programs: &Programs) -> Result<()> {
        let container = Container::clean_up(&self.record, &Ok(programs.clone()));
        clear(&self.dir)?;
        container?;
        Ok(())
    }
}

fn prepare(dir: &Path, attended: bool) -> io::Result<File> {
    let bundles = dir.parent().unwrap_or(dir);
    let mut private = DirBuilder::new();
    private.mode(0o700).recursive(true).create(bundles)?;
    // Until it is locked it looks like one that nobody attends to.
    let making = File::open(bundles)?;
    flock(&making, FlockOperation::LockShared)?;
    private.recursive(false).create(dir)?;
    let held = File::open(dir)?;
    flock(&held, FlockOperation::NonBlockingLockExclusive)?;
    if attended {
        File::create_new(dir.join(ATTENDED))?;
    }
    let root = dir.join(ROOT);
    fs::create_dir(&root)?;
    // Whatever the caller's umask: the container's user is to get in.
    fs::set_permissions(&root, Permissions::from_mode(0o755))?;
    Ok(held)
}

/// Removes what is left of those who ended before they could: of runs that were killed, and of detached containers
/// that have been deleted. What cannot be removed now is left for another time.
pub(super) fn sweep(root: &Path, programs: &Programs) {
    let bundles = root.join(BUNDLES);
    let Ok(making) = File::open(&bundles) else { return };
    // Others that start now, or sweep, are not waited for.
    if flock(&making, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    for entry in fs::read_dir(&bundles).into_iter().flatten().flatten() {
        if let Err(e) = sweep_one(root, &entry.path(), programs) {
            log::warn!("what is left of an earlier run: {e:#}");
        }
    }
}

fn sweep_one(root: &Path, dir: &Path, programs: &Programs) -> Result<()> {
    let held = File::open(dir)?;
    if flock(&held, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let id = dir.file_name().unwrap_or_default().to_string_lossy();
    match (Record::find(root, &id), dir.join(ATTENDED).exists()) {
        (Ok(_), false) => return Ok(()),
        (Ok(record), true) => drop(Container::clean_up(&record, &Ok(programs.clone()))?),
        (Err(_), _) => {}
    }
    clear(dir)
}

/// Removes the bundle that [`Place`] made of a detached container, if it made one: its record has been removed.
pub(crate) fn forget(root: &Path, id: &str) -> Result<(), Refusal> {
    let dir = root.join(BUNDLES).join(id);
    match dir.is_dir() {
        true => clear(&dir).map_err(|e| Refusal::system("remove the bundle", format!("{e:#}"))),
        false => Ok(()),
    }
}

/// Removes a bundle. Nothing is mounted there but for us: what is, is unmounted first.
fn clear(dir: &Path) -> Result<()> {
    super::overlay::unmount(dir);
    match fs::remove_dir_all(dir) {
        // By `lighter delete --force`, meanwhile.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("remove {}", dir.display())),
    }
}

/// Twelve hexadecimal digits that nobody has had.
fn made_up() -> io::Result<String> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(uuid.chars().filter(char::is_ascii_hexdigit).take(12).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        Programs { runner: "/nowhere".into(), lighter: "/nowhere".into() }
    }

    #[test]
    fn what_nobody_attends_to_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let (attended, _lock) = Place::make(root.path(), Some("attended"), true).unwrap();
        let (killed, _) = Place::make(root.path(), None, true).unwrap();
        let (detached, _) = Place::make(root.path(), Some("detached"), false).unwrap();
        let (deleted, _) = Place::make(root.path(), Some("deleted"), false).unwrap();
        fs::remove_dir(deleted.record.dir()).unwrap();
        let dirs = [&attended, &killed, &detached, &deleted].map(|place| place.dir.clone());
        let records = [&attended, &killed].map(|place| place.record.dir().to_owned());
        drop((killed, detached, deleted));
        sweep(root.path(), &programs());
        assert_eq!(dirs.map(|dir| dir.exists()), [true, false, true, false]);
        assert_eq!(records.map(|dir| dir.exists()), [true, false]);
        attended.remove(&programs()).unwrap();
        assert!(!attended.dir.exists() && !attended.record.dir().exists());
    }

    #[test]
    fn a_name_is_taken_once() {
        let root = tempfile::tempdir().unwrap();
        let (_place, _lock) = Place::make(root.path(), Some("one"), true).unwrap();
        let error = Place::make(root.path(), Some("one"), true).unwrap_err();
        assert!(format!("{error:#}").contains("already exists"), "{error:#}");
        assert!(Place::make(root.path(), Some("../x"), true).is_err());
    }
}
