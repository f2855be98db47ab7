//! What a file that shall be run is: WebAssembly, or why not.

use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use crate::config::CompileConfig;
use crate::error::{Refusal, Result};

use super::digest::Digest;

/// A module as its user names it.
#[derive(Clone, Copy, Debug)]
pub struct Wasm<'a> {
    /// Opened for reading; its offset is neither used nor moved.
    pub file: &'a File,
    /// Its name in messages.
    pub name: &'a str,
    /// The container's root directory as the caller sees it. The digest of a file on the same
    /// filesystem as it, or as the store, is remembered; any other file is read each time, because its filesystem (a volume)
    /// may be of the container's making, and so may its inode numbers and times.
    pub root: Option<&'a Path>,
}

impl Wasm<'_> {
    /// A refusal of the same module under another name, as one under ours.
    pub(super) fn rename(&self, refusal: Refusal) -> Refusal {
        let own = format!("{:?}: ", self.name);
        let message = match refusal.message.split_once("\": ") {
            Some((other, rest)) if other.starts_with('"') => own + rest,
            _ => refusal.message,
        };
        Refusal { cause: refusal.cause, message }
    }
}

/// How a program is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A core module, binary.
    Module,
    /// A component, binary.
    Component,
    /// Either, as text.
    Text,
}

/// What `fstat` tells of the module.
pub(super) type Facts = std::fs::Metadata;

/// Checks what can be checked without reading: the file's type and size.
pub(super) fn check(wasm: &Wasm<'_>, limits: &CompileConfig) -> Result<Facts> {
    let name = wasm.name;
    let facts = wasm.file.metadata().map_err(|e| Refusal::system(format!("{name:?}: stat"), e))?;
    let kind = facts.file_type();
    let other = match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "",
    };
    if !other.is_empty() {
        return Err(Refusal::denied(format!("{name:?}: is {other}, not a WebAssembly file")));
    }
    if facts.len() > limits.max_module_bytes {
        return Err(Refusal::denied(format!(
            "{name:?}: has {} bytes, more than the {} that compile.max_module_bytes allows",
            facts.len(),
            limits.max_module_bytes
        )));
    }
    Ok(facts)
}

/// Checks the first bytes, and reads the whole for its digest.
pub(super) fn read(wasm: &Wasm<'_>, facts: &Facts) -> Result<Digest> {
    let name = wasm.name;
    let failed = |e| Refusal::system(format!("{name:?}: read"), e);
    let mut head = [0; 4096];
    let len = wasm.file.read_at(&mut head, 0).map_err(failed)?;
    form_of(&head[..len]).map_err(|why| Refusal::denied(format!("{name:?}: {why}")))?;
    Digest::of_file(wasm.file, facts.size(), |_| Ok(())).map_err(failed)
}

/// Tells the form of a program from its first bytes: all, or at least the first 4096.
///
/// # Errors
/// Says what it is instead.
pub fn form_of(head: &[u8]) -> Result<Form, String> {
    const ELF_OSABI: usize = 7;
    // What Wasmtime puts there in compiled code.
    const OSABI_WASMTIME: u8 = 200;

    if head.is_empty() {
        return Err("the file is empty".into());
    }
    if head.starts_with(b"\x7fELF") {
        return Err(match head.get(ELF_OSABI) {
            Some(&OSABI_WASMTIME) => {
                "compiled code is not accepted from images: ship the .wasm".into()
            }
            _ => "is a native program (ELF), not WebAssembly".into(),
        });
    }
    if let Some(version) = head.strip_prefix(b"\0asm") {
        return match version {
            [1, 0, 0, 0, ..] => Ok(Form::Module),
            [13, 0, 1, 0, ..] => Ok(Form::Component),
            [a, b, c, d, ..] => Err(format!(
                "is WebAssembly of an unknown version (bytes {a:02x} {b:02x} {c:02x} {d:02x})"
            )),
            _ => Err("is truncated: WebAssembly's header has 8 bytes".into()),
        };
    }
    if b"\0asm".starts_with(head) {
        return Err("is truncated: WebAssembly's header has 8 bytes".into());
    }
    if is_text(head) {
        return Ok(Form::Text);
    }
    if head.starts_with(b"#!") {
        return Err("is a script, not WebAssembly".into());
    }
    let shown = head[..head.len().min(4)].escape_ascii();
    Err(format!("is not WebAssembly: it starts with \"{shown}\", neither \"\\x00asm\" nor text"))
}

/// Whether the first thing after space and comments is a parenthesis.
fn is_text(head: &[u8]) -> bool {
    let mut rest = head.trim_ascii_start();
    loop {
        if let Some(comment) = rest.strip_prefix(b";;") {
            match comment.iter().position(|&c| c == b'\n') {
                Some(end) => rest = comment[end..].trim_ascii_start(),
                // Comments all the way: let the parser judge.
                None => return std::str::from_utf8(&comment[..comment.len().min(64)]).is_ok(),
            }
        } else if rest.starts_with(b"(;") {
            match rest.windows(2).position(|w| w == b";)") {
                Some(end) => rest = rest[end + 2..].trim_ascii_start(),
                None => return true,
            }
        } else {
            return rest.starts_with(b"(");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(form_of(b"\0asm\x01\0\0\0"), Ok(Form::Module));
        assert_eq!(form_of(b"\0asm\x0d\0\x01\0rest"), Ok(Form::Component));
        assert_eq!(form_of(b"(module)"), Ok(Form::Text));
        assert_eq!(form_of(b" ;; a comment\n\n(; and (another ;)\n(component)"), Ok(Form::Text));
    }

    #[test]
    fn each_other_thing_has_its_own_sentence() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "empty"),
            (b"\0as", "truncated"),
            (b"\0asm\x01\0", "truncated"),
            (b"\0asm\x02\0\0\0", "unknown version (bytes 02 00 00 00)"),
            (b"\x7fELF\x02\x01\x01\xc8", "compiled code is not accepted"),
            (b"\x7fELF\x02\x01\x01\x00", "native program"),
            (b"#!/bin/sh\n", "script"),
            (b"PK\x03\x04", "starts with \"PK\\x03\\x04\""),
            (b"hello", "not WebAssembly"),
            (b"   ", "not WebAssembly"),
        ];
        for (head, words) in cases {
            let error = form_of(head).unwrap_err();
            assert!(error.contains(words), "{head:?}: {error}");
        }
    }
}
