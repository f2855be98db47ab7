//! Asking other programs, which may be slow, silent or endless.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};

/// How long a program may take to answer.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// Bytes of each stream that are read.
const MAX_OUTPUT: u64 = 64 << 10;

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a program to its end, with nothing to read, for at most `limit`.
///
/// # Errors
/// Says why there is no answer.
pub(super) fn ask(command: &mut Command, limit: Duration) -> Result<Answer, String> {
    let deadline = Instant::now() + limit;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let pidfd = Pid::from_raw(child.id().cast_signed())
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    let late = || format!("it gives no answer within {} s", limit.as_secs_f32());

    // On threads that nobody waits for: who has the other end of a pipe may live longer than the child.
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait()));
    let left = || deadline.saturating_duration_since(Instant::now());
    let status = match end.recv_timeout(left()) {
        Ok(status) => status.map_err(|e| e.to_string())?,
        Err(_) => {
            if let Some(pidfd) = pidfd {
                let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            }
            return Err(late());
        }
    };
    let text = |stream: mpsc::Receiver<Vec<u8>>| {
        let bytes = stream.recv_timeout(left().max(Duration::from_millis(100)));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|_| late())
    };
    Ok(Answer { success: status.success(), stdout: text(out)?, stderr: text(err)? })
}

fn collect(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            let _ = stream.take(MAX_OUTPUT).read_to_end(&mut bytes);
        }
        // Nobody listens any more if it took too long.
        let _ = sender.send(bytes);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Answer, String> {
        ask(Command::new("sh").args(["-c", script]), limit)
    }

    #[test]
    fn answers_are_heard() {
        let answer = shell("echo out; echo err >&2; exit 3", LIMIT).unwrap();
        assert_eq!((answer.stdout.as_str(), answer.stderr.as_str()), ("out\n", "err\n"));
        assert!(!answer.success);
        assert!(ask(&mut Command::new("/nonexistent/program"), LIMIT).is_err());
    }

    #[test]
    fn nobody_is_waited_for_in_vain() {
        let begin = Instant::now();
        let limit = Duration::from_millis(300);
        for script in ["exec sleep 60", "sleep 5 & exit 0"] {
            let said = shell(script, limit).map(|answer| answer.stdout.len());
            assert!(said.unwrap_err().contains("no answer"), "{script}");
        }
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    }

    #[test]
    fn nobody_is_listened_to_for_ever() {
        let said = shell("exec yes", LIMIT).map(|answer| answer.stdout.len() as u64);
        assert_eq!(said, Ok(MAX_OUTPUT));
    }
}
