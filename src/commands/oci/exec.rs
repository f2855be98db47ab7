//! `lighter exec`: a process beside a container's first.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use lighter::config::Config;
use lighter::container::{ExecRequest, ExecSpec, Process, Recorded, Status, Streams};
use lighter::error::Refusal;
use lighter::programs::Programs;
use serde_json::{Value, json};

use super::create::{check_terminal, hand_over_console, own_streams, write_pid};
use super::{Failure, Globals, Outcome, find, foreground};

/// The exit status of what did not come to run; runc's.
const FAILED: u8 = 255;

/// Run a program in a container that runs
///
/// In a container of a WebAssembly guest, programs are .wasm files of its root filesystem. What is not given is as it is
/// for the container's first process.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The process as JSON, in a file; then the options about it are ignored
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,

    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,

    /// A variable of its environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// User id, and group id
    #[arg(short, long, value_name = "UID[:GID]", value_parser = user)]
    user: Option<(u32, Option<u32>)>,

    /// Another group id
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,

    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,

    /// Leave it to itself once it runs
    #[arg(short, long)]
    detach: bool,

    /// Where to write its process id
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// Socket that gets its terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,

    /// A capability of a Linux program; guests have none
    #[arg(short, long, value_name = "CAP")]
    cap: Vec<String>,

    /// It can gain no privileges
    #[arg(long)]
    no_new_privs: bool,

    /// Its AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,

    /// Its SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,

    /// Also in a paused container, where it waits until that is resumed
    #[arg(long)]
    ignore_paused: bool,

    /// Descriptors for it beyond the first three; guests have no use for them
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    preserve_fds: u32,

    /// Taken from others: it is awaited in any case
    #[arg(long, hide = true)]
    no_subreaper: bool,

    /// The container
    id: String,

    /// The program, and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    exec(globals, &args).map_err(|error| Failure::of(error, FAILED).into())
}

fn exec(globals: &Globals, args: &Args) -> Outcome {
    let container = find(globals, &args.id)?;
    match container.status()? {
        Status::Created | Status::Running => {}
        Status::Paused if args.ignore_paused => {}
        status => {
            let message = format!("cannot exec in container {:?}: it is {status}", args.id);
            return Err(Refusal::invalid(message).into());
        }
    }
    let process = describe(args, &container)?;
    let spec = ExecSpec::from_json(process.to_string().as_bytes())?;
    let terminal = process["terminal"] == json!(true);
    let socket = args.console_socket.as_deref();
    check_terminal(terminal, socket, args.detach)?;
    if args.preserve_fds > 0 {
        log::warn!("--preserve-fds {}: processes get no more than three", args.preserve_fds);
    }
    let request = ExecRequest {
        spec,
        streams: if terminal { Streams::Terminal } else { Streams::Given(own_streams()?) },
        config: Config::load(None)?,
        programs: Programs::locate()?,
    };
    let started = container.container().and_then(|container| container.exec(request));
    let process = started.map_err(|refusal| Failure::of_process(refusal, FAILED))?;
    attend(args, &process).inspect_err(|_| drop(process.kill(libc::SIGKILL)))
}

/// Hands the process over, or stays with it until it ends.
fn attend(args: &Args, process: &Process) -> Outcome {
    let signals = (!args.detach).then(foreground::catch_signals).transpose()?;
    let console = hand_over_console(process.take_console(), args.console_socket.as_deref())?;
    if let Some(file) = &args.pid_file {
        write_pid(file, process.pid()).with_context(|| format!("--pid-file {}", file.display()))?;
    }
    let Some(signals) = signals else { return Ok(ExitCode::SUCCESS) };
    let kill = |signal| process.kill(signal);
    let keys = foreground::Keys::PassedOn;
    foreground::attend(process.pidfd().as_fd(), kill, console, keys, signals)?;
    Ok(ExitCode::from(process.reap()?.status as u8))
}

