//! The container's own program: found in its root filesystem, and run in place of ours.
//!
//! libcontainer's default executor wants `PATH` even for an absolute path, and refuses a program that
//! only its owner may execute. The messages are worded as callers of OCI runtimes know them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Where programs are searched if the container's environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `process.args`.
#[derive(Clone)]
pub(super) struct Payload;

impl Executor for Payload {
    /// Called as the container's user, in its root, before "created" is reported.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        process(spec).and_then(find).map(drop).map_err(ExecutorValidationError::ArgValidationError)
    }

    /// Called once the container is started; returns only if the program cannot run.
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (program, args) = process(spec).and_then(find).map_err(ExecutorError::Other)?;
        // `Command::exec` also undoes what Rust's runtime did to SIGPIPE and the signal mask.
        let mut command = Command::new(&program);
        if std::env::var_os("HOME").is_none() {
            // libcontainer sets it from the container's passwd; other runtimes do so without one too.
            command.env("HOME", "/");
        }
        let error = command.arg0(&args[0]).args(&args[1..]).exec();
        // Nobody waits for a message any more; the container's own standard error is the place.
        super::failure::write(&format!("exec: {:?}: {error}", args[0]), None);
        std::process::exit(match error.kind() {
            std::io::ErrorKind::NotFound => 127,
            _ => 126,
        })
    }
}

/// Becomes the program of `process`, in whose container this is, with exactly this environment.
pub(super) fn become_program(
    process: &Process,
    environment: &BTreeMap<&str, String>,
) -> anyhow::Result<Infallible> {
    let (program, args) = find(process).map_err(anyhow::Error::msg)?;
    let mut command = Command::new(&program);
    let error = command.env_clear().envs(environment).arg0(&args[0]).args(&args[1..]).exec();
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Err(anyhow::anyhow!("exec: {:?}: {why}", args[0]))
}

fn process(spec: &Spec) -> Result<&Process, String> {
    Ok(spec.process().as_ref().ok_or("config.json has no process")?)
}

/// The program's path and its arguments, the program's own name first.
fn find(process: &Process) -> Result<(PathBuf, &[String]), String> {
    let args = process.args().as_deref().unwrap_or_default();
    let name = args.first().ok_or("process.args is empty")?;
    if name.contains('/') {
        executable(Path::new(name)).map_err(|why| format!("exec: {name:?}: stat {name}: {why}"))?;
        return Ok((name.into(), args));
    }
    let mut denied = false;
    for dir in search_path(process).split(':') {
        let candidate = Path::new(dir).join(name);
        match executable(&candidate) {
            Ok(()) => return Ok((candidate, args)),
            Err(why) => denied |= why == "permission denied",
        }
    }
    Err(match denied {
        true => format!("exec: {name:?}: permission denied"),
        false => format!("exec: {name:?}: executable file not found in $PATH"),
    })
}

fn search_path(process: &Process) -> &str {
    let env = process.env().as_deref().unwrap_or_default();
    env.iter().find_map(|var| var.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH)
}

/// Whether we, as the container's user, may execute the file at `path`.
fn executable(path: &Path) -> Result<(), &'static str> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Err("permission denied"),
        Err(_) => Err("no such file or directory"),
        Ok(found) if !found.is_file() => Err("permission denied"),
        Ok(_) => {
            accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(|_| "permission denied")
        }
    }
}
