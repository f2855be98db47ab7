//! Against a bus that fails. That systemd does what it should, the tests in the virtual machine show.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use super::bus::{Address, Failure};
use super::message::{FIXED, Kind, Message, Writer};
use super::*;

const UNIT: &str = "lighter-c1.scope";
const JOB: &str = "/org/freedesktop/systemd1/job/7";
const ANOTHER_JOB: &str = "/org/freedesktop/systemd1/job/6";
const SHORT: Duration = Duration::from_millis(300);

/// What a bus does with one call.
enum Answer {
    Nothing,
    Hangup,
    Error(&'static str),
    /// A job that has ended already when its path is told: the order of the two is the bus's to choose.
    Job(&'static str),
    JobWithoutEnd,
}

/// Plays a bus that answers each call by `answer`, and returns the names of those there were.
struct FakeBus {
    address: [Address; 1],
    calls: JoinHandle<Vec<String>>,
    _dir: tempfile::TempDir,
}

fn bus(connections: usize, answer: fn(&str, usize) -> Option<Answer>) -> FakeBus {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    let calls = std::thread::spawn(move || {
        let mut calls = Vec::new();
        for _ in 0..connections {
            serve(listener.accept().unwrap().0, &mut calls, answer);
        }
        calls
    });
    FakeBus { address: [Address { socket, direct: false }], calls, _dir: dir }
}

fn serve(stream: UnixStream, calls: &mut Vec<String>, answer: fn(&str, usize) -> Option<Answer>) {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut output = stream;
    let mut line = String::new();
    input.read_line(&mut line).unwrap();
    assert!(line.starts_with("\0AUTH EXTERNAL "), "{line:?}");
    output.write_all(b"OK 0123456789abcdef\r\n").unwrap();
    line.clear();
    input.read_line(&mut line).unwrap();
    assert_eq!(line, "BEGIN\r\n");
    while let Some(call) = receive(&mut input) {
        let before = calls.iter().filter(|earlier| **earlier == call.member).count();
        calls.push(call.member.clone());
        let reply = |kind| Message { reply_to: Some(call.serial), ..Message::new(kind, 1) };
        let mut send = |message: Message| output.write_all(&message.encode()).unwrap();
        match answer(&call.member, before) {
            None => send(reply(Kind::Return)),
            Some(Answer::Nothing) => {}
            Some(Answer::Hangup) => return,
            Some(Answer::Error(name)) => send(Message {
                error_name: name.to_owned(),
                signature: "s".to_owned(),
                body: texts(&["in words"]),
                ..reply(Kind::Error)
            }),
            Some(Answer::Job(result)) => {
                send(job_removed(ANOTHER_JOB, "failed"));
                send(job_removed(JOB, result));
                send(job(reply(Kind::Return)));
            }
            Some(Answer::JobWithoutEnd) => {
                send(job(reply(Kind::Return)));
                send(job_removed(ANOTHER_JOB, "done"));
            }
        }
    }
}

fn receive(input: &mut impl Read) -> Option<Message> {
    let mut fixed = [0; FIXED];
    input.read_exact(&mut fixed).ok()?;
    let mut bytes = fixed.to_vec();
    bytes.resize(Message::length(&fixed).unwrap(), 0);
    input.read_exact(&mut bytes[FIXED..]).unwrap();
    Some(Message::decode(&bytes).unwrap())
}

fn job_removed(job: &str, result: &str) -> Message {
    let mut body = Writer::default();
    body.u32(7);
    [job, UNIT, result].iter().for_each(|text| body.text(text));
    Message {
        path: "/org/freedesktop/systemd1".to_owned(),
        interface: "org.freedesktop.systemd1.Manager".to_owned(),
        member: "JobRemoved".to_owned(),
        signature: "uoss".to_owned(),
        body: body.bytes,
        ..Message::new(Kind::Signal, 2)
    }
}

fn job(reply: Message) -> Message {
    Message { signature: "o".to_owned(), body: texts(&[JOB]), ..reply }
}

fn texts(texts: &[&str]) -> Vec<u8> {
    let mut body = Writer::default();
    texts.iter().for_each(|text| body.text(text));
    body.bytes
}

fn start_at(bus: &FakeBus) -> Result<(), Failure> {
    start(&bus.address, UNIT, "system.slice", std::process::id(), &Limits::default(), SHORT)
}

#[test]
fn a_scope_is_up_once_its_own_job_is_done() {
    let bus = bus(1, |call, _| match call {
        "StartTransientUnit" => Some(Answer::Job("done")),
        _ => None,
    });
    start_at(&bus).unwrap();
    assert_eq!(bus.calls.join().unwrap(), ["Hello", "AddMatch", "StartTransientUnit"]);
}

#[test]
fn a_job_that_failed_is_told_with_its_result() {
    let bus = bus(1, |call, _| match call {
        "StartTransientUnit" => Some(Answer::Job("canceled")),
        _ => None,
    });
    let error = start_at(&bus).unwrap_err().to_string();
    assert!(error.contains("canceled") && error.contains(UNIT), "{error}");
    assert_eq!(bus.calls.join().unwrap().last().unwrap(), "ResetFailedUnit");
}

#[test]
fn a_refusal_is_told_in_systemds_words() {
    let bus = bus(1, |call, _| match call {
        "StartTransientUnit" => Some(Answer::Error("org.freedesktop.DBus.Error.AccessDenied")),
        _ => None,
    });
    let error = start_at(&bus).unwrap_err().to_string();
    assert!(error.contains("in words") && error.contains("AccessDenied"), "{error}");
}

#[test]
fn a_bus_that_does_not_answer_is_late() {
    for answer in [
        |_: &str, _| Some(Answer::Nothing),
        |call: &str, _| (call == "StartTransientUnit").then_some(Answer::Nothing),
        |call: &str, _| (call == "StartTransientUnit").then_some(Answer::JobWithoutEnd),
    ] {
        let bus = bus(1, answer);
        let begin = Instant::now();
        let error = start_at(&bus).unwrap_err();
        assert!(matches!(error, Failure::Late { .. }), "{error}");
        assert!(error.to_string().contains("300ms"), "{error}");
        assert!(begin.elapsed() < SHORT * 10, "{:?}", begin.elapsed());
    }
}

#[test]
fn a_bus_that_hangs_up_is_named() {
    let bus = bus(1, |call, _| (call == "AddMatch").then_some(Answer::Hangup));
    let error = start_at(&bus).unwrap_err();
    assert!(matches!(error, Failure::Lost { .. }), "{error}");
    assert!(error.to_string().contains(bus.address[0].socket.to_str().unwrap()), "{error}");
}

#[test]
fn what_is_left_of_a_failed_unit_is_forgotten() {
    let bus = bus(2, |call, before| match (call, before) {
        ("StartTransientUnit", 0) => Some(Answer::Error(UNIT_EXISTS)),
        ("StartTransientUnit", _) => Some(Answer::Job("done")),
        _ => None,
    });
    start_at(&bus).unwrap();
    let calls = bus.calls.join().unwrap();
    assert_eq!(calls.iter().filter(|call| *call == "StartTransientUnit").count(), 2);
    assert_eq!(calls.iter().filter(|call| *call == "ResetFailedUnit").count(), 1);
}

#[test]
fn a_unit_that_is_not_there_is_as_good_as_stopped() {
    let bus = bus(1, |call, _| (call == "StopUnit").then_some(Answer::Error(NO_SUCH_UNIT)));
    stop_at(&bus.address, UNIT, SHORT).unwrap();
}

#[test]
fn without_any_socket_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let address = Address { socket: dir.path().join("none"), direct: false };
    let error = stop_at(&[address], UNIT, SHORT).unwrap_err().to_string();
    assert!(error.contains("/none: No such file"), "{error}");
    assert!(error.contains("cgroupfs") && error.contains("SystemdCgroup"), "{error}");
}

#[test]
fn a_version_is_the_number_it_begins_with() {
    for (text, number) in
        [("252.39-1~deb12u1", 252), ("v245.4", 245), ("262 (262.1-1)", 262), ("", 0)]
    {
        assert_eq!(version(text), number, "{text:?}");
    }
}
