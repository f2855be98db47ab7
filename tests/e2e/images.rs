//! The forms that images with WebAssembly have, and what is said of those that cannot be run.

use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::Trial;

use crate::support::command::{Output, run};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::{Image, digest};
use crate::support::namespace::Namespace;
use crate::support::node::Node;
use crate::support::remains::nothing_remains;
use crate::support::suite::Suite;
use crate::support::trials::trials;

const CNCF: &str = "application/wasm";
const MODULE: &str = "application/vnd.wasm.content.layer.v1+wasm";
const COMPONENT: &str = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm";

/// The tests that any containerd can run.
pub fn tests() -> Vec<Trial> {
    trials![
        a_platform_of_its_own,
        programs_of_other_processors_are_refused,
        an_image_without_anything_is_refused,
    ]
}

/// Those of layers that are WebAssembly, which containerd takes since 1.6.25 and 1.7.7; older ones refuse such an image
/// themselves.
pub fn layers() -> Vec<Trial> {
    match takes_layers() {
        true => trials![
            each_type_of_layer_runs,
            a_layer_needs_no_title,
            each_of_many_layers_is_a_file,
            files_and_layers_go_together,
            what_lighter_builds_runs,
            a_layer_is_read_once,
            starts_together_read_once,
            what_no_layer_is_for_is_named,
            what_is_no_webassembly_is_refused,
            a_layer_that_is_too_large_is_not_read,
            content_that_was_changed_is_not_kept,
        ],
        false => trials![an_old_containerd_refuses_layers],
    }
}

/// Whether this machine's containerd runs images with such layers.
pub fn takes_layers() -> bool {
    let version = Command::new("containerd").arg("--version").output();
    let text = version.map(|v| String::from_utf8_lossy(&v.stdout).into_owned()).unwrap_or_default();
    let word = text.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches('v');
        word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.to_owned())
    });
    let word = word.unwrap_or_default();
    let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let release: [u32; 3] = std::array::from_fn(|_| numbers.next().unwrap_or(0));
    match release {
        [1, 6, patch] => patch >= 25,
        [1, 7, patch] => patch >= 7,
        newer => newer >= [1, 8, 0],
    }
}

/// An image of one layer, which is its program.
fn image(name: &str, media_type: &str, wasm: &[u8]) -> Image {
    let file = format!("{name}.wasm");
    Image::new(&format!("example.test/{name}:latest"))
        .layer(media_type, wasm, Some(&file))
        .entrypoint(&[&format!("/{file}")])
}

fn hello(namespace: &Namespace<'_>, image: &Image, args: &[&str]) {
    let output = namespace.run(image, args).expect_success();
    assert_eq!(output.text(), "hello\n");
}

fn a_platform_of_its_own(namespace: &Namespace<'_>) {
    let image = Image::guest("hello", &guests::module("hello")).platform("wasi", "wasm");
    let output = namespace.run_with(&image, &["--platform", "wasi/wasm"], &[], b"");
    assert_eq!(output.expect_success().text(), "hello\n");
}

/// The header of a program for arm64, or for x86_64 where that is what this machine is.
fn foreign_program() -> (&'static str, Vec<u8>) {
    let (architecture, machine) = match std::env::consts::ARCH {
        "aarch64" => ("amd64", 62),
        _ => ("arm64", 183),
    };
    let mut elf = vec![0; 120];
    elf[..20].copy_from_slice(&[
        0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, machine, 0,
    ]);
    (architecture, elf)
}

fn programs_of_other_processors_are_refused(namespace: &Namespace<'_>) {
    let (architecture, elf) = foreign_program();
    let image = Image::new("example.test/foreign:latest")
        .file("/bin/app", &elf)
        .entrypoint(&["/bin/app"])
        .platform("linux", architecture);
    let platform = format!("linux/{architecture}");
    let error = namespace.run_with(&image, &["--platform", &platform], &[], b"").expect_failure();
    assert!(error.contains("/bin/app") && error.contains("exec format error"), "{error}");
    nothing_remains(namespace);
}

fn an_image_without_anything_is_refused(namespace: &Namespace<'_>) {
    let image = Image::new("example.test/empty:latest");
    let error = namespace.run(&image, &["/app.wasm"]).expect_failure();
    let words = "process.args[0] \"/app.wasm\": no such file or directory";
    assert!(error.contains(words), "{error}");
    let error = namespace.run(&image, &[]).expect_failure();
    assert!(error.contains("process.args: empty"), "{error}");
    nothing_remains(namespace);
}

