//! The engine's limits, by annotation and by the node's configuration: what ends, and what its user is told.

use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::support::command::Output;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        memory_that_is_refused_is_a_failed_growth,
        memory_that_a_guest_cannot_do_without_ends_it_with_137,
        memory_to_begin_with_is_refused_by_create,
        a_timeout_ends_with_124,
        processor_time_ends_with_152,
        fuel_ends_with_134,
        a_larger_stack_is_deeper,
        a_limit_of_the_node_holds_for_all,
        a_limit_that_is_none_is_refused_by_create,
        generous_limits_change_nothing,
        cpython_catches_what_its_limits_refuse,
        without_threads_no_name_is_looked_up,
    ]
}

/// Runs fixture `name` with limits, each `NAME=VALUE`.
#[track_caller]
fn run(namespace: &Namespace<'_>, name: &str, args: &[&str], limits: &[&str]) -> Output {
    let program = format!("/{name}.wasm");
    let image = Image::guest(name, &guests::module(name));
    run_image(namespace, &image, &[&[program.as_str()], args].concat(), limits)
}

/// The same with any image of one program.
#[track_caller]
fn run_image(namespace: &Namespace<'_>, image: &Image, args: &[&str], limits: &[&str]) -> Output {
    let annotations: Vec<_> = limits.iter().map(|l| format!("io.lighter.limits.{l}")).collect();
    let flags: Vec<_> = annotations.iter().flat_map(|a| ["--annotation", a]).collect();
    namespace.run_with(image, &flags, args, b"")
}

fn memory_that_is_refused_is_a_failed_growth(namespace: &Namespace<'_>) {
    let output = run(namespace, "memory", &["200"], &["memory=32Mi"]).expect_status(9);
    assert_eq!(
        output.errors(),
        "lighter: memory limit: the guest asked for a total of 33 MiB, and may have 32 MiB \
         (annotation io.lighter.limits.memory)\n"
    );
    let output = run(namespace, "memory", &["32"], &["memory=32Mi"]);
    assert_eq!(output.expect_success().text(), "grown\n");
}

fn memory_that_a_guest_cannot_do_without_ends_it_with_137(namespace: &Namespace<'_>) {
    let errors = run(namespace, "hungry", &[], &["memory=32Mi"]).expect_status(137).errors();
    let lines: Vec<_> = errors.lines().collect();
    assert!(lines[0].starts_with("lighter: memory limit: "), "{errors}");
    assert!(lines[1].starts_with("lighter: guest ran out of memory: "), "{errors}");
    assert!(errors.contains("allocate"), "{errors}");
}

fn memory_to_begin_with_is_refused_by_create(namespace: &Namespace<'_>) {
    let error = run(namespace, "memory", &["1"], &["memory=512Ki"]).expect_failure();
    let sentence = "it needs 1 MiB of memory to begin with, and may have 512 KiB (annotation \
                    io.lighter.limits.memory)";
    assert!(error.contains(sentence), "{error}");
}

fn a_timeout_ends_with_124(namespace: &Namespace<'_>) {
    for (guest, args) in [("spin", &[][..]), ("sleep", &["600"])] {
        let output = run(namespace, guest, args, &["timeout=700ms"]).expect_status(124);
        assert_eq!(
            output.errors(),
            "lighter: guest ended: its time is used up: 700 ms (annotation \
             io.lighter.limits.timeout)\n"
        );
    }
}

fn processor_time_ends_with_152(namespace: &Namespace<'_>) {
    let output = run(namespace, "spin", &[], &["cpu-time=200ms"]).expect_status(152);
    assert_eq!(
        output.errors(),
        "lighter: guest ended: its processor time is used up: 200 ms (annotation \
         io.lighter.limits.cpu-time)\n"
    );
    let output = run(namespace, "sleep", &["1"], &["cpu-time=500ms"]).expect_success();
    assert!(output.text().contains("awake"), "{output}");
}

