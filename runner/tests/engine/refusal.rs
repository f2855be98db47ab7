//! Programs that cannot run: what their users are told.

use crate::{REFUSED, Run, adapted, stderr, writing};

fn refused(run: &Run, sentence: &str) {
    let output = run.output();
    assert_eq!(output.status.code(), Some(REFUSED), "{}", stderr(&output));
    assert_eq!(stderr(&output).trim_end(), sentence);
}

#[test]
fn missing_export_lists_the_others() {
    refused(
        &Run::module(
            r#"(module (memory (export "memory") 1) (func (export "a")) (func (export "b")))"#,
        )
        .export("nope"),
        "process.args[0] \"/app.wasm#nope\": no such export: \"nope\"; the module exports the \
         functions: \"a\", \"b\"",
    );
}

#[test]
fn module_that_is_not_a_command() {
    refused(
        &Run::module(r#"(module (func (export "serve")))"#),
        "process.args[0] \"/app.wasm\": the module is not a command, as it exports no \"_start\"; \
         \"/app.wasm#FUNCTION\" would run one of the functions it exports: \"serve\"",
    );
}

#[test]
fn export_with_parameters() {
    refused(
        &Run::module(r#"(module (func (export "add") (param i32 i32)))"#).export("add"),
        "process.args[0] \"/app.wasm#add\": the function \"add\" takes parameters (i32, i32); only \
         one without can be a container's entrypoint",
    );
}

#[test]
fn export_that_is_not_a_function() {
    refused(
        &Run::module(r#"(module (memory (export "memory") 1))"#).export("memory"),
        "process.args[0] \"/app.wasm#memory\": the export \"memory\" is not a function; the module \
         exports the functions: nothing",
    );
}

#[test]
fn unknown_imports_are_all_named() {
    refused(
        &Run::module(
            r#"(module
                (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
                (import "env" "gettimeofday" (func))
                (import "wasi_snapshot_preview1" "sock_teleport" (func))
                (func (export "_start")))"#,
        ),
        "process.args[0] \"/app.wasm\": the module imports what Lighter does not provide: \
         \"env::gettimeofday\", \"wasi_snapshot_preview1::sock_teleport\"",
    );
}

#[test]
fn import_of_another_type_is_named() {
    let output = Run::module(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
            (func (export "_start")))"#,
    )
    .output();
    assert_eq!(output.status.code(), Some(REFUSED));
    let text = stderr(&output);
    assert!(text.starts_with("process.args[0] \"/app.wasm\": "), "{text}");
    assert!(text.contains("proc_exit") && text.contains("types incompatible"), "{text}");
}

#[test]
fn component_that_is_not_a_command() {
    refused(
        &Run::wasm(&wat::parse_str("(component)").expect("valid")),
        "process.args[0] \"/app.wasm\": the component is neither a command, as it exports no \
         \"wasi:cli/run@0.2.x\", nor an HTTP server, as it exports no \"wasi:http/incoming-handler@0.2.x\"; \
         it exports: nothing",
    );
}

#[test]
fn a_server_without_a_handler_is_refused() {
    let component = wat::parse_str(
        r#"(component
            (instance $handler)
            (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#,
    )
    .expect("valid");
    let output = Run::wasm(&component).output();
    assert_eq!(output.status.code(), Some(REFUSED), "{}", stderr(&output));
    assert!(stderr(&output).contains("`handle`"), "{}", stderr(&output));
}

#[test]
fn unknown_imports_of_a_component_are_named() {
    let component = wat::parse_str(
        r#"(component
            (import "acme:rockets/launch@1.0.0" (instance (export "go" (func))))
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "f") (canon lift (core func $i "f"))))"#,
    )
    .expect("valid");
    refused(
        &Run::wasm(&component).export("f"),
        "process.args[0] \"/app.wasm#f\": the component imports what Lighter does not provide: \
         \"acme:rockets/launch@1.0.0\"",
    );
}

#[test]
fn missing_export_of_a_component() {
    let module = wat::parse_str(writing(1, "", "")).expect("valid");
    refused(
        &Run::wasm(&adapted(&module)).export("nope"),
        "process.args[0] \"/app.wasm#nope\": no such export: \"nope\"; the component exports: \
         \"wasi:cli/run@0.2.12\"",
    );
}
