//! `lighter`: the command of people who run WebAssembly, of those who look after nodes, and of the programs that start
//! OCI runtimes.

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};

mod commands;
mod help;

use commands::oci;

/// Runs WebAssembly containers on Wasmtime.
#[derive(Parser)]
#[command(
    name = "lighter",
    version = VERSION,
    max_term_width = 100,
    help_template = help::TEMPLATE,
    disable_version_flag = true,
    disable_help_subcommand = true,
    // As with other runtimes the last one counts: callers add theirs to those that they are told to give.
    args_override_self = true,
)]
struct Cli {
    #[command(flatten)]
    globals: oci::Globals,

    /// Print the versions of Lighter, the runtime specification and Wasmtime
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,

    #[command(subcommand)]
    verb: Verb,
}

/// Behind the program's name: what other runtimes print, whose callers look for `version` and `spec:`.
const VERSION: &str =
    concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.2.1\nwasmtime: 48.0.8");

#[derive(Subcommand)]
enum Verb {
    Build(Box<commands::build::Args>),
    Compile(commands::compile::Args),
    Cache(commands::cache::Args),
    Completions(commands::completions::Args),
    Doctor(commands::doctor::Args),
    Inspect(commands::inspect::Args),
    Layers(commands::layers::Args),
    Man(commands::man::Args),
    Pull(commands::pull::Args),
    Run(Box<commands::run::Args>),
    /// Runs Linux (ELF) containers; for Lighter's own use.
    #[command(hide = true)]
    Linux(commands::linux::Linux),

    Create(oci::create::Args),
    Delete(oci::delete::Args),
    Events(oci::events::Args),
    Exec(oci::exec::Args),
    Features(oci::features::Args),
    Kill(oci::kill::Args),
    List(oci::list::Args),
    Pause(oci::pause::Args),
    Ps(oci::ps::Args),
    Resume(oci::resume::Args),
    Spec(oci::spec::Args),
    Start(oci::start::Args),
    State(oci::state::Args),
    Update(oci::update::Args),
    /// There are no checkpoints.
    #[command(hide = true)]
    Checkpoint(oci::checkpoint::Args),
    /// There are no checkpoints.
    #[command(hide = true)]
    Restore(oci::checkpoint::Args),
}

impl Verb {
    /// Whether standard error is a container's, or becomes it.
    fn gives_stderr_away(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Exec(_) | Self::Run(_))
    }
}

fn main() -> ExitCode {
    let Cli { globals, verb, .. } = Cli::try_parse().unwrap_or_else(|error| misused(&error));
    if let Verb::Linux(args) = verb {
        // Standard error is the container's there, and the log somebody else's.
        return commands::linux::run(args);
    }
    if let Err(error) = oci::log::open(&globals, verb.gives_stderr_away()) {
        return oci::report(&error);
    }
    let result = match verb {
        Verb::Compile(args) => for_people(commands::compile::run(args)),
        Verb::Build(args) => for_people(commands::build::run(args)),
        Verb::Cache(args) => for_people(commands::cache::run(args)),
        Verb::Completions(args) => for_people(commands::completions::run(args, &Cli::command())),
        Verb::Doctor(args) => for_people(commands::doctor::run(args)),
        Verb::Inspect(args) => for_people(commands::inspect::run(args, &globals.root())),
        Verb::Layers(args) => for_people(commands::layers::run(args)),
        Verb::Man(args) => for_people(commands::man::run(args, &Cli::command())),
        Verb::Pull(args) => for_people(commands::pull::run(args)),
        Verb::Linux(args) => Ok(commands::linux::run(args)),
        Verb::Create(args) => oci::create::run(&globals, args),
        Verb::Delete(args) => oci::delete::run(&globals, args),
        Verb::Events(args) => oci::events::run(&globals, args),
        Verb::Exec(args) => oci::exec::run(&globals, args),
        Verb::Features(args) => oci::features::run(args),
        Verb::Kill(args) => oci::kill::run(&globals, args),
        Verb::List(args) => oci::list::run(&globals, args),
        Verb::Pause(args) => oci::pause::run(&globals, args),
        Verb::Ps(args) => oci::ps::run(&globals, args),
        Verb::Resume(args) => oci::resume::run(&globals, args),
        Verb::Run(args) => commands::run::run(&globals, &args),
        Verb::Spec(args) => oci::spec::run(args),
        Verb::Start(args) => oci::start::run(&globals, args),
        Verb::State(args) => oci::state::run(&globals, args),
        Verb::Update(args) => oci::update::run(&globals, args),
        Verb::Checkpoint(args) => oci::checkpoint::run("checkpoint", args),
        Verb::Restore(args) => oci::checkpoint::run("restore", args),
    };
    match result {
        Ok(code) => {
            oci::log::close();
            code
        }
        Err(error) => oci::report(&error),
    }
}

