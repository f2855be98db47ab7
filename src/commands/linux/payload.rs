//! The container's own program: found in its root filesystem, and run in place of ours.
//!
//! libcontainer's default executor wants `PATH` even for an absolute path, and refuses a program that
//! only its owner may execute. The messages are worded as callers of OCI runtimes know them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, NulError, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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
        let mut environment: Vec<_> = std::env::vars_os().collect();
        if std::env::var_os("HOME").is_none() {
            // libcontainer sets it from the container's passwd; other runtimes do so without one too.
            environment.push(("HOME".into(), "/".into()));
        }
        let error = execute(&program, args, environment);
        // Nobody waits for a message any more; the container's own standard error is the place.
        super::failure::write(&format!("exec: {:?}: {error}", args[0]), None);
        std::process::exit(match error.kind() {
            io::ErrorKind::NotFound => 127,
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
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    let error = execute(&program, args, environment);
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Err(anyhow::anyhow!("exec: {:?}: {why}", args[0]))
}

/// Becomes `program`; returns only if that cannot be.
///
/// Not by `Command::exec`, which is execvp(3): a file that the kernel does not take for a program, such as one for another
/// processor, would be handed to the container's shell as a script.
fn execute(
    program: &Path,
    args: &[String],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> io::Error {
    let bytes = |text: &OsStr| CString::new(text.as_bytes());
    let strings = || {
        let program = bytes(program.as_os_str())?;
        let args = args.iter().map(|arg| CString::new(arg.as_str()));
        let environment = environment.into_iter().map(|(name, value)| {
            bytes(&[name, OsString::from("="), value].into_iter().collect::<OsString>())
        });
        let (args, environment) = (args.collect::<Result<Vec<_>, _>>()?, environment);
        Ok::<_, NulError>((program, args, environment.collect::<Result<Vec<_>, _>>()?))
    };
    let (program, args, environment) = match strings() {
        Ok(strings) => strings,
        Err(error) => return error.into(),
    };
    super::sys::undo_signals();
    match nix::unistd::execve(&program, &args, &environment) {
        Err(nix::errno::Errno::ENOEXEC) => io::Error::other(
            "exec format error: a program for another processor, or a script whose first line names no interpreter",
        ),
        Err(errno) => errno.into(),
        Ok(never) => match never {},
    }
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
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err("permission denied"),
        Err(_) => Err("no such file or directory"),
        Ok(found) if !found.is_file() => Err("permission denied"),
        Ok(_) => {
            accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(|_| "permission denied")
        }
    }
}
