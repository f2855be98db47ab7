//! Looks around in a container, for tests: each argument is a request, and its answer a line of standard output.
//!
//! A request is a verb and its operands, all joined by single spaces; `write /data/a hello`, say. The answer
//! repeats the request, so that a test reads what was asked beside what came back: `write /data/a hello: ok`.
//! A request that fails does not keep those after it from being made.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

fn main() {
    for request in std::env::args().skip(1) {
        let answer = answer(&request).unwrap_or_else(|error| format!("error: {}", kind(&error)));
        println!("{request}: {answer}");
    }
}

fn answer(request: &str) -> io::Result<String> {
    let words: Vec<&str> = request.splitn(3, ' ').collect();
    match words[..] {
        ["ls", dir] => list(dir),
        ["cat", file] => Ok(fs::read_to_string(file)?.trim_end().to_owned()),
        ["write", file, text] => fs::write(file, format!("{text}\n")).map(|()| "ok".to_owned()),
        ["remove", file] => fs::remove_file(file).map(|()| "ok".to_owned()),
        ["mkdir", dir] => fs::create_dir(dir).map(|()| "ok".to_owned()),
        ["fill", file, bytes] => fill(file, parse(bytes)?),
        ["sync", file] => File::open(file)?.sync_all().map(|()| "ok".to_owned()),
        ["read", file, bytes] => read(file, parse(bytes)?),
        ["cwd"] => Ok(std::env::current_dir()?.display().to_string()),
        ["lookup", name] => look_up(name),
        ["send", address, text] => send(address, text),
        ["echo", address] => echo(address),
        ["datagram", address, text] => datagram(address, text),
        ["line"] => line(),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "no such request")),
    }
}

/// The names in a directory, in order.
fn list(dir: &str) -> io::Result<String> {
    let names =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names.join(" "))
}

/// Appends to a file until it has `bytes` more; says after how many whole kilobytes it failed.
fn fill(file: &str, bytes: usize) -> io::Result<String> {
    let mut file = File::options().create(true).append(true).open(file)?;
    for done in 0..bytes.div_ceil(1024) {
        if let Err(error) = file.write_all(&[b'x'; 1024]) {
            return Ok(format!("{} after {done} KiB", kind(&error)));
        }
    }
    Ok("ok".to_owned())
}

/// How many of `bytes` bytes a file has, and their sum.
fn read(file: &str, bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0xff; bytes];
    let mut file = File::open(file)?;
    let mut read = 0;
    while read < bytes {
        match file.read(&mut buffer[read..])? {
            0 => break,
            some => read += some,
        }
    }
    let sum: u64 = buffer[..read].iter().map(|byte| u64::from(*byte)).sum();
    Ok(format!("{read} bytes, sum {sum}"))
}

/// The addresses of a name, in order.
fn look_up(name: &str) -> io::Result<String> {
    let mut found: Vec<String> = (name, 0).to_socket_addrs()?.map(|a| a.ip().to_string()).collect();
    found.sort();
    found.dedup();
    Ok(found.join(" "))
}

/// Sends a line over TCP and answers the line that comes back.
fn send(address: &str, text: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    writeln!(stream, "{text}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

/// Takes one connection and returns its line to it.
fn echo(address: &str) -> io::Result<String> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {address}");
    let (mut stream, _) = listener.accept()?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    stream.write_all(line.as_bytes())?;
    Ok(line.trim_end().to_owned())
}

/// Sends a datagram.
fn datagram(address: &str, text: &str) -> io::Result<String> {
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    UdpSocket::bind(any)?.send_to(text.as_bytes(), address).map(|_| "sent".to_owned())
}

/// The next line of standard input: a test that holds it back holds the probe.
fn line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn parse(number: &str) -> io::Result<usize> {
    number.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// The kind of an error where the library has one, the same for preview 1 and 2; else all of it.
fn kind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other => error.to_string(),
        kind if kind.to_string().contains("uncategorized") => error.to_string(),
        kind => kind.to_string(),
    }
}