fn fuel_ends_with_134(namespace: &Namespace<'_>) {
    let output = run(namespace, "spin", &[], &["fuel=10M"]).expect_status(134);
    assert!(
        output.errors().starts_with(
            "lighter: guest trapped: its fuel is used up: it had 10000000 (annotation \
             io.lighter.limits.fuel)\nbacktrace, "
        ),
        "{output}"
    );
    // Code that counts fuel and code that does not are kept apart.
    let hello = run(namespace, "hello", &[], &[]).expect_success().text();
    assert_eq!(run(namespace, "hello", &[], &["fuel=10M"]).expect_success().text(), hello);
    run(namespace, "hello", &[], &["fuel=1"]).expect_status(134);
}

fn a_larger_stack_is_deeper(namespace: &Namespace<'_>) {
    let frames = |stack| {
        let errors = run(namespace, "recurse", &[], &[stack]).expect_status(134).errors();
        assert!(errors.contains("annotation io.lighter.limits.stack"), "{errors}");
    };
    frames("stack=64Ki");
    frames("stack=64Mi");
}

fn a_limit_of_the_node_holds_for_all(namespace: &Namespace<'_>) {
    let dir = TempDir::new_in(Suite::get().scratch()).unwrap();
    let file = dir.path().join("lighter.toml");
    let cache = Suite::get().cache();
    let text = format!("[cache]\ndir = {cache:?}\n[limits]\ntimeout = \"500ms\"\n");
    std::fs::write(&file, text).unwrap();
    let flags = [
        "--runtime-config-path",
        file.to_str().unwrap(),
        "--annotation",
        "io.lighter.limits.timeout=1h",
    ];
    let image = Image::guest("spin", &guests::module("spin"));
    let output = namespace.run_with(&image, &flags, &[], b"").expect_status(124);
    assert_eq!(
        output.errors(),
        "lighter: guest ended: its time is used up: 500 ms (limits.timeout of the node's \
         configuration)\n"
    );
}

fn a_limit_that_is_none_is_refused_by_create(namespace: &Namespace<'_>) {
    for (limit, words) in [
        ("timeout=30", "\"io.lighter.limits.timeout\" is \"30\": it has no unit; write \"30s\""),
        ("memory=64MB", "\"io.lighter.limits.memory\" is \"64MB\": it is not a quantity"),
        ("time=30s", "\"io.lighter.limits.time\" is not an annotation of Lighter's"),
        ("stack=1Ki", "the stack of 1 KiB (annotation io.lighter.limits.stack) is out of range"),
    ] {
        let error = run(namespace, "hello", &[], &[limit]).expect_failure();
        // ctr has the message in quotes of its own.
        assert!(error.replace('\\', "").contains(words), "no {words:?} in: {error}");
    }
}

fn generous_limits_change_nothing(namespace: &Namespace<'_>) {
    let limits = [
        "memory=1Gi",
        "timeout=1h",
        "cpu-time=1h",
        "fuel=1T",
        "stack=1Mi",
        "instances=100",
        "memories=100",
        "tables=100",
        "table-elements=1M",
        "handles=100",
        "threads=2",
    ];
    let hello = run(namespace, "hello", &[], &[]).expect_success().text();
    assert_eq!(run(namespace, "hello", &[], &limits).expect_success().text(), hello);
    let component = Image::guest("component", &guests::component("hello"));
    let output = run_image(namespace, &component, &[], &limits);
    assert_eq!(output.expect_success().text(), hello);
}

fn cpython_catches_what_its_limits_refuse(namespace: &Namespace<'_>) {
    let image = Image::guest("python", &guests::program("python-3.12.0.wasm"));
    let code = "
try:
    bytearray(1 << 30)
except MemoryError:
    print('no memory')
files = []
try:
    while len(files) < 100:
        files.append(open('/python.wasm', 'rb'))
except OSError:
    print(len(files), 'files')
";
    let limits = ["memory=128Mi", "handles=20"];
    let output = run_image(namespace, &image, &["/python.wasm", "-c", code], &limits);
    assert_eq!(output.expect_success().text(), "no memory\n20 files\n");
}

fn without_threads_no_name_is_looked_up(namespace: &Namespace<'_>) {
    let image = Image::guest("probe", &guests::probe("probe-p2"));
    let args = ["/probe.wasm", "lookup localhost", "cwd"];
    let answers = run_image(namespace, &image, &args, &["threads=0"]).expect_success().text();
    assert!(answers.starts_with("lookup localhost: error: "), "{answers}");
    assert!(answers.ends_with("cwd: /\n"), "{answers}");
}
