//! The commands `lighter compile` and `lighter cache`.

use std::path::Path;
use std::process::{Command, Output};

use crate::sharing::toml_of;
use crate::world::*;

fn lighter(world: &World, args: &[&str]) -> Output {
    Command::new(LIGHTER)
        .args(args)
        .current_dir(world.dir.path())
        .env("LIGHTER_CONFIG", world.dir.path().join("config.toml"))
        .output()
        .unwrap()
}

fn ok(output: &Output) -> String {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn world() -> World {
    let world = World::new();
    world.file("config.toml", &toml_of(&world));
    world
}

#[test]
pub fn compile_writes_code_beside_the_input() {
    let world = world();
    world.file("a.wasm", &module(1));
    assert!(ok(&lighter(&world, &["compile", "a.wasm"])).starts_with("a.cwasm: "));
    ok(&lighter(&world, &["compile", "a.wasm", "-o", "b"]));
    let (a, b) = (world.dir.path().join("a.cwasm"), world.dir.path().join("b"));
    assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    world.file("bad.wasm", b"\0asm\x01\0\0\0x");
    let words = error(&lighter(&world, &["compile", "bad.wasm"]));
    assert!(words.starts_with("lighter: \"bad.wasm\": "), "{words}");
    assert!(!world.dir.path().join("bad.cwasm").exists());
    let words = error(&lighter(&world, &["compile", "."]));
    assert_eq!(words, "lighter: \".\": is a directory, not a WebAssembly file\n");
}

#[test]
pub fn the_store_is_listed_and_pruned() {
    let world = world();
    world.file("a.wasm", &module(1));
    world.file("b.wat", b"(module)");
    ok(&lighter(&world, &["cache", "warm", "a.wasm", "b.wat"]));
    let list = ok(&lighter(&world, &["cache", "ls"]));
    assert!(list.lines().count() == 3 && list.contains("  a.wasm\n"), "{list}");
    let list = ok(&lighter(&world, &["cache", "ls", "--json"]));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[1]["meta"]["name"], "b.wat");
    assert!(list[0]["code_bytes"].as_u64() > Some(100));
    assert!(ok(&lighter(&world, &["cache", "prune"])).starts_with("removed 0 entries"));
    let size = list[1]["code_bytes"].to_string();
    let removed = ok(&lighter(&world, &["cache", "prune", "--max-size", &size]));
    assert!(removed.starts_with("removed 1 entry"), "{removed}");
    assert!(ok(&lighter(&world, &["cache", "prune", "--all"])).starts_with("removed 1 entry"));
    for name in ["objects", "seals", "memos", "locks", "tmp"] {
        assert_eq!(world.names(name), [""; 0], "{name}");
    }
}

#[test]
pub fn a_wrong_configuration_is_refused_by_line_and_key() {
    let world = world();
    world.file("config.toml", b"[cache]\nsize = 3\n");
    let words = error(&lighter(&world, &["cache", "ls"]));
    assert!(words.contains("config.toml, line 2: ") && words.contains("`size`"), "{words}");
    let words = error(&lighter(&world, &["cache", "--config", "/nowhere.toml", "ls"]));
    assert!(words.contains("/nowhere.toml"), "{words}");
}

#[test]
pub fn help_and_version_tell_what_this_is() {
    let world = world();
    assert!(ok(&lighter(&world, &["--version"])).contains("\nwasmtime: 48."));
    let help = ok(&lighter(&world, &["--help"]));
    assert!(
        help.contains("compile") && help.contains("cache") && !help.contains("child"),
        "{help}"
    );
    assert!(!ok(&lighter(&world, &["compile", "--help"])).contains("--child"));
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, content).unwrap();
    encoder.finish().unwrap()
}

fn digest(content: &[u8]) -> String {
    lighter::cache::Digest::of(content).to_string()
}

#[test]
pub fn images_are_warmed() {
    let world = world();
    let config = br#"{"config":{"Entrypoint":["/bin/app#run"]}}"#;
    let layer = gzip(&tar(&[("bin/app", &module(1)), ("lib/other.wasm", &module(2))]));
    let bare = module(3);
    let descriptor = |kind: &str, content: &[u8]| serde_json::json!({"mediaType": kind, "digest": format!("sha256:{}", digest(content)), "size": content.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [
            descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer),
            descriptor("application/wasm", &bare),
        ],
    })
    .to_string();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [descriptor("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes())],
    })
    .to_string();
    let blobs = [&config[..], &layer, &bare, manifest.as_bytes()];
    let names = blobs.map(|blob| format!("blobs/sha256/{}", digest(blob)));
    let mut files: Vec<(&str, &[u8])> = vec![("index.json", index.as_bytes())];
    files.extend(names.iter().map(String::as_str).zip(blobs));

    // As a directory.
    std::fs::create_dir_all(world.dir.path().join("layout/blobs/sha256")).unwrap();
    for (name, content) in &files {
        world.file(&format!("layout/{name}"), content);
    }
    let words = ok(&lighter(&world, &["cache", "warm", "layout"]));
    assert!(words.contains("/bin/app  compiled\n"), "{words}");
    assert!(words.contains(&format!("sha256:{}  compiled\n", digest(&bare))), "{words}");
    assert!(!words.contains("other.wasm"), "{words}");

    // As an archive.
    world.file("layout.tar", &tar(&files));
    let words = ok(&lighter(&world, &["cache", "warm", "layout.tar"]));
    assert!(words.contains("/bin/app  already there\n"), "{words}");

    // As `docker save` writes it, of an image whose entrypoint is none.
    let plain = tar(&[("lib/other.wasm", &module(2)), ("etc/passwd", b"")]);
    let manifest = br#"[{"Config":"c.json","Layers":["l/layer.tar"]}]"#;
    let saved = tar(&[("manifest.json", manifest), ("c.json", b"{}"), ("l/layer.tar", &plain)]);
    world.file("saved.tar", &saved);
    let words = ok(&lighter(&world, &["cache", "warm", "saved.tar"]));
    assert!(words.contains("/lib/other.wasm  compiled\n"), "{words}");

    // A container of the image finds it.
    let app = world.file("app", &module(1));
    let origin = get(&world.cache(), Path::new(&app)).unwrap().origin;
    assert_eq!(origin, lighter::cache::Origin::Hit);
}

#[test]
pub fn warming_says_what_cannot_be_warmed_and_goes_on() {
    let world = world();
    world.file("bad.wasm", b"GIF89a");
    world.file("good.wasm", &module(1));
    world.file("empty.tar", &tar(&[("a", b"b")]));
    let output = lighter(&world, &["cache", "warm", "bad.wasm", "empty.tar", "good.wasm"]);
    let words = error(&output);
    assert!(words.contains("bad.wasm") && words.contains("empty.tar"), "{words}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("good.wasm  compiled\n"));
}
