//! What a request may use up, and what becomes of one that wants more.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::fs::{CWD, FileType, Mode, mknodat, symlink};

use super::server::{Client, Server, get};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::suite::Suite;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_request_in_a_loop_is_ended_and_holds_nobody_up,
        a_request_that_waits_too_long_is_ended,
        requests_beyond_those_that_run_wait_and_beyond_those_are_refused,
        silent_connections_are_closed,
        processor_time_of_a_request_is_limited,
        connections_that_are_too_many_wait,
        silent_connections_make_room,
        a_file_that_may_never_open_holds_up_no_other,
        heads_and_bodies_may_be_too_large,
        memory_of_a_request_is_limited,
        requests_share_the_memory_of_the_container,
    ]
}

fn a_request_in_a_loop_is_ended_and_holds_nobody_up(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.request-timeout", "2s")]);
    let mut spinning: Vec<_> = (0..8).map(|_| Client::of(server.connect())).collect();
    let begin = Instant::now();
    spinning.iter_mut().for_each(|client| client.send(get("/spin").as_bytes()));
    assert_eq!(server.get("/hello").status, 200);
    assert!(begin.elapsed() < Duration::from_millis(1900), "{:?}", begin.elapsed());
    for client in &mut spinning {
        assert_eq!(client.response("GET").status, 504);
    }
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    server.logs("GET /spin: it took longer than 2s\n");
    // Where it was: the name section has it.
    server.logs("spin");
    server.stop();
}

