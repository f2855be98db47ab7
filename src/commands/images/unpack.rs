//! An image's content as files: the root file system of its archives, and its WebAssembly layers.
//!
//! Architecture invariant: whatever an archive names is opened beneath the new root, where links lead as they would for a
//! process inside (see `lighter::inside`), and the last part of a path is never followed.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use lighter::inside;
use lighter::layers::Layer as WasmFile;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tar::EntryType;

use super::Image;

/// How much an image may be once it is unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of all files.
    bytes: u64,
    /// Files, directories and links.
    entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 4 << 20 }
    }
}

/// Before a file's name: it is not to be seen above this layer.
const WHITEOUT: &str = ".wh.";
/// In a directory: nothing of what is below this layer is to be seen.
const OPAQUE: &str = ".wh..wh..opq";

/// Opens a directory without reading it.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Image {
    /// Unpacks the archives, from the lowest, into the directory `into`, which should be empty.
    ///
    /// Owners are kept if we are root, else all is ours. Set-user-ID bits and capabilities of files are dropped, and so are
    /// devices: what a container may have of them it gets when it is created.
    ///
    /// # Errors
    /// Names the layer and the file; what is in the directory by then is of no use.
    pub(super) fn unpack(&self, into: &Path, limits: &Limits) -> Result<()> {
        let root = rustix::fs::open(into, DIRECTORY, Mode::empty())
            .with_context(|| into.display().to_string())?;
        let mut tree = Tree { root, is_root: super::store::is_root(), left: *limits };
        for layer in self.layers.iter().filter(|layer| !layer.descriptor.is_wasm()) {
            if !layer.descriptor.is_archive() {
                let (digest, kind) = (&layer.descriptor.digest, &layer.descriptor.media_type);
                bail!(
                    "layer {digest} is of type {kind:?}: neither an archive of files nor WebAssembly"
                );
            }
            self.with_layer(layer, |archive| tree.apply(archive))?;
        }
        Ok(())
    }

    /// Copies the WebAssembly layers into the directory `into`, each under its digest.
    ///
    /// # Errors
    /// Names the layer that has more than `max_bytes`, or is not what its digest says.
    pub(super) fn copy_wasm_layers(&self, into: &Path, max_bytes: u64) -> Result<()> {
        for layer in self.layers.iter().filter(|layer| layer.descriptor.is_wasm()) {
            let (digest, size) = (&layer.descriptor.digest, layer.descriptor.size);
            if size > max_bytes {
                bail!(
                    "layer {digest} has {size} bytes, more than the {max_bytes} that compile.max_module_bytes allows"
                );
            }
            let file = file_of(into, digest);
            self.with_layer(layer, |content| {
                let about = || file.display().to_string();
                let mut to = File::create(&file).with_context(about)?;
                io::copy(content, &mut to).with_context(about)?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The WebAssembly layers, where that puts them.
    pub(super) fn wasm_layers_in(&self, dir: &Path) -> Vec<WasmFile> {
        let layers = self.layers.iter().filter(|layer| layer.descriptor.is_wasm());
        let file = |layer: &super::Layer| WasmFile {
            digest: layer.descriptor.digest.clone(),
            title: layer.descriptor.title().map(str::to_owned),
            file: file_of(dir, &layer.descriptor.digest),
        };
        layers.map(file).collect()
    }
}

/// The name of a layer's file.
fn file_of(dir: &Path, digest: &str) -> PathBuf {
    dir.join(digest.replace(':', "-"))
}

/// A root file system in the making.
struct Tree {
    root: OwnedFd,
    is_root: bool,
    left: Limits,
}

/// A place in the tree: the directory, and the name in it.
struct Place {
    parent: OwnedFd,
    name: String,
}

impl Tree {
    fn apply(&mut self, archive: &mut dyn Read) -> Result<()> {
        let mut archive = tar::Archive::new(archive);
        // What this layer has made itself, its own marks do not hide.
        let mut made = HashSet::new();
        // Directories get their times last: what is put into them changes those.
        let mut times = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let about = || format!("{}", path.display());
            let Some(clean) = clean(&path).with_context(about)? else { continue };
            self.count(1, 0).with_context(about)?;
            self.entry(&mut entry, &clean, &mut made, &mut times).with_context(about)?;
        }
        for (path, time) in times.into_iter().rev() {
            if let Ok(dir) = inside::open(&self.root, path.as_path(), DIRECTORY) {
                let _ = rustix::fs::utimensat(dir, "", &time, AtFlags::EMPTY_PATH);
            }
        }
        Ok(())
    }

    fn count(&mut self, entries: u64, bytes: u64) -> Result<()> {
        let entries = self.left.entries.checked_sub(entries);
        let bytes = self.left.bytes.checked_sub(bytes);
        match (entries, bytes) {
            (Some(entries), Some(bytes)) => {
                self.left = Limits { bytes, entries };
                Ok(())
            }
            _ => bail!("the image is larger than is allowed"),
        }
    }

    fn entry(
        &mut self,
        entry: &mut tar::Entry<'_, &mut dyn Read>,
        path: &Path,
        made: &mut HashSet<PathBuf>,
        times: &mut Vec<(PathBuf, Timestamps)>,
    ) -> Result<()> {
        let place = self.place(path)?;
        if place.name == OPAQUE {
            let dir = path.parent().unwrap_or(Path::new(""));
            return hide_all(&place.parent, dir, made);
        }
        if let Some(hidden) = place.name.strip_prefix(WHITEOUT) {
            if matches!(hidden, "" | "." | "..") {
                bail!("names nothing to hide");
            }
            return match made.contains(&path.with_file_name(hidden)) {
                true => Ok(()),
                false => remove(&place.parent, hidden),
            };
        }
        let header = entry.header().clone();
        let kind = header.entry_type();
        // No set-user-ID, set-group-ID or sticky bits but of directories such as /tmp.
        let mask = if kind.is_dir() { 0o1777 } else { 0o777 };
        let mode = Mode::from_raw_mode(header.mode()? & mask);
        if !self.make(entry, kind, mode, &place)? {
            return Ok(());
        }
        made.insert(path.to_owned());
        // A link to a file shares what that has.
        if kind == EntryType::Link {
            return Ok(());
        }
        let Place { parent, name } = &place;
        if self.is_root {
            let id = |id: u64| u32::try_from(id).context("an owner that is no number of 32 bits");
            let (user, group) = (id(header.uid()?)?, id(header.gid()?)?);
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(parent, name.as_str(), Some(user), Some(group), flags)
                .context("set its owner")?;
        }
        if kind != EntryType::Symlink {
            // Ours must stay open to us, as root's are to root.
            let mode = if self.is_root || !kind.is_dir() { mode } else { mode | Mode::RWXU };
            rustix::fs::chmodat(parent, name.as_str(), mode, AtFlags::empty())?;
        }
        let seconds = i64::try_from(header.mtime()?).unwrap_or(0);
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let time = Timestamps { last_access: time, last_modification: time };
        if kind.is_dir() {
            times.push((path.to_owned(), time));
        } else {
            let _ = rustix::fs::utimensat(parent, name.as_str(), &time, AtFlags::SYMLINK_NOFOLLOW);
        }
        Ok(())
    }

    /// Makes what the entry is; `false`: nothing, on purpose.
    fn make(
        &mut self,
        entry: &mut tar::Entry<'_, &mut dyn Read>,
        kind: EntryType,
        mode: Mode,
        place: &Place,
    ) -> Result<bool> {
        let Place { parent, name } = place;
        match kind {
            EntryType::Directory => {
                let there = stat(parent, name)?;
                if there != Some(FileType::Directory) {
                    if there.is_some() {
                        remove(parent, name)?;
                    }
                    rustix::fs::mkdirat(parent, name.as_str(), mode | Mode::RWXU)?;
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.count(0, entry.size())?;
                remove(parent, name)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file =
                    rustix::fs::openat(parent, name.as_str(), flags, Mode::RUSR | Mode::WUSR)?;
                io::copy(entry, &mut File::from(file))?;
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.context("a link to nowhere")?;
                remove(parent, name)?;
                rustix::fs::symlinkat(target.as_ref(), parent, name.as_str())?;
            }
            EntryType::Link => {
                let target = entry.link_name()?.context("a link to nowhere")?;
                let about = || format!("a link to {}", target.display());
                let clean = clean(&target).with_context(about)?.with_context(about)?;
                let target = self.place(&clean).with_context(about)?;
                // One that names itself would be gone before it is made.
                let id = |place: &Place| {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::statat(&place.parent, place.name.as_str(), flags)
                        .map(|stat| (stat.st_dev, stat.st_ino))
                };
                let wanted = id(&target).with_context(about)?;
                if id(place).is_ok_and(|there| there == wanted) {
                    return Ok(true);
                }
                remove(parent, name)?;
                let flags = AtFlags::empty();
                rustix::fs::linkat(
                    &target.parent,
                    target.name.as_str(),
                    parent,
                    name.as_str(),
                    flags,
                )
                .with_context(about)?;
            }
            EntryType::Fifo => {
                remove(parent, name)?;
                rustix::fs::mknodat(parent, name.as_str(), FileType::Fifo, mode, 0)?;
            }
            EntryType::Char | EntryType::Block => return Ok(false),
            other => bail!("an entry of the unknown type {:?}", char::from(other.as_byte())),
        }
        Ok(true)
    }

    /// Where `path` is, with directories made that are not there.
    fn place(&self, path: &Path) -> Result<Place> {
        let name = path.file_name().and_then(|name| name.to_str()).context("not UTF-8 text")?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok(Place { parent: self.directory(parent)?, name: name.to_owned() })
    }

    fn directory(&self, path: &Path) -> Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return Ok(self.root.as_fd().try_clone_to_owned()?);
        }
        match inside::open(&self.root, path, DIRECTORY) {
            Err(Errno::NOENT) => {
                let Place { parent, name } = self.place(path)?;
                match rustix::fs::mkdirat(&parent, name.as_str(), Mode::from_raw_mode(0o755)) {
                    // A link to what is not there.
                    Err(Errno::EXIST) => bail!("{} leads nowhere", path.display()),
                    made => made?,
                }
                Ok(inside::open(&self.root, path, DIRECTORY)?)
            }
            opened => opened.with_context(|| path.display().to_string()),
        }
    }
}

/// A path relative to the root; `None` for the root itself.
fn clean(path: &Path) -> Result<Option<PathBuf>> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => bail!("a path that leads up"),
        }
    }
    Ok((!clean.as_os_str().is_empty()).then_some(clean))
}