/// Says what is wrong with the command line, or what was asked of it, and ends with a status that others use, too.
fn misused(error: &clap::Error) -> ! {
    let runs = std::env::args_os().any(|word| word == "run");
    oci::log::write_usage_error(error);
    let _ = error.print();
    std::process::exit(match error.use_stderr() {
        true if runs => commands::run::FAILED.into(),
        _ => error.exit_code(),
    })
}

/// Errors of verbs that people type bear the program's name.
fn for_people(result: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    result.or_else(|error| {
        let _ = writeln!(std::io::stderr(), "lighter: {error:#}");
        Ok(ExitCode::FAILURE)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let lines: Vec<&str> = VERSION.lines().collect();
        assert_eq!(lines[1], format!("spec: {}", oci::SPEC_VERSION));
        assert_eq!(lines[2], format!("wasmtime: {}", lighter::engine::WASMTIME_VERSION));
    }

    #[test]
    fn the_help_has_every_verb() {
        let mut command = Cli::command();
        command.build();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let (name, about) = (verb.get_name(), verb.get_about().map(ToString::to_string));
            let line = help::TEMPLATE.lines().find(|line| {
                line.starts_with("  ") && line.split_whitespace().next() == Some(name)
            });
            assert!(line.is_some(), "{name} is not in the help");
            assert!(about.is_some_and(|about| !about.is_empty()), "{name} says nothing of itself");
        }
        for name in help::verbs() {
            assert!(command.find_subcommand(name).is_some(), "{name} is in the help, and is none");
        }
    }

    #[test]
    fn each_verb_says_what_its_options_are() {
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            for option in verb.get_arguments().filter(|option| !option.is_hide_set()) {
                let (verb, option, help) = (verb.get_name(), option.get_id(), option.get_help());
                assert!(help.is_some(), "{verb} {option} has no help");
            }
        }
    }

    /// What conmon, Podman, go-runc, CRI-O and dockerd say to a runtime.
    #[test]
    fn callers_are_understood() {
        for line in [
            "--systemd-cgroup --log-format=json --log /l create --bundle /b --pid-file /p --no-pivot \
             --no-new-keyring --preserve-fds 2 --console-socket /s id",
            "--cgroup-manager disabled create --bundle /b --pid-file /p id",
            "--log-format=json --log /l exec --pid-file /p --process /f --detach --console-socket /s id",
            "exec --pid-file /p --process /f --detach --preserve-fds 1 id",
            "--root /run/docker/runtime-x/moby --log /b/log.json --log-format json create --bundle /b \
             --pid-file /b/init.pid id",
            "--root /r --log /l --log-format json --systemd-cgroup --rootless=true start id",
            "--root /r --debug exec --process /tmp/runc-process1 --console-socket /s --detach --pid-file /p id",
            "state id",
            "kill id 9",
            "kill --all id 15",
            "delete --force id",
            "update --resources=/tmp/podman1 id",
            "update --resources - id",
            "update --cpu-quota -1 --memory -1 --pids-limit -1 id",
            "ps --format json id",
            "ps --format table id -ef",
            "ps id -o pid,args",
            "events --stats id",
            "events --interval=5s id",
            "list --format=json",
            "list -q",
            "features",
            "run --bundle /b --detach --keep --pid-file /p id",
            "checkpoint --image-path /i --leave-running id",
            "restore --detach --image-path /i --work-path /w --bundle /b id",
        ] {
            let words = ["lighter"].into_iter().chain(line.split_whitespace());
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }
}
