//! containerd's configuration as containerd reads it: a file, and those that it imports.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use toml::{Table, Value};

use super::super::look::read;

/// More files than anybody imports.
const MAX_FILES: usize = 1000;

/// One file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) table: Table,
}

impl File {
    /// The version of the format.
    pub(super) fn version(&self) -> i64 {
        self.table.get("version").and_then(Value::as_integer).unwrap_or(1)
    }
}

/// A configuration of one file or more, the main one first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Loaded {
    pub(super) files: Vec<File>,
    /// All in one, once [`Loaded::merge`] has been called.
    pub(super) merged: Table,
}

/// Reads `path` and what it imports. `None` if that is forbidden to us; `Ok(None)` if there is no such file, unless
/// it was `named`.
pub(super) fn load(path: &Path, named: bool) -> Option<Result<Option<Loaded>, String>> {
    let mut files: Vec<File> = Vec::new();
    let mut pending = VecDeque::from([path.to_path_buf()]);
    while let Some(path) = pending.pop_front() {
        if files.iter().any(|file| file.path == path) || files.len() == MAX_FILES {
            continue;
        }
        let text = match read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::PermissionDenied => return None,
            Err(e) if e.kind() == ErrorKind::NotFound && files.is_empty() && !named => {
                return Some(Ok(None));
            }
            Err(e) => return Some(Err(format!("read {}: {e}", path.display()))),
        };
        let table: Table = match toml::from_str(&text) {
            Ok(table) => table,
            Err(e) => return Some(Err(syntax(&path, &text, &e))),
        };
        for import in table.get("imports").and_then(Value::as_array).into_iter().flatten() {
            pending
                .extend(import.as_str().map(|import| resolve(&path, import)).unwrap_or_default());
        }
        files.push(File { path, table });
    }
    Some(Ok(Some(Loaded { files, merged: Table::new() })))
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or_default());
    let line = before.matches('\n').count() + 1;
    format!("{}, line {line}: {}", path.display(), error.message().replace('\n', " "))
}

/// The files that an import means: relative to the importing file, with `*` in the last part.
fn resolve(parent: &Path, import: &str) -> Vec<PathBuf> {
    let path = parent.parent().unwrap_or(Path::new("/")).join(import);
    // As Go's filepath.Clean, so that no file is read under two names.
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    let Some(pattern) = clean.file_name().and_then(|name| name.to_str()) else {
        return vec![clean];
    };
    if !pattern.contains('*') {
        return vec![clean];
    }
    let dir = clean.parent().unwrap_or(Path::new("/"));
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut matching: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| matches(pattern, name)))
        .map(|entry| entry.path())
        .collect();
    matching.sort();
    matching
}

/// Whether `name` is what `pattern`, with any number of `*`, stands for.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len())
                .filter(|&at| name.is_char_boundary(at))
                .any(|at| matches(rest, &name[at..]))
        }),
    }
}

/// The socket that a configuration names.
pub(super) fn socket_in(path: &Path) -> Option<PathBuf> {
    load(path, false)?.ok()??.socket()
}

impl Loaded {
    /// The version of the main file, which decides how it is read.
    pub(super) fn version(&self) -> i64 {
        self.files.first().map_or(1, File::version)
    }

    /// Where containerd listens, if it says so.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let address = |table: &Table| {
            let server = table.get("plugins").and_then(|p| p.get("io.containerd.server.v1.grpc"));
            let address = server.or(table.get("grpc"))?.get("address")?.as_str()?;
            (!address.is_empty()).then(|| PathBuf::from(address))
        };
        self.files.iter().rev().find_map(|file| address(&file.table))
    }

    /// Puts the files together as this release of containerd does: 1.x replaces the whole section of a plugin by
    /// that of an import, 2.x key by key. Of an unknown release, the format's version decides.
    pub(super) fn merge(&mut self, release: Option<(u32, u32)>) {
        let deep = release.map_or(self.version() >= 3, |(major, _)| major >= 2);
        let mut merged = Table::new();
        for file in &self.files {
            merge(&mut merged, &file.table, if deep { usize::MAX } else { 2 });
        }
        self.merged = merged;
    }
}

/// Puts `from` over `to`; tables are merged down to `depth` levels, below that replaced, lists appended.
fn merge(to: &mut Table, from: &Table, depth: usize) {
    for (key, value) in from {
        match (to.get_mut(key), value) {
            (Some(Value::Table(to)), Value::Table(from)) if depth > 1 => merge(to, from, depth - 1),
            (Some(Value::Array(to)), Value::Array(from)) => to.extend(from.iter().cloned()),
            _ => {
                to.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml.bak", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn imports_are_followed_once() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        let main =
            write("config.toml", "version = 2\nimports = [\"conf.d/*.toml\", \"./config.toml\"]\n");
        write("conf.d/b.toml", "[grpc]\naddress = \"/b.sock\"\n");
        write("conf.d/a.toml", "imports = [\"../config.toml\"]\n[grpc]\naddress = \"/a.sock\"\n");
        write("conf.d/c.bak", "not TOML");
        let loaded = load(&main, true).unwrap().unwrap().unwrap();
        assert_eq!(loaded.files.len(), 3);
        assert_eq!((loaded.version(), loaded.socket()), (2, Some("/b.sock".into())));
        assert_eq!(socket_in(&main), Some("/b.sock".into()));

        write("conf.d/b.toml", "a = 1\n[b\n");
        let error = load(&main, true).unwrap().unwrap_err();
        assert!(error.contains("conf.d/b.toml, line 2: "), "{error}");
    }

    #[test]
    fn only_the_usual_file_may_be_missing() {
        let missing = Path::new("/nonexistent/config.toml");
        assert_eq!(load(missing, false), Some(Ok(None)));
        assert!(load(missing, true).unwrap().unwrap_err().contains("/nonexistent/config.toml"));
    }

    #[test]
    fn releases_merge_in_their_own_ways() {
        let file = |text: &str| File { path: "x".into(), table: toml::from_str(text).unwrap() };
        let files = vec![
            file("version = 2\n[plugins.p]\na = 1\nl = [1]\n[plugins.q]\nx = 1\n[grpc]\nuid = 1\n"),
            file("[plugins.p]\nb = 2\nl = [2]\n[grpc]\ngid = 2\n"),
        ];
        let merged = |release| {
            let mut loaded = Loaded { files: files.clone(), merged: Table::new() };
            loaded.merge(release);
            loaded.merged
        };
        let one = merged(Some((1, 7)));
        assert_eq!(one["plugins"]["p"].get("a"), None);
        assert_eq!(one["plugins"]["q"]["x"].as_integer(), Some(1));
        assert_eq!(one["grpc"]["uid"].as_integer(), Some(1));
        let two = merged(Some((2, 0)));
        assert_eq!(two["plugins"]["p"]["a"].as_integer(), Some(1));
        assert_eq!(two["plugins"]["p"]["l"].as_array().unwrap().len(), 2);
        assert_eq!(merged(None), one);
    }
}
