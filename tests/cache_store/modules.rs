//! What is accepted and what is refused, each with its own sentence.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use lighter::cache::Wasm;
use lighter::engine::Settings;
use lighter::error::{Cause, Refusal};

use crate::world::*;

fn refusal(world: &World, file: &File) -> Refusal {
    let wasm = Wasm { file, name: "/app.wasm", root: None };
    let refusal = world.cache().get(&wasm, &Settings::default()).unwrap_err();
    assert!(refusal.message.starts_with("\"/app.wasm\": "), "{refusal}");
    refusal
}

fn refused(content: &[u8]) -> Refusal {
    let world = World::new();
    let path = world.file("app.wasm", content);
    refusal(&world, &File::open(path).unwrap())
}

#[test]
pub fn other_files_are_denied() {
    let world = World::new();
    let precompiled = code(&get(&world.cache(), &world.file("a.wasm", &module(1))).unwrap());
    let native = std::fs::read("/bin/true").unwrap();
    let cases: &[(&[u8], &str)] = &[
        (b"", "the file is empty"),
        (b"\0asm\x01", "truncated"),
        (&native, "is a native program (ELF), not WebAssembly"),
        (&precompiled, "compiled code is not accepted from images: ship the .wasm"),
        (b"#!/bin/sh\n", "is a script"),
        (b"GIF89a", "is not WebAssembly"),
    ];
    for (content, words) in cases {
        let refusal = refused(content);
        assert_eq!(refusal.cause, Cause::Denied, "{refusal}");
        assert!(refusal.message.contains(words), "{refusal}");
    }
}

#[test]
pub fn what_is_no_regular_file_is_denied() {
    let world = World::new();
    let pipe = world.dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut options = File::options();
    let pipe = options.read(true).custom_flags(libc::O_NONBLOCK).open(pipe).unwrap();
    assert!(refusal(&world, &pipe).message.contains("a named pipe"));
    assert!(refusal(&world, &File::open("/").unwrap()).message.contains("a directory"));
    assert!(refusal(&world, &File::open("/dev/zero").unwrap()).message.contains("a device"));
}

#[test]
pub fn an_enormous_file_is_not_read() {
    let world = World::new();
    let path = world.file("app.wasm", b"\0asm\x01\0\0\0");
    let file = File::options().read(true).write(true).open(path).unwrap();
    file.set_len(10 << 30).unwrap();
    let start = Instant::now();
    let refusal = refusal(&world, &file);
    assert!(refusal.message.contains("compile.max_module_bytes"), "{refusal}");
    assert!(start.elapsed().as_millis() < 500);
}

#[test]
pub fn errors_of_the_compiler_are_passed_on() {
    let invalid = wat::parse_str("(module (func (result i32)))").unwrap();
    let error = refused(&invalid);
    assert_eq!(error.cause, Cause::Invalid);
    assert!(
        error.message.contains("type mismatch") && error.message.contains("at offset"),
        "{error}"
    );
    let text = refused(b"(module\n  (func (i32.cons 1)))").message;
    assert!(text.contains("unknown operator") && text.contains("at line:column 2:"), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

#[test]
pub fn mutated_modules_are_compiled_or_refused() {
    let world = World::new();
    let good = wat::parse_str(
        "(module (import \"a\" \"b\" (func (param i64))) (memory 1 4) (table 3 funcref) (global (mut i32) (i32.const 4))
           (func (export \"f\") (param i32) (result i32) (loop (br_if 0 (local.get 0))) (i32.load (local.get 0)))
           (elem (i32.const 0) 0 1) (data (i32.const 8) \"text\"))",
    )
    .unwrap();
    let mut seed = 7u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let (mut compiled, mut refused) = (0, 0);
    for round in 0..150 {
        let mut bytes = good.clone();
        if round % 3 == 0 {
            bytes.truncate(8 + random(bytes.len() - 8));
        } else {
            let at = 8 + random(bytes.len() - 8);
            bytes[at] ^= 1 << random(8);
        }
        match get(&world.cache(), &world.file("app.wasm", &bytes)) {
            Ok(_) => compiled += 1,
            Err(refusal) => {
                assert_ne!(refusal.cause, Cause::System, "{refusal}: {bytes:02x?}");
                refused += 1;
            }
        }
    }
    assert!(compiled > 10 && refused > 50, "{compiled} compiled, {refused} refused");
    world.assert_tidy();
}

#[test]
pub fn limits_are_named() {
    let mut world = World::new();
    let path = world.file("app.wasm", &large_module());
    let defaults = world.config.compile.clone();

    world.config.compile.max_memory_bytes = 100 << 20;
    let error = get(&world.cache(), &path).unwrap_err().message;
    assert!(error.contains("compile.max_memory_bytes (104857600)"), "{error}");

    world.config.compile = defaults.clone();
    world.config.compile.cpu_seconds = 1;
    let error = get(&world.cache(), &path).unwrap_err().message;
    assert!(error.contains("compile.cpu_seconds (1)"), "{error}");

    world.config.compile = defaults.clone();
    world.config.compile.timeout_seconds = 0;
    let error = get(&world.cache(), &path).unwrap_err().message;
    assert!(error.contains("compile.timeout_seconds (0)"), "{error}");

    world.config.compile = defaults;
    world.assert_tidy();
    assert_eq!(world.names("objects"), [""; 0]);
}

#[test]
pub fn a_compiler_of_another_release_is_told_from_a_bad_module() {
    let mut world = World::new();
    let path = world.file("app.wasm", &module(1));
    world.instead_of_compiler("echo 'unexpected argument' >&2; exit 2");
    let refusal = get(&world.cache(), &path).unwrap_err();
    assert_eq!(refusal.cause, Cause::System);
    assert!(refusal.message.contains("another release"), "{refusal}");
}
