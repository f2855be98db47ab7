//! The container's standard input and output: containerd's fifos and files, opened once and handed over as they
//! are. Nothing is copied.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lighter::container::Stdio;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::task::{Code, Error};

/// How often a fifo without a reader is looked at again, once its writer is gone.
const READER_POLL: Duration = Duration::from_millis(100);

/// Where the three streams go, as containerd names them: a path, a URL, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    /// Standard input.
    pub(crate) stdin: String,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

/// Our own ends of the container's fifos.
///
/// A fifo whose last reader or writer goes away tells the other side so. Holding an end of each kind keeps the
/// guest from noticing that containerd restarts.
#[derive(Debug, Default)]
pub(crate) struct Held {
    stdin: Option<Input>,
    output_readers: Vec<OwnedFd>,
}

/// Opens all three streams. Never blocks, whoever else has or has not opened them.
///
/// # Errors
/// Names the stream's path and what is wrong with it.
pub(crate) fn open(paths: &Paths) -> Result<(Stdio, Held), Error> {
    let mut held = Held::default();
    let stdin = open_input(&paths.stdin, &mut held)?;
    let stdout = open_output(&paths.stdout, &mut held)?;
    let stderr = if paths.stderr == paths.stdout {
        // One file description, so that both write at one position.
        stdout.try_clone().map_err(|error| failed(&paths.stderr, &error))?
    } else {
        open_output(&paths.stderr, &mut held)?
    };
    Ok((Stdio { stdin, stdout, stderr }, held))
}

/// Our own end of standard input's fifo.
#[derive(Debug)]
enum Input {
    /// Until the guest may read.
    Reader(OwnedFd),
    /// From then on, if nobody had come to write.
    Writer { _keeps_open: OwnedFd },
}

impl Held {
    /// Ends standard input, once what is in it has been read.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// To be called before the guest can read. Its input ends when its writers do; only if none has come yet, it stays
    /// open until it is closed.
    pub(crate) fn leave_stdin_to_its_writer(&mut self) {
        if let Some(Input::Reader(reader)) = self.stdin.take()
            && !had_writer(&reader)
            && let Ok(writer) = reopen(&reader, File::options().write(true))
        {
            self.stdin = Some(Input::Writer { _keeps_open: writer.into() });
        }
    }

    /// To be awaited when the container has ended: lets readers see the end of its output. Returns once each fifo's
    /// content is in the hands of a reader; dropping this gives the content up.
    pub(crate) async fn hand_over(self) {
        drop(self.stdin);
        // As long as any end is open, the fifo keeps what is in it.
        let mut waiting: Vec<OwnedFd> =
            self.output_readers.into_iter().filter_map(swap_ends).collect();
        loop {
            waiting.retain(|writer| !has_reader(writer));
            if waiting.is_empty() {
                return;
            }
            tokio::time::sleep(READER_POLL).await;
        }
    }
}

/// The writing end for the reading end: then only other processes' reading ends are left.
fn swap_ends(reader: OwnedFd) -> Option<OwnedFd> {
    let writer =
        reopen(&reader, File::options().write(true).custom_flags(libc::O_NONBLOCK)).ok()?;
    Some(writer.into())
}

