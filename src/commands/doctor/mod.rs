//! `lighter doctor`: what this node offers to containers, and what to do where it falls short.
//!
//! Each area is a file of its own with the same three parts: `Facts`, gathered here and now without changing
//! anything; a pure `judge` from facts to [`Finding`]s; and tests of the judge with machines we do not have.
//! [`render`] shows what was found.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lighter::programs::Programs;

use super::ConfigArg;
use super::style::Style;
use finding::{Finding, Status};

mod cache;
mod cgroups;
mod child;
mod configuration;
mod containerd;
mod engines;
mod finding;
mod isolation;
mod kernel;
mod kubelet;
mod look;
mod programs;
mod render;
mod sys;

/// Nothing that is asked here takes this long. Should a file system or a program never answer, we end all the same.
const PATIENCE: Duration = Duration::from_secs(120);

/// Say what this node offers to containers, and what to do where it falls short
///
/// Looks at the kernel, control groups, isolation, Lighter's programs, containerd, and the cache of compiled code.
/// Nothing is changed. It may be run as any user, and says what it could not look at.
///
/// Each finding is "ok", a "note" (good to know), a "warning" (containers run, but something is missing or wrong) or
/// a "problem" (containers cannot run). The exit status is 1 if there is a problem, else 0.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArg,

    /// As JSON: one array of objects with the keys id, group, status, message, remedy
    #[arg(long)]
    json: bool,

    /// containerd's configuration [default: that of the running containerd, else
    /// /etc/containerd/config.toml]
    #[arg(long, value_name = "PATH")]
    containerd_config: Option<PathBuf>,

    /// containerd's socket [default: that of its configuration, else
    /// /run/containerd/containerd.sock]
    #[arg(long, value_name = "PATH")]
    containerd_address: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        let _ = writeln!(
            std::io::stderr(),
            "lighter: gave up after {} s: a file system or a program does not answer",
            PATIENCE.as_secs()
        );
        std::process::exit(1);
    });

    let findings = examine(&args);
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &findings)?;
        writeln!(out)?;
    } else {
        render::write(&mut out, &findings, &Style::of_stdout())?;
    }
    let sick = findings.iter().any(|finding| finding.status == Status::Problem);
    Ok(if sick { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Looks at everything, in the order in which it is shown.
fn examine(args: &Args) -> Vec<Finding> {
    let configuration = configuration::Facts::gather(&args.config);
    let config = configuration.in_force();
    let located = Programs::locate();
    let kubelet = kubelet::Facts::gather();
    let containerd = containerd::Facts::gather(&containerd::Options {
        config: args.containerd_config.as_deref(),
        address: args.containerd_address.as_deref(),
        kubernetes: kubelet.present,
    });
    let kernel = kernel::Facts::gather(containerd.address_space());
    let cgroups = cgroups::Facts::gather(kubelet, config.systemd_cgroup);
    let programs = programs::Facts::gather(&located, &containerd.path_variable());
    let cache = cache::Facts::gather(&config, located.as_ref().ok());

    [
        kernel::judge(&kernel),
        cgroups::judge(&cgroups),
        isolation::judge(&isolation::Facts::gather(), &config.isolation.require),
        programs::judge(&programs),
        containerd::judge(&containerd),
        engines::judge(&engines::Facts::gather()),
        configuration::judge(&configuration),
        cache::judge(&cache),
    ]
    .concat()
}
