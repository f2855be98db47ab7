//! Turns what libcontainer says of a failure into one sentence and an exit code.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// What libcontainer logs as errors.
///
/// The process that becomes the container's first sends its parent only the outermost of a chain of
/// errors ("failed to prepare rootfs"); the cause is in its log alone. The log is a file in memory, for
/// it must be shared with forked processes and reachable from inside the container's root.
pub(super) struct Details(Option<Arc<File>>);

impl Details {
    /// Starts collecting. Without memory for it, sentences are shorter.
    pub(super) fn collect() -> Self {
        let file = memfd_create(c"lighter-errors", MemfdFlags::CLOEXEC).map(File::from);
        let details = Self(file.ok().map(Arc::new));
        if let Some(file) = &details.0 {
            let _ = tracing::subscriber::set_global_default(Log(Arc::clone(file)));
        }
        details
    }

    /// `error` with all of its causes, and the first logged error unless that adds nothing.
    pub(super) fn sentence(&self, error: &anyhow::Error) -> String {
        let mut sentence = String::new();
        for cause in error.chain().map(|cause| cause.to_string()) {
            // Transparent errors repeat what they wrap.
            if !sentence.ends_with(&cause) {
                let separator = if sentence.is_empty() { "" } else { ": " };
                sentence.push_str(separator);
                sentence.push_str(&cause);
            }
        }
        if let Some(detail) = self.first().filter(|detail| !sentence.contains(detail.as_str())) {
            let _ = write!(sentence, ": {detail}");
        }
        // Why a program cannot be executed says it all, and is told with every step on its way out.
        match sentence.rfind("exec: \"") {
            Some(at) => sentence.split_off(at),
            None => sentence,
        }
    }

    fn first(&self) -> Option<String> {
        let mut file = self.0.as_deref()?;
        let mut logged = String::new();
        file.seek(SeekFrom::Start(0)).ok()?;
        file.read_to_string(&mut logged).ok()?;
        logged.lines().next().map(str::to_owned)
    }
}

/// The exit code of a failure: 127 if the container's program does not exist, 126 if it may not be
/// executed, as shells count; 1 for all else.
pub(super) fn code(sentence: &str) -> u8 {
    match sentence.contains("exec: ") {
        false => 1,
        true if sentence.contains("permission denied") => 126,
        true => 127,
    }
}

/// Writes `sentence` to `file`, else to standard error. There is nobody to tell if that fails.
pub(super) fn write(sentence: &str, file: Option<&Path>) {
    let line = sentence.replace('\n', " ");
    let written = match file {
        Some(path) => std::fs::write(path, &line),
        None => writeln!(std::io::stderr(), "{line}"),
    };
    let _ = written;
}

/// Writes each error logged as one line.
struct Log(Arc<File>);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields).replace('\n', " ");
        let _ = (&*self.0).write_all(format!("{text}\n").as_bytes());
    }

    // There are no spans here: none is enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name} {value:?}"),
        };
    }
}
