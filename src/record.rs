//! Where a container is recorded, for whoever comes after the process that created it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{Refusal, Result};

const STATE: &str = "state.json";
const STATE_IN_BUNDLE: &str = "lighter.json";
/// Where it is written before it takes its place.
const ASIDE: &str = "json.new";
/// What the guest's runner has shared memory in, see [`crate::report`].
const REPORT: &str = "report";
/// Where a created container waits to be started.
const DOOR: &str = "start.sock";

/// A directory in which a container is recorded.
///
/// Either it is the bundle of a container whose supervisor stays with it, and holds no more than what it takes to clean
/// up; or one below a state directory, of a container that is left to itself, and to everybody who may read there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    dir: PathBuf,
    keeper: Keeper,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    Supervisor,
    Anybody,
}

/// Holds others off a container, until it is dropped or its process ends.
#[derive(Debug)]
pub struct Lock {
    _dir: File,
}

impl Record {
    /// That of a container whose supervisor stays, in its bundle.
    pub fn in_bundle(bundle: &Path) -> Self {
        Self { dir: bundle.to_owned(), keeper: Keeper::Supervisor }
    }

    /// Makes that of container `id` below the state directory `root`, which is made if need be.
    ///
    /// # Errors
    /// When the id is none, or is taken, or the directory cannot be made.
    pub fn make(root: &Path, id: &str) -> Result<(Self, Lock)> {
        let record = Self::at(root, id)?;
        let failed = |e| Refusal::system(format!("create {}", record.dir.display()), e);
        let mut private = DirBuilder::new();
        private.mode(0o700);
        private.recursive(true).create(root).map_err(failed)?;
        match private.recursive(false).create(&record.dir) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                return Err(Refusal::invalid(format!("container {id:?} already exists")));
            }
            made => made.map_err(failed)?,
        }
        let lock = record.lock()?;
        Ok((record, lock))
    }

    /// Finds that of container `id` below the state directory `root`.
    ///
    /// # Errors
    /// [`crate::error::Cause::NotFound`] when there is none.
    pub fn find(root: &Path, id: &str) -> Result<Self> {
        let record = Self::at(root, id)?;
        match record.dir.is_dir() {
            true => Ok(record),
            false => Err(record.missing()),
        }
    }

    /// All those below the state directory `root`, by their ids.
    ///
    /// # Errors
    /// When the directory is there, and cannot be read.
    pub fn list(root: &Path) -> Result<Vec<Self>> {
        let failed = |e| Refusal::system(format!("read {}", root.display()), e);
        let entries = match fs::read_dir(root) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            ids.extend(entry.file_name().into_string().ok().filter(|id| is_dir && is_id(id)));
        }
        ids.sort();
        ids.iter().map(|id| Self::at(root, id)).collect()
    }

    fn at(root: &Path, id: &str) -> Result<Self> {
        match is_id(id) {
            true => Ok(Self { dir: root.join(id), keeper: Keeper::Anybody }),
            false => Err(Refusal::invalid(format!(
                "container id {id:?}: must be of letters, digits, \"_\", \"+\", \"-\" and \".\", and not begin with \".\""
            ))),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of the directory: the container's id, but for one in its bundle, where it need not be.
    pub fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Waits until nobody else changes the container, and holds others off. Who only looks, or sends a signal, needs no lock.
    ///
    /// # Errors
    /// [`crate::error::Cause::NotFound`] when there is no such container, or not any more.
    pub fn lock(&self) -> Result<Lock> {
        match lock_directory(&self.dir) {
            Ok(Some(dir)) => Ok(Lock { _dir: dir }),
            Ok(None) => Err(self.missing()),
            Err(e) => Err(Refusal::system(format!("lock {}", self.dir.display()), e)),
        }
    }

    /// Whether somebody holds its lock now.
    pub(crate) fn is_locked(&self) -> bool {
        let attempt = |dir: File| rustix::fs::flock(&dir, FlockOperation::NonBlockingLockShared);
        self.open().is_ok_and(|dir| attempt(dir) == Err(rustix::io::Errno::WOULDBLOCK))
    }

    fn open(&self) -> Result<File> {
        File::open(&self.dir).map_err(|e| match e.kind() {
            ErrorKind::NotFound => self.missing(),
            _ => Refusal::system(format!("open {}", self.dir.display()), e),
        })
    }

    /// What is said of a container that is not there.
    pub(crate) fn missing(&self) -> Refusal {
        let root = self.dir.parent().unwrap_or(&self.dir);
        Refusal::not_found(format!(
            "container {:?} does not exist in {}",
            self.name(),
            root.display()
        ))
    }

    /// Whether a container is recorded.
    pub fn is_there(&self) -> bool {
        self.state_file().exists()
    }

    /// Whether the container is left to itself once it is created, and waits at its door to be started.
    pub(crate) fn is_left(&self) -> bool {
        self.keeper == Keeper::Anybody
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.dir.join(match self.keeper {
            Keeper::Supervisor => STATE_IN_BUNDLE,
            Keeper::Anybody => STATE,
        })
    }

    /// Where the state is written before it takes that file's place.
    pub(crate) fn state_file_aside(&self) -> PathBuf {
        self.state_file().with_extension(ASIDE)
    }

    pub(crate) fn report_file(&self) -> PathBuf {
        self.dir.join(REPORT)
    }

    /// Makes the door at which the container waits.
    ///
    /// # Errors
    /// As bind(2) has them.
    pub(crate) fn hang_door(&self) -> io::Result<UnixListener> {
        self.at_door(UnixListener::bind)
    }

    /// Knocks: whoever waits inside hears it.
    ///
    /// # Errors
    /// As connect(2) has them: there is no door before the container is created, and nobody answers once it has been started.
    pub(crate) fn knock(&self) -> io::Result<UnixStream> {
        self.at_door(UnixStream::connect)
    }

    /// Addresses of sockets are short, and the directory's name need not be.
    fn at_door<T>(&self, act: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
        let dir = File::open(&self.dir)?;
        act(format!("/proc/self/fd/{}/{DOOR}", dir.as_raw_fd()).into())
    }

    /// Removes it: the directory as well, unless it is the bundle. One that is gone is as good as removed.
    ///
    /// # Errors
    /// When something cannot be removed, or somebody else has put something there.
    pub fn remove(&self) -> Result<()> {
        let removed = match self.keeper {
            Keeper::Supervisor => fs::remove_file(self.state_file()),
            Keeper::Anybody => {
                // The state goes last: without it nobody knows what else there is.
                [
                    self.report_file(),
                    self.dir.join(DOOR),
                    self.state_file_aside(),
                    self.state_file(),
                ]
                .iter()
                .try_for_each(|file| gone(fs::remove_file(file)))
                .and_then(|()| fs::remove_dir(&self.dir))
            }
        };
        gone(removed)
            .map_err(|e| Refusal::system(format!("remove the record in {}", self.dir.display()), e))
    }
}

/// Waits for the lock of the directory `path`, which its descriptor holds; `None` if the directory is not there, or was removed
/// by whoever held the lock.
///
/// # Errors
/// As open(2) and flock(2) have them.
pub fn lock_directory(path: &Path) -> io::Result<Option<File>> {
    let dir = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        dir => dir?,
    };
    rustix::io::retry_on_intr(|| rustix::fs::flock(&dir, FlockOperation::LockExclusive))?;
    let inode = |facts: fs::Metadata| (facts.dev(), facts.ino());
    let is_there = fs::metadata(path).ok().map(inode) == Some(inode(dir.metadata()?));
    Ok(is_there.then_some(dir))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// As the other runtimes have them; those with a dot in front are ours, for what is no container.
fn is_id(id: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    !id.is_empty() && !id.starts_with('.') && id.len() <= 255 && id.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[test]
    fn an_id_is_taken_once() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("a/b");
        assert_eq!(Record::list(&root).unwrap(), []);
        assert_eq!(Record::find(&root, "c").unwrap_err().cause, Cause::NotFound);
        let (record, lock) = Record::make(&root, "c").unwrap();
        let again = Record::make(&root, "c").unwrap_err();
        assert_eq!(again.message, "container \"c\" already exists");
        assert_eq!(Record::find(&root, "c").unwrap(), record);
        assert_eq!(Record::list(&root).unwrap(), std::slice::from_ref(&record));
        assert!(record.is_locked());
        drop(lock);
        assert!(!record.is_locked());
        record.remove().unwrap();
        record.remove().unwrap();
        let missing = record.lock().unwrap_err();
        assert_eq!(missing.cause, Cause::NotFound);
        assert!(missing.message.contains("container \"c\" does not exist"), "{missing}");
    }

    #[test]
    fn ids_are_names_of_files() {
        for id in ["a", "A_b+c-d.e", "0"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", ".", "..", ".a", "a/b", "a b", "ä", "a\0"] {
            assert!(!is_id(id), "{id}");
            let refusal = Record::find(Path::new("/nowhere"), id).unwrap_err();
            assert!(refusal.message.starts_with("container id "), "{refusal}");
        }
    }

    #[test]
    fn who_waits_for_what_is_removed_does_not_get_it() {
        let root = tempfile::tempdir().unwrap();
        let (record, lock) = Record::make(root.path(), "c").unwrap();
        let waiting = record.clone();
        let other = std::thread::spawn(move || waiting.lock().map(drop));
        std::thread::sleep(std::time::Duration::from_millis(20));
        record.remove().unwrap();
        drop(lock);
        assert_eq!(other.join().unwrap().unwrap_err().cause, Cause::NotFound);
    }

    #[test]
    fn what_others_put_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let (record, _lock) = Record::make(root.path(), "c").unwrap();
        fs::write(record.dir().join("theirs"), "").unwrap();
        assert!(record.remove().is_err());
        let bundle = Record::in_bundle(record.dir());
        fs::write(bundle.state_file(), "").unwrap();
        bundle.remove().unwrap();
        assert!(record.dir().join("theirs").exists());
    }

    #[test]
    fn a_door_is_answered_while_somebody_waits() {
        let root = tempfile::tempdir().unwrap();
        let long = root.path().join("x".repeat(120));
        let (record, _lock) = Record::make(&long, "c").unwrap();
        assert_eq!(record.knock().unwrap_err().kind(), ErrorKind::NotFound);
        let door = record.hang_door().unwrap();
        record.knock().unwrap();
        drop(door);
        assert_eq!(record.knock().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
