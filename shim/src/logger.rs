//! Log lines in the form that containerd takes over into its own log.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{LevelFilter, Log, Metadata, Record};

/// Writes to containerd's fifo, dropping what does not fit: logging never delays a container.
struct Fifo {
    file: File,
    /// `id="…"`, so that lines of many shims can be told apart.
    id: String,
}

/// Sends this process's log to `fifo`, which containerd made. Without one there is no log.
pub(crate) fn init(fifo: &Path, id: &str, debug: bool) {
    // Open for reading too, so that opening cannot fail and writing gives no EPIPE while containerd restarts.
    let opened = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(fifo);
    let Ok(file) = opened else { return };
    if log::set_boxed_logger(Box::new(Fifo { file, id: quoted(id) })).is_ok() {
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    }
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
}

impl Log for Fifo {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // One write: lines of two threads do not mix.
            let _ = (&self.file).write(line(SystemTime::now(), record, &self.id).as_bytes());
        }
    }

    fn flush(&self) {}
}

fn line(now: SystemTime, record: &Record<'_>, id: &str) -> String {
    let level = match record.level() {
        log::Level::Error => "error",
        log::Level::Warn => "warning",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    };
    let msg = quoted(&record.args().to_string());
    format!(
        "time=\"{}\" level={level} msg={msg} id={id} runtime={}\n",
        rfc3339(now),
        crate::RUNTIME
    )
}

/// `text` as one quoted word without line breaks.
fn quoted(text: &str) -> String {
    let mut word = String::with_capacity(text.len() + 2);
    word.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '\n' => word.push_str("\\n"),
            '\t' => word.push_str("\\t"),
            c if c.is_control() => word.push(' '),
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

/// The time in UTC with nanoseconds.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years start in March here, so that the leap day is the last; an era is 400 years.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second, nanos) =
        (rest / 3600, rest / 60 % 60, rest % 60, since.subsec_nanos());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::new(seconds, 7)), text);
        }
    }

    #[test]
    fn a_message_stays_on_its_line() {
        assert_eq!(quoted("a \"b\"\n\\\u{7}"), r#""a \"b\"\n\\ ""#);
    }
}