fn an_old_containerd_refuses_layers(namespace: &Namespace<'_>) {
    let file = tempfile::NamedTempFile::new_in(Suite::get().scratch()).unwrap();
    image("hello", MODULE, &guests::module("hello")).write(file.path()).unwrap();
    let error =
        namespace.ctr(&["images", "import", file.path().to_str().unwrap()]).expect_failure();
    assert!(error.contains("mismatched image rootfs and manifest layers"), "{error}");
}

fn each_type_of_layer_runs(namespace: &Namespace<'_>) {
    hello(namespace, &image("cncf", CNCF, &guests::module("hello")), &[]);
    hello(namespace, &image("module", MODULE, &guests::module("hello")), &[]);
    hello(namespace, &image("component", COMPONENT, &guests::component("hello")), &[]);
    let wasi = image("wasi", MODULE, &guests::module("hello")).platform("wasi", "wasm");
    let output = namespace.run_with(&wasi, &["--platform", "wasi/wasm"], &[], b"");
    assert_eq!(output.expect_success().text(), "hello\n");
}

fn a_layer_needs_no_title(namespace: &Namespace<'_>) {
    let image = Image::new("example.test/untitled:latest")
        .layer(CNCF, &guests::module("hello"), None)
        .entrypoint(&["/app"]);
    for args in [&[][..], &["/srv/app.wasm", "first"], &["app.wasm"], &["app"], &["/"]] {
        hello(namespace, &image, args);
    }
    let silent =
        Image::new("example.test/silent:latest").layer(CNCF, &guests::module("hello"), None);
    hello(namespace, &silent, &[]);
    nothing_remains(namespace);
}

fn each_of_many_layers_is_a_file(namespace: &Namespace<'_>) {
    let image = Image::new("example.test/many:latest")
        .layer(MODULE, &guests::module("hello"), Some("hello.wasm"))
        .layer(MODULE, &guests::module("exit"), Some("/bin/exit.wasm"))
        .layer(MODULE, &guests::module("export"), Some("lib/export.wasm"))
        .entrypoint(&["/hello.wasm"]);
    hello(namespace, &image, &[]);
    namespace.run(&image, &["/bin/exit.wasm", "7"]).expect_status(7);
    // In PATH, by its name alone, and with an export.
    namespace.run(&image, &["exit.wasm", "8"]).expect_status(8);
    namespace.run(&image, &["/lib/export.wasm#greet"]).expect_success();
    let error = namespace.run(&image, &["/lib/other.wasm"]).expect_failure();
    for word in ["process.args[0] \"/lib/other.wasm\"", "none of them fits", "\"/bin/exit.wasm\""] {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    nothing_remains(namespace);
}

fn files_and_layers_go_together(namespace: &Namespace<'_>) {
    let image = Image::new("example.test/both:latest")
        .file("/srv/note", b"from the archive\n")
        .layer(MODULE, &guests::module("print-file"), Some("bin/print.wasm"))
        .entrypoint(&["/bin/print.wasm", "srv/note"]);
    assert_eq!(namespace.run(&image, &[]).expect_success().text(), "from the archive\n");
}

fn what_lighter_builds_runs(namespace: &Namespace<'_>) {
    let dir = tempfile::tempdir_in(Suite::get().scratch()).unwrap();
    let archive = dir.path().join("hello.tar");
    let name = "example.test/built:1";
    let mut lighter = Command::new(Suite::get().program("lighter"));
    lighter.arg("build").arg(guests::fixture("hello")).args(["-t", name, "--form", "layer"]);
    run(lighter.arg("-o").arg(&archive), b"", LIMIT).expect_success();
    let platform = ["--platform", "wasi/wasm"];
    let archive = archive.to_str().unwrap();
    namespace.uses_containers();
    let import = [&["images", "import"][..], &platform, &[archive]].concat();
    namespace.ctr(&import).expect_success();
    let runtime = crate::support::namespace::RUNTIME;
    let start = [&["run", "--rm", "--runtime", runtime][..], &platform, &[name, "built"]].concat();
    assert_eq!(namespace.ctr(&start).expect_success().text(), "hello\n");
}

/// `ctr run` of `image` on `node`.
fn start(namespace: &Namespace<'_>, node: &Node, image: &Image) -> Output {
    namespace.run_with(image, &node.flags(), &[], b"")
}

/// Once it is kept, containerd's copy may go; once it is not, that is missed.
fn a_layer_is_read_once(namespace: &Namespace<'_>) {
    let node = Node::new("");
    let wasm = guests::module("hello");
    let image = image("once", MODULE, &wasm);
    start(namespace, &node, &image).expect_success();
    let layers = node.layers();
    assert_eq!(layers.len(), 1, "{layers:?}");
    assert_eq!(layers[0]["layer"].as_str(), digest(&wasm).strip_prefix("sha256:"));
    assert_eq!(layers[0]["wasm_bytes"].as_u64(), Some(wasm.len() as u64));

    namespace.ctr(&["content", "rm", &digest(&wasm)]).expect_success();
    let output = start(namespace, &node, &image).expect_success();
    assert_eq!(output.text(), "hello\n");

    let listed = node.cache_command(&["ls"]).expect_success().text();
    assert!(listed.lines().any(|line| line.contains("  layer  ")), "{listed}");
    node.cache_command(&["prune", "--all"]).expect_success();
    assert!(node.layers().is_empty());
    let error = start(namespace, &node, &image).expect_failure();
    assert!(error.contains(&digest(&wasm)) && error.contains("not found"), "{error}");
    nothing_remains(namespace);
}

fn starts_together_read_once(namespace: &Namespace<'_>) {
    let node = Node::new("");
    let image = image("together", COMPONENT, &guests::component("hello"));
    namespace.import(&image);
    std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..4).map(|_| scope.spawn(|| start(namespace, &node, &image))).collect();
        for start in starts {
            assert_eq!(start.join().unwrap().expect_success().text(), "hello\n");
        }
    });
    assert_eq!((node.layers().len(), node.entries().len()), (1, 1));
    for left in ["tmp", "locks"] {
        let left = std::fs::read_dir(node.cache().join(left)).unwrap();
        assert_eq!(left.count(), 0, "something is left");
    }
}

