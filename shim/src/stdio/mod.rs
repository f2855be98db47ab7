//! A process's standard input and output. What containerd names is opened once and handed over as it is: fifos, files,
//! the pipes of a logging program. Nothing is copied, but for a process with a terminal.

mod binary;
mod fifo;
mod file;
mod ready;
mod rest;
mod terminal;
#[cfg(test)]
mod tests;
mod uri;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use lighter::container::{Stdio, Streams};

use crate::task::{Code, Error};

use binary::{Inlets, Logger};
use fifo::Input;
pub(crate) use rest::Rest;
use terminal::{Ends, Terminal};
use uri::Target;

/// Where the three streams go, as containerd names them: a path, a URL, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    /// Standard input.
    pub(crate) stdin: String,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// The process has a terminal, and so no standard error.
    pub(crate) terminal: bool,
}

/// Whose streams they are, for a program that logs them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    /// The container's id, or that of a command run in it.
    pub(crate) id: &'a str,
    /// containerd's namespace.
    pub(crate) namespace: &'a str,
}

/// What we hold of a process's streams while it lives.
#[derive(Debug, Default)]
pub(crate) struct Held {
    stdin: Option<Input>,
    output_readers: Vec<OwnedFd>,
    /// Until the terminal is there.
    ends: Option<Ends>,
    terminal: Option<Terminal>,
    logger: Option<Logger>,
}

/// Opens all streams of a process. Blocks only for a program that logs them, until that is
/// ready, whoever else has or has not opened them.
///
/// # Errors
/// Names the stream's path and what is wrong with it.
pub(crate) fn open(paths: &Paths, identity: Identity<'_>) -> Result<(Streams, Held), Error> {
    let mut held = Held::default();
    if paths.terminal {
        held.ends = Some(Ends {
            input: terminal_input(&paths.stdin)?,
            output: terminal_output(&paths.stdout, identity, &mut held)?,
        });
        return Ok((Streams::Terminal, held));
    }
    let stdin = input(&paths.stdin, &mut held)?;
    let (stdout, stderr) = outputs(paths, identity, &mut held)?;
    Ok((Streams::Given(Stdio { stdin, stdout, stderr }), held))
}

impl Held {
    /// Gives the process's terminal, if it has one, its input and takes its output; `console` is the terminal's master.
    ///
    /// # Errors
    /// When the kernel cannot tell when there is something to copy.
    pub(crate) fn attach(&mut self, console: Option<OwnedFd>) -> Result<(), Error> {
        let (Some(console), Some(ends)) = (console, self.ends.take()) else { return Ok(()) };
        let terminal = Terminal::attach(console, ends)
            .map_err(|error| Error::new(Code::Unknown, format!("attach the terminal: {error}")))?;
        self.terminal = Some(terminal);
        Ok(())
    }

    /// Sets the terminal's size, in characters; a process without one has none.
    ///
    /// # Errors
    /// When there is no such size.
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<(), Error> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let refuse = |why: &dyn std::fmt::Display| {
            Error::new(
                Code::InvalidArgument,
                format!("a terminal {width} characters wide and {height} high: {why}"),
            )
        };
        let (Ok(columns), Ok(rows)) = (u16::try_from(width), u16::try_from(height)) else {
            return Err(refuse(&"too large"));
        };
        terminal.resize(columns, rows).map_err(|error| refuse(&error))
    }

    /// Ends standard input, once what is in it has been read.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
        if let Some(terminal) = &mut self.terminal {
            terminal.close_input();
        }
    }

    /// To be called before the process can read. Its input ends when its writers do; only if none has come yet, it stays
    /// open until it is closed.
    pub(crate) fn leave_stdin_to_its_writer(&mut self) {
        self.stdin = self.stdin.take().and_then(Input::left_to_its_writer);
    }
}

fn input(uri: &str, held: &mut Held) -> Result<OwnedFd, Error> {
    let fail = |error: io::Error| failed(uri, &error);
    let path = match Target::parse(uri)? {
        Target::Null => return file::null(),
        Target::Path(path) | Target::File(path) => path,
        Target::Program(_) => return Err(refused(uri, "no program writes standard input")),
    };
    if !fifo::is_fifo(&path).map_err(fail)? {
        return Ok(File::open(&path).map_err(fail)?.into());
    }
    let (stdin, ours) = Input::open(&path).map_err(fail)?;
    held.stdin = Some(ours);
    Ok(stdin)
}

fn outputs(
    paths: &Paths,
    identity: Identity<'_>,
    held: &mut Held,
) -> Result<(OwnedFd, OwnedFd), Error> {
    if let Target::Program(program) = Target::parse(&paths.stdout)? {
        let (logger, Inlets { stdout, stderr }) =
            Logger::start(&paths.stdout, &program, &identity)?;
        held.logger = Some(logger);
        if paths.stderr.is_empty() || paths.stderr == paths.stdout {
            return Ok((stdout, stderr));
        }
        return Ok((stdout, output(&paths.stderr, held)?));
    }
    let stdout = output(&paths.stdout, held)?;
    let stderr = if paths.stderr == paths.stdout {
        // One file description, so that both write at one position.
        stdout.try_clone().map_err(|error| failed(&paths.stderr, &error))?
    } else {
        output(&paths.stderr, held)?
    };
    Ok((stdout, stderr))
}

fn output(uri: &str, held: &mut Held) -> Result<OwnedFd, Error> {
    let fail = |error: io::Error| failed(uri, &error);
    let path = match Target::parse(uri)? {
        Target::Null => return file::null(),
        Target::File(path) => return file::append(&path).map_err(fail),
        Target::Path(path) => path,
        Target::Program(_) => {
            return Err(refused(
                uri,
                "a program logs standard output, alone or with standard error",
            ));
        }
    };
    if !fifo::is_fifo(&path).map_err(fail)? {
        return open_existing(&path).map_err(fail);
    }
    let (writer, reader) = fifo::open_output(&path).map_err(fail)?;
    held.output_readers.push(reader);
    Ok(writer)
}

fn terminal_input(uri: &str) -> Result<Option<(OwnedFd, OwnedFd)>, Error> {
    match Target::parse(uri)? {
        Target::Null => Ok(None),
        Target::Path(path) if fifo::is_fifo(&path).map_err(|error| failed(uri, &error))? => {
            fifo::open_both(&path).map(Some).map_err(|error| failed(uri, &error))
        }
        _ => Err(refused(uri, "a terminal's input comes from a fifo")),
    }
}

fn terminal_output(uri: &str, identity: Identity<'_>, held: &mut Held) -> Result<OwnedFd, Error> {
    let Target::Program(program) = Target::parse(uri)? else { return output(uri, held) };
    let (logger, inlets) = Logger::start(uri, &program, &identity)?;
    held.logger = Some(logger);
    Ok(inlets.stdout)
}

fn open_existing(path: &Path) -> io::Result<OwnedFd> {
    File::options().append(true).open(path).map(Into::into)
}

fn failed(uri: &str, error: &io::Error) -> Error {
    Error::new(Code::Unknown, format!("open {uri} for the container's standard streams: {error}"))
}

fn refused(uri: &str, why: &str) -> Error {
    Error::new(Code::InvalidArgument, format!("stream {uri:?}: {why}"))
}
