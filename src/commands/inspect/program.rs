//! What is said of a program.

use std::collections::BTreeMap;

use lighter::cache::{Key, Kind, Store};
use lighter::config::Config;
use lighter::engine::Settings;
use lighter::error::Refusal;
use lighter::plan::HttpSetting;
use serde::Serialize;

use super::facts::{Facts, Memory};
use super::lines::{Lines, list};
use crate::commands::human_bytes;

/// Names in a list of the exports of a core module, which may be endless.
const MAX_NAMES: usize = 12;

/// A program and how this node takes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Program {
    /// The file's name, or where it is in an image.
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) facts: Facts,
    /// Whether a container of it would start.
    pub(super) runs: Runs,
    /// Its compiled code in this node's cache.
    pub(super) cached: Cached,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Runs {
    Yes,
    /// With the name of a function of its own behind `#`.
    WithFunction,
    No(String),
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Cached {
    /// Bytes of compiled code.
    Bytes(u64),
    No,
    /// Nobody but its owner may look into it.
    Unknown(String),
}

impl Program {
    pub(super) fn new(name: &str, facts: Facts, config: &Config) -> Self {
        let (runs, cached) = (runs(&facts), cached(&facts, config));
        Self { name: name.to_owned(), facts, runs, cached }
    }
}

fn runs(facts: &Facts) -> Runs {
    if let Some(why) = &facts.invalid {
        return Runs::No(format!("it is not valid: {why}"));
    }
    if !facts.missing.is_empty() {
        let missing = shortened(&facts.missing);
        return Runs::No(format!("it imports what Lighter does not provide: {missing}"));
    }
    match (facts.kind, facts.world) {
        (Kind::Component, Some("wasi:cli/command" | "wasi:http/proxy" | "wasi:http/service"))
        | (Kind::Module, Some("command")) => Runs::Yes,
        _ if facts.exports.is_empty() => Runs::No("it exports nothing that could be called".into()),
        _ => Runs::WithFunction,
    }
}

fn cached(facts: &Facts, config: &Config) -> Cached {
    let entries = match Store::existing(&config.cache) {
        Ok(None) => return Cached::No,
        Ok(Some(store)) => store.entries().map_err(|e| e.to_string()),
        Err(why) => Err(why),
    };
    let key = Key::new(&facts.digest, &Settings::default());
    match entries {
        Ok(entries) => match entries.into_iter().find(|entry| entry.key == key) {
            Some(entry) if entry.meta.is_some() => Cached::Bytes(entry.bytes),
            _ => Cached::No,
        },
        Err(why) => Cached::Unknown(why),
    }
}

/// For people.
pub(super) fn lines(program: &Program) -> Lines {
    let facts = &program.facts;
    let kind = match facts.kind {
        Kind::Module => "core module",
        Kind::Component => "component",
    };
    let mut lines = vec![
        ("program", harmless(&program.name)),
        ("kind", kind.to_owned()),
        ("digest", format!("sha256:{}", facts.digest)),
        ("size", size(facts)),
        ("world", world(facts)),
    ];
    list(&mut lines, "imports", imports(facts));
    list(&mut lines, "exports", exports(facts));
    list(&mut lines, "memory", facts.memories.iter().map(memory).collect());
    if !facts.features.is_empty() {
        lines.push(("features", facts.features.join(", ")));
    }
    let runs = match &program.runs {
        Runs::Yes if facts.world == Some("wasi:http/proxy") => {
            "yes, as an HTTP server: all that it imports is provided".to_owned()
        }
        Runs::Yes if facts.world == Some("wasi:http/service") => format!(
            "yes, as an HTTP server, with the annotation {}=on: all that it imports is provided",
            HttpSetting::P3.annotation()
        ),
        Runs::Yes => "yes: all that it imports is provided".to_owned(),
        Runs::WithFunction => {
            let name = program.name.rsplit('/').next().unwrap_or_default();
            let name = harmless(name);
            format!(
                "as \"/{name}#FUNCTION\", with one of its exports that takes no parameters: it is no command"
            )
        }
        Runs::No(why) => format!("no: {}", harmless(why)),
    };
    lines.push(("runs", runs));
    let cached = match &program.cached {
        Cached::Bytes(bytes) => format!("compiled, {} of code", human_bytes(*bytes)),
        Cached::No => "not compiled yet: the first container of it waits for that".to_owned(),
        Cached::Unknown(why) => format!("not known: {why}"),
    };
    lines.push(("cache", cached));
    lines
}

fn size(facts: &Facts) -> String {
    let parts = [
        (facts.code_bytes, "code"),
        (facts.data_bytes, "data"),
        (facts.custom_bytes, "names and debugging"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, what)| format!("{} {what}", human_bytes(bytes)))
        .collect();
    let all = human_bytes(facts.bytes);
    if parts.is_empty() { all } else { format!("{all}, of it {}", parts.join(", ")) }
}

fn world(facts: &Facts) -> String {
    let wasi = match (facts.wasi.as_deref(), facts.kind) {
        (Some("0.0"), Kind::Module) => "WASI preview 0".to_owned(),
        (Some("0.1"), Kind::Module) => "WASI preview 1".to_owned(),
        (Some(versions), _) => format!("WASI {}", harmless(versions)),
        (None, _) => "no WASI".to_owned(),
    };
    match facts.world {
        Some(world) => format!("{world} ({wasi})"),
        None => format!("its own ({wasi})"),
    }
}

/// A component's by package, a module's by module.
fn imports(facts: &Facts) -> Vec<String> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for import in &facts.imports {
        let (group, name) = match facts.kind {
            Kind::Component => in_package(import),
            Kind::Module => match import.split_once('.') {
                Some((module, name)) => (module.to_owned(), name.to_owned()),
                None => (String::new(), import.clone()),
            },
        };
        groups.entry(group).or_default().push(name);
    }
    let line = |(group, names): (String, Vec<String>)| {
        let names = names.join(", ");
        harmless(&if group.is_empty() { names } else { format!("{group}: {names}") })
    };
    groups.into_iter().map(line).collect()
}