fn stat(parent: &OwnedFd, name: &str) -> Result<Option<FileType>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Removes what is there, if anything.
fn remove(parent: &OwnedFd, name: &str) -> Result<()> {
    match stat(parent, name)? {
        None => Ok(()),
        Some(FileType::Directory) => {
            // Does not follow links on its way down.
            let path = format!("/proc/self/fd/{}/{name}", parent.as_raw_fd());
            std::fs::remove_dir_all(path).context("remove what was there")
        }
        Some(_) => Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?),
    }
}

/// Removes what is in the directory `path`, but for what was made in this layer.
fn hide_all(dir: &OwnedFd, path: &Path, made: &HashSet<PathBuf>) -> Result<()> {
    let names: Vec<_> = std::fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd()))?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()?;
    for name in names {
        let below = path.join(&name);
        let name = name.to_str().context("not UTF-8 text")?;
        // Neither it nor anything in it.
        if !made.iter().any(|one| one.starts_with(&below)) {
            remove(dir, name)?;
            continue;
        }
        if stat(dir, name)? == Some(FileType::Directory) {
            let inner = rustix::fs::openat(dir, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
            hide_all(&inner, &below, made)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tar::{Builder, Header};

    use super::*;

    /// Name, type, and content or target.
    type Entry<'a> = (&'a str, EntryType, &'a str);

    const FILE: EntryType = EntryType::Regular;
    const DIR: EntryType = EntryType::Directory;

    fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = Header::new_gnu();
            // As a hostile archive has it: the crate's own way refuses paths that lead up.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            header.set_mtime(1);
            header.set_uid(rustix::process::geteuid().as_raw().into());
            header.set_gid(rustix::process::getegid().as_raw().into());
            let body = if *kind == FILE { content.as_bytes() } else { b"" };
            if *kind != FILE {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_size(body.len() as u64);
            header.set_cksum();
            tar.append(&header, body).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn unpack(into: &Path, layers: &[&[Entry<'_>]], limits: Limits) -> Result<()> {
        let root = rustix::fs::open(into, DIRECTORY, Mode::empty())?;
        let mut tree =
            Tree { root, is_root: crate::commands::images::store::is_root(), left: limits };
        layers.iter().try_for_each(|layer| tree.apply(&mut archive(layer).as_slice()))
    }

    #[test]
    fn layers_cover_and_hide_what_is_below() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let below: &[Entry<'_>] = &[
            ("etc/", DIR, ""),
            ("etc/a", FILE, "old"),
            ("etc/b", FILE, "b"),
            ("opt/x/y", FILE, "y"),
            ("opt/z", FILE, "z"),
            ("tree/leaf", FILE, ""),
            ("lib", EntryType::Symlink, "usr/lib"),
            ("usr/lib/", DIR, ""),
        ];
        let above: &[Entry<'_>] = &[
            ("etc/a", FILE, "new"),
            ("etc/.wh.b", FILE, ""),
            ("opt/x/new", FILE, "new"),
            ("opt/.wh..wh..opq", FILE, ""),
            ("tree", FILE, "now a file"),
            ("lib/c.so", FILE, "through the link"),
            ("linked", EntryType::Link, "etc/a"),
            ("null", EntryType::Char, ""),
        ];
        unpack(root, &[below, above], Limits::default()).unwrap();
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        assert_eq!(text("etc/a").as_deref(), Some("new"));
        assert_eq!(text("usr/lib/c.so").as_deref(), Some("through the link"));
        assert_eq!(text("linked").as_deref(), Some("new"));
        assert_eq!(text("tree").as_deref(), Some("now a file"));
        assert_eq!(text("opt/x/new").as_deref(), Some("new"));
        for gone in ["etc/b", "etc/.wh.b", "opt/x/y", "opt/z", "opt/.wh..wh..opq", "null"] {
            assert!(root.join(gone).symlink_metadata().is_err(), "{gone}");
        }
        let facts = fs::metadata(root.join("etc/a")).unwrap();
        assert_eq!((facts.mode() & 0o7777, facts.mtime(), facts.nlink()), (0o755, 1, 2));
    }

    #[test]
    fn nothing_leads_out() {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("secret"), "safe").unwrap();
        fs::create_dir(outer.path().join("dir")).unwrap();
        let up = "../".repeat(20);
        let out = outer.path().display().to_string();
        let (file, absolute) = (format!("{out}/secret"), format!("{up}{out}"));
        let cases: [&[Entry<'_>]; 7] = [
            &[("../secret", FILE, "x")],
            &[("a/../../secret", FILE, "x")],
            &[("a", EntryType::Symlink, &absolute), ("a/secret", FILE, "x")],
            &[("a", EntryType::Symlink, &out), ("a/.wh.secret", FILE, "")],
            &[("a", EntryType::Symlink, &out), ("a/.wh..wh..opq", FILE, "")],
            &[("a", EntryType::Link, &file), ("a", FILE, "x")],
            &[("a", EntryType::Symlink, &file), ("a", FILE, "x"), (".wh...", FILE, "")],
        ];
        for entries in cases {
            let root = outer.path().join("dir");
            // Whether it is refused, or goes where a process inside would have it go.
            let _ = unpack(&root, &[entries], Limits::default());
            let secret = fs::read_to_string(outer.path().join("secret"));
            assert_eq!(secret.ok().as_deref(), Some("safe"), "{entries:?}");
            fs::remove_dir_all(&root).unwrap();
            fs::create_dir(&root).unwrap();
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let entries: &[Entry<'_>] = &[("a", FILE, "0123456789"), ("b", FILE, "0123456789")];
        for limits in [Limits { bytes: 15, entries: 9 }, Limits { bytes: 99, entries: 1 }] {
            let error = unpack(dir.path(), &[entries], limits).unwrap_err();
            assert!(format!("{error:#}").contains("larger than is allowed"), "{error:#}");
        }
    }
}
