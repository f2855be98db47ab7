//! Guests: fixtures of one behaviour each in `tests/guests`, our examples, and real programs by others.

use std::path::PathBuf;

use libtest_mimic::Trial;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::suite;
use super::trials::plain_trials;

/// The core module of fixture `name`.
///
/// # Panics
/// When there is no `tests/guests/NAME.wat`, or it does not assemble.
#[track_caller]
pub fn module(name: &str) -> Vec<u8> {
    let file = fixture(name);
    wat::parse_file(&file).unwrap_or_else(|error| panic!("assemble {}: {error}", file.display()))
}

/// The source of fixture `name`.
pub fn fixture(name: &str) -> PathBuf {
    fixtures().join(format!("{name}.wat"))
}

/// Fixture `name` as a component, which is a `wasi:cli/command`.
///
/// # Panics
/// As [`module`] and [`componentize`].
#[track_caller]
pub fn component(name: &str) -> Vec<u8> {
    componentize(&module(name))
}

/// The component that does what `module`, of WASI preview 1, does.
///
/// # Panics
/// When the module imports anything but WASI preview 1.
#[track_caller]
pub fn componentize(module: &[u8]) -> Vec<u8> {
    adapt(module, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
}

/// The component whose exports are those that `module` was built for, as a server in C is.
///
/// # Panics
/// As [`componentize`].
#[track_caller]
pub fn library(module: &[u8]) -> Vec<u8> {
    adapt(module, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
}

/// Fixture `name` as the server that it is written to be, by the interfaces that `hack/guests` has put together.
///
/// # Panics
/// As [`module`], and when the interfaces are missing or it does not fit them.
#[track_caller]
pub fn server(name: &str) -> Vec<u8> {
    serve(name, module(name))
}

/// It, with as much data more as has its memory be mapped rather than written.
///
/// # Panics
/// As [`server`].
#[track_caller]
pub fn large_server(name: &str) -> Vec<u8> {
    let file = fixture(name);
    let source = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
    let data = format!("(data $large \"{}\"))", "large".repeat(100_000));
    let (source, _) = source.rsplit_once(')').expect("the module's end");
    let module = wat::parse_str(source.to_owned() + &data)
        .unwrap_or_else(|error| panic!("assemble {}: {error}", file.display()));
    serve(name, module)
}

#[track_caller]
fn serve(name: &str, mut module: Vec<u8>) -> Vec<u8> {
    let interfaces = suite::repository().join("target/guests/wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(&interfaces)
        .unwrap_or_else(|e| panic!("read {}: {e:#}; run `hack/guests`", interfaces.display()));
    let world = resolve.select_world(&[package], Some("web")).expect("its world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .unwrap_or_else(|error| panic!("describe {name}.wat: {error:#}"));
    library(&module)
}

#[track_caller]
fn adapt(module: &[u8], adapter: &[u8]) -> Vec<u8> {
    ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| {
            encoder.validate(true).adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)
        })
        .and_then(|mut encoder| encoder.encode())
        .unwrap_or_else(|error| panic!("make a component: {error:#}"))
}

/// One of our examples, built by `hack/guests`: `hello-rust`, `hello-rust-p2`, `echo-rust`,
/// `word-count-c`, `hello-go`, `web-python`; and by `hack/guests more`: `web-js`, `web-c`.
///
/// # Panics
/// When it is not built.
#[track_caller]
pub fn example(name: &str) -> Vec<u8> {
    read(&format!("{name}.wasm"))
}

/// The guest of `tests/guests/probe`, which does from inside a container what its arguments say; `probe-p2` is
/// the same as a component, and has a network.
///
/// # Panics
/// When it is not built.
#[track_caller]
pub fn probe(name: &str) -> Vec<u8> {
    read(&format!("{name}.wasm"))
}

/// A real program, fetched by `hack/guests`; see `hack/guests.tsv`.
///
/// # Panics
/// When it is not there.
#[track_caller]
pub fn program(file: &str) -> Vec<u8> {
    read(file)
}

#[track_caller]
fn read(file: &str) -> Vec<u8> {
    let path = suite::repository().join("target/guests").join(file);
    std::fs::read(&path)
        .unwrap_or_else(|e| panic!("read {}: {e}; run `hack/guests`", path.display()))
}

fn fixtures() -> PathBuf {
    suite::repository().join("tests/guests")
}

/// The tests of the fixtures themselves.
pub fn tests() -> Vec<Trial> {
    plain_trials![every_fixture_assembles]
}

fn every_fixture_assembles() {
    let files = std::fs::read_dir(fixtures()).unwrap();
    let names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|file| Some(file.strip_suffix(".wat")?.to_owned()))
        .collect();
    assert!(!names.is_empty());
    names.iter().for_each(|name| drop(module(name)));
}
