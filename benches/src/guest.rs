//! What is run: WebAssembly, and a program of Linux that does the same.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// A program in both forms.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Part of the image's name, and the module's.
    pub name: String,
    /// The module.
    pub wasm: Vec<u8>,
    /// Its arguments, without the first.
    pub args: Vec<String>,
    /// The program of Linux.
    pub native: Vec<String>,
}

/// Prints a line and ends: a module of about 20 KB, nearly all of it code that is not run.
pub fn hello() -> Result<Guest> {
    let mut filler = String::new();
    for n in 0..1000 {
        writeln!(
            filler,
            "(func (param i32) (result i32) (i32.mul (i32.add (local.get 0) (i32.const {})) (i32.const {})))",
            n * 7919,
            n + 3
        )?;
    }
    let text = include_str!("../../tests/guests/hello.wat");
    let end = text.rfind(')').context("a module ends")?;
    let wasm = wat::parse_str(format!("{}{filler})", &text[..end]))?;
    Ok(Guest {
        name: "hello".to_owned(),
        wasm,
        args: Vec::new(),
        native: vec!["/bin/echo".to_owned(), "hello".to_owned()],
    })
}

/// Prints a line and sleeps until it is killed.
pub fn idle() -> Result<Guest> {
    let wait = "1000000".to_owned();
    Ok(Guest {
        name: "idle".to_owned(),
        wasm: wat::parse_str(include_str!("../../tests/guests/sleep.wat"))?,
        args: vec![wait.clone()],
        native: ["/bin/sh", "-c"]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("echo sleeping; exec sleep {wait}")])
            .collect(),
    })
}

/// The same after it has run much code: what its compiled code takes is seen, and whether containers share it.
pub fn worked() -> Result<Guest> {
    const FUNCTIONS: u32 = 600;
    let (mut functions, mut calls) = (String::new(), String::new());
    for n in 0..FUNCTIONS {
        write!(functions, "(func $work{n} (param i32) (result i32) (local.get 0)")?;
        for step in 0..120 {
            let number = (n * 120 + step) * 7919 + 3;
            write!(functions, " (i32.const {number}) i32.xor (i32.const {}) i32.mul", number | 1)?;
        }
        functions.push_str(")\n");
        writeln!(calls, "(drop (call $work{n} (i32.const {n})))")?;
    }
    let text = include_str!("../../tests/guests/sleep.wat");
    let begin = "(func (export \"_start\")";
    let (before, after) = text.split_once(begin).context("a guest has a beginning")?;
    let wasm = wat::parse_str(format!("{before}{functions}{begin}\n{calls}{after}"))?;
    Ok(Guest { name: "worked".to_owned(), wasm, ..idle()? })
}

/// CPython, which says its version: 26 MB.
pub fn big(root: &Path) -> Result<Guest> {
    let path = root.join("target/guests/python-3.12.0.wasm");
    let wasm = std::fs::read(&path)
        .with_context(|| format!("read {}, which `hack/guests` fetches", path.display()))?;
    let native = vec!["/bin/echo".to_owned(), "hello".to_owned()];
    Ok(Guest { name: "python".to_owned(), wasm, args: vec!["--version".to_owned()], native })
}

/// Prints a line, computes for a second or so, prints another.
pub fn spin() -> Result<Guest> {
    let wasm = wat::parse_str(include_str!("../guests/spin.wat"))?;
    let native = vec!["/bin/echo".to_owned(), "hello".to_owned()];
    Ok(Guest { name: "spin".to_owned(), wasm, args: Vec::new(), native })
}

/// An HTTP server that answers each request with a line: a component of Rust, of about 100 KB.
pub fn greeter(root: &Path) -> Result<Guest> {
    let path = root.join("target/guests/greeter.wasm");
    let wasm = std::fs::read(&path)
        .with_context(|| format!("read {}, which `hack/guests` builds", path.display()))?;
    Ok(Guest { name: "greeter".to_owned(), wasm, args: Vec::new(), native: Vec::new() })
}

impl Guest {
    /// The same with other bytes, which do nothing: nobody has its compiled code.
    pub fn distinct(&self, number: usize) -> Self {
        let text = format!("{number:08}");
        // A section for tools: its size, the size of its name, its name, its contents.
        let section = [&[0, 2 + 8, 1, b'n'], text.as_bytes()].concat();
        Self {
            name: format!("{}-{number}", self.name),
            wasm: [self.wasm.as_slice(), &section].concat(),
            ..self.clone()
        }
    }
}
