//! `lighter ps`: the processes of a container, as the host's `ps` shows them.

use std::io::Write;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use super::list::Format;
use super::{Globals, Outcome, find};

/// List the processes of a container
///
/// A WebAssembly guest is one process, and another for each `lighter exec`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// As the table that ps prints, or as a JSON array of process ids
    #[arg(short, long, default_value = "table")]
    format: Format,

    /// The container
    id: String,

    /// Options for ps [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTION")]
    options: Vec<String>,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let container = find(globals, &args.id)?;
    let pids = match container.container() {
        Ok(container) => container.pids()?,
        Err(_has_ended) => Vec::new(),
    };
    let mut out = std::io::stdout().lock();
    if args.format == Format::Json {
        serde_json::to_writer(&mut out, &pids)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = if args.options.is_empty() { vec!["-ef".to_owned()] } else { args.options };
    let ps = Command::new("ps").args(&options).output().context("run ps")?;
    if !ps.status.success() {
        bail!("ps {}: {}", options.join(" "), String::from_utf8_lossy(&ps.stderr).trim());
    }
    out.write_all(only(&String::from_utf8_lossy(&ps.stdout), &pids)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The lines about `pids`, below the head.
fn only(table: &str, pids: &[u32]) -> anyhow::Result<String> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let Some(column) = head.split_whitespace().position(|name| name == "PID") else {
        bail!("ps prints no column PID with these options");
    };
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let ours = lines.filter(is_ours);
    Ok(std::iter::once(head).chain(ours).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::only;

    #[test]
    fn only_the_containers_processes_are_shown() {
        let table =
            "UID        PID  PPID CMD\nroot         1     0 init\nroot        12     1 x 1\n";
        assert_eq!(
            only(table, &[12, 7]).unwrap(),
            "UID        PID  PPID CMD\nroot        12     1 x 1\n"
        );
        assert!(only("USER CMD\n", &[1]).is_err());
    }
}
