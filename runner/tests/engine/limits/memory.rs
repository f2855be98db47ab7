//! Memory, tables, and what calls hand over.

use std::os::fd::{AsFd, AsRawFd};

use lighter::plan::{Access, Limit, LimitKind, MEMORY_FIELDS, MemoryChange, Origin};
use lighter::report::Report;

use super::{ends, exiting, refused};
use crate::{REFUSED, Run, adapted, stderr, stdout, writing};

const PAGE: u64 = 64 << 10;

#[test]
fn memories_and_tables_share_one_limit() {
    // 1 + 2 pages and 8192 elements, which are a page; then 3 pages and a page of elements more.
    let fields = r#"(memory $a (export "memory") 1) (memory $b 2) (table $t 8192 funcref)"#;
    let grow = "(drop (memory.grow $a (i32.const 2)))
        (drop (memory.grow $b (i32.const 1)))
        (drop (table.grow $t (ref.null func) (i32.const 8192)))";
    let counted = "(i32.add (memory.size $a) (i32.add
        (i32.mul (i32.const 10) (memory.size $b))
        (i32.div_u (table.size $t) (i32.const 100))))";
    let run = |pages| {
        let text = exiting(fields, &format!("{grow} {counted}"));
        Run::module(&text).limit(LimitKind::Memory, pages * PAGE)
    };
    // 3 + 30 + 163 with all of them, each one less without.
    let all = run(8);
    assert_eq!(stderr(&ends(&all, 196, None)), "");
    ends(&run(7), 3 + 30 + 81, None);
    ends(&run(6), 3 + 20 + 81, None);
    ends(&run(5), 1 + 30 + 81, None);
    ends(&run(4), 1 + 20 + 81, None);
}

#[test]
fn a_refused_growth_fails_and_is_mentioned_once() {
    let body = "(drop (memory.grow (i32.const 3))) (drop (memory.grow (i32.const 100)))
        (i32.add (memory.grow (i32.const 200)) (i32.const 10))";
    let run = Run::module(&exiting(r#"(memory (export "memory") 1)"#, body));
    let output = ends(&run.limit(LimitKind::Memory, 16 * PAGE), 9, None);
    assert_eq!(
        stderr(&output),
        "lighter: memory limit: the guest asked for a total of 6.50 MiB, and may have 1 MiB \
         (annotation io.lighter.limits.memory)\n"
    );
}

/// With the limit on memory changed by its supervisor.
fn changed(run: &Run, change: Option<Limit>) {
    let report = Report::new().expect("a report");
    report.change_memory(&MemoryChange { limit: change }, 0).expect("a change");
    let page = format!("/proc/self/fd/{}", report.as_fd().as_raw_fd());
    std::fs::copy(page, run.dir.path().join("report")).expect("copy");
}

#[test]
fn a_changed_limit_takes_the_place_of_the_first() {
    let body = "(drop (memory.grow (i32.const 9))) (memory.size)";
    let text = exiting(r#"(memory (export "memory") 1)"#, body);
    let field = MEMORY_FIELDS[0];
    let bundle = |pages: u64| {
        let origin = Origin::Bundle { field: field.to_owned(), value: 32 << 20 };
        Some(Limit { value: pages * PAGE, origin })
    };
    let lower = Run::module(&text).limit(LimitKind::Memory, 16 * PAGE);
    changed(&lower, bundle(4));
    assert_eq!(
        stderr(&ends(&lower, 1, None)),
        "lighter: memory limit: the guest asked for a total of 640 KiB, and may have 256 KiB \
         (linux.resources.memory.limit is 32 MiB, of which 31.75 MiB are for the runtime)\n"
    );
    let higher = Run::module(&text).limit(LimitKind::Memory, 4 * PAGE);
    changed(&higher, bundle(10));
    assert_eq!(stderr(&ends(&higher, 10, None)), "");
    let unlimited = Run::module(&text).limit(LimitKind::Memory, 4 * PAGE);
    changed(&unlimited, None);
    ends(&unlimited, 10, None);
    let first = Run::module(&text);
    changed(&first, bundle(4));
    ends(&first, 1, None);
    // It may have less than it has: what it has stays.
    let text = exiting(
        r#"(memory (export "memory") 8)"#,
        "(drop (memory.grow (i32.const 0))) (memory.size)",
    );
    let shrunk = Run::module(&text);
    changed(&shrunk, bundle(8));
    ends(&shrunk, 8, None);
}

#[test]
fn a_guest_that_dies_of_a_refused_growth_is_out_of_memory() {
    let text = r#"(module (memory (export "memory") 1)
        (func $grow (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)))
        (func (export "_start") (loop $again (call $grow) (br $again))))"#;
    for wasm in [wat::parse_str(text).unwrap(), adapted(&wat::parse_str(text).unwrap())] {
        let run = Run::wasm(&wasm).limit(LimitKind::Memory, 10 << 20);
        let output = ends(&run, 137, Some(LimitKind::Memory));
        let lines: Vec<_> = stderr(&output).lines().collect();
        assert!(lines[0].starts_with("lighter: memory limit: "), "{lines:#?}");
        assert!(lines[1].starts_with("lighter: guest ran out of memory: "), "{lines:#?}");
        assert!(lines[1].ends_with("may have 10 MiB (annotation io.lighter.limits.memory)"));
        assert_eq!(lines[2], "backtrace, innermost call first:");
        assert!(lines[3].contains("grow"), "{lines:#?}");
    }
}

#[test]
fn only_the_last_growth_counts() {
    let memory = r#"(memory (export "memory") 1)"#;
    let refused = "(drop (memory.grow (i32.const 100)))";
    let granted = "(drop (memory.grow (i32.const 1)))";
    let run = |body: &str| {
        let text = exiting(memory, &format!("{body} unreachable"));
        Run::module(&text).limit(LimitKind::Memory, 16 * PAGE)
    };
    ends(&run(&format!("{granted} {refused}")), 137, Some(LimitKind::Memory));
    ends(&run(&format!("{refused} {granted}")), 134, None);
    ends(&run(granted), 134, None);
}

#[test]
fn a_memory_that_is_full_by_itself_meets_no_limit() {
    let text = r#"(module (memory (export "memory") 1 2)
        (func (export "_start") (drop (memory.grow (i32.const 9))) unreachable))"#;
    let run = Run::module(text).limit(LimitKind::Memory, 100 * PAGE);
    let output = ends(&run, 134, None);
    assert!(stderr(&output).starts_with("lighter: guest trapped: "), "{}", stderr(&output));
}