fn has_reader(writer: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(writer, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_err() || !fds[0].revents().contains(PollFlags::ERR)
}

/// Whether anybody writes to the fifo, or did. Takes nothing out of it.
fn had_writer(reader: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(reader, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut fds, Some(&now)) != Ok(0) {
        // There is something in it, or all its writers have gone.
        return true;
    }
    let Ok((_unused, scratch)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else {
        return true;
    };
    // An empty fifo says "again" if somebody may still write, and 0 if nobody can.
    !matches!(rustix::pipe::tee(reader, &scratch, 1, SpliceFlags::NONBLOCK), Ok(0))
}

fn open_input(uri: &str, held: &mut Held) -> Result<OwnedFd, Error> {
    let path = match Target::parse(uri)? {
        Target::Null => return open_null(),
        Target::Path(path) | Target::File(path) => path,
    };
    let fail = |error: io::Error| failed(uri, &error);
    if !is_fifo(&path).map_err(fail)? {
        return Ok(File::open(&path).map_err(fail)?.into());
    }
    // The reading end comes without waiting, and then writers do, too.
    let ours =
        File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).map_err(fail)?;
    // The guest gets this same opening: one of its own, if the writer has come and gone in between, would
    // never poll as ended.
    let reader = ours.try_clone().map_err(fail)?;
    rustix::io::ioctl_fionbio(&reader, false).map_err(|errno| fail(errno.into()))?;
    held.stdin = Some(Input::Reader(ours.into()));
    Ok(reader.into())
}

fn open_output(uri: &str, held: &mut Held) -> Result<OwnedFd, Error> {
    let path = match Target::parse(uri)? {
        Target::Null => return open_null(),
        Target::File(path) => {
            return append(&path).map(Into::into).map_err(|error| failed(uri, &error));
        }
        Target::Path(path) => path,
    };
    let fail = |error: io::Error| failed(uri, &error);
    if !is_fifo(&path).map_err(fail)? {
        return Ok(File::options().append(true).open(&path).map_err(fail)?.into());
    }
    let both = open_both(&path).map_err(fail)?;
    let writer = reopen(&both, File::options().write(true)).map_err(fail)?;
    let reader =
        reopen(&both, File::options().read(true).custom_flags(libc::O_NONBLOCK)).map_err(fail)?;
    held.output_readers.push(reader.into());
    Ok(writer.into())
}

fn open_null() -> Result<OwnedFd, Error> {
    let null = File::options().read(true).write(true).open("/dev/null");
    Ok(null.map_err(|error| failed("/dev/null", &error))?.into())
}

fn is_fifo(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.file_type().is_fifo())
}

