//! The files that an image is kept in: a directory's, or a tar file's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lighter::cache::{Digest, Hasher};
use serde::de::DeserializeOwned;

use super::manifest::{Descriptor, MAX_MANIFEST, blob_path};

/// An image's files by name.
#[derive(Debug)]
pub(crate) enum Files {
    Directory(PathBuf),
    Archive { file: Arc<File>, places: BTreeMap<String, (u64, u64)> },
}

impl Files {
    /// Those at `path`: a directory, or a tar file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        match path.is_dir() {
            true => Ok(Self::Directory(path.to_owned())),
            false => {
                let file = File::open(path).with_context(|| path.display().to_string())?;
                Self::archive(file).with_context(|| path.display().to_string())
            }
        }
    }

    /// Those in a tar file that is already open.
    pub(crate) fn archive(file: File) -> Result<Self> {
        let mut places = BTreeMap::new();
        let mut archive = tar::Archive::new(BufReader::new(file.try_clone()?));
        for entry in archive.entries_with_seek()? {
            let entry = entry.context("read the tar archive")?;
            let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            if entry.header().entry_type().is_file() {
                places.insert(name, (entry.raw_file_position(), entry.size()));
            }
        }
        Ok(Self::Archive { file: Arc::new(file), places })
    }

    /// Whether there is a file of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Directory(dir) => dir.join(name).is_file(),
            Self::Archive { places, .. } => places.contains_key(name),
        }
    }

    /// The file of that name, from its start.
    pub(crate) fn reader(&self, name: &str) -> Result<Box<dyn Read>> {
        match self {
            Self::Directory(dir) => {
                let path = dir.join(name);
                Ok(Box::new(File::open(&path).with_context(|| path.display().to_string())?))
            }
            Self::Archive { file, places } => {
                let (at, len) =
                    places.get(name).with_context(|| format!("the image lacks {name}"))?;
                Ok(Box::new(Piece {
                    file: Arc::clone(file),
                    at: *at,
                    end: at.saturating_add(*len),
                }))
            }
        }
    }

    /// A file of JSON that nothing refers to by a digest.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let mut text = Vec::new();
        self.reader(name)?.take(MAX_MANIFEST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_MANIFEST {
            bail!("{name} of the image has more than {MAX_MANIFEST} bytes");
        }
        serde_json::from_slice(&text).with_context(|| format!("{name} of the image"))
    }

    /// The content that `descriptor` names: no more than it says, and an error at its end if it is anything else.
    pub(crate) fn blob(&self, descriptor: &Descriptor) -> Result<Verified<Box<dyn Read>>> {
        let digest = descriptor.sha256()?;
        let reader = self.reader(&blob_path(&digest))?;
        Ok(Verified::new(reader, digest, Some(descriptor.size)))
    }

    /// A blob of JSON: a manifest, or a configuration.
    pub(crate) fn json_blob<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T> {
        let about = || format!("{} of the image", descriptor.digest);
        if descriptor.size > MAX_MANIFEST {
            bail!("{} has {} bytes, more than {MAX_MANIFEST}", about(), descriptor.size);
        }
        let mut text = Vec::new();
        self.blob(descriptor)?.read_to_end(&mut text).with_context(about)?;
        serde_json::from_slice(&text).with_context(about)
    }
}

/// A part of a file, which is read without moving the file's own offset.
struct Piece {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Piece {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..room], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A reader that knows what it should have read, and says so at the end.
pub(crate) struct Verified<R> {
    reader: R,
    hasher: Hasher,
    expected: Digest,
    /// Bytes that are still to come, if that is known.
    left: Option<u64>,
    is_checked: bool,
}

impl<R: Read> Verified<R> {
    /// `size`: bytes, unless only the digest is known.
    pub(crate) fn new(reader: R, expected: Digest, size: Option<u64>) -> Self {
        let hasher = Hasher::default();
        Self { reader, hasher, expected, left: size, is_checked: false }
    }

    fn check(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_checked, true) {
            return Ok(());
        }
        let expected = self.expected;
        match (self.left, std::mem::take(&mut self.hasher).finish()) {
            (Some(left), _) if left > 0 => {
                let why = format!("blob sha256:{expected} is cut short: {left} bytes are missing");
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))
            }
            (_, actual) if actual != expected => {
                let why = format!(
                    "blob sha256:{expected} is not what its digest says: its content has sha256:{actual}"
                );
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let room = match self.left {
            // What is beyond the end is nobody's.
            Some(left) => usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len()),
            None => buffer.len(),
        };
        let read = if room == 0 { 0 } else { self.reader.read(&mut buffer[..room])? };
        if read == 0 {
            self.check()?;
            return Ok(0);
        }
        self.hasher.update(&buffer[..read]);
        if let Some(left) = &mut self.left {
            *left -= read as u64;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], size: Option<u64>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Verified::new(content, Digest::of(b"content"), size).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn what_is_read_is_what_its_digest_says() {
        assert_eq!(read(b"content", Some(7)).unwrap(), b"content");
        assert_eq!(read(b"content", None).unwrap(), b"content");
        assert_eq!(read(b"content and more", Some(7)).unwrap(), b"content");
        let error = read(b"cont", Some(7)).unwrap_err().to_string();
        assert!(error.contains("is cut short: 3 bytes are missing"), "{error}");
        let error = read(b"CONTENT", Some(7)).unwrap_err().to_string();
        assert!(error.contains("is not what its digest says"), "{error}");
        assert!(read(b"content and more", None).is_err());
    }
}
