//! From a bundle to a plan. Nothing here reads a file or asks the kernel.

mod confinement;
mod covers;
mod entrypoint;
mod exec;
mod http;
mod id_map;
mod limits;
mod mounts;
mod process;
mod seccomp;
mod termination;
mod world;

use oci_spec::runtime::Spec;

use super::{Access, Guest, LimitKind, Plan, Preopen, Sandbox};
use crate::bundle::Bundle;
use crate::config::Config;
use crate::engine::Settings;
use crate::error::{Refusal, Result};
use crate::host::Host;

pub use entrypoint::entrypoint;
pub use exec::exec_plan;
pub use http::only_tcp_port;
pub use id_map::{IdMapped, id_mapped_mounts};
pub use limits::MemoryRule;
pub(crate) use process::terminal;
pub(crate) use world::namespaces;

/// Decides how the container `id` of `bundle` runs on `host` by the rules of `config`, or refuses.
///
/// # Errors
/// Names the field of `config.json` and the value that cannot be honoured.
pub fn plan(id: &str, bundle: &Bundle, host: &Host, config: &Config) -> Result<Plan> {
    let spec = &bundle.spec;
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| Refusal::invalid("process: missing; a WebAssembly container needs one"))?;
    let entrypoint = entrypoint(process)?;
    let args = process.args().clone().unwrap_or_default();
    let cwd = process::working_directory(process)?;
    let env = with_cwd(process::environment(process)?, &cwd);
    let root = world::root(bundle)?;
    let label = mounts::label(spec, host)?;
    let mounts = mounts::mounts(bundle, label)?;
    let preopens = preopens(&cwd, root.read_only, &mounts);
    let limits = limits::limits(spec, &bundle.requests, config)?;
    Ok(Plan {
        id: id.to_owned(),
        confinement: confinement::confinement(bundle, &preopens, host, config)?,
        guest: Guest {
            http: http::http(spec, &bundle.requests, &env, config),
            entrypoint,
            args,
            env,
            cwd,
            preopens,
            network: bundle.requests.network.clone(),
            termination_message: termination::message(bundle, &mounts),
        },
        sandbox: Sandbox {
            devices: world::devices(spec, &mounts)?,
            read_only_paths: covers::read_only(spec)?,
            masked_paths: covers::masked(spec)?,
            mask_label: label.map(str::to_owned),
            namespaces: namespaces(spec, host)?,
            user: process::user(process.user()),
            terminal: terminal(process)?,
            rlimits: process::rlimits(process)?,
            oom_score_adj: process.oom_score_adj(),
            sysctl: world::sysctl(spec),
            hostname: world::name_of(spec, "hostname", spec.hostname())?,
            domainname: world::name_of(spec, "domainname", spec.domainname())?,
            hooks: hooks(spec)?,
            root: Some(root),
            mounts,
        },
        // Counted in the compiled code, where it is limited.
        engine: Settings { fuel: limits.get(LimitKind::Fuel).is_some(), ..Settings::default() },
        limits,
    })
}

/// A preview 1 program has no working directory; those of Go take it from `PWD`.
fn with_cwd(mut env: Vec<(String, String)>, cwd: &str) -> Vec<(String, String)> {
    if cwd != "/" && !env.iter().any(|(key, _)| key == "PWD") {
        env.push(("PWD".to_owned(), cwd.to_owned()));
    }
    env
}

/// What the guest may open: the working directory, the root, and each mount with its own permission.
///
/// The working directory comes first, because languages without a C library take the first one as
/// theirs; the root comes after it, because wasi-libc gives the last of equal prefixes the absolute paths.
fn preopens(cwd: &str, read_only: bool, mounts: &[super::Mount]) -> Vec<Preopen> {
    let access = |read_only| if read_only { Access::ReadOnly } else { Access::ReadWrite };
    let covering =
        mounts.iter().rev().find(|mount| std::path::Path::new(cwd).starts_with(&mount.destination));
    let cwd_read_only = covering.map_or(read_only, super::Mount::is_read_only);
    let mut preopens = Vec::with_capacity(mounts.len() + 2);
    if cwd != "/" {
        preopens.push(Preopen {
            name: ".".into(),
            path: cwd.to_owned(),
            access: access(cwd_read_only),
        });
    }
    preopens.push(Preopen { name: "/".into(), path: "/".into(), access: access(read_only) });
    preopens.extend(mounts.iter().map(|mount| Preopen {
        name: mount.destination.clone(),
        path: mount.destination.clone(),
        access: access(mount.is_read_only()),
    }));
    preopens
}

fn hooks(spec: &Spec) -> Result<super::Hooks> {
    let Some(hooks) = spec.hooks() else { return Ok(super::Hooks::default()) };
    #[allow(deprecated, reason = "containers of older engines still bring prestart hooks")]
    let prestart = hooks.prestart();
    Ok(super::Hooks {
        prestart: process::hooks("prestart", prestart)?,
        create_runtime: process::hooks("createRuntime", hooks.create_runtime())?,
        create_container: process::hooks("createContainer", hooks.create_container())?,
        start_container: process::hooks("startContainer", hooks.start_container())?,
        poststart: process::hooks("poststart", hooks.poststart())?,
        poststop: process::hooks("poststop", hooks.poststop())?,
    })
}