fn a_request_that_waits_too_long_is_ended(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.request-timeout", "300ms")]);
    assert_eq!(server.get("/sleep?60000").status, 504);
    server.logs("GET /sleep: it took longer than 300ms");
    // Its body does not come.
    let mut client = Client::of(server.connect());
    client.send(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    assert_eq!(client.response("POST").status, 504);
    // It has begun to answer.
    let mut client = Client::of(server.connect());
    client.send(get("/drip?100").as_bytes());
    assert!(client.try_response("GET").is_err(), "the answer ends as if it were whole");
    assert_eq!(server.get("/hello").status, 200);
    server.stop();
}

fn requests_beyond_those_that_run_wait_and_beyond_those_are_refused(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.concurrency", "2"), ("http.queue", "3")]);
    let mut clients: Vec<_> = (0..10).map(|_| Client::of(server.connect())).collect();
    clients.iter_mut().for_each(|client| client.send(get("/sleep?500").as_bytes()));
    let answers: Vec<_> = clients.iter_mut().map(|client| client.response("GET")).collect();
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert_eq!((served, refused.len()), (5, 5), "{answers:?}");
    assert!(refused.iter().all(|answer| answer.header("retry-after") == Some("1")));
    assert_eq!(server.get("/hello").status, 200);
    server.stop();
}

fn silent_connections_are_closed(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.idle-timeout", "500ms")]);
    let begin = Instant::now();
    let mut silent = Client::of(server.connect());
    let mut slow = Client::of(server.connect());
    slow.send(b"GET /hello HTTP/1.1\r\nHo");
    let mut kept = Client::of(server.connect());
    kept.send(get("/hello").as_bytes());
    assert_eq!(kept.response("GET").status, 200);
    // A request that takes longer is not silence.
    let mut busy = Client::of(server.connect());
    busy.send(get("/sleep?1500").as_bytes());
    assert!(silent.is_closed() && kept.is_closed());
    // It is told, or it is not: it never asked anything.
    let told = slow.try_response("GET");
    assert!(told.is_err() || told.is_ok_and(|answer| answer.status == 408));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(busy.response("GET").text(), "slept\n");
    server.stop();
}

fn processor_time_of_a_request_is_limited(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.cpu-time", "300ms")]);
    let begin = Instant::now();
    assert_eq!(server.get("/spin").status, 504);
    let words = "GET /spin: it used more than 300ms of processor time \
                 (annotation io.lighter.http.cpu-time sets it)\nbacktrace";
    server.logs(words);
    // Many short turns are as much as a long one.
    assert_eq!(server.get("/simmer?2000").status, 504);
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    // Waiting is not counted, and each request has its own.
    assert_eq!(server.get("/sleep?700").text(), "slept\n");
    for _ in 0..5 {
        assert_eq!(server.get("/simmer?100").text(), "done\n");
    }
    server.stop();
    // One instance, several requests.
    let settings = [("http.cpu-time", "300ms"), ("http.requests-per-instance", "100")];
    let server = Server::start(namespace, &settings);
    for _ in 0..5 {
        assert_eq!(server.get("/simmer?100").text(), "done\n");
    }
    assert_eq!(server.get("/simmer?2000").status, 504);
    server.stop();
}

fn connections_that_are_too_many_wait(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.connections", "3")]);
    let mut busy: Vec<_> = (0..3).map(|_| Client::of(server.connect())).collect();
    let begin = Instant::now();
    busy.iter_mut().for_each(|client| client.send(get("/sleep?2500").as_bytes()));
    std::thread::sleep(Duration::from_millis(200));
    // The kernel takes it, and it is answered once there is a place.
    let mut waiting = Client::of(server.connect());
    waiting.send(get("/hello").as_bytes());
    assert_eq!(waiting.response("GET").status, 200);
    assert!(begin.elapsed() > Duration::from_millis(2400), "{:?}", begin.elapsed());
    for client in &mut busy {
        assert_eq!(client.response("GET").text(), "slept\n");
    }
    server.stop();
}

fn silent_connections_make_room(namespace: &Namespace<'_>) {
    let settings = [("http.connections", "5"), ("http.idle-timeout", "1h")];
    let server = Server::start(namespace, &settings);
    let mut silent: Vec<_> = (0..4).map(|_| Client::of(server.connect())).collect();
    silent[0].send(get("/hello").as_bytes());
    assert_eq!(silent[0].response("GET").status, 200);
    // One with half a head, and one that waits for its answer.
    silent[1].send(b"GET /hello HTTP/1.1\r\nHo");
    let mut busy = Client::of(server.connect());
    busy.send(get("/sleep?6000").as_bytes());
    let begin = Instant::now();
    for _ in 0..5 {
        assert_eq!(server.get("/hello").status, 200);
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(silent.iter_mut().all(Client::is_closed));
    assert_eq!(busy.response("GET").text(), "slept\n");
    server.stop();
}

/// A FIFO opens once somebody has its other end: more requests than there are threads for files would wait for that.
fn a_file_that_may_never_open_holds_up_no_other(namespace: &Namespace<'_>) {
    let directory = tempfile::tempdir_in(Suite::get().scratch()).unwrap();
    let pipe = directory.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    symlink("pipe", directory.path().join("link")).unwrap();
    let mount = format!("type=bind,src={},dst=/pipes,options=rbind:rw", directory.path().display());
    let settings = [("limits.threads", "6"), ("http.request-timeout", "5s")];
    let server = Server::start_with(namespace, &settings, &["--mount", &mount], 8080);
    let begin = Instant::now();
    let mut asking: Vec<_> = (0..20).map(|_| Client::of(server.connect())).collect();
    let targets = ["/open?/pipes/pipe", "/open?/pipes/link"];
    for (client, target) in asking.iter_mut().zip(targets.into_iter().cycle()) {
        client.send(get(target).as_bytes());
    }
    for client in &mut asking {
        assert_eq!(client.response("GET").text(), "unsupported");
    }
    assert_eq!(server.get("/write?meanwhile").text(), "ok");
    assert_eq!(server.get("/read").text(), "meanwhile");
    assert_eq!(server.get("/open?/pipes/none").text(), "entity not found");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    server.stop();
}

fn heads_and_bodies_may_be_too_large(namespace: &Namespace<'_>) {
    let settings = [("http.header-bytes", "8Ki"), ("http.body-bytes", "1000")];
    let server = Server::start(namespace, &settings);
    let large = format!("GET /hello HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(server.ask(&large).status, 431);
    let many = format!("GET /hello HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(200));
    assert_eq!(server.ask(&many).status, 431);
    let body = |bytes: usize| {
        let body = "x".repeat(bytes);
        format!("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{body}")
    };
    assert_eq!(server.ask(&body(1000)).status, 200);
    assert_eq!(server.ask(&body(1001)).status, 413);
    let chunked = format!(
        "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n",
        "x".repeat(1001)
    );
    assert_eq!(server.ask(&chunked).status, 413);
    server.stop();
}

fn memory_of_a_request_is_limited(namespace: &Namespace<'_>) {
    let server = Server::start(namespace, &[("http.memory", "8Mi")]);
    assert_eq!(server.get("/grow?4000000").text(), "4000000\n");
    // The guest's `malloc` fails, as it would anywhere.
    assert_eq!(server.get("/grow?9000000").status, 507);
    server.logs("may have 8 MiB for each request (annotation io.lighter.http.memory sets it)");
    assert_eq!(server.get("/grow?4000000").status, 200);
    server.stop();
    // A guest that needs more than any request may have is no server, however its memories are made.
    let too_little = ["--annotation", "io.lighter.http.memory=512Ki"];
    let guests = [("hoard", guests::server("hoard")), ("large", guests::large_server("hoard"))];
    for (name, guest) in guests {
        let image = Image::guest(name, &guest);
        let errors = namespace.run_with(&image, &too_little, &[], b"").expect_failure();
        let why = "to begin with, and may have 512 KiB for each request";
        assert!(errors.contains(why), "{name}: {errors}");
    }
}

fn requests_share_the_memory_of_the_container(namespace: &Namespace<'_>) {
    // The guest needs a little more than one megabyte to begin with.
    let server = Server::start(namespace, &[("limits.memory", "8Mi")]);
    let mut clients: Vec<_> = (0..20).map(|_| Client::of(server.connect())).collect();
    clients.iter_mut().for_each(|client| client.send(get("/sleep?700").as_bytes()));
    let answers: Vec<_> = clients.iter_mut().map(|client| client.response("GET").status).collect();
    let served = answers.iter().filter(|status| **status == 200).count();
    assert!((2..=7).contains(&served), "{answers:?}");
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    // It is given back.
    for _ in 0..20 {
        assert_eq!(server.get("/grow?2000000").status, 200);
    }
    server.stop();
}
