//! Components: `wasi:cli/command`, or a named export.

use lighter::error::{Refusal, Result};
use lighter::plan::Guest;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, Val};
use wasmtime::{Engine, Store};
use wasmtime_wasi::p2::bindings::CommandPre;

use super::{listed, three};
use crate::exit::{Ended, Outcome};
use crate::wasi::Host;

/// The interface that makes a component a command.
const RUN: &str = "wasi:cli/run@0.2.";
/// The packages of interfaces that are linked.
const PROVIDED: [&str; 7] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    HTTP,
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];
/// The one that few components import.
const HTTP: &str = "wasi:http/";

/// A linked component and the function of it that runs.
pub(super) enum Entry {
    /// `wasi:cli/run`.
    Command(CommandPre<Host>),
    /// A function that the component exports by itself.
    Function { component: InstancePre<Host>, export: ComponentExportIndex, results: usize },
}

/// Links `component` with WASI and finds the function to run.
///
/// # Errors
/// Names the imports that we do not provide, or says what is wrong with the export.
pub(super) fn link(engine: &Engine, component: &Component, guest: &Guest) -> Result<Entry> {
    let name = &guest.entrypoint.name;
    let function = match &guest.entrypoint.export {
        Some(export) => Some(function(engine, component, guest, export)?),
        None => {
            check_is_command(engine, component, guest)?;
            None
        }
    };
    let linked = provide(engine, component, guest, false)?;
    match function {
        Some((export, results)) => Ok(Entry::Function { component: linked, export, results }),
        None => CommandPre::new(linked)
            .map(Entry::Command)
            .map_err(|error| Refusal::invalid(format!("process.args[0] {name:?}: {error:#}"))),
    }
}

/// Links `component` with what it imports, which may be of WASI 0.3, too, if it was compiled `concurrent`.
///
/// # Errors
/// Names the imports that we do not provide.
pub(super) fn provide(
    engine: &Engine,
    component: &Component,
    guest: &Guest,
    concurrent: bool,
) -> Result<InstancePre<Host>> {
    let name = &guest.entrypoint.name;
    let mut linker = Linker::new(engine);
    let failed = |e: wasmtime::Error| Refusal::system("link the guest", format!("{e:#}"));
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(failed)?;
    let imports = component.component_type();
    if imports.imports(engine).any(|(import, _)| import.starts_with(HTTP)) {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).map_err(failed)?;
        crate::http::link(&mut linker).map_err(failed)?;
    }
    if concurrent {
        three::provide(&mut linker).map_err(failed)?;
    }
    if super::serves(engine, component) {
        crate::http::link_files(&mut linker).map_err(failed)?;
    }
    linker.instantiate_pre(component).map_err(|error| {
        let ty = component.component_type();
        let mut missing = ty
            .imports(engine)
            .map(|(import, _)| import)
            .filter(|import| !PROVIDED.iter().any(|provided| import.starts_with(provided)))
            .peekable();
        Refusal::invalid(if missing.peek().is_none() {
            format!("process.args[0] {name:?}: {error:#}")
        } else {
            let missing = listed(missing);
            format!(
                "process.args[0] {name:?}: the component imports what Lighter does not provide: \
                 {missing}"
            )
        })
    })
}

impl Entry {
    /// Instantiates the component and calls the function.
    pub(super) async fn run(&self, store: &mut Store<Host>) -> Outcome {
        match self {
            Self::Command(command) => {
                let command = command.instantiate_async(&mut *store).await?;
                store.data_mut().limiter.runs();
                match command.wasi_cli_run().call_run(&mut *store).await? {
                    Ok(()) => Ok(Ended::Well),
                    Err(()) => Ok(Ended::Badly),
                }
            }
            Self::Function { component, export, results } => {
                let instance = component.instantiate_async(&mut *store).await?;
                store.data_mut().limiter.runs();
                // `link` found the export.
                let function = instance
                    .get_func(&mut *store, export)
                    .ok_or_else(|| wasmtime::format_err!("the export is not a function"))?;
                let mut results = vec![Val::Bool(false); *results];
                function.call_async(&mut *store, &[], &mut results).await?;
                match results.first() {
                    Some(Val::Result(Err(_))) => Ok(Ended::Badly),
                    _ => Ok(Ended::Well),
                }
            }
        }
    }
}

fn check_is_command(engine: &Engine, component: &Component, guest: &Guest) -> Result<()> {
    let name = &guest.entrypoint.name;
    let ty = component.component_type();
    let exports = || ty.exports(engine).map(|(export, _)| export);
    if exports().any(|export| export.starts_with(RUN)) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "process.args[0] {name:?}: the component is neither a command, as it exports no \"{RUN}x\", nor an \
         HTTP server, as it exports no \"wasi:http/incoming-handler@0.2.x\"; it exports: {}",
        listed(exports())
    )))
}

/// Where the exported function `export` is, and how many results it has.
fn function(
    engine: &Engine,
    component: &Component,
    guest: &Guest,
    export: &str,
) -> Result<(ComponentExportIndex, usize)> {
    let name = &guest.entrypoint.name;
    let Some((item, index)) = component.get_export(None, export) else {
        let ty = component.component_type();
        return Err(Refusal::not_found(format!(
            "process.args[0] {name:?}: no such export: {export:?}; the component exports: {}",
            listed(ty.exports(engine).map(|(export, _)| export))
        )));
    };
    let ComponentItem::ComponentFunc(ty) = item else {
        return Err(Refusal::invalid(format!(
            "process.args[0] {name:?}: the export {export:?} is not a function"
        )));
    };
    if ty.params().len() > 0 {
        let params: Vec<_> = ty.params().map(|(param, _)| param).collect();
        return Err(Refusal::invalid(format!(
            "process.args[0] {name:?}: the function {export:?} takes parameters ({}); only one \
             without can be a container's entrypoint",
            params.join(", ")
        )));
    }
    Ok((index, ty.results().len()))
}
