//! A module is compiled once for the node, whatever image and namespace it comes from.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::support::command::Output;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::node::Node;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_large_module_is_compiled_once,
        starts_together_compile_once,
        a_damaged_entry_is_compiled_again,
    ]
}

/// CPython is 26 MB; no matter which layer, image or namespace it comes from. Shows what the starts took.
fn a_large_module_is_compiled_once(namespace: &Namespace<'_>) {
    let node = Node::new("");
    let python = guests::program("python-3.12.0.wasm");
    let small = guests::example("word-count-c");
    let version = |image: &Image, namespace: &Namespace<'_>| {
        let output = namespace.run_with(image, &node.flags(), &[], b"").expect_success();
        assert!(output.text().starts_with("Python 3.12.0"), "{output}");
        output
    };
    let large_image = Image::guest("python", &python).cmd(&["--version"]);
    let small_image = Image::guest("count", &small).cmd(&["/count.wasm"]);
    let small_start = || namespace.run_with(&small_image, &node.flags(), &[], b"").expect_success();

    // Unpacking is not part of a start.
    namespace.import(&large_image);
    namespace.import(&small_image);
    let first_large = version(&large_image, namespace);
    let first_small = small_start();
    let compiled = node.entries_of(&python);
    assert_eq!(compiled.len(), 1, "{compiled:#?}");
    let code = node.code_of(&python);

    let mut large = Vec::new();
    let mut small = Vec::new();
    for _ in 0..5 {
        large.push(version(&large_image, namespace));
        small.push(small_start());
    }

    // The same layer under another name, another layer, and another namespace with both.
    let renamed = Image::new("example.test/renamed:1")
        .file("/python.wasm", &python)
        .entrypoint(&["/python.wasm"])
        .cmd(&["--version"]);
    let relayered = Image::new("example.test/relayered:1")
        .file("/etc/motd", b"hello")
        .file("/usr/bin/python3", &python)
        .entrypoint(&["python3"])
        .cmd(&["--version"]);
    let elsewhere = Namespace::for_test("cache::elsewhere");
    for namespace in [namespace, &elsewhere] {
        version(&renamed, namespace);
        version(&relayered, namespace);
    }
    assert_eq!(node.entries_of(&python).len(), 1, "{:#?}", node.entries());
    assert_eq!(node.entries().len(), 2, "{:#?}", node.entries());
    assert_eq!(node.code_of(&python), code, "the code has been written again");

    eprintln!(
        "`ctr run --rm` of 26 MB: first {:.2?}, then {:.0?}; of 31 KB: first {:.2?}, then {:.0?}",
        first_large.elapsed,
        median(&large),
        first_small.elapsed,
        median(&small),
    );
    let compile = Duration::from_millis(compiled[0]["meta"]["compile_ms"].as_u64().unwrap());
    assert!(median(&large) < compile, "a start takes {:?}, compiling {compile:?}", median(&large));
}

fn starts_together_compile_once(namespace: &Namespace<'_>) {
    let node = Node::new("");
    let guest = guests::program("boolector.wasm");
    let image = Image::guest("boolector", &guest);
    namespace.import(&image);
    std::thread::scope(|scope| {
        let start = || {
            let args = ["/boolector.wasm", "--version"];
            namespace.run_with(&image, &node.flags(), &args, b"").expect_success()
        };
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
        let outputs: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert!(outputs.iter().all(|output| !output.text().is_empty()));
    });
    assert_eq!(node.entries_of(&guest).len(), 1, "{:#?}", node.entries());
}

fn a_damaged_entry_is_compiled_again(namespace: &Namespace<'_>) {
    let node = Node::new("");
    let guest = guests::module("hello");
    let image = Image::guest("hello", &guest);
    let hello = || namespace.run_with(&image, &node.flags(), &[], b"").expect_success().text();
    assert_eq!(hello(), "hello\n");
    let (path, ..) = node.code_of(&guest);
    let mut code = std::fs::read(&path).unwrap();
    let middle = code.len() / 2;
    code[middle..middle + 64].fill(0xff);
    std::fs::write(&path, code).unwrap();
    assert_eq!(hello(), "hello\n");
    assert_eq!(node.entries_of(&guest).len(), 1, "{:#?}", node.entries());
}

fn median(outputs: &[Output]) -> Duration {
    let mut times: Vec<_> = outputs.iter().map(|output| output.elapsed).collect();
    times.sort();
    times[times.len() / 2]
}