#[test]
fn growth_that_failed_by_itself_is_not_counted() {
    // Again and again more than its own maximum; then as much as it may.
    let body = "(local $n i32)
        (loop $again
            (drop (memory.grow (i32.const 8)))
            (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1)))
                (i32.const 100))))
        (memory.grow (i32.const 7))";
    let run = Run::module(&exiting(r#"(memory (export "memory") 1 8)"#, body));
    ends(&run.limit(LimitKind::Memory, 8 * PAGE), 1, None);
}

#[test]
fn too_much_to_begin_with_is_refused() {
    let text = r#"(module (memory (export "memory") 32) (func (export "_start")))"#;
    let run = Run::module(text).limit(LimitKind::Memory, 1 << 20);
    refused(
        &run,
        "process.args[0] \"/app.wasm\": it needs 2 MiB of memory to begin with, and may have 1 MiB \
         (annotation io.lighter.limits.memory)",
    );
    let component = adapted(&wat::parse_str(text).unwrap());
    let output = ends(&Run::wasm(&component).limit(LimitKind::Memory, 1 << 20), REFUSED, None);
    assert!(stderr(&output).contains("to begin with, and may have 1 MiB"), "{}", stderr(&output));
    let text = r#"(module (table 5000 funcref) (func (export "_start")))"#;
    refused(
        &Run::module(text).limit(LimitKind::TableElements, 4999),
        "process.args[0] \"/app.wasm\": it needs 5000 table-elements to begin with, and may have \
         4999 (annotation io.lighter.limits.table-elements)",
    );
}

#[test]
fn too_much_to_begin_with_in_pieces_is_out_of_memory() {
    let text = r#"(module (memory (export "memory") 10) (memory 10) (func (export "_start")))"#;
    let run = Run::module(text).limit(LimitKind::Memory, 1 << 20);
    let output = ends(&run, 137, Some(LimitKind::Memory));
    assert_eq!(
        stderr(&output),
        "lighter: cannot run the guest: it needs 1.25 MiB of memory to begin with, and may have \
         1 MiB (annotation io.lighter.limits.memory)\n"
    );
}

#[test]
fn growth_from_nothing_is_growth() {
    let text = r#"(module (memory (export "memory") 0) (table $t 0 funcref)
        (func (export "_start")
            (drop (table.grow $t (ref.null func) (i32.const 100)))
            (drop (memory.grow (i32.const 17))) unreachable))"#;
    let run =
        Run::module(text).limit(LimitKind::Memory, 1 << 20).limit(LimitKind::TableElements, 99);
    let output = ends(&run, 137, Some(LimitKind::Memory));
    let lines: Vec<_> = stderr(&output).lines().collect();
    assert!(lines[0].starts_with("lighter: table-elements limit: "), "{lines:#?}");
    assert!(lines[1].starts_with("lighter: memory limit: "), "{lines:#?}");
    assert!(lines[2].starts_with("lighter: guest ran out of memory: "), "{lines:#?}");
}

