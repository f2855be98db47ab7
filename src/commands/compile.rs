//! `lighter compile`: compiles a module ahead of time.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use lighter::cache::{Order, Wasm};
use lighter::engine::Settings;

use super::{ConfigArg, compiler, human_bytes};

/// Compile a WebAssembly module or component ahead of time, to look at its code or to measure
///
/// Containers do not need it: each module is compiled when it first runs on the node. The compiler is a process
/// of its own, with the limits of the configuration's section [compile].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The .wasm or .wat file
    #[arg(required_unless_present = "child")]
    input: Option<PathBuf>,

    /// Where the code goes [default: the input's name with the ending .cwasm]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Count fuel in the code
    #[arg(long)]
    fuel: bool,

    /// Check an epoch counter in the code
    #[arg(long)]
    epochs: bool,

    /// Copy data to memory rather than map an image of the memory
    #[arg(long)]
    copies: bool,

    #[command(flatten)]
    config: ConfigArg,

    /// Be the limited process that compiles (internal)
    #[arg(long, hide = true, value_name = "ORDER", conflicts_with_all = ["input", "output"])]
    child: Option<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(order) = args.child {
        let order: Order = match serde_json::from_str(&order) {
            Ok(order) => order,
            Err(e) => {
                let _ = writeln!(std::io::stderr(), "{e}");
                return Ok(ExitCode::from(lighter::cache::exit::USAGE));
            }
        };
        return Ok(compiler::run(&order));
    }

    let config = args.config.load()?;
    let Some(input) = args.input else { bail!("no input file") };
    let output = args.output.unwrap_or_else(|| input.with_extension("cwasm"));
    let name = input.display().to_string();
    let file = File::open(&input).with_context(|| format!("open {name}"))?;
    let wasm = Wasm { file: &file, name: &name, root: None };
    let settings =
        Settings { fuel: args.fuel, epochs: args.epochs, copies: args.copies, concurrent: false };
    let program = std::env::current_exe().context("find our own program")?;
    let mut compiled = lighter::cache::compile(&program, &config.compile, &wasm, &settings)?;

    // Whole or not at all.
    let mut partial = output.clone().into_os_string();
    partial.push(format!(".{}.tmp", std::process::id()));
    let written = File::create(&partial)
        .and_then(|mut file| std::io::copy(&mut compiled.file, &mut file))
        .and_then(|bytes| std::fs::rename(&partial, &output).map(|()| bytes));
    let bytes = written.inspect_err(|_| drop(std::fs::remove_file(&partial)));
    let bytes = bytes.with_context(|| format!("write {}", output.display()))?;

    let report = compiled.report;
    writeln!(
        std::io::stdout(),
        "{}: {} of {}, compiled in {:.2} s with {} of memory",
        output.display(),
        human_bytes(bytes),
        match report.kind {
            lighter::cache::Kind::Module => "module code",
            lighter::cache::Kind::Component => "component code",
        },
        report.compile_ms as f64 / 1000.0,
        human_bytes(report.peak_bytes),
    )?;
    Ok(ExitCode::SUCCESS)
}
