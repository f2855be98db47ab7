//! Modules made to cost the node something. The compiler ends at its limits, and nothing larger is even read.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use serde_json::json;

use super::{Refused, Row};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "the_program_is_sparse_and_huge",
            attack: |case| {
                let mut file = File::create(case.place("/app.wasm")).unwrap();
                file.write_all(b"\0asm\x01\0\0\0").unwrap();
                file.set_len(10 << 30).unwrap();
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["\"/app.wasm\"", "has 10737418240 bytes", "compile.max_module_bytes"]),
        },
        Row {
            name: "the_program_is_sparse_and_as_long_as_may_be",
            attack: |case| {
                let mut file = File::create(case.place("/app.wasm")).unwrap();
                file.write_all(b"\0asm\x01\0\0\0").unwrap();
                file.seek(SeekFrom::Start(16 << 20)).unwrap();
                file.write_all(b"\0").unwrap();
                case.runs(&["/app.wasm"]);
            },
            end: Refused(&["\"/app.wasm\""]),
        },
        Row {
            name: "text_that_is_nested_without_end",
            attack: |case| case.program("/app.wat", "(".repeat(8 << 20).as_bytes()),
            end: Refused(&["\"/app.wat\"", "at line:column 1:"]),
        },
        Row {
            name: "text_of_instructions_that_are_nested_without_end",
            attack: |case| {
                let text = format!("(module (func {}", "(block ".repeat(1 << 17));
                case.program("/app.wat", text.as_bytes());
            },
            end: Refused(&["\"/app.wat\""]),
        },
        Row {
            name: "text_that_is_one_comment",
            attack: |case| {
                let text = format!("(;{}", "(;".repeat(8 << 20));
                case.program("/app.wat", text.as_bytes());
            },
            end: Refused(&["\"/app.wat\""]),
        },
        Row {
            name: "a_module_of_functions_without_end",
            attack: |case| {
                case.configuration("[compile]\ncpu_seconds = 2\n");
                case.program("/app.wasm", &functions(900_000, &[0x00, 0x0b]));
            },
            end: Refused(&["\"/app.wasm\"", "compile.cpu_seconds (2)"]),
        },
        Row {
            name: "a_module_of_locals_without_end",
            attack: |case| {
                case.configuration("[compile]\ncpu_seconds = 2\n");
                // 50 000 variables in each function, as many as are valid, all of them used.
                let mut body = vec![0x01, 0xd0, 0x86, 0x03, 0x7e];
                for local in 0..2000u32 {
                    body.extend([0x20]);
                    body.extend(leb(local));
                    body.extend([0x42, 0x01, 0x7c, 0x21]);
                    body.extend(leb(49_999 - local));
                }
                body.push(0x0b);
                case.program("/app.wasm", &functions(1000, &body));
            },
            end: Refused(&["\"/app.wasm\"", "compile.cpu_seconds (2)"]),
        },
        Row {
            name: "a_module_that_takes_too_much_memory_to_compile",
            attack: |case| {
                case.configuration("[compile]\nmax_memory_bytes = 268435456\n");
                case.program("/app.wasm", &functions(1_000_000, &[0x00, 0x0b]));
            },
            end: Refused(&["\"/app.wasm\"", "compile.max_memory_bytes"]),
        },
        Row {
            name: "a_module_with_data_at_both_ends_of_its_memory",
            attack: |case| {
                case.configuration("[compile]\nmax_memory_bytes = 1073741824\n");
                let text = "(module (memory (export \"memory\") 65536) (data (i32.const 0) \"a\") \
                     (data (i32.const -1) \"z\") (func (export \"_start\") unreachable))";
                case.program("/app.wasm", &wat::parse_str(text).unwrap());
                case.spec["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
                case.runs(&["/app.wasm#nothing"]);
            },
            end: Refused(&["\"/app.wasm#nothing\"", "it needs 4 GiB of memory to begin with"]),
        },
        Row {
            name: "a_module_with_a_huge_table",
            attack: |case| {
                let text = "(module (table 4294967295 funcref) (func (export \"_start\")))";
                case.program("/app.wasm", &wat::parse_str(text).unwrap());
                case.spec["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
            },
            end: Refused(&[]),
        },
    ]
}

/// A module of `count` functions, each with the same `body`.
fn functions(count: u32, body: &[u8]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0".to_vec();
    let mut section = |id: u8, content: Vec<u8>| {
        module.push(id);
        module.extend(leb(content.len() as u32));
        module.extend(content);
    };
    let mut types = leb(count);
    types.resize(types.len() + count as usize, 0);
    section(3, types);
    section(7, b"\x01\x06_start\0\0".to_vec());
    let mut code = leb(count);
    for _ in 0..count {
        code.extend(leb(body.len() as u32));
        code.extend(body);
    }
    section(10, code);
    module
}

/// A number as WebAssembly has it.
fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
