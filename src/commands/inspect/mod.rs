//! `lighter inspect`: what a program or an image is and needs, and what becomes of it or of a bundle on this node.

mod bundle;
mod facts;
mod image;
mod lines;
mod offer;
mod plan;
mod program;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lighter::cache::{Digest, Form, Kind, form_of};
use lighter::config::Config;
use lighter::inspect::Inspection;
use lighter::record::Record;
use serde_json::json;

use super::ConfigArg;
use super::images::{self, Execution, FindArgs};
use super::style::Style;
use facts::Facts;
use program::Program;

/// Show what a program or an image is and needs, and what it gets on this node as a container
///
/// Of a program: its world, imports, exports, sizes, memory and features, whether it would run, and whether it is compiled
/// already. Of an image, that of all programs in it, too. Of a bundle what its container gets, or, if it runs, what it has
/// got; of a container of this command's the same. Nothing is run or compiled; an image that is not on this machine is pulled.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// As JSON: all that is known
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    find: FindArgs,
    /// A .wasm or .wat file; an image, as an OCI layout, a tar file, or a name; the directory of a bundle; or a container's id
    #[arg(value_name = "FILE|IMAGE|BUNDLE|ID")]
    target: String,
}

/// `root` is where containers are recorded.
pub(crate) fn run(args: Args, root: &Path) -> Result<ExitCode> {
    let config = args.config.load()?;
    let target = Path::new(&args.target);
    if target.join("config.json").is_file() {
        return of_bundle(&args, &lighter::inspect::inspect(target, &config)?);
    }
    let is_named_as_file = target.extension().is_some_and(|end| end == "wasm" || end == "wat");
    if !target.exists() && is_named_as_file {
        bail!("{}: there is no such file", target.display());
    }
    // An id has neither a slash nor a colon, and most names of images have one of them.
    if !target.exists()
        && let Ok(record) = Record::find(root, &args.target)
        && let Some(inspection) = lighter::inspect::recorded(&record)?
    {
        return of_bundle(&args, &inspection);
    }
    // A directory that is neither a bundle nor an image is most likely meant as the former.
    if target.is_dir()
        && !target.join("index.json").exists()
        && !target.join("manifest.json").exists()
    {
        bail!(
            "{}: there is no config.json in it (a bundle), and no index.json (an image)",
            target.display()
        );
    }
    match program_at(target)? {
        Some(wasm) => of_program(&args, &wasm, &config),
        None => image::show(&args, &config),
    }
}

fn of_bundle(args: &Args, inspection: &Inspection) -> Result<ExitCode> {
    show(
        args.json,
        || Ok(serde_json::to_value(inspection)?),
        |out, style| lines::write(out, None, &bundle::lines(inspection), style),
    )
}

/// The bytes of the file, if it is one and not an archive; whether it is a program is not looked at.
fn program_at(path: &Path) -> Result<Option<Vec<u8>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let reading = || path.display().to_string();
    let mut file = File::open(path).with_context(reading)?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(512).read_to_end(&mut bytes).with_context(reading)?;
    if bytes.get(257..262) == Some(b"ustar") {
        return Ok(None);
    }
    file.read_to_end(&mut bytes).with_context(reading)?;
    Ok(Some(bytes))
}

/// Looks at the bytes of a program, which may be text.
fn look(name: &str, bytes: &[u8], config: &Config) -> Result<Program> {
    let about = || program::harmless(name);
    let form = form_of(bytes).map_err(anyhow::Error::msg).with_context(about)?;
    let binary = wat::parse_bytes(bytes).with_context(about)?;
    let kind = match form_of(&binary) {
        Ok(Form::Component) => Kind::Component,
        _ => Kind::Module,
    };
    let mut facts = Facts::of(&binary, kind).with_context(about)?;
    if form == Form::Text {
        // As the cache knows it.
        facts.digest = Digest::of(bytes);
    }
    Ok(Program::new(name, facts, config))
}

fn of_program(args: &Args, bytes: &[u8], config: &Config) -> Result<ExitCode> {
    let program = look(&args.target, bytes, config)?;
    let name = Path::new(&args.target).file_name().unwrap_or_default().to_string_lossy();
    let planned = plan::of(&format!("/{name}"), &Execution::default(), config);
    show(
        args.json,
        || {
            let plan = planned.as_ref().map(|(plan, _)| json!(plan));
            Ok(json!({ "program": program, "plan": plan.unwrap_or_default() }))
        },
        |out, style| {
            lines::write(out, None, &program::lines(&program), style)?;
            write_plan(out, &planned, style)
        },
    )
}

/// What it would get as a container, or why it would get nothing.
fn write_plan(
    out: &mut dyn Write,
    planned: &Result<(lighter::plan::Plan, lighter::host::Host)>,
    style: &Style,
) -> std::io::Result<()> {
    writeln!(out)?;
    match planned {
        Ok((plan, host)) => lines::write(
            out,
            Some("As a container of which nothing else is asked"),
            &bundle::in_short(plan, host),
            style,
        ),
        Err(why) => writeln!(out, "As a container it would be refused: {why:#}"),
    }
}

/// Writes it as JSON or for people.
fn show(
    as_json: bool,
    json: impl FnOnce() -> Result<serde_json::Value>,
    text: impl FnOnce(&mut dyn Write, &Style) -> std::io::Result<()>,
) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, &json()?)?;
        writeln!(out)?;
    } else {
        text(&mut out, &Style::of_stdout())?;
    }
    Ok(ExitCode::SUCCESS)
}