/// `wasi:cli/exit@0.2.3` as `wasi:cli@0.2.3` and `exit`.
fn in_package(name: &str) -> (String, String) {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    match path.split_once('/') {
        Some((package, interface)) if version.is_empty() => (package.into(), interface.into()),
        Some((package, interface)) => (format!("{package}@{version}"), interface.into()),
        None => (String::new(), name.to_owned()),
    }
}

fn exports(facts: &Facts) -> Vec<String> {
    match facts.exports.is_empty() {
        true => Vec::new(),
        false => vec![harmless(&shortened(&facts.exports))],
    }
}

fn shortened(names: &[String]) -> String {
    let shown = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}

fn memory(memory: &Memory) -> String {
    let least = human_bytes(memory.minimum);
    let most = match memory.maximum {
        Some(most) if most == memory.minimum => "and no more".to_owned(),
        Some(most) => format!("at most {}", human_bytes(most)),
        None => "as much more as its limits allow".to_owned(),
    };
    let shared = if memory.shared { ", shared between threads" } else { "" };
    format!("{least} to begin with, {most}{shared}")
}

/// Names are their maker's, and go to a terminal.
pub(super) fn harmless(text: &str) -> String {
    Refusal::invalid(text).message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(wat: &str, kind: Kind) -> Program {
        let mut config = Config::default();
        config.cache.dir = "/nonexistent".into();
        let facts = Facts::of(&wat::parse_str(wat).unwrap(), kind).unwrap();
        Program::new("dir/app.wasm", facts, &config)
    }

    fn text(program: &Program, name: &str) -> String {
        let found = lines(program).into_iter().find(|(other, _)| *other == name);
        found.map(|(_, text)| text).unwrap_or_default()
    }

    #[test]
    fn what_runs_and_what_does_not() {
        let command = program("(module (func (export \"_start\")))", Kind::Module);
        assert_eq!(command.runs, Runs::Yes);
        assert_eq!(command.cached, Cached::No);
        let library = program("(module (func (export \"add\")))", Kind::Module);
        assert!(text(&library, "runs").starts_with("as \"/app.wasm#FUNCTION\""));
        let needy = program(
            "(module (import \"env\" \"f\" (func)) (func (export \"_start\")))",
            Kind::Module,
        );
        assert!(text(&needy, "runs").ends_with("does not provide: env.f"), "{:?}", needy.runs);
        let empty = program("(component)", Kind::Component);
        assert!(text(&empty, "runs").starts_with("no: it exports nothing"));
    }

    #[test]
    fn imports_are_grouped() {
        let component = program(
            r#"(component
                (import "wasi:cli/exit@0.2.3" (instance))
                (import "wasi:cli/stdin@0.2.3" (instance))
                (import "a:b/c" (instance)))"#,
            Kind::Component,
        );
        assert_eq!(imports(&component.facts), ["a:b: c", "wasi:cli@0.2.3: exit, stdin"]);
        assert_eq!(text(&component, "world"), "its own (WASI 0.2.3)");
        let many: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
        assert!(shortened(&many).ends_with(", f11, and 8 more"));
    }
}
