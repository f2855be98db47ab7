//! The limited process that compiles one module: `lighter compile --child ORDER`.
//!
//! See `lighter::cache::compile` for what its three descriptors are.

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::time::Instant;

use lighter::cache::{Digest, Form, Kind, Order, Report, exit, form_of};
use lighter::config::CompileConfig;
use lighter::engine::WASMTIME_VERSION;
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};

use super::world::World;

mod sys;

/// Descriptors that the compiler may have open.
const MAX_FILES: u64 = 64;

/// Seconds between the signal that says "time is up" and the one that cannot be held.
const CPU_GRACE: u64 = 5;

/// How much the compiler stands back when processors are scarce.
const NICENESS: i32 = 5;

/// Bytes of data that are copied for each request of a server sooner than the kernel brings and takes away the pages of an image.
const LITTLE_DATA: usize = 256 << 10;

/// How it ended without success: the exit code, and why.
struct Failure(u8, String);

pub(crate) fn run(order: &Order) -> ExitCode {
    match compile(order) {
        Ok(report) => {
            let _ = writeln!(std::io::stderr(), "{report}");
            ExitCode::SUCCESS
        }
        Err(Failure(code, why)) => {
            let _ = writeln!(std::io::stderr(), "{why}");
            ExitCode::from(code)
        }
    }
}

/// Bytes of all data segments of a component; of one that is broken, those before that.
fn data(component: &[u8]) -> usize {
    let sections = wasmparser::Parser::new(0).parse_all(component);
    sections.map_while(Result::ok).fold(0, |bytes, section| match section {
        wasmparser::Payload::DataSection(data) => bytes.saturating_add(data.range().len()),
        _ => bytes,
    })
}

fn compile(order: &Order) -> Result<String, Failure> {
    let start = Instant::now();
    sys::grow_in_large_steps();
    restrict(&order.limits)
        .map_err(|e| Failure(exit::SYSTEM, format!("limit the compiler: {e}")))?;

    // The digest is of the bytes that are compiled, whatever the file contains by then.
    let bytes = read(order).map_err(|e| Failure(exit::SYSTEM, format!("read: {e}")))?;
    let digest = Digest::of(&bytes);
    if order.digest.is_some_and(|ordered| ordered != digest) {
        return Err(Failure(exit::CHANGED, "the module changed".into()));
    }

    let invalid = |why: String| Failure(exit::INVALID, why);
    let form = form_of(&bytes).map_err(invalid)?;
    let binary = wat::parse_bytes(&bytes).map_err(|e| invalid(one_line(&e.to_string())))?;
    let kind = match form_of(&binary) {
        Ok(Form::Component) => Kind::Component,
        _ => Kind::Module,
    };

    let system = |e: String| Failure(exit::SYSTEM, e);
    let settings = match (kind, World::of(&binary)) {
        (Kind::Component, Ok(world)) => {
            let exports: Vec<_> = world.exports.iter().map(String::as_str).collect();
            let has_little_data = || data(&binary) <= LITTLE_DATA;
            order.settings.of_component(&exports, has_little_data)
        }
        _ => order.settings.clone(),
    };
    let engine = wasmtime::Engine::new(&settings.to_config())
        .map_err(|e| system(format!("configure the compiler: {e:#}")))?;
    let code = match kind {
        Kind::Module => engine.precompile_module(&binary),
        Kind::Component => engine.precompile_component(&binary),
    }
    .map_err(|e| {
        let form = if form == Form::Text { " (of the binary form)" } else { "" };
        invalid(one_line(&format!("{e:#}")) + form)
    })?;

    File::from(std::io::stdout().as_fd().try_clone_to_owned().map_err(|e| system(e.to_string()))?)
        .write_all(&code)
        .map_err(|e| system(format!("write {} bytes of code: {e}", code.len())))?;

    let mut compatibility = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    let report = Report {
        kind,
        digest,
        wasm_bytes: bytes.len() as u64,
        compatibility: format!("{:016x}", compatibility.finish()),
        wasmtime: WASMTIME_VERSION.into(),
        compile_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        peak_bytes: getrusage(UsageWho::RUSAGE_SELF)
            .map_or(0, |usage| usage.max_rss().unsigned_abs() * 1024),
    };
    serde_json::to_string(&report).map_err(|e| system(e.to_string()))
}

/// Limits this process, before it has read anything.
fn restrict(limits: &CompileConfig) -> std::io::Result<()> {
    // Nobody waits for the code of a supervisor that is gone.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // Do not hold the container's bundle.
    std::env::set_current_dir("/")?;
    // The first to go when memory is short, the last to be served when processors are.
    std::fs::write("/proc/self/oom_score_adj", "1000")?;
    rustix::process::nice(NICENESS)?;

    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_NOFILE, MAX_FILES, MAX_FILES)?;
    let cpu = limits.cpu_seconds;
    setrlimit(Resource::RLIMIT_CPU, cpu, cpu.saturating_add(CPU_GRACE))?;
    let memory = limits.max_memory_bytes;
    setrlimit(Resource::RLIMIT_AS, memory, memory)?;
    Ok(())
}

/// Reads descriptor 0 without moving its offset, which is the supervisor's too.
fn read(order: &Order) -> std::io::Result<Vec<u8>> {
    let file = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let facts = file.metadata()?;
    if !facts.is_file() || facts.len() > order.limits.max_module_bytes {
        return Err(std::io::Error::other(format!(
            "not a file of at most {} bytes (compile.max_module_bytes)",
            order.limits.max_module_bytes
        )));
    }
    let len = usize::try_from(facts.len()).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// An error's message and place without the picture of the source line.
fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .filter(|line| {
            !line.starts_with('|') && !line.split('|').next().is_some_and(is_line_number)
        })
        .collect::<Vec<_>>()
        .join(" ")
        .replace("--> <anon>:", "at line:column ")
}

fn is_line_number(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_error_becomes_one_line() {
        let error = wat::parse_str("(module\n  (func (i32.cons 1)))").unwrap_err().to_string();
        let line = one_line(&error);
        assert!(!line.contains('\n') && !line.contains('^'), "{line}");
        assert!(
            line.contains("unknown operator") && line.ends_with("at line:column 2:10"),
            "{line}"
        );
    }
}
