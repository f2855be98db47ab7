//! Terminals: what is typed gets in, what is written gets out, and keys that are signals are.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::support::command::{Process, eventually};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::remains::nothing_remains;
use crate::support::terminal::Session;
use crate::support::trials::trials;

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_BACKSLASH: &str = "\x1c";

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_guest_has_a_terminal,
        keys_that_are_signals_end_a_guest,
        a_megabyte_arrives_whole,
        a_guest_whose_terminal_nobody_reads_can_be_killed,
        one_leaves_and_comes_back,
        a_linux_container_has_a_terminal,
        a_linux_containers_user_owns_its_terminal,
        a_guest_beside_the_first_has_a_terminal_of_its_own,
        a_linux_program_beside_the_first_has_a_terminal_of_its_own,
    ]
}

fn at_terminal(namespace: &Namespace<'_>, image: &Image, id: &str, args: &[&str]) -> Session {
    Session::start(&mut namespace.run_command(image, id, &["--tty"], args))
}

fn a_guest_has_a_terminal(namespace: &Namespace<'_>) {
    for guest in [guests::module("terminal"), guests::component("terminal")] {
        let image = Image::guest("terminal", &guest);
        let mut session = at_terminal(namespace, &image, &unique_id(), &[]);
        session.expect("types 222\r\n");
        // The terminal shows what is typed, and the guest gets it by the line.
        session.press("hello");
        session.expect("hello");
        session.press("\r");
        session.expect("\r\nhello\r\n");
        session.press(CTRL_D);
        let (rest, status) = session.end();
        assert_eq!((String::from_utf8_lossy(&rest).as_ref(), status), ("end\r\n", 0));
    }
    // The other way round: without one there is none.
    let image = Image::guest("terminal", &guests::module("terminal"));
    let output = namespace.run_with(&image, &[], &[], b"x").expect_success();
    assert!(!output.text().contains('2'), "{output}");
    nothing_remains(namespace);
}

fn keys_that_are_signals_end_a_guest(namespace: &Namespace<'_>) {
    for guest in [guests::module("spin"), guests::component("spin")] {
        for (key, expected) in [(CTRL_C, 130), (CTRL_BACKSLASH, 131)] {
            let image = Image::guest("spin", &guest);
            let mut session = at_terminal(namespace, &image, &unique_id(), &[]);
            session.expect("spinning\r\n");
            session.press(key);
            assert_eq!(session.end().1, expected);
        }
    }
}

fn a_megabyte_arrives_whole(namespace: &Namespace<'_>) {
    let image = Image::guest("big", &guests::module("big"));
    let mut session = at_terminal(namespace, &image, &unique_id(), &["/big.wasm", "1"]);
    let (bytes, status) = session.end();
    assert_eq!(status, 0);
    // A terminal makes two characters of the end of a line.
    let written = (0..1_u64 << 17).flat_map(u64::to_le_bytes);
    let mut expected = Vec::with_capacity(bytes.len());
    for byte in written {
        if byte == b'\n' {
            expected.push(b'\r');
        }
        expected.push(byte);
    }
    assert_eq!(bytes.len(), expected.len(), "bytes that arrived");
    assert!(bytes == expected);
}

fn a_guest_whose_terminal_nobody_reads_can_be_killed(namespace: &Namespace<'_>) {
    let image = Image::guest("big", &guests::module("big"));
    let id = unique_id();
    let mut session = at_terminal(namespace, &image, &id, &["/big.wasm", "100"]);
    let running = || namespace.task_status(&id).as_deref() == Some("RUNNING");
    assert!(eventually(LIMIT, running), "{id} does not run");
    let guest = Process::open(namespace.task_pid(&id).expect("it runs")).expect("it runs");
    // By then all buffers on the way are full.
    std::thread::sleep(Duration::from_millis(500));
    namespace.ctr(&["task", "kill", &id]).expect_success();
    assert!(guest.ends_within(Duration::from_secs(5)), "it goes on");
    assert_eq!(session.end().1, 143);
}

/// What nobody reads meanwhile waits, and no end of a client is the end of the terminal.
fn one_leaves_and_comes_back(namespace: &Namespace<'_>) {
    let image = Image::guest("terminal", &guests::module("terminal"));
    let id = unique_id();
    let mut ctr = namespace.run_detached_command(&image, &id, &["--tty"], &[]);
    assert_eq!(Session::start(&mut ctr).end().1, 0);
    for word in ["first", "second", "third"] {
        let mut ctr = namespace.command();
        let mut session = Session::start(ctr.args(["task", "attach", &id]));
        session.press(&format!("{word}\r"));
        session.expect(&format!("\r\n{word}\r\n"));
        if word == "third" {
            session.press(CTRL_C);
            assert_eq!(session.end().1, 130);
        } else {
            // It goes without a word.
            drop(session);
            assert_eq!(namespace.task_status(&id).as_deref(), Some("RUNNING"));
        }
    }
    namespace.ctr(&["task", "delete", &id]);
    nothing_remains(namespace);
}

