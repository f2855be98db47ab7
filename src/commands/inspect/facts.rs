//! What a program is and needs, read off its binary without running it.

use anyhow::Result;
use lighter::cache::{Digest, Kind};
use lighter::engine::is_server_3;
use serde::Serialize;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use super::offer;
use crate::commands::world::World;

/// Bytes of a page of memory, unless a module says otherwise.
const PAGE: u64 = 65536;

/// A module or component.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    /// Bytes of all, of the functions' code, of the data that memories begin with, and of custom sections, such as names
    /// and what debuggers read; those of a component's modules as well.
    pub(super) bytes: u64,
    pub(super) code_bytes: u64,
    pub(super) data_bytes: u64,
    pub(super) custom_bytes: u64,
    /// The version of WASI that it imports: `0.0` and `0.1` are previews 0 and 1.
    pub(super) wasi: Option<String>,
    /// What kind of program it is: `wasi:cli/command`, for example.
    pub(super) world: Option<&'static str>,
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
    /// Memories of its own, of all its modules.
    pub(super) memories: Vec<Memory>,
    /// Proposals beyond the first WebAssembly that it cannot do without.
    pub(super) features: Vec<String>,
    /// Imports that Lighter does not provide.
    pub(super) missing: Vec<String>,
    /// Why it would not be compiled, if it would not.
    pub(super) invalid: Option<String>,
}

/// A memory, in bytes.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    pub(super) minimum: u64,
    /// `None`: as far as its addresses go.
    pub(super) maximum: Option<u64>,
    pub(super) shared: bool,
}

impl Facts {
    /// Of a binary module or component.
    ///
    /// # Errors
    /// Where it cannot be read at all; what is wrong within is [`Facts::invalid`].
    pub(super) fn of(wasm: &[u8], kind: Kind) -> Result<Self> {
        let World { imports, exports } = World::of(wasm)?;
        let missing = offer::missing(kind, &imports, &exports);
        let mut facts = Self {
            kind,
            digest: Digest::of(wasm),
            bytes: wasm.len() as u64,
            code_bytes: 0,
            data_bytes: 0,
            custom_bytes: 0,
            wasi: offer::wasi(kind, &imports, &exports),
            world: offer::world(kind, &exports),
            imports,
            exports,
            memories: Vec::new(),
            features: Vec::new(),
            missing,
            invalid: None,
        };
        for payload in Parser::new(0).parse_all(wasm) {
            let length = |range: std::ops::Range<usize>| range.len() as u64;
            match payload? {
                Payload::CodeSectionStart { range, .. } => facts.code_bytes += length(range),
                Payload::DataSection(section) => facts.data_bytes += length(section.range()),
                Payload::CustomSection(section) => facts.custom_bytes += length(section.range()),
                Payload::MemorySection(section) => {
                    for memory in section {
                        facts.memories.push(Memory::of(&memory?));
                    }
                }
                _ => {}
            }
        }
        if all_features().validate_all(wasm).is_ok() {
            facts.features = features(wasm);
        }
        let is_of_3 = is_server_3(facts.exports.iter().map(String::as_str));
        facts.invalid = check(wasm, kind, &facts.features, is_of_3).err();
        Ok(facts)
    }
}

impl Memory {
    fn of(ty: &wasmparser::MemoryType) -> Self {
        let page = ty.page_size_log2.map_or(PAGE, |log2| 1_u64.checked_shl(log2).unwrap_or(PAGE));
        Self {
            minimum: ty.initial.saturating_mul(page),
            maximum: ty.maximum.map(|pages| pages.saturating_mul(page)),
            shared: ty.shared,
        }
    }
}

/// Whether the engine, as containers have it, would take it; those of WASI 0.3 have more of it.
fn check(wasm: &[u8], kind: Kind, features: &[String], is_of_3: bool) -> Result<(), String> {
    let one_line = |e: &dyn std::fmt::Display| format!("{e:#}").replace('\n', " ");
    if kind == Kind::Component {
        all_features().validate_all(wasm).map_err(|e| one_line(&e))?;
        // Extensions of the component model that the engine has switched off.
        let off = |name: &&String| name.starts_with("cm-") && !(is_of_3 && *name == "cm-async");
        if let Some(feature) = features.iter().find(off) {
            return Err(format!("it needs {feature}, which is not supported"));
        }
    }
    let config = lighter::engine::Settings::default().to_config();
    let engine = wasmtime::Engine::new(&config).map_err(|e| one_line(&e))?;
    let module =
        |bytes: &[u8]| wasmtime::Module::validate(&engine, bytes).map_err(|e| one_line(&e));
    if kind == Kind::Module {
        return module(wasm);
    }
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::ModuleSection { unchecked_range, .. } = payload.map_err(|e| one_line(&e))? {
            module(&wasm[unchecked_range])?;
        }
    }
    Ok(())
}

fn all_features() -> Validator {
    Validator::new_with_features(WasmFeatures::all())
}

/// The features without which it is not valid, found by leaving out ever fewer of them.
fn features(wasm: &[u8]) -> Vec<String> {
    let all = WasmFeatures::all();
    let of_all = all.iter_names().filter(|(_, feature)| !WasmFeatures::MVP.contains(*feature));
    let candidates: Vec<_> = of_all.collect();
    let is_valid_without = |left_out: &[(&str, WasmFeatures)]| {
        let features = left_out.iter().fold(all, |all, (_, feature)| all.difference(*feature));
        Validator::new_with_features(features).validate_all(wasm).is_ok()
    };
    // What is valid with fewer features is valid with more, so that most are ruled out many at a time.
    let mut needed = Vec::new();
    let mut pending = vec![candidates.as_slice()];
    while let Some(group) = pending.pop() {
        match group {
            group if group.is_empty() || is_valid_without(group) => {}
            [(name, _)] => needed.push(name.to_lowercase().replace('_', "-")),
            group => {
                let (first, second) = group.split_at(group.len() / 2);
                pending.extend([second, first]);
            }
        }
    }
    // Of a component that goes without saying.
    needed.retain(|name| name != "component-model");
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str, kind: Kind) -> Facts {
        Facts::of(&wat::parse_str(text).unwrap(), kind).unwrap()
    }

    #[test]
    fn a_modules_sizes_memory_and_features() {
        let module = facts(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
                (import "env" "now" (func (result i64)))
                (memory (export "memory") 2 3)
                (data (i32.const 0) "0123456789")
                (func (export "_start")
                    (memory.fill (i32.const 0) (i32.const 0) (i32.const 1))
                    (drop (i32.extend8_s (i32.const 1)))))"#,
            Kind::Module,
        );
        let memory = Memory { minimum: 131072, maximum: Some(196608), shared: false };
        assert_eq!(module.memories, [memory]);
        assert_eq!(module.features, ["sign-extension", "bulk-memory"]);
        assert_eq!(module.missing, ["env.now"]);
        assert_eq!((module.wasi.as_deref(), module.world), (Some("0.1"), Some("command")));
        assert!(module.data_bytes >= 10 && module.code_bytes > 10 && module.invalid.is_none());
    }

    #[test]
    fn what_would_not_be_compiled_says_why() {
        let memory64 = facts("(module (func (export \"f\") i32.const 1))", Kind::Module);
        let why = memory64.invalid.unwrap();
        assert!(why.contains("values remaining on stack"), "{why}");
        assert!(memory64.features.is_empty());
    }
}