#[track_caller]
fn expect_refusal(namespace: &Namespace<'_>, node: &Node, image: &Image, words: &[&str]) {
    let error = start(namespace, node, image).expect_failure();
    for word in [&["process.args[0]", image.name()], words].concat() {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    assert!(node.layers().is_empty(), "it is kept: {:?}", node.layers());
    nothing_remains(namespace);
}

fn what_no_layer_is_for_is_named(namespace: &Namespace<'_>) {
    let node = Node::new("");
    let (one, unknown) = (guests::module("hello"), "application/vnd.example.model+gguf");
    let foreign = image("foreign", MODULE, &one).layer(unknown, b"weights", Some("model"));
    let words = [digest(b"weights"), format!("of type {unknown:?}")];
    expect_refusal(namespace, &node, &foreign, &[&words[0], &words[1], "nor one of"]);
    let compressed = image("compressed", "application/wasm+gzip", &one);
    expect_refusal(namespace, &node, &compressed, &["of type \"application/wasm+gzip\""]);
}

fn what_is_no_webassembly_is_refused(namespace: &Namespace<'_>) {
    let node = Node::new("");
    let mut compiled = b"\x7fELF\x02\x01\x01\xc8".to_vec();
    compiled.resize(4096, 0);
    let elf = foreign_program().1;
    let cases: [(&str, &[u8], &str); 5] = [
        ("compiled", &compiled, "compiled code is not accepted from images"),
        ("elf", &elf, "is a native program (ELF), not WebAssembly"),
        ("text", b"(module)", "a layer holds WebAssembly's binary form"),
        ("other", b"PK\x03\x04", "is not WebAssembly"),
        ("short", b"\0asm", "truncated"),
    ];
    for (name, bytes, words) in cases {
        expect_refusal(namespace, &node, &image(name, MODULE, bytes), &[&digest(bytes), words]);
    }
}

fn a_layer_that_is_too_large_is_not_read(namespace: &Namespace<'_>) {
    let node = Node::new("[compile]\nmax_module_bytes = 100\n");
    let wasm = guests::module("hello");
    let image = image("large", MODULE, &wasm);
    namespace.import(&image);
    // Whoever tried to read it would say that it is not there.
    namespace.ctr(&["content", "rm", &digest(&wasm)]).expect_success();
    let size = format!("has {} bytes, more than the 100 that", wasm.len());
    expect_refusal(namespace, &node, &image, &[&size, "compile.max_module_bytes"]);
}

fn content_that_was_changed_is_not_kept(namespace: &Namespace<'_>) {
    let node = Node::new("");
    // Of its own, so that no other test needs what is damaged.
    let mut wasm = guests::module("exit");
    wasm.extend_from_slice(b"\0\x05\x04mine");
    let image = image("changed", MODULE, &wasm);
    namespace.import(&image);
    let state = namespace.containerd().state();
    let root: PathBuf = state.parent().unwrap().join("root/io.containerd.content.v1.content");
    let blob = root.join("blobs").join(digest(&wasm).replacen(':', "/", 1));
    let mut changed = std::fs::read(&blob).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, &changed).unwrap();
    let words = [digest(&wasm), digest(&changed)];
    expect_refusal(namespace, &node, &image, &[&words[0], &words[1]]);
}
