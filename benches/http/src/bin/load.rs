//! `load ADDRESS CONNECTIONS SECONDS [RATE]`: asks for `/` over and over, and prints how many answers there were, and the
//! microseconds that half of them, 99 of a hundred, and all of them took.
//!
//! Without a rate each connection asks again as soon as it is answered: as much as the server can. With one, requests come
//! when they come, at random times, so many in a second on average, whether or not earlier ones are answered. What a request
//! waits for a connection to be free counts: a server that stalls meets all requests that came meanwhile, not only those
//! that were let through (no "coordinated omission").
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{Timespec, epoll};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n";
/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (address, connections, seconds, rate) = match &args[..] {
        [address, connections, seconds] => (address, connections, seconds, None),
        [address, connections, seconds, rate] => {
            (address, connections, seconds, Some(rate.parse::<f64>().context("read the rate")?))
        }
        _ => bail!("usage: load ADDRESS CONNECTIONS SECONDS [RATE]"),
    };
    let address: SocketAddr = address.parse().context("read the address")?;
    let connections = connections.parse().context("read the number of connections")?;
    let time = Duration::from_secs_f64(seconds.parse().context("read the seconds")?);
    // The kernel would have timers that are near each other wait for one another.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let mut load = Load::connect(address, connections)?;
    load.run(time, rate)?;
    let mut taken = load.taken;
    ensure!(!taken.is_empty(), "there was no answer");
    taken.sort_unstable();
    let at = |part: f64| {
        let rank = (part * taken.len() as f64).ceil() as usize;
        taken.get(rank.saturating_sub(1)).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    println!("{} {:.1} {:.1} {:.1}", taken.len(), at(0.5), at(0.99), at(1.0));
    Ok(())
}

/// All connections, and what came of them.
struct Load {
    epoll: std::os::fd::OwnedFd,
    connections: Vec<Connection>,
    /// Those that nothing is asked on; the last one that was answered is asked first.
    free: Vec<usize>,
    /// When requests came that no connection was free for.
    waiting: VecDeque<Instant>,
    taken: Vec<Duration>,
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    since: Instant,
}

impl Load {
    fn connect(address: SocketAddr, count: usize) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for number in 0..count {
            let stream = TcpStream::connect(address).context("connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)?;
            let since = Instant::now();
            connections.push(Connection { stream, answer: Vec::new(), since });
        }
        let free = (0..count).collect();
        Ok(Self { epoll, connections, free, waiting: VecDeque::new(), taken: Vec::new() })
    }

    /// Asks until `time` is over, and waits for the last answers.
    fn run(&mut self, time: Duration, rate: Option<f64>) -> Result<()> {
        let end = Instant::now() + time;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut next = Instant::now();
        if rate.is_none() {
            self.waiting.extend(vec![next; self.free.len()]);
        }
        loop {
            let now = Instant::now();
            if let Some(rate) = rate {
                while next <= now && next < end {
                    self.waiting.push_back(next);
                    next += Duration::from_secs_f64(random.exponential() / rate);
                }
            }
            while let (Some(since), Some(number)) = (self.waiting.front(), self.free.last()) {
                self.connections[*number].ask(*since)?;
                self.waiting.pop_front();
                self.free.pop();
            }
            let is_over = now >= end;
            if is_over && self.free.len() == self.connections.len() && self.waiting.is_empty() {
                return Ok(());
            }
            ensure!(now < end + PATIENCE, "no answer after {PATIENCE:?}");
            let until = if is_over { end + PATIENCE } else { end };
            let until = if rate.is_some() && !is_over { next.min(end) } else { until };
            for number in self.wait(until.saturating_duration_since(now))? {
                let connection = &mut self.connections[number];
                if !connection.hear()? {
                    continue;
                }
                let now = Instant::now();
                self.taken.push(now.duration_since(connection.since));
                if rate.is_none() && now < end {
                    connection.ask(now)?;
                } else {
                    self.free.push(number);
                }
            }
        }
    }

    /// Those that something came on.
    fn wait(&self, limit: Duration) -> Result<Vec<usize>> {
        let limit = Timespec {
            tv_sec: limit.as_secs().cast_signed(),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut events = Vec::with_capacity(self.connections.len());
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait"),
        }
        Ok(events.iter().map(|event: &epoll::Event| event.data.u64() as usize).collect())
    }
}

impl Connection {
    fn ask(&mut self, since: Instant) -> Result<()> {
        self.since = since;
        let written = self.stream.write(REQUEST).context("ask")?;
        ensure!(written == REQUEST.len(), "a request was not taken at once");
        Ok(())
    }

    /// Takes what came; whether that makes an answer.
    fn hear(&mut self) -> Result<bool> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(count) => self.answer.extend(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("hear"),
        }
        let Some(length) = length(&self.answer)? else { return Ok(false) };
        ensure!(length == self.answer.len(), "there is more than an answer");
        self.answer.clear();
        Ok(true)
    }
}

/// Bytes of the answer that `bytes` begins with, if it is there in full.
fn length(bytes: &[u8]) -> Result<Option<usize>> {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|part| part == what);
    let Some(head) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    ensure!(
        bytes.starts_with(b"HTTP/1.1 200 "),
        "the answer is {:?}",
        String::from_utf8_lossy(&bytes[..head])
    );
    let (head, body) = (bytes[..head].to_ascii_lowercase(), &bytes[head + 4..]);
    let of_head = head.len() + 4;
    const LENGTH: &[u8] = b"\r\ncontent-length:";
    if let Some(at) = find(&head, LENGTH) {
        let value = head[at + LENGTH.len()..].split(|byte| *byte == b'\r').next();
        let value = std::str::from_utf8(value.unwrap_or_default())?.trim();
        let all = of_head + value.parse::<usize>().context("read the length")?;
        return Ok((bytes.len() >= all).then_some(all));
    }
    ensure!(find(&head, b"\r\ntransfer-encoding: chunked").is_some(), "an answer has no length");
    let last = if body.starts_with(b"0\r\n\r\n") {
        Some(0)
    } else {
        find(body, b"\r\n0\r\n\r\n").map(|at| at + 2)
    };
    Ok(last.map(|at| of_head + at + 5))
}

/// Marsaglia's xorshift: the times between requests need no better.
struct Random(u64);

impl Random {
    /// Of a mean of 1.
    fn exponential(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // Never 0, whose logarithm there is not.
        -(((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64).ln()
    }
}
