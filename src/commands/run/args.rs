//! What was typed, in the words of `docker run` and `podman run`.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::{ArgAction, ValueEnum};

use super::amount;
use super::mount::{Described, Tmpfs, Volume};
use super::port::Published;
use super::ulimit::Ulimit;
use crate::commands::ConfigArg;
use crate::commands::images::FindArgs;
use crate::commands::oci::{create, run};

/// Run a WebAssembly file or an image as a container, without a daemon
///
/// PROGRAM is a .wasm or .wat file, or an image: an OCI layout, the tar file of one or of `docker save`, or a name in a
/// registry. What stands after it is the program's own: its arguments for a file, and in place of the image's command for an
/// image. The options mean what they mean to `docker run` and `podman run`.
///
/// Unless it is detached, the container's exit status is this command's: 125 if it cannot be made, 126 if the program cannot
/// be run, 127 if it is not there.
#[derive(clap::Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// A .wasm or .wat file or an image, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub(super) command: Vec<String>,

    /// Leave it to run by itself, and print its id; `lighter list`, `kill` and `delete` find it
    #[arg(short, long)]
    pub(super) detach: bool,

    /// Where the output of a detached container goes, appended [default: nowhere]
    #[arg(long, value_name = "FILE", requires = "detach")]
    pub(super) output: Option<PathBuf>,

    /// Its id [default: made up]
    #[arg(long)]
    pub(super) name: Option<String>,

    /// Leave nothing of it once it has ended; always so unless it is detached
    #[arg(long)]
    pub(super) rm: bool,

    /// Let it read this command's standard input
    #[arg(short, long)]
    pub(super) interactive: bool,

    /// Give it a terminal
    #[arg(short, long, conflicts_with = "detach")]
    pub(super) tty: bool,

    /// Set a variable of its environment, to its value here if none is given
    #[arg(short, long, value_name = "NAME[=VALUE]", help_heading = "Process")]
    pub(super) env: Vec<String>,

    /// Set the variables of a file
    #[arg(long, value_name = "FILE", help_heading = "Process")]
    pub(super) env_file: Vec<PathBuf>,

    /// The directory it starts in
    #[arg(short, long, value_name = "DIR", help_heading = "Process")]
    pub(super) workdir: Option<PathBuf>,

    /// As whom it runs: numbers, or names of the image's
    #[arg(short, long, value_name = "USER[:GROUP]", help_heading = "Process")]
    pub(super) user: Option<String>,

    /// What an image runs in place of its entrypoint
    #[arg(long, value_name = "PATH", help_heading = "Process")]
    pub(super) entrypoint: Option<String>,

    /// What it gets where this command gets SIGTERM
    #[arg(long, value_name = "SIGNAL", help_heading = "Process")]
    pub(super) stop_signal: Option<String>,

    /// Give it a file or directory of this machine
    #[arg(short, long, value_name = "HOST:CONTAINER[:ro]", help_heading = "Files")]
    pub(super) volume: Vec<Volume>,

    /// The same, or a tmpfs, in more words: type=bind,src=PATH,dst=PATH,readonly
    #[arg(long, value_name = "type=bind|tmpfs,…", help_heading = "Files")]
    pub(super) mount: Vec<Described>,

    /// Give it an empty directory in memory
    #[arg(long, value_name = "PATH[:size=…]", help_heading = "Files")]
    pub(super) tmpfs: Vec<Tmpfs>,

    /// Let it write to volumes only
    #[arg(long, help_heading = "Files")]
    pub(super) read_only: bool,

    /// What it reaches and is reached by
    #[arg(long, visible_alias = "net", value_enum, default_value_t, help_heading = "Network")]
    pub(super) network: Network,

    /// Let it listen on a port
    #[arg(short, long, value_name = "PORT[:PORT][/udp]", help_heading = "Network")]
    pub(super) publish: Vec<Published>,

    /// Its host name [default: its id]
    #[arg(short = 'h', long, value_name = "NAME", help_heading = "Network")]
    pub(super) hostname: Option<String>,

    /// Memory that it may have: 64m, 1.5g
    #[arg(short, long, value_parser = amount::bytes, value_name = "BYTES", help_heading = "Limits")]
    pub(super) memory: Option<i64>,

    /// Memory and swap together; -1 is no limit
    #[arg(long, value_parser = amount::memory_and_swap, allow_hyphen_values = true, value_name = "BYTES",
        help_heading = "Limits")]
    pub(super) memory_swap: Option<i64>,

    /// Processors that it may use: 1.5
    #[arg(long, value_parser = amount::cpus, value_name = "NUMBER", help_heading = "Limits")]
    pub(super) cpus: Option<i64>,

    /// Its weight where processors are short; 1024 is usual
    #[arg(short, long, value_name = "NUMBER", help_heading = "Limits")]
    pub(super) cpu_shares: Option<u64>,

    /// The processors that it may use: 0-2,4
    #[arg(long, value_name = "LIST", help_heading = "Limits")]
    pub(super) cpuset_cpus: Option<String>,

    /// Processes and threads that it may have; -1 is no limit
    #[arg(long, value_parser = amount::pids, allow_hyphen_values = true, value_name = "NUMBER",
        help_heading = "Limits")]
    pub(super) pids_limit: Option<i64>,

    /// A limit of its process
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Limits")]
    pub(super) ulimit: Vec<Ulimit>,

    /// Seconds after which it is ended
    #[arg(long, value_name = "SECONDS", help_heading = "Limits")]
    pub(super) timeout: Option<u64>,

    /// The control group in which its own is made
    #[arg(long, value_name = "PATH", help_heading = "Limits")]
    pub(super) cgroup_parent: Option<PathBuf>,

    /// An annotation; those of Lighter's own begin with io.lighter.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) annotation: Vec<String>,

    #[command(flatten, next_help_heading = "Images")]
    pub(super) find: FindArgs,

    #[command(flatten)]
    pub(super) config: ConfigArg,

    #[command(flatten, next_help_heading = "Bundles: run --bundle DIR ID")]
    pub(super) create: create::Options,

    /// Do not delete a bundle's container when it has ended
    #[arg(long, requires = "bundle", help_heading = "Bundles: run --bundle DIR ID")]
    pub(super) keep: bool,

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// What network a container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Network {
    /// This machine's, to connect from, and to listen on the ports that are published
    #[default]
    Default,
    /// This machine's, to listen on any port as well
    Host,
    /// One of its own, with nobody else in it
    None,
}

