//! A root file system with a program in it, as a tar archive.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tar::{Builder, EntryType, Header};

/// A file or a directory of the host's, and its place in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Added {
    source: PathBuf,
    path: String,
}

impl Added {
    /// Reads `SOURCE:PATH`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((source, path))
                if !source.is_empty()
                    && path.starts_with('/')
                    && !path.split('/').any(|part| part == "..") =>
            {
                Ok(Self { source: source.into(), path: path.to_owned() })
            }
            _ => Err("not of the form SOURCE:PATH with an absolute path".into()),
        }
    }
}

/// What stands at a path in the image.
enum Entry {
    Directory,
    Program,
    File(PathBuf),
    Link(PathBuf),
}

/// The archive: the program at `path`, and what else is added. Sorted, of root's, without times.
pub(super) fn archive(program: &[u8], path: &str, added: &[Added]) -> Result<Vec<u8>> {
    let mut entries = BTreeMap::new();
    for Added { source, path } in added {
        collect(source, path.trim_matches('/'), &mut entries)?;
    }
    let program_path = path.trim_start_matches('/').to_owned();
    if entries.insert(program_path, Entry::Program).is_some() {
        bail!("--add: {path} is where the program goes");
    }
    for path in entries.keys().cloned().collect::<Vec<_>>() {
        for parent in Path::new(&path).ancestors().skip(1).filter_map(Path::to_str) {
            if !parent.is_empty() {
                entries.entry(parent.to_owned()).or_insert(Entry::Directory);
            }
        }
    }
    let mut tar = Builder::new(Vec::new());
    for (path, entry) in &entries {
        append(&mut tar, path, entry, program).with_context(|| format!("add /{path}"))?;
    }
    Ok(tar.into_inner()?)
}

/// Notes what is at `source` and below it.
fn collect(source: &Path, path: &str, entries: &mut BTreeMap<String, Entry>) -> Result<()> {
    let shown = || format!("--add {}", source.display());
    let kind = fs::symlink_metadata(source).with_context(shown)?.file_type();
    let entry = if kind.is_dir() {
        for child in fs::read_dir(source).with_context(shown)? {
            let child = child.with_context(shown)?;
            let name = child.file_name();
            let Some(name) = name.to_str() else {
                bail!("{}: {name:?} is not UTF-8 text", shown())
            };
            let below = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            collect(&child.path(), &below, entries)?;
        }
        Entry::Directory
    } else if kind.is_symlink() {
        Entry::Link(fs::read_link(source).with_context(shown)?)
    } else if kind.is_file() {
        Entry::File(source.to_owned())
    } else {
        bail!("{}: neither a file nor a directory nor a link", shown());
    };
    if !path.is_empty() {
        entries.insert(path.to_owned(), entry);
    } else if !matches!(entry, Entry::Directory) {
        bail!("{}: only a directory can be added as /", shown());
    }
    Ok(())
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, entry: &Entry, program: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    // Nothing of the machine that packs it, so that the same files make the same image.
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_mode(0o755);
    match entry {
        Entry::Directory => {
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, format!("{path}/"), &[][..])?;
        }
        Entry::Program => {
            header.set_size(program.len() as u64);
            tar.append_data(&mut header, path, program)?;
        }
        Entry::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, path, target)?;
        }
        Entry::File(source) => {
            let mut file = File::open(source)?;
            let facts = file.metadata()?;
            header.set_size(facts.len());
            header.set_mode(facts.permissions().mode() & 0o7777);
            tar.append_data(&mut header, path, &mut file)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_sorted_complete_and_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/b"), "b").unwrap();
        fs::write(dir.path().join("a"), "a").unwrap();
        let added = [Added { source: dir.path().into(), path: "/srv/data".into() }];
        let first = archive(b"wasm", "/bin/app.wasm", &added).unwrap();
        assert_eq!(first, archive(b"wasm", "/bin/app.wasm", &added).unwrap());
        let mut read = tar::Archive::new(first.as_slice());
        let paths: Vec<String> = read
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        let expected = [
            "bin/",
            "bin/app.wasm",
            "srv/",
            "srv/data/",
            "srv/data/a",
            "srv/data/sub/",
            "srv/data/sub/b",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn nothing_takes_the_programs_place() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("app.wasm"), "other").unwrap();
        let added = [Added { source: dir.path().into(), path: "/".into() }];
        let error = archive(b"wasm", "/app.wasm", &added).unwrap_err();
        assert!(error.to_string().contains("/app.wasm"), "{error}");
        for text in ["x", "x:y", ":/y", "x:/../y"] {
            assert!(Added::parse(text).is_err(), "{text}");
        }
    }
}