/// The process as the specification has it: that of the file, else the container's first with what the options change.
fn describe(args: &Args, container: &Recorded) -> anyhow::Result<Value> {
    let read = |path: &std::path::Path| -> anyhow::Result<Value> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    };
    if let Some(path) = &args.process {
        return read(path).context("--process");
    }
    if args.command.is_empty() {
        bail!("exec {}: names no program; write it after the container's id", args.id);
    }
    let mut config = read(&container.bundle().join("config.json"))?;
    let mut process = config["process"].take();
    if !process.is_object() {
        bail!("process: missing in config.json; use --process");
    }
    change(&mut process, args, foreground::size());
    Ok(process)
}

fn change(process: &mut Value, args: &Args, size: Option<(u16, u16)>) {
    process["args"] = json!(args.command);
    process["terminal"] = json!(args.tty);
    if let Some((width, height)) = size.filter(|_| args.tty) {
        process["consoleSize"] = json!({"width": width, "height": height});
    }
    if let Some(cwd) = &args.cwd {
        process["cwd"] = json!(cwd);
    }
    extend(&mut process["env"], &args.env);
    if let Some((uid, gid)) = args.user {
        process["user"]["uid"] = json!(uid);
        if let Some(gid) = gid {
            process["user"]["gid"] = json!(gid);
        }
    }
    extend(&mut process["user"]["additionalGids"], &args.additional_gids);
    if args.no_new_privs {
        process["noNewPrivileges"] = json!(true);
    }
    if let Some(profile) = &args.apparmor {
        process["apparmorProfile"] = json!(profile);
    }
    if let Some(label) = &args.process_label {
        process["selinuxLabel"] = json!(label);
    }
    if !args.cap.is_empty() {
        for set in ["bounding", "effective", "permitted"] {
            extend(&mut process["capabilities"][set], &args.cap);
        }
    }
}

/// Adds to a list, which need not be there.
fn extend<T: serde::Serialize>(list: &mut Value, more: &[T]) {
    if list.is_null() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        list.extend(more.iter().map(|one| json!(one)));
    }
}

/// `UID` or `UID:GID`.
fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let id = |text: &str| text.parse::<u32>().map_err(|e| format!("{text:?}: {e}"));
    Ok((id(uid)?, gid.map(id).transpose()?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Line::try_parse_from([&["exec"], line].concat()).unwrap().args
    }

    #[test]
    fn the_containers_process_is_changed_by_the_options() {
        let mut process = json!({
            "terminal": true, "cwd": "/", "args": ["/app.wasm"], "env": ["A=1"],
            "user": {"uid": 0, "gid": 0}, "capabilities": {"bounding": ["CAP_KILL"]},
        });
        let args = args(&[
            "--cwd",
            "/srv",
            "-e",
            "B=2",
            "--user",
            "7:8",
            "--cap",
            "CAP_CHOWN",
            "--no-new-privs",
            "c",
            "/tool.wasm",
            "-x",
            "--tty",
        ]);
        assert_eq!((args.id.as_str(), args.tty), ("c", false));
        change(&mut process, &args, Some((80, 24)));
        assert_eq!(
            process,
            json!({
                "terminal": false, "cwd": "/srv", "args": ["/tool.wasm", "-x", "--tty"],
                "env": ["A=1", "B=2"], "user": {"uid": 7, "gid": 8, "additionalGids": []},
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": ["CAP_KILL", "CAP_CHOWN"],
                    "effective": ["CAP_CHOWN"],
                    "permitted": ["CAP_CHOWN"],
                },
            })
        );
        assert!(ExecSpec::from_json(process.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn conmons_order_is_understood() {
        let args = args(&[
            "--pid-file",
            "/p",
            "--process",
            "/f",
            "--detach",
            "--console-socket",
            "/s",
            "c",
        ]);
        assert!(args.detach && args.command.is_empty());
        assert_eq!(args.process, Some(PathBuf::from("/f")));
    }

    #[test]
    fn users_are_numbers() {
        assert_eq!(user("7"), Ok((7, None)));
        assert_eq!(user("7:8"), Ok((7, Some(8))));
        for text in ["root", "7:", ":8", "-1"] {
            assert!(user(text).is_err(), "{text}");
        }
    }
}
