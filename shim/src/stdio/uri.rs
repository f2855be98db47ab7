//! How containerd names where a stream goes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::task::{Code, Error};

/// Where a stream goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Null,
    /// A fifo, or a file that is there.
    Path(PathBuf),
    /// `file://`: made if it is not there.
    File(PathBuf),
    /// `binary://`: a program that logs it.
    Program(Program),
}

/// A program and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Absolute.
    pub(super) path: PathBuf,
    /// Names and values of the URI's query, one after the other.
    pub(super) args: Vec<OsString>,
}

impl Target {
    /// Reads what containerd gives for a stream: a path, a URI, or nothing.
    pub(super) fn parse(uri: &str) -> Result<Self, Error> {
        if uri.is_empty() {
            return Ok(Self::Null);
        }
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Ok(Self::Path(uri.into()));
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let refuse = |why: &str| {
            Err(Error::new(Code::InvalidArgument, format!("{why} of the stream {uri:?}")))
        };
        match scheme {
            "fifo" => Ok(Self::Path(unescaped(path).into())),
            "file" => Ok(Self::File(unescaped(path).into())),
            "binary" if path.starts_with('/') => {
                let program = Program { path: unescaped(path).into(), args: arguments(query) };
                Ok(Self::Program(program))
            }
            "binary" => refuse("not an absolute path to the logging program"),
            _ => refuse("use a path, file:// or binary://: unknown scheme"),
        }
    }
}

/// The arguments that containerd's runtimes make of a query: each name once, with its first value.
fn arguments(query: &str) -> Vec<OsString> {
    let mut pairs: Vec<(OsString, OsString)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (form_unescaped(name), form_unescaped(value));
        if !pairs.iter().any(|(other, _)| *other == name) {
            pairs.push((name, value));
        }
    }
    pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()
}

/// As in a path, and a plus sign stands for a space.
fn form_unescaped(text: &str) -> OsString {
    unescaped(&text.replace('+', "%20"))
}

/// `text` with `%41` and its like resolved.
fn unescaped(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex =
            after.get(..2).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_all_kinds() {
        let parse = |uri| Target::parse(uri).expect(uri);
        assert_eq!(parse(""), Target::Null);
        assert_eq!(parse("/run/f"), Target::Path("/run/f".into()));
        assert_eq!(parse("fifo:///run/f"), Target::Path("/run/f".into()));
        assert_eq!(parse("file:///a%20b/c?x=1"), Target::File("/a b/c".into()));
        let refused = ["http://x", "binary://log", "binary://"];
        for uri in refused {
            assert_eq!(Target::parse(uri).expect_err(uri).code, Code::InvalidArgument);
        }
    }

    #[test]
    fn a_query_becomes_arguments() {
        let args = |uri| match Target::parse(uri).expect(uri) {
            Target::Program(program) => program.args,
            other => panic!("{other:?}"),
        };
        assert_eq!(args("binary:///bin/log"), [""; 0]);
        assert_eq!(
            args("binary:///bin/log?to=%2Fvar%2Fa+b&flag&to=other&empty=#fragment"),
            ["to", "/var/a b", "flag", "", "empty", ""]
        );
    }
}
