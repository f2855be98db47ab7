//! The log of a runtime's verb: `--log`, else standard error.
//!
//! Podman takes a log of JSON for one object, that of the error. So warnings are written there once all has gone well,
//! and are left out otherwise, unless somebody has asked for more than errors.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

use ::log::LevelFilter;
use anyhow::Context;
use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::Globals;
use super::show::rfc3339;

static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// The least grave that is logged, in the words of other runtimes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level(LevelFilter);

impl ValueEnum for Level {
    fn value_variants<'a>() -> &'a [Self] {
        const LEVELS: [Level; 4] = [
            Level(LevelFilter::Error),
            Level(LevelFilter::Warn),
            Level(LevelFilter::Info),
            Level(LevelFilter::Debug),
        ];
        &LEVELS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self.0 {
            LevelFilter::Off | LevelFilter::Error => {
                PossibleValue::new("error").aliases(["panic", "fatal"])
            }
            LevelFilter::Warn => PossibleValue::new("warning").alias("warn"),
            LevelFilter::Info => PossibleValue::new("info"),
            LevelFilter::Debug | LevelFilter::Trace => PossibleValue::new("debug").alias("trace"),
        })
    }
}

struct Log {
    to: To,
    format: Format,
    /// What is written once all has gone well.
    held: Option<Mutex<Vec<u8>>>,
}

enum To {
    File(File),
    Stderr,
    /// Standard error is somebody else's.
    Nowhere,
}

/// Opens the log that `globals` names. `theirs`: standard error becomes a container's.
///
/// # Errors
/// Names the file that cannot be opened.
pub(crate) fn open(globals: &Globals, theirs: bool) -> anyhow::Result<()> {
    let asked = globals.debug || std::env::var_os("LIGHTER_DEBUG").is_some_and(|v| !v.is_empty());
    let level = if asked { LevelFilter::Debug } else { globals.log_level.0 };
    let to = match &globals.log {
        Some(path) => To::File(append(path)?),
        // A person at a terminal is told all the same.
        None if theirs && !std::io::stderr().is_terminal() => To::Nowhere,
        None => To::Stderr,
    };
    let holds = globals.log_format == Format::Json && level <= LevelFilter::Warn;
    let held = (holds && matches!(to, To::File(_))).then(Mutex::default);
    let log = LOG.get_or_init(|| Log { to, format: globals.log_format, held });
    if ::log::set_logger(log).is_ok() {
        ::log::set_max_level(level);
    }
    Ok(())
}

fn append(path: &Path) -> anyhow::Result<File> {
    let open = OpenOptions::new().append(true).create(true).open(path);
    open.with_context(|| format!("--log {}", path.display()))
}

/// Writes what was held back: all has gone well.
pub(crate) fn close() {
    if let Some(log) = LOG.get()
        && let (Some(held), To::File(file)) = (&log.held, &log.to)
    {
        let _ = (&*file).write_all(&held.lock().unwrap_or_else(|e| e.into_inner()));
    }
}

/// Writes the one error that a verb ends with into the file, if there is one: the caller writes it to standard error.
pub(super) fn write_error(sentence: &str) {
    if let Some(Log { to: To::File(file), format, .. }) = LOG.get() {
        let line = format.line("error", sentence, SystemTime::now());
        let _ = (&*file).write_all(line.as_bytes());
    }
}

/// Writes why the command line makes no sense into the log that it names, if so much can be made out.
pub(crate) fn write_usage_error(error: &clap::Error) {
    #[derive(clap::Parser)]
    #[command(args_override_self = true)]
    struct Line {
        #[command(flatten)]
        globals: Globals,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _rest: Vec<std::ffi::OsString>,
    }
    if !error.use_stderr() {
        return;
    }
    if let Ok(Line { globals, .. }) = clap::Parser::try_parse()
        && open(&globals, false).is_ok()
    {
        let text = error.to_string();
        let sentence: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        let sentence = sentence.join(" ");
        write_error(sentence.strip_prefix("error: ").unwrap_or(&sentence));
    }
}

impl ::log::Log for Log {
    /// The libraries that we use warn of what is none of their user's business, and tell of each file that they open.
    fn enabled(&self, of: &::log::Metadata<'_>) -> bool {
        let asked = ::log::max_level() >= LevelFilter::Debug;
        let least = if asked { ::log::Level::Warn } else { ::log::Level::Error };
        of.target().starts_with("lighter") || of.level() <= least
    }

    fn log(&self, record: &::log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            ::log::Level::Warn => "warning".to_owned(),
            level => level.as_str().to_lowercase(),
        };
        let message = record.args().to_string();
        let _ = match (&self.to, &self.held) {
            (To::Nowhere, _) => Ok(()),
            (To::Stderr, _) => writeln!(std::io::stderr(), "lighter: {level}: {message}"),
            (To::File(file), None) => {
                (&*file).write_all(self.format.line(&level, &message, SystemTime::now()).as_bytes())
            }
            (To::File(_), Some(held)) => {
                let line = self.format.line(&level, &message, SystemTime::now());
                held.lock().unwrap_or_else(|e| e.into_inner()).extend(line.into_bytes());
                Ok(())
            }
        };
    }

    fn flush(&self) {}
}

impl Format {
    /// One line, as runc writes it.
    fn line(self, level: &str, message: &str, time: SystemTime) -> String {
        let time = rfc3339(time);
        match self {
            Self::Json => {
                let object = serde_json::json!({"level": level, "msg": message, "time": time});
                format!("{object}\n")
            }
            Self::Text => format!("time={time:?} level={level} msg={message:?}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_runc_would_write() {
        let time = SystemTime::UNIX_EPOCH;
        let line = Format::Json.line("error", "a \"b\"", time);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected =
            serde_json::json!({"level": "error", "msg": "a \"b\"", "time": "1970-01-01T00:00:00Z"});
        assert_eq!(read, expected);
        assert_eq!(
            Format::Text.line("warning", "a \"b\"", time),
            "time=\"1970-01-01T00:00:00Z\" level=warning msg=\"a \\\"b\\\"\"\n"
        );
    }

    #[test]
    fn levels_have_the_names_of_other_runtimes() {
        for (word, expected) in [
            ("fatal", LevelFilter::Error),
            ("error", LevelFilter::Error),
            ("warn", LevelFilter::Warn),
            ("warning", LevelFilter::Warn),
            ("info", LevelFilter::Info),
            ("trace", LevelFilter::Debug),
        ] {
            assert_eq!(Level::from_str(word, true).unwrap().0, expected, "{word}");
        }
        assert!(Level::from_str("loud", true).is_err());
    }
}