impl Args {
    /// What was typed of a bundle, if it is one that is to be run.
    ///
    /// # Errors
    /// Names an option that its configuration would have to have.
    pub(super) fn of_bundle(&self) -> Option<Result<run::Options>> {
        self.create.bundle.as_ref()?;
        Some(match self.not_of_bundles() {
            Some(option) => Err(anyhow!(
                "run --bundle: {option} is not an option of a bundle, whose config.json says what it is to be"
            )),
            None => Ok(run::Options {
                create: self.create.clone(),
                detach: self.detach,
                keep: self.keep,
            }),
        })
    }

    fn not_of_bundles(&self) -> Option<&'static str> {
        [
            ("--output", self.output.is_some()),
            ("--name", self.name.is_some()),
            ("--interactive", self.interactive),
            ("--tty", self.tty),
            ("--env", !self.env.is_empty()),
            ("--env-file", !self.env_file.is_empty()),
            ("--workdir", self.workdir.is_some()),
            ("--user", self.user.is_some()),
            ("--entrypoint", self.entrypoint.is_some()),
            ("--stop-signal", self.stop_signal.is_some()),
            ("--volume", !self.volume.is_empty()),
            ("--mount", !self.mount.is_empty()),
            ("--tmpfs", !self.tmpfs.is_empty()),
            ("--read-only", self.read_only),
            ("--network", self.network != Network::Default),
            ("--publish", !self.publish.is_empty()),
            ("--hostname", self.hostname.is_some()),
            ("--memory", self.memory.is_some()),
            ("--cpus", self.cpus.is_some()),
            ("--cpu-shares", self.cpu_shares.is_some()),
            ("--cpuset-cpus", self.cpuset_cpus.is_some()),
            ("--pids-limit", self.pids_limit.is_some()),
            ("--ulimit", !self.ulimit.is_empty()),
            ("--timeout", self.timeout.is_some()),
            ("--cgroup-parent", self.cgroup_parent.is_some()),
            ("--annotation", !self.annotation.is_empty()),
        ]
        .into_iter()
        .find_map(|(option, is_given)| is_given.then_some(option))
    }

    /// What a bundle could not say, or would say too late.
    pub(super) fn check(&self) -> Result<()> {
        if self.create.pid_file.is_some()
            || self.create.console_socket.is_some()
            || self.create.preserve_fds > 0
        {
            bail!(
                "--pid-file, --console-socket, --preserve-fds: are for bundles, and need --bundle"
            );
        }
        if self.detach && self.rm {
            bail!(
                "--detach and --rm: nobody stays who would remove it; leave --rm away and `lighter delete` it, or --detach \
                 and let a shell run it in the background"
            );
        }
        if self.detach && self.interactive {
            bail!("--detach and --interactive: nobody stays whose input it could read");
        }
        if self.tty && self.interactive && !std::io::stdin().is_terminal() {
            bail!("--interactive and --tty: standard input is not a terminal; leave --tty away");
        }
        if self.memory_swap.is_some() && self.memory.is_none() {
            bail!("--memory-swap: is memory and swap together, and needs --memory");
        }
        if let (Some(memory), Some(both @ 0..)) = (self.memory, self.memory_swap)
            && both < memory
        {
            bail!("--memory-swap: {both} is less than --memory, {memory}, which it includes");
        }
        for bind in self.volume.iter().map(|v| &v.0).chain(self.mount.iter().map(|m| &m.0)) {
            bind.check().map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }
}
