//! `pieces [FILTER]`: times the pieces of a start, each by itself, with Criterion: the bundle and its plan, the lookup of compiled
//! code, the sandbox, the mapping and the linking of code, and its instantiation.
//!
//! The runner's own modules are built into this, as they are no library. The whole of a start, with what the kernel and containerd
//! take, is what the questions `start` and `timeline` are about.

#[path = "../../../runner/src/confine/mod.rs"]
#[allow(dead_code, reason = "nobody is confined here")]
mod confine;
#[path = "../../../runner/src/engine/mod.rs"]
#[allow(dead_code, reason = "guests are loaded, and never run")]
mod engine;
#[path = "../../../runner/src/enter/mod.rs"]
#[allow(dead_code, reason = "no entrypoint is opened here")]
mod enter;
#[path = "../../../runner/src/exit.rs"]
#[allow(dead_code, reason = "no guest ends here")]
mod exit;
#[path = "../../../runner/src/http/mod.rs"]
#[allow(dead_code, reason = "no request comes here")]
mod http;
#[path = "../../../runner/src/last_words.rs"]
#[allow(dead_code, reason = "no guest ends here")]
mod last_words;
#[path = "../../../runner/src/limits/mod.rs"]
#[allow(dead_code, reason = "no guest runs into them here")]
mod limits;
#[path = "../../../runner/src/setup.rs"]
#[allow(dead_code, reason = "there is no supervisor here")]
mod setup;
#[path = "../../../runner/src/signals.rs"]
#[allow(dead_code, reason = "no signal is handled here")]
mod signals;
#[path = "../../../runner/src/stdio.rs"]
#[allow(dead_code, reason = "no guest reads or writes here")]
mod stdio;
#[path = "../../../runner/src/sys/mod.rs"]
#[allow(dead_code, unused_imports, reason = "no guest runs here")]
mod sys;
#[path = "../../../runner/src/wasi.rs"]
#[allow(dead_code, reason = "no guest runs here")]
mod wasi;

mod given;
mod sandbox;

use std::fs::File;
use std::hint::black_box;

use anyhow::{Context, Result, anyhow};
use criterion::{BatchSize, Criterion};
use lighter::bundle::Bundle;
use lighter::cache::{Digest, Origin, Wasm};
use lighter::config::Config;
use lighter::engine::Settings;
use lighter::host::Host;
use lighter::plan::plan;

use given::{Compiled, Given};

fn main() -> Result<()> {
    if let Some(file) = std::env::args().skip_while(|arg| arg != sandbox::FLAG).nth(1) {
        return sandbox::enter(file.as_ref());
    }
    let given = Given::new()?;
    let mut criterion = Criterion::default().configure_from_args();
    supervisor(&mut criterion, &given)?;
    runner(&mut criterion, &given)?;
    criterion.final_summary();
    Ok(())
}

/// What the shim does.
fn supervisor(criterion: &mut Criterion, given: &Given) -> Result<()> {
    let (host, config) = (Host::detect(), Config::default());
    criterion.bench_function("host/detect", |bench| bench.iter(Host::detect));
    for name in ["ctr", "cri"] {
        let directory = given.bundles().join(name);
        let load = || Bundle::load(&directory);
        let bundle = load().with_context(|| format!("load the bundle {name}"))?;
        criterion.bench_function(&format!("bundle/load/{name}"), |bench| bench.iter(load));
        criterion.bench_function(&format!("plan/{name}"), |bench| {
            bench.iter(|| plan("c1", black_box(&bundle), &host, &config));
        });
    }
    for compiled in given.compiled() {
        let Compiled { name, wasm, .. } = compiled;
        let (file, settings) = (File::open(wasm)?, Settings::default());
        // What a container has: the file is known after the first time.
        let known = Wasm { file: &file, name, root: wasm.parent() };
        criterion.bench_function(&format!("cache/look up/{name}"), |bench| {
            bench.iter(|| {
                given.cache().get(&known, &settings).map(|code| code.origin == Origin::Hit)
            });
        });
        let len = file.metadata()?.len();
        // What is paid once for each file, and remembered.
        criterion.bench_function(&format!("cache/hash/{name}"), |bench| {
            bench.iter(|| Digest::of_file(&file, len, |_| Ok(())));
        });
    }
    Ok(())
}

/// What the runner does.
fn runner(criterion: &mut Criterion, given: &Given) -> Result<()> {
    let plan = sandbox::plan(given)?;
    criterion.bench_function("sandbox/enter", |bench| bench.iter_custom(|times| plan.time(times)));
    let settings = Settings::default();
    criterion.bench_function("engine/new", |bench| {
        bench.iter(|| wasmtime::Engine::new(&settings.to_config()));
    });
    let engine = wasmtime::Engine::new(&settings.to_config()).map_err(failed)?;
    for compiled in given.compiled() {
        let Compiled { name, code, .. } = compiled;
        criterion.bench_function(&format!("code/map/{name}"), |bench| {
            let open = || File::open(code).expect("compiled just now");
            bench.iter_batched(open, |file| sys::map_module(&engine, file), BatchSize::SmallInput);
        });
        // As far as a guest is before its container counts as created: engine, code, directories, links.
        let (guest, limits) = plan.of_guest();
        let guest = &guest;
        criterion.bench_function(&format!("guest/load/{name}"), |bench| {
            let open = || File::open(code).expect("compiled just now");
            let load = |file| {
                engine::load(&settings, guest, limits, file, None, None, || Ok(None)).is_ok()
            };
            assert!(load(open()), "{name} is not loaded");
            bench.iter_batched(open, load, BatchSize::SmallInput);
        });
        let module = sys::map_module(&engine, File::open(code)?).map_err(failed)?;
        let mut linker = wasmtime::Linker::<wasmtime_wasi::p1::WasiP1Ctx>::new(&engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut linker, |state| state).map_err(failed)?;
        let linked = linker.instantiate_pre(&module).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        criterion.bench_function(&format!("guest/instantiate/{name}"), |bench| {
            bench.iter_batched(
                || wasmtime::Store::new(&engine, wasmtime_wasi::WasiCtxBuilder::new().build_p1()),
                |mut store| {
                    runtime.block_on(linked.instantiate_async(&mut store)).expect("an instance");
                    store
                },
                BatchSize::PerIteration,
            );
        });
    }
    Ok(())
}

fn failed(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}
