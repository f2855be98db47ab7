//! What a WebAssembly program asks of its host and offers to it, read off its binary without running it.

use anyhow::Result;
use wasmparser::{Encoding, ExternalKind, Parser, Payload};

/// The names at a program's boundary, in the binary's order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    /// What it needs: a component's interfaces and functions; of a module `module.name`.
    pub(crate) imports: Vec<String>,
    /// What it offers; of a module its functions.
    pub(crate) exports: Vec<String>,
}

impl World {
    /// Of a binary module or component.
    ///
    /// # Errors
    /// Where it is malformed.
    pub(crate) fn of(wasm: &[u8]) -> Result<Self> {
        let mut world = Self::default();
        // What is in a component's modules and inner components is its own affair.
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::Version { encoding: Encoding::Component | Encoding::Module, .. } => {
                    depth += 1;
                }
                Payload::End(_) => depth -= 1,
                _ if depth != 1 => {}
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        world.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        world.exports.push(export?.name.name.to_owned());
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        world.imports.push(format!("{}.{}", import.module, import.name));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            world.exports.push(export.name.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(world)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outermost_boundary_counts() {
        let component = wat::parse_str(
            r#"(component
                (import "wasi:cli/environment@0.2.0" (instance))
                (core module (import "inner" "f" (func)) (func (export "g")))
                (component (import "other" (instance)))
                (instance (export "wasi:cli/run@0.2.0")))"#,
        )
        .unwrap();
        let world = World::of(&component).unwrap();
        assert_eq!(world.imports, ["wasi:cli/environment@0.2.0"]);
        assert_eq!(world.exports, ["wasi:cli/run@0.2.0"]);
        let module = wat::parse_str(
            r#"(module (import "a" "b" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
        )
        .unwrap();
        let world = World::of(&module).unwrap();
        assert_eq!((world.imports, world.exports), (vec!["a.b".into()], vec!["_start".into()]));
        assert!(World::of(&module[..20]).is_err());
    }
}
