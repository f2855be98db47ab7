//! The engine in a bare process, without a container: `bare compile WASM CODE`, `bare run CODE [ARGUMENT…]`, as
//! `wasmtime compile` and `wasmtime run --allow-precompiled` do it.

use wasmtime::error::Context;
use wasmtime::{Config, Engine, Linker, Module, Result, Store, bail};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let engine = Engine::new(&Config::new())?;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["compile", wasm, code] => {
            let wasm = std::fs::read(wasm).with_context(|| format!("read {wasm}"))?;
            Ok(std::fs::write(code, engine.precompile_module(&wasm)?)?)
        }
        ["run", code, ..] => std::process::exit(run(&engine, code, &args[1..])?),
        _ => bail!("usage: bare compile WASM CODE, or bare run CODE [ARGUMENT…]"),
    }
}

fn run(engine: &Engine, code: &str, args: &[String]) -> Result<i32> {
    // SAFETY: the harness had it compiled by this program.
    let module = unsafe { Module::deserialize_file(engine, code) }?;
    let wasi = WasiCtxBuilder::new().args(args).inherit_stdio().build_p1();
    let mut linker: Linker<WasiP1Ctx> = Linker::new(engine);
    p1::add_to_linker_sync(&mut linker, |state| state)?;
    let mut store = Store::new(engine, wasi);
    let start = linker.instantiate(&mut store, &module)?;
    let start = start.get_typed_func::<(), ()>(&mut store, "_start")?;
    match start.call(&mut store, ()) {
        Ok(()) => Ok(0),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(exit.0),
            None => Err(error),
        },
    }
}
