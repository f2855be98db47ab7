//! The nearest peer's architecture: a shim of the crate `containerd-shim-wasm`, as its documentation has it, with the
//! same Wasmtime as ours. Layers of WebAssembly are compiled once and kept in containerd's content store.

use anyhow::{Context, Result, anyhow};
use containerd_shim_wasm::sandbox::Sandbox;
use containerd_shim_wasm::sandbox::context::{RuntimeContext, WasmLayer};
use containerd_shim_wasm::shim::{Cli, Compiler, Shim, Version, version};
use wasmtime::{Config, Engine, Linker, Module, Store};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

struct Peer;

struct PeerCompiler(Engine);

struct Guest {
    engine: Engine,
}

impl Default for Guest {
    fn default() -> Self {
        Self { engine: engine() }
    }
}

/// The engine's error as the crate wants it.
fn said(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:?}")
}

fn engine() -> Engine {
    Engine::new(&Config::new()).expect("the default configuration is a valid one")
}

impl Shim for Peer {
    type Sandbox = Guest;

    fn name() -> &'static str {
        "peer"
    }

    fn version() -> Version {
        version!()
    }

    async fn compiler() -> Option<impl Compiler> {
        Some(PeerCompiler(engine()))
    }
}

impl Compiler for PeerCompiler {
    fn cache_key(&self) -> impl std::hash::Hash {
        env!("CARGO_PKG_VERSION")
    }

    async fn compile(&self, layers: &[WasmLayer]) -> Result<Vec<Option<Vec<u8>>>> {
        let compile =
            |layer: &WasmLayer| Ok(Some(self.0.precompile_module(&layer.layer).map_err(said)?));
        layers.iter().map(compile).collect()
    }
}

impl Sandbox for Guest {
    async fn run_wasi(&self, context: &impl RuntimeContext) -> Result<i32> {
        let entrypoint = context.entrypoint();
        let bytes = entrypoint.source.as_bytes()?;
        let module = match entrypoint.source.is_precompiled()? {
            // SAFETY: this shim compiled it, and only root can change containerd's content store.
            true => unsafe { Module::deserialize(&self.engine, &bytes) }.map_err(said)?,
            false => Module::from_binary(&self.engine, &bytes).map_err(said)?,
        };
        let wasi = WasiCtxBuilder::new().args(context.args()).inherit_stdio().build_p1();
        let mut linker: Linker<WasiP1Ctx> = Linker::new(&self.engine);
        p1::add_to_linker_async(&mut linker, |state| state).map_err(said)?;
        let mut store = Store::new(&self.engine, wasi);
        let instance = linker.instantiate_async(&mut store, &module).await.map_err(said)?;
        let start =
            instance.get_typed_func::<(), ()>(&mut store, &entrypoint.func).map_err(said)?;
        match start.call_async(&mut store, ()).await {
            Ok(()) => Ok(0),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => Ok(exit.0),
                None => Err(said(error)).context("run the guest"),
            },
        }
    }
}

fn main() {
    Peer::run(None);
}
