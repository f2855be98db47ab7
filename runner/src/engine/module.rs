//! Core modules: WASI preview 1 (and its predecessor), `_start` or a named export.

use lighter::error::{Refusal, Result};
use lighter::plan::Guest;
use lighter::trace::{self, Who};
use wasmtime::{ExternType, FuncType, InstancePre, Linker, Module, Store, Val};
use wasmtime_wasi::{I32Exit, p0, p1};

use super::listed;
use crate::exit::{Ended, Outcome};
use crate::wasi::Host;

/// What a command exports to be run.
const START: &str = "_start";
/// What a reactor exports to be called before anything else.
const INITIALIZE: &str = "_initialize";
/// Import modules that WASI stands behind: preview 1, and preview 0, which old programs still use.
const PREVIEW1: &str = "wasi_snapshot_preview1";
const PREVIEW0: &str = "wasi_unstable";

/// A linked module and the function of it that runs.
pub(super) struct Entry {
    module: InstancePre<Host>,
    export: String,
    initialize: bool,
    results: usize,
}

/// Links `module` with WASI and finds the function to run.
///
/// # Errors
/// Names every import that we do not provide, or says what is wrong with the export.
pub(super) fn link(store: &mut Store<Host>, module: &Module, guest: &Guest) -> Result<Entry> {
    let name = &guest.entrypoint.name;
    let export = guest.entrypoint.export.as_deref().unwrap_or(START);
    let ty = function(module, guest, export)?;
    if ty.params().len() > 0 {
        let params: Vec<_> = ty.params().map(|param| param.to_string()).collect();
        return Err(Refusal::invalid(format!(
            "process.args[0] {name:?}: the function {export:?} takes parameters ({}); only one \
             without can be a container's entrypoint",
            params.join(", ")
        )));
    }
    let linker = linker(module).map_err(|e| Refusal::system("link the guest", format!("{e:#}")))?;
    let linked = linker.instantiate_pre(module).map_err(|error| {
        let missing: Vec<_> = module
            .imports()
            .filter(|import| linker.get_by_import(&mut *store, import).is_none())
            .map(|import| format!("{}::{}", import.module(), import.name()))
            .collect();
        Refusal::invalid(if missing.is_empty() {
            format!("process.args[0] {name:?}: {error:#}")
        } else {
            let missing = listed(missing.iter().map(String::as_str));
            format!("process.args[0] {name:?}: the module imports what Lighter does not provide: {missing}")
        })
    })?;
    let initialize = export != START
        && export != INITIALIZE
        && matches!(module.get_export(INITIALIZE), Some(ExternType::Func(_)));
    Ok(Entry { module: linked, export: export.into(), initialize, results: ty.results().len() })
}

impl Entry {
    /// Instantiates the module and calls the function; what it returns is not for anyone.
    pub(super) async fn run(&self, store: &mut Store<Host>) -> Outcome {
        let instance = self.module.instantiate_async(&mut *store).await?;
        trace::step(Who::Runner, "instantiated");
        store.data_mut().limiter.runs();
        if self.initialize {
            let initialize = instance.get_typed_func::<(), ()>(&mut *store, INITIALIZE)?;
            initialize.call_async(&mut *store, ()).await?;
        }
        // `link` found the export and its type.
        let function = instance
            .get_func(&mut *store, &self.export)
            .ok_or_else(|| wasmtime::format_err!("no function {:?}", self.export))?;
        let mut results = vec![Val::I32(0); self.results];
        function.call_async(&mut *store, &[], &mut results).await?;
        Ok(Ended::Well)
    }
}

fn linker(module: &Module) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(module.engine());
    let imports = |from| module.imports().any(|import| import.module() == from);
    let imports_exit = |from| {
        module.imports().any(|import| import.module() == from && import.name() == "proc_exit")
    };
    if imports(PREVIEW1) {
        p1::add_to_linker_async(&mut linker, |host: &mut Host| &mut host.wasi)?;
    }
    if imports(PREVIEW0) {
        p0::add_to_linker_async(&mut linker, |host: &mut Host| &mut host.wasi)?;
    }
    // WASI's own refuses every status from 126 on, which native programs may use.
    linker.allow_shadowing(true);
    for from in [PREVIEW1, PREVIEW0] {
        if imports_exit(from) {
            linker.func_wrap(from, "proc_exit", |status: i32| -> wasmtime::Result<()> {
                Err(I32Exit(status).into())
            })?;
        }
    }
    Ok(linker)
}

/// The type of the exported function `export`.
fn function(module: &Module, guest: &Guest, export: &str) -> Result<FuncType> {
    let name = &guest.entrypoint.name;
    let functions = || {
        listed(module.exports().filter(|e| matches!(e.ty(), ExternType::Func(_))).map(|e| e.name()))
    };
    match module.get_export(export) {
        Some(ExternType::Func(ty)) => Ok(ty),
        Some(_) => Err(Refusal::invalid(format!(
            "process.args[0] {name:?}: the export {export:?} is not a function; the module exports \
             the functions: {}",
            functions()
        ))),
        None if guest.entrypoint.export.is_none() => Err(Refusal::invalid(format!(
            "process.args[0] {name:?}: the module is not a command, as it exports no {START:?}; \
             \"{name}#FUNCTION\" would run one of the functions it exports: {}",
            functions()
        ))),
        None => Err(Refusal::not_found(format!(
            "process.args[0] {name:?}: no such export: {export:?}; the module exports the \
             functions: {}",
            functions()
        ))),
    }
}
