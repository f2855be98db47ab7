//! What a container inherits, and the terminal that it has: a socket gets the other side.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use super::bundle::Program::Sleep;
use super::life::{Life, PATIENCE};
use super::runtime::Subject;
use crate::support::process::Process;
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![
        a_terminal_goes_to_the_socket,
        a_terminal_of_an_exec_goes_to_the_socket,
        files_are_preserved_or_it_is_said_that_they_are_not,
        nothing_else_is_inherited,
    ]
}

const ALL: [Subject; 4] = [Subject::Runc, Subject::Crun, Subject::Linux, Subject::Wasm];

/// What reads its terminal to the end, and says so.
fn reader(subject: Subject) -> Vec<String> {
    let args: &[&str] = match subject {
        Subject::Wasm => &["/terminal.wasm"],
        _ => &["/bin/sh", "-c", "cat; echo end"],
    };
    args.iter().map(|word| (*word).to_owned()).collect()
}

/// The other side of a terminal, which came over a socket.
struct Terminal(File);

impl Terminal {
    #[track_caller]
    fn from(listener: &UnixListener) -> Self {
        let (socket, _) = listener.accept().expect("a runtime connects");
        Self(File::from(receive(&socket)))
    }

    /// Types a line and Ctrl-D; returns what is shown until the end.
    #[track_caller]
    fn converse(&mut self, line: &str) -> String {
        write!(self.0, "{line}\n\u{4}").expect("write to a terminal");
        let begin = Instant::now();
        let mut shown = Vec::new();
        let mut buffer = [0; 1024];
        while begin.elapsed() < PATIENCE && !shown.ends_with(b"end\r\n") {
            let moment = Timespec::try_from(Duration::from_millis(100)).unwrap();
            if poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&moment)) == Ok(0) {
                continue;
            }
            match self.0.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => shown.extend_from_slice(&buffer[..read]),
            }
        }
        String::from_utf8_lossy(&shown).into_owned()
    }
}

/// The descriptor that comes over `socket`.
#[track_caller]
fn receive(socket: &UnixStream) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    let mut parts = [IoSliceMut::new(&mut name)];
    let got = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("receive");
    assert!(got.bytes > 0, "a message has at least a byte");
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    rights.expect("a terminal")
}

fn a_terminal_goes_to_the_socket() {
    for subject in ALL {
        let mut life = Life::new(subject);
        let mut config = life.config(Sleep);
        config["process"]["args"] = json!(reader(subject));
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({"height": 33, "width": 101});
        life.write_config(&config);
        let socket = life.runtime.dir.join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let socket = socket.display().to_string();
        let args = ["create", "--bundle", "bundle", "--console-socket", &socket, &life.id];
        life.quietly(&args).expect_success();
        let mut terminal = Terminal::from(&listener);
        life.start_unseen();
        let shown = terminal.converse("hello");
        assert!(
            shown.contains("hello\r\n") && shown.ends_with("end\r\n"),
            "{subject:?}: {shown:?}"
        );
        if subject == Subject::Wasm {
            assert!(shown.contains("types 222"), "{shown:?}");
        }
        life.until_stopped();
        life.end();
    }
}

fn a_terminal_of_an_exec_goes_to_the_socket() {
    for subject in ALL {
        let mut life = Life::new(subject);
        life.started(Sleep);
        let process = json!({
            "terminal": true,
            "args": reader(subject),
            "env": ["PATH=/bin"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
        });
        std::fs::write(life.runtime.dir.join("process"), process.to_string()).unwrap();
        let socket = life.runtime.dir.join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let socket = socket.display().to_string();
        let args =
            ["exec", "--detach", "--console-socket", &socket, "--process", "process", &life.id];
        life.quietly(&args).expect_success();
        let shown = Terminal::from(&listener).converse("hello");
        assert!(
            shown.contains("hello\r\n") && shown.ends_with("end\r\n"),
            "{subject:?}: {shown:?}"
        );
        life.end();
    }
}

fn files_are_preserved_or_it_is_said_that_they_are_not() {
    for subject in ALL {
        let mut life = Life::new(subject);
        let mut config = life.config(Sleep);
        if !subject.is_ours() {
            config["process"]["args"] = json!(["/bin/sh", "-c", "echo text >&3"]);
        }
        life.write_config(&config);
        let path = life.runtime.dir.join("file");
        let args = ["create", "--bundle", "bundle", "--preserve-fds", "1", &life.id];
        let command = inheriting(&life.runtime.command(&args), &path, 3);
        life.runtime.end(command).expect_success();
        let log = life.runtime.log();
        life.start_unseen();
        if subject.is_ours() {
            assert!(log.contains("warning") && log.contains("--preserve-fds 1"), "{log}");
            assert_eq!(holders(life.pid(), &path), Vec::<u32>::new(), "{subject:?}");
        } else {
            life.until_stopped();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "text\n", "{subject:?}");
        }
        life.end();
    }
}

/// `command` with a descriptor `number` more, of the file `path`.
fn inheriting(command: &Command, path: &Path, number: u8) -> Command {
    let script = format!("exec {number}>>{}; exec \"$@\"", path.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.expect("nothing is removed"));
    }
    shell.current_dir(command.get_current_dir().expect("it has one"));
    shell
}

/// The descriptors of the process `pid` that lead to `path`.
fn holders(pid: u32, path: &Path) -> Vec<u32> {
    let open = Process::of(pid).descriptors();
    let path = path.display().to_string();
    open.into_iter().filter(|(_, leads_to)| *leads_to == path).map(|(number, _)| number).collect()
}

fn nothing_else_is_inherited() {
    // crun 1.8 has it until the start.
    for subject in [Subject::Runc, Subject::Linux, Subject::Wasm] {
        let mut life = Life::new(subject);
        life.bundle(Sleep);
        let path = life.runtime.dir.join("file");
        let args = ["create", "--bundle", "bundle", &life.id];
        let command = inheriting(&life.runtime.command(&args), &path, 9);
        life.runtime.end(command).expect_success();
        assert_eq!(holders(life.pid(), &path), Vec::<u32>::new(), "{subject:?}, created");
        life.start_unseen();
        assert_eq!(holders(life.pid(), &path), Vec::<u32>::new(), "{subject:?}");
        life.end();
    }
}
