//! `process`: environment, working directory, user, limits; and hooks, which are processes too.

use oci_spec::runtime::{self, Process};

use crate::error::{Refusal, Result};
use crate::plan::{Hook, Rlimit, Terminal, User};

/// The umask of runc, containerd and Docker containers where the bundle has none.
const DEFAULT_UMASK: u32 = 0o022;

/// `process.env` as pairs, in order.
pub(super) fn environment(process: &Process) -> Result<Vec<(String, String)>> {
    pairs("process.env", process.env().as_deref().unwrap_or_default())
}

fn pairs(field: &str, lines: &[String]) -> Result<Vec<(String, String)>> {
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| match line.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Refusal::invalid(format!(
                "{field}[{index}] {line:?}: not of the form KEY=value"
            ))),
        })
        .collect()
}

/// `process.cwd`, which the specification wants absolute.
pub(super) fn working_directory(process: &Process) -> Result<String> {
    let cwd = text("process.cwd", process.cwd())?;
    if !cwd.starts_with('/') {
        return Err(Refusal::invalid(format!("process.cwd {cwd:?}: not an absolute path")));
    }
    Ok(cwd)
}

pub(super) fn user(user: &runtime::User) -> User {
    User {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(DEFAULT_UMASK),
    }
}

/// `process.terminal` and its `consoleSize`.
pub(crate) fn terminal(process: &Process) -> Result<Option<Terminal>> {
    if process.terminal() != Some(true) {
        return Ok(None);
    }
    let Some(size) = process.console_size() else { return Ok(Some(Terminal::default())) };
    let characters = |side: &str, length: u64| {
        u16::try_from(length).map_err(|_| {
            Refusal::invalid(format!("process.consoleSize.{side} {length}: at most {}", u16::MAX))
        })
    };
    let width = characters("width", size.width())?;
    Ok(Some(Terminal { width, height: characters("height", size.height())? }))
}

pub(super) fn rlimits(process: &Process) -> Result<Vec<Rlimit>> {
    let limits = process.rlimits().as_deref().unwrap_or_default();
    let mut planned = Vec::with_capacity(limits.len());
    for limit in limits {
        let rlimit =
            Rlimit { resource: limit.typ().to_string(), soft: limit.soft(), hard: limit.hard() };
        if rlimit.soft > rlimit.hard {
            return Err(Refusal::invalid(format!(
                "process.rlimits: {} has a soft limit ({}) above its hard limit ({})",
                rlimit.resource, rlimit.soft, rlimit.hard
            )));
        }
        if planned.iter().any(|other: &Rlimit| other.resource == rlimit.resource) {
            return Err(Refusal::invalid(format!(
                "process.rlimits: {} is given twice",
                rlimit.resource
            )));
        }
        planned.push(rlimit);
    }
    Ok(planned)
}

pub(super) fn hooks(kind: &str, hooks: &Option<Vec<runtime::Hook>>) -> Result<Vec<Hook>> {
    hooks
        .as_deref()
        .unwrap_or_default()
        .iter()
        .enumerate()
        .map(|(index, hook)| {
            let field = format!("hooks.{kind}[{index}]");
            let path = text(&format!("{field}.path"), hook.path())?;
            if !path.starts_with('/') {
                return Err(Refusal::invalid(format!(
                    "{field}.path {path:?}: not an absolute path"
                )));
            }
            let timeout = match hook.timeout() {
                Some(seconds) if seconds <= 0 => {
                    return Err(Refusal::invalid(format!(
                        "{field}.timeout {seconds}: must be more than 0 seconds"
                    )));
                }
                timeout => timeout.map(i64::unsigned_abs),
            };
            let env = pairs(&format!("{field}.env"), hook.env().as_deref().unwrap_or_default())?;
            Ok(Hook { path, args: hook.args().clone().unwrap_or_default(), env, timeout })
        })
        .collect()
}

/// A path as text: what goes over JSON and into WASI must be UTF-8.
pub(super) fn text(field: &str, path: &std::path::Path) -> Result<String> {
    match path.to_str() {
        Some(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(Refusal::invalid(format!("{field} {path:?}: not UTF-8 text"))),
    }
}
