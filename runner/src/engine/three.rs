//! Components of WASI 0.3, which run only where they are asked for: what the engine has of it is experimental.

use lighter::engine::is_server_3;
use lighter::error::{Refusal, Result};
use lighter::plan::{Guest, HttpSetting};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::listed;
use crate::wasi::Host;

/// Refuses a component of WASI 0.3 if it is no server, or if those are not to be served.
///
/// # Errors
/// Names the setting.
pub(super) fn check(engine: &Engine, component: &Component, guest: &Guest) -> Result<()> {
    let name = &guest.entrypoint.name;
    let ty = component.component_type();
    let exports = || ty.exports(engine).map(|(export, _)| export);
    if guest.entrypoint.export.is_some() || !is_server_3(exports()) {
        return Err(Refusal::invalid(format!(
            "process.args[0] {name:?}: the component is of WASI 0.3, of which Lighter runs servers only, and those as a \
             whole (\"wasi:http/handler@0.3.x\"); it exports: {}",
            listed(exports())
        )));
    }
    if guest.http.get(HttpSetting::P3) == 0 {
        let annotation = HttpSetting::P3.annotation();
        return Err(Refusal::invalid(format!(
            "process.args[0] {name:?}: the component is a server of WASI 0.3, as it exports \"wasi:http/handler@0.3.x\"; what \
             Wasmtime has of it is experimental and gets no security fixes, so it is served only with the annotation \
             {annotation}=on, or with p3 = \"on\" in the table [http] of the node's configuration"
        )));
    }
    Ok(())
}

/// Links what is of WASI 0.3.
pub(super) fn provide(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)
}
