//! `lighter list`: the containers below a state directory.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;
use lighter::error::Cause;
use lighter::record::Record;

use super::show::Shown;
use super::{Globals, Outcome, state};

/// List containers
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// As a table for people, or as JSON
    #[arg(short, long, default_value = "table")]
    format: Format,

    /// Their ids alone
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Outcome {
    let mut containers = Vec::new();
    for record in Record::list(&globals.root())? {
        match state::shown(&record) {
            Ok(shown) => containers.push(shown),
            // Deleted in the meantime.
            Err(refusal) if refusal.cause == Cause::NotFound => {}
            Err(refusal) => log::warn!("{refusal}"),
        }
    }
    let mut out = std::io::stdout().lock();
    match args.format {
        _ if args.quiet => {
            for container in &containers {
                writeln!(out, "{}", container.id)?;
            }
        }
        Format::Json => {
            serde_json::to_writer(&mut out, &containers)?;
            writeln!(out)?;
        }
        Format::Table => out.write_all(table(&containers).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// runc's columns, as wide as they need be.
fn table(containers: &[Shown]) -> String {
    const MIN_WIDTH: usize = 12;
    const GAP: usize = 3;
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(containers.iter().map(|c| {
        let bundle = c.bundle.display().to_string();
        let Shown { id, pid, status, created, owner, .. } = c;
        [id.clone(), pid.to_string(), status.clone(), bundle, created.clone(), owner.clone()]
    }));
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        (longest + GAP).max(MIN_WIDTH)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut table = String::new();
    for [id, pid, status, bundle, created, owner] in &rows {
        for (cell, width) in [id, pid, status, bundle, created].into_iter().zip(widths) {
            table += &format!("{cell:<width$}");
        }
        table += owner;
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_runcs() {
        assert_eq!(
            table(&[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        let one = Shown {
            oci_version: "1.2.1".into(),
            id: "a-long-name".into(),
            pid: 42,
            status: "running".into(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-01-01T00:00:00.5Z".into(),
            annotations: Default::default(),
            owner: "root".into(),
        };
        let expected = "\
ID            PID         STATUS      BUNDLE      CREATED                  OWNER
a-long-name   42          running     /b          2026-01-01T00:00:00.5Z   root\n";
        assert_eq!(table(std::slice::from_ref(&one)), expected);
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(
            json,
            r#"{"ociVersion":"1.2.1","id":"a-long-name","pid":42,"status":"running","bundle":"/b","rootfs":"/b/rootfs","created":"2026-01-01T00:00:00.5Z","owner":"root"}"#
        );
    }
}