fn a_linux_container_has_a_terminal(namespace: &Namespace<'_>) {
    let image = Image::linux("terminal");
    let script = "busybox tty; while read line; do busybox stty size < /dev/console; done; \
                  echo over; exit 3";
    let mut session = at_terminal(namespace, &image, &unique_id(), &["sh", "-c", script]);
    session.expect("/dev/pts/0\r\n");
    expect_size(&mut session, 80, 24);
    expect_size(&mut session, 132, 43);
    session.press(CTRL_D);
    session.expect("over\r\n");
    assert_eq!(session.end().1, 3);

    let args = ["sh", "-c", "echo waiting; sleep 1000; exit $?"];
    let mut session = at_terminal(namespace, &image, &unique_id(), &args);
    session.expect("waiting\r\n");
    session.press(CTRL_C);
    // The shell is the first process of its pid namespace; what it waits for is not.
    assert_eq!(session.end().1, 130);
    nothing_remains(namespace);
}

/// It can open it by its name.
fn a_linux_containers_user_owns_its_terminal(namespace: &Namespace<'_>) {
    let image = Image::linux("terminal").user("1234:1234");
    let script = "echo by-name > $(busybox tty); echo by-number > /proc/self/fd/1";
    let mut session = at_terminal(namespace, &image, &unique_id(), &["sh", "-c", script]);
    session.expect("by-name\r\n");
    session.expect("by-number\r\n");
    assert_eq!(session.end().1, 0);
}

/// Changes the size, and waits until the script in the container, which answers a line with it, says so: the news goes by
/// containerd, and `ctr` misses what comes before it listens.
#[track_caller]
fn expect_size(session: &mut Session, width: u16, height: u16) {
    let mut seen = String::new();
    let is_so = eventually(LIMIT, || {
        session.resize(width, height);
        session.press("\r");
        session.expect("\r\n");
        seen = session.expect("\r\n");
        seen.trim_end() == format!("{height} {width}")
    });
    assert!(is_so, "{seen:?}");
}

fn exec_at_terminal(namespace: &Namespace<'_>, id: &str, exec_id: &str, args: &[&str]) -> Session {
    let mut ctr = namespace.command();
    Session::start(ctr.args(["task", "exec", "--tty", "--exec-id", exec_id, id]).args(args))
}

fn a_guest_beside_the_first_has_a_terminal_of_its_own(namespace: &Namespace<'_>) {
    let image = Image::guest("sleep", &guests::module("sleep"))
        .cmd(&["1000"])
        .file("/terminal.wasm", &guests::module("terminal"));
    let id = unique_id();
    namespace.run_detached(&image, &id, &["--null-io"], &[]).expect_success();
    let mut session = exec_at_terminal(namespace, &id, "typist", &["/terminal.wasm"]);
    session.expect("types 222\r\n");
    session.press("hello\r");
    session.expect("\r\nhello\r\n");
    session.press(CTRL_D);
    session.expect("end\r\n");
    assert_eq!(session.end().1, 0);
    let mut session = exec_at_terminal(namespace, &id, "stopped", &["/terminal.wasm"]);
    session.expect("types 222\r\n");
    session.press(CTRL_C);
    assert_eq!(session.end().1, 130);
    assert_eq!(namespace.task_status(&id).as_deref(), Some("RUNNING"));
    namespace.ctr(&["task", "delete", "--force", &id]);
    nothing_remains(namespace);
}

fn a_linux_program_beside_the_first_has_a_terminal_of_its_own(namespace: &Namespace<'_>) {
    let id = unique_id();
    let args = ["sleep", "1000"];
    let image = Image::linux("terminal");
    namespace.run_detached(&image, &id, &["--null-io"], &args).expect_success();
    let script = "busybox tty; while read line; do busybox stty size; done; exit 5";
    let mut session = exec_at_terminal(namespace, &id, "typist", &["sh", "-c", script]);
    session.expect("/dev/pts/0\r\n");
    expect_size(&mut session, 80, 24);
    expect_size(&mut session, 132, 43);
    session.press(CTRL_D);
    assert_eq!(session.end().1, 5);
    let mut session = exec_at_terminal(namespace, &id, "shell", &["sh"]);
    // An interactive shell, with job control of its own.
    session.expect("# ");
    session.press("sh -c 'echo begins; exec sleep 1000'\r");
    session.expect("begins\r\n");
    session.press(CTRL_C);
    session.expect("# ");
    session.press("echo $?\r");
    session.expect("130\r\n");
    // Not before it reads by the key, as it does at its prompt.
    session.expect("# ");
    session.press(CTRL_D);
    assert_eq!(session.end().1, 0);
    namespace.ctr(&["task", "delete", "--force", &id]);
    nothing_remains(namespace);
}
