//! The access log: a line for each request in the Combined Log Format, on the container's standard output.
//!
//! Requests only leave what is known of them in a queue; the lines are made and written by the thread of this part,
//! some at a time. Nobody waits for who reads them: when the queue is full, they are dropped, and counted.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Version};
use lighter::calendar::Utc;
use rustix::io::Errno;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::time::sleep;

use super::counters::Count;
use super::record::{Done, Record};
use super::{Observer, Output};
use crate::stdio::ATOMIC;

/// Requests that wait to be written.
pub(super) const QUEUE: usize = 4096;
/// How long to gather lines before they are written together.
const GATHER: Duration = Duration::from_millis(20);

/// Writes what comes, until it is to `stop` and all is written.
pub(super) async fn write(
    mut lines: Receiver<Done>,
    output: &Output,
    observer: &Observer,
    mut stop: watch::Receiver<bool>,
) {
    let mut page = Page::default();
    loop {
        let next = tokio::select! {
            biased;
            next = lines.recv() => next,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some(done) = next else { return };
        page.add(&done);
        tokio::select! {
            () = sleep(GATHER) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        rest(&mut page, &mut lines, output, observer).await;
    }
}

async fn rest(page: &mut Page, lines: &mut Receiver<Done>, output: &Output, observer: &Observer) {
    while let Ok(done) = lines.try_recv() {
        // A write that is taken as a whole has no lines of the guest's within one of these.
        if page.text.len() + 512 > ATOMIC {
            page.write(output, observer).await;
        }
        page.add(&done);
    }
    page.write(output, observer).await;
}

/// Lines that are not written yet.
#[derive(Default)]
struct Page {
    text: String,
    lines: u64,
}

impl Page {
    fn add(&mut self, done: &Done) {
        line(&mut self.text, &done.record);
        self.lines += 1;
    }

    /// Waits until it is read. Where nobody can read it, it is gone.
    async fn write(&mut self, output: &Output, observer: &Observer) {
        let mut rest = self.text.as_bytes();
        let mut count = Count::LinesWritten;
        while !rest.is_empty() {
            match output.offer(rest) {
                Ok(0) => output.room().await,
                Ok(written) => rest = &rest[written..],
                Err(Errno::AGAIN | Errno::INTR) => sleep(GATHER).await,
                Err(_) => {
                    count = Count::LinesDropped;
                    break;
                }
            }
        }
        observer.count(count, self.lines);
        *self = Self::default();
    }
}

/// `host ident user [time] "request" status bytes "referer" "user agent"`; the second and the third are not known.
fn line(text: &mut String, record: &Record) {
    // Writing to a string does not fail.
    let _ = match record.peer {
        Some(peer) => write!(text, "{}", peer.ip().to_canonical()),
        None => write!(text, "-"),
    };
    let _ = write!(text, " - - [{}] \"", Time(record.at));
    escape(text, record.method.as_str().as_bytes());
    text.push(' ');
    match record.target.path_and_query() {
        Some(path) => escape(text, path.as_str().as_bytes()),
        None => escape(text, record.target.to_string().as_bytes()),
    }
    let version = match record.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    };
    let (status, bytes) = (record.status().as_u16(), record.bytes_out());
    let _ = write!(text, " HTTP/{version}\" {status} {bytes} \"");
    quoted(text, record.referer.as_ref());
    text.push_str("\" \"");
    quoted(text, record.user_agent.as_ref());
    text.push_str("\"\n");
}

fn quoted(text: &mut String, value: Option<&HeaderValue>) {
    escape(text, value.map_or(b"-", HeaderValue::as_bytes));
}

/// What could end a field, a line or a terminal's patience is written as `\x22`.
fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => drop(write!(text, "\\x{byte:02X}")),
            _ => text.push(char::from(*byte)),
        }
    }
}

/// `22/Nov/2026:21:28:07 +0000`
struct Time(SystemTime);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Utc { year, month, day, hour, minute, second } = Utc::of(self.0);
        let month = MONTHS[month - 1];
        write!(f, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000"),
            (1_709_251_199, "29/Feb/2024:23:59:59 +0000"),
            (1_735_689_599, "31/Dec/2024:23:59:59 +0000"),
            (1_795_382_887, "22/Nov/2026:21:28:07 +0000"),
            (4_107_542_400, "01/Mar/2100:00:00:00 +0000"),
        ] {
            assert_eq!(Time(UNIX_EPOCH + Duration::from_secs(seconds)).to_string(), expected);
        }
    }

    #[test]
    fn what_clients_send_stays_in_its_field() {
        let mut text = String::new();
        escape(&mut text, b"a \"b\" \\\n\x1b[0m \xc3\xa9 \x7f");
        assert_eq!(text, r"a \x22b\x22 \x5C\x0A\x1B[0m \xC3\xA9 \x7F");
    }
}