#[test]
fn tables_have_a_limit_of_their_own() {
    let fields = r#"(memory (export "memory") 1) (table $a 10 funcref) (table $b 10 funcref)"#;
    let body = "(i32.add (i32.mul (i32.const 20) (table.grow $a (ref.null func) (i32.const 10)))
        (table.grow $b (ref.null func) (i32.const 1)))";
    let run = Run::module(&exiting(fields, body)).limit(LimitKind::TableElements, 30);
    let output = ends(&run, 199, None);
    assert_eq!(
        stderr(&output),
        "lighter: table-elements limit: the guest asked for a total of 31, and may have 30 \
         (annotation io.lighter.limits.table-elements)\n"
    );
}

#[test]
fn what_the_garbage_collector_holds_is_memory() {
    let text = r#"(module (type $bytes (array (mut i64)))
        (global $kept (mut (ref null $bytes)) (ref.null $bytes))
        (func (export "_start")
            (global.set $kept (array.new_default $bytes (i32.const 4000000)))))"#;
    let run = |bytes| Run::module(text).limit(LimitKind::Memory, bytes);
    ends(&run(64 << 20), 0, None);
    ends(&run(8 << 20), 137, Some(LimitKind::Memory));
    // The same in pieces.
    let text = r#"(module (type $bytes (array (mut i64)))
        (type $list (struct (field (ref null $bytes)) (field (ref null 1))))
        (global $kept (mut (ref null $list)) (ref.null $list))
        (func (export "_start") (local $n i32)
            (loop $more
                (global.set $kept (struct.new $list
                    (array.new_default $bytes (i32.const 4000)) (global.get $kept)))
                (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1)))
                    (i32.const 1000))))))"#;
    let run = |bytes| Run::module(text).limit(LimitKind::Memory, bytes);
    ends(&run(256 << 20), 0, None);
    ends(&run(8 << 20), 137, Some(LimitKind::Memory));
}

#[test]
fn there_may_be_only_so_many() {
    let module = r#"(module (memory (export "memory") 1) (memory 1) (table 1 funcref)
        (table 1 funcref) (func (export "_start")))"#;
    for (kind, name) in [(LimitKind::Memories, "memories"), (LimitKind::Tables, "tables")] {
        refused(
            &Run::module(module).limit(kind, 1),
            &format!(
                "process.args[0] \"/app.wasm\": it needs 2 {name} to begin with, and may have 1 \
                 (annotation io.lighter.limits.{name})"
            ),
        );
        ends(&Run::module(module).limit(kind, 2), 0, None);
    }
    let component = adapted(&wat::parse_str(writing(1, "", "")).unwrap());
    let run = Run::wasm(&component).limit(LimitKind::Instances, 1);
    let output = ends(&run, 125, Some(LimitKind::Instances));
    assert_eq!(
        stderr(&output),
        "lighter: cannot run the guest: it needs more instances than 1 (annotation \
         io.lighter.limits.instances)\n"
    );
    ends(&Run::wasm(&component).limit(LimitKind::Instances, 10), 0, None);
}

#[test]
fn one_call_hands_over_only_so_much() {
    // A path of 2 MiB, which a component's call copies.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "path_unlink_file"
            (func $unlink (param i32 i32 i32) (result i32)))
        (memory (export "memory") 64)
        (func (export "_start")
            (memory.fill (i32.const 65536) (i32.const 120) (i32.const 2097152))
            (drop (call $unlink (i32.const 3) (i32.const 65536) (i32.const 2097152)))))"#;
    let dir = tempfile::tempdir().unwrap();
    let component = adapted(&wat::parse_str(text).unwrap());
    let run = |bytes| {
        let mut run = Run::wasm(&component).preopen("/", dir.path(), Access::ReadWrite);
        run.limits.call_bytes = Some(bytes);
        run
    };
    ends(&run(4 << 20), 0, None);
    let output = ends(&run(1 << 20), 134, None);
    assert!(stderr(&output).starts_with("lighter: guest trapped: "), "{}", stderr(&output));

    // A module's writes are not copied, and may be of any size.
    let mut run = Run::module(&writing(1, &"x".repeat(200_000), ""));
    run.limits.call_bytes = Some(65_536);
    assert_eq!(stdout(&ends(&run, 0, None)).len(), 200_000);
}

#[test]
fn one_call_asks_for_only_so_many_random_bytes() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 64)
        (func (export "_start") (drop (call $random (i32.const 0) (i32.const 2097152)))))"#;
    for (bytes, status) in [(4 << 20, 0), (1 << 20, 134)] {
        let mut run = Run::module(text);
        run.limits.call_bytes = Some(bytes);
        ends(&run, status, None);
    }
}