/// Opens a fifo at both ends, for which the kernel waits for nobody.
fn open_both(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Opens what `file` is once more, in another way.
fn reopen(file: &impl AsFd, how: &fs::OpenOptions) -> io::Result<File> {
    how.open(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

fn append(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    File::options().append(true).create(true).mode(0o644).open(path)
}

fn failed(uri: &str, error: &io::Error) -> Error {
    Error::new(Code::Unknown, format!("open {uri} for the container's standard streams: {error}"))
}

#[derive(Debug, PartialEq, Eq)]
enum Target {
    Null,
    Path(PathBuf),
    /// `file://`: made if it is not there.
    File(PathBuf),
}

impl Target {
    fn parse(uri: &str) -> Result<Self, Error> {
        if uri.is_empty() {
            return Ok(Self::Null);
        }
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Ok(Self::Path(uri.into()));
        };
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        match scheme {
            "fifo" => Ok(Self::Path(unescaped(path))),
            "file" => Ok(Self::File(unescaped(path))),
            "binary" | "binary-v2" => Err(Error::new(
                Code::Unimplemented,
                format!("logging to a program ({uri}) is not yet supported: use a fifo or file://"),
            )),
            _ => Err(Error::new(
                Code::InvalidArgument,
                format!("unknown scheme of the stream {uri:?}: use a path or file://"),
            )),
        }
    }
}

/// `path` with `%41` and its like resolved.
fn unescaped(path: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex =
            after.get(..2).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn fifo(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("lighter-stdio-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&dir);
        nix::unistd::mkfifo(&dir, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("mkfifo");
        dir
    }

    fn uris(path: &Path) -> Paths {
        Paths { stdout: path.display().to_string(), ..Paths::default() }
    }

    fn run(work: impl Future<Output = ()>) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(5), work).await.expect("in time")
        });
    }

    #[test]
    fn output_outlives_its_reader_and_waits_for_the_next() {
        let path = fifo("late");
        let (stdio, held) = open(&uris(&path)).expect("opens without a reader");
        File::from(stdio.stdout).write_all(b"hello").expect("no EPIPE without a reader");
        drop(stdio.stderr);
        run(async {
            let mut waiting = std::pin::pin!(held.hand_over());
            let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
            assert!(early.is_err(), "gave up though nobody read");
            let mut reader = File::options()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
                .expect("reader");
            waiting.await;
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("all, then the end");
            assert_eq!(text, "hello");
        });
        fs::remove_file(path).expect("clean up");
    }

    #[test]
    fn a_reader_sees_the_end_at_once() {
        let path = fifo("end");
        let (stdio, held) = open(&uris(&path)).expect("opens");
        let mut reader = File::options().read(true).open(&path).expect("reader");
        drop(stdio);
        let start = std::time::Instant::now();
        run(held.hand_over());
        assert_eq!(reader.read(&mut [0]).expect("read"), 0);
        assert!(start.elapsed() < READER_POLL);
        fs::remove_file(path).expect("clean up");
    }

    fn ended(stdin: &File) -> bool {
        let mut fds = [PollFd::new(stdin, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1)
            && !fds[0].revents().contains(PollFlags::IN)
    }

    #[test]
    fn input_ends_with_its_writer() {
        let path = fifo("input");
        let paths = Paths { stdin: path.display().to_string(), ..Paths::default() };
        let (stdio, mut held) = open(&paths).expect("opens");
        let mut stdin = File::from(stdio.stdin);
        let mut writer = File::options().write(true).open(&path).expect("writer");
        held.leave_stdin_to_its_writer();
        assert!(!ended(&stdin), "though there is a writer");
        writer.write_all(b"x").expect("write");
        drop(writer);
        let mut text = String::new();
        stdin.read_to_string(&mut text).expect("read");
        assert_eq!(text, "x");
        fs::remove_file(path).expect("clean up");
    }

    #[test]
    fn input_of_a_writer_that_left_at_once_is_empty() {
        let path = fifo("empty");
        let paths = Paths { stdin: path.display().to_string(), ..Paths::default() };
        let (stdio, mut held) = open(&paths).expect("opens");
        drop(File::options().write(true).open(&path).expect("writer"));
        held.leave_stdin_to_its_writer();
        assert_eq!(File::from(stdio.stdin).read(&mut [0]).expect("read"), 0);
        fs::remove_file(path).expect("clean up");
    }

    #[test]
    fn input_without_a_writer_stays_open_until_closed() {
        let path = fifo("closed");
        let paths = Paths { stdin: path.display().to_string(), ..Paths::default() };
        let (stdio, mut held) = open(&paths).expect("opens");
        let mut stdin = File::from(stdio.stdin);
        held.leave_stdin_to_its_writer();
        File::options().write(true).open(&path).expect("writer").write_all(b"x").expect("write");
        assert_eq!(stdin.read(&mut [0; 8]).expect("read"), 1);
        assert!(!ended(&stdin), "though it was not closed");
        held.close_stdin();
        assert_eq!(stdin.read(&mut [0; 8]).expect("read"), 0);
        fs::remove_file(path).expect("clean up");
    }

    #[test]
    fn uris_of_all_kinds() {
        assert_eq!(Target::parse("").expect("null"), Target::Null);
        assert_eq!(Target::parse("/run/f").expect("path"), Target::Path("/run/f".into()));
        assert_eq!(
            Target::parse("file:///a%20b/c?x=1").expect("file"),
            Target::File("/a b/c".into())
        );
        assert_eq!(
            Target::parse("binary:///bin/log").expect_err("refused").code,
            Code::Unimplemented
        );
        assert_eq!(Target::parse("http://x").expect_err("refused").code, Code::InvalidArgument);
        let missing = open(&Paths { stdout: "/does/not/exist".into(), ..Paths::default() })
            .map(drop)
            .expect_err("refused");
        assert!(missing.message.contains("/does/not/exist"), "{}", missing.message);
    }

    #[test]
    fn a_file_is_appended_to_and_its_directory_made() {
        let dir = std::env::temp_dir().join(format!("lighter-stdio-{}-dir", std::process::id()));
        let uri = format!("file://{}/sub/log?x=y", dir.display());
        for text in ["one", "two"] {
            let paths = Paths { stdout: uri.clone(), stderr: uri.clone(), ..Paths::default() };
            let (stdio, _) = open(&paths).expect("opens");
            File::from(stdio.stdout).write_all(text.as_bytes()).expect("write");
            File::from(stdio.stderr).write_all(b"!").expect("write");
        }
        assert_eq!(fs::read_to_string(dir.join("sub/log")).expect("read"), "one!two!");
        fs::remove_dir_all(dir).expect("clean up");
    }
}
