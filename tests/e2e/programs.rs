//! Programs that people use, by others and in several languages, as images.

use libtest_mimic::Trial;

use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        cpython_computes_and_exits,
        cpython_reports_an_exception,
        boolector_finds_a_solution,
        icepll_finds_a_frequency,
        resvg_draws_a_picture,
        a_rust_module_sees_its_world,
        a_rust_component_sees_its_world,
        a_c_program_counts_its_input,
        a_go_program_greets,
    ]
}

fn cpython_computes_and_exits(namespace: &Namespace<'_>) {
    let image = Image::guest("python", &guests::program("python-3.12.0.wasm"));
    let code = "import sys; print(6*7); print(*sys.argv, file=sys.stderr); sys.exit(7)";
    let output = namespace.run(&image, &["/python.wasm", "-c", code, "a b"]).expect_status(7);
    assert_eq!((output.text().as_str(), output.errors().as_str()), ("42\n", "-c a b\n"));
}

fn cpython_reports_an_exception(namespace: &Namespace<'_>) {
    let image = Image::guest("python", &guests::program("python-3.12.0.wasm"));
    let output = namespace.run_with(&image, &["--env", "N=0"], &["/python.wasm", "-"], SCRIPT);
    assert_eq!(output.text(), "before\n", "{output}");
    assert!(output.errors().contains("ZeroDivisionError: "), "{output}");
    output.expect_status(1);
}

const SCRIPT: &[u8] = b"import os\nprint('before')\nprint(1 // int(os.environ['N']))\n";

/// 10 is what it exits with for a formula that can be satisfied, 20 for one that cannot.
fn boolector_finds_a_solution(namespace: &Namespace<'_>) {
    let image = Image::guest("boolector", &guests::program("boolector.wasm"));
    let formula = |relation: &str| {
        format!(
            "(set-logic QF_BV)\n(declare-const x (_ BitVec 8))\n\
             (assert (= (bvmul x x) #x{relation}))\n(check-sat)\n"
        )
    };
    // 9 is a square, 3 is none.
    for (square, status, answer) in [("09", 10, "sat"), ("03", 20, "unsat")] {
        let args = ["/boolector.wasm"];
        let output = namespace.run_with(&image, &[], &args, formula(square).as_bytes());
        assert_eq!(output.expect_status(status).text().lines().next(), Some(answer));
    }
}

fn icepll_finds_a_frequency(namespace: &Namespace<'_>) {
    let image = Image::guest("icepll", &guests::program("icepll.wasm"));
    let output = namespace.run(&image, &["/icepll.wasm", "-i", "12", "-o", "48"]).expect_success();
    assert!(output.text().contains("48.000 MHz (achieved)"), "{output}");
    namespace.run(&image, &["/icepll.wasm", "-i", "1"]).expect_status(1);
}

fn resvg_draws_a_picture(namespace: &Namespace<'_>) {
    let picture = br##"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30">
        <rect width="40" height="30" fill="#336699"/></svg>"##;
    let volume = tempfile::TempDir::new_in(crate::support::suite::Suite::get().scratch()).unwrap();
    std::fs::write(volume.path().join("in.svg"), picture).unwrap();
    let image = Image::guest("resvg", &guests::program("resvg.wasm"));
    let mount = format!("type=bind,src={},dst=/data,options=rbind:rw", volume.path().display());
    let args = ["/resvg.wasm", "/data/in.svg", "/data/out.png"];
    namespace.run_with(&image, &["--mount", &mount], &args, b"").expect_success();
    let drawn = std::fs::read(volume.path().join("out.png")).unwrap();
    assert!(drawn.starts_with(b"\x89PNG\r\n\x1a\n"), "{:?}", &drawn[..drawn.len().min(16)]);
    // The header's width and height.
    assert_eq!(drawn[16..24], [0, 0, 0, 40, 0, 0, 0, 30]);
}

fn a_rust_module_sees_its_world(namespace: &Namespace<'_>) {
    expect_world(namespace, "hello-rust");
}

fn a_rust_component_sees_its_world(namespace: &Namespace<'_>) {
    expect_world(namespace, "hello-rust-p2");
}

fn expect_world(namespace: &Namespace<'_>, example: &str) {
    let image = Image::guest(example, &guests::example(example)).file("/etc/motd", b"good day\n");
    let program = format!("/{example}.wasm");
    let args = [&program, "/etc/motd", "/none"];
    let output = namespace.run_with(&image, &["--env", "A=1"], &args, b"").expect_success();
    let text = output.text();
    for line in [
        "Hello from Rust.",
        "argument 1: /etc/motd",
        "environment: A=1",
        "in /: etc",
        "/etc/motd: good day",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?}: {output}");
    }
    assert!(output.errors().contains("cannot read /none"), "{output}");
}

fn a_c_program_counts_its_input(namespace: &Namespace<'_>) {
    let image = Image::guest("word-count", &guests::example("word-count-c"));
    let output = namespace.run_with(&image, &[], &[], b"one two\nthree\n").expect_success();
    assert_eq!(output.text(), "2 3 14\n");
    let output = namespace.run(&image, &["/word-count.wasm", "/none"]).expect_status(1);
    assert!(output.errors().contains("/none: No such file"), "{output}");
}

fn a_go_program_greets(namespace: &Namespace<'_>) {
    let image = Image::guest("hello-go", &guests::example("hello-go"));
    let output = namespace.run(&image, &["/hello-go.wasm", "ship", "quay"]).expect_success();
    assert_eq!(output.text(), "Hello, ship!\nHello, quay!\nfrom Go on wasip1/wasm\n");
}
