//! What the probe can be asked for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, linkat, mkdirat, openat, renameat, symlinkat, unlinkat,
};

use crate::calls;

/// A directory of the host, as a bug could have left it open: the host's root, from before the sandbox.
#[derive(Debug)]
pub(crate) struct Leak(OwnedFd);

impl Leak {
    /// Opens it.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map(Self)?)
    }
}

/// Does one request after the other, whatever becomes of those before it.
pub(crate) fn attempt_all(requests: impl Iterator<Item = String>, leak: &Leak) {
    for request in requests {
        let calls = match request.as_str() {
            "needed" => calls::NEEDED,
            "others" => calls::OTHERS,
            _ => {
                answer(&request, || attempt(&request, leak));
                continue;
            }
        };
        for call in calls {
            answer(&format!("syscall {}", call.name), || Ok(call.make()));
        }
    }
}

fn answer(request: &str, attempt: impl FnOnce() -> io::Result<String>) {
    let answer = attempt().unwrap_or_else(|error| calls::name_of(&error));
    let line = format!("{request}: {answer}\n");
    // Straight to the descriptor: a request that ends the process must not take earlier answers with it.
    let _ = rustix::io::write(rustix::stdio::stdout(), line.as_bytes());
}

fn attempt(request: &str, leak: &Leak) -> io::Result<String> {
    let words: Vec<&str> = request.split(' ').collect();
    match words[..] {
        ["syscall", name] => Ok(calls::call(name)?.make()),
        ["read", path] => {
            let mut byte = [0];
            File::open(path)?.read(&mut byte).and(done())
        }
        ["leaked", path] => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            Ok(openat(&leak.0, path, flags, Mode::empty()).map(drop)?).and(done())
        }
        ["list", path] => fs::read_dir(path).and(done()),
        ["write", path] => OpenOptions::new().write(true).open(path)?.write_all(b"x\n").and(done()),
        ["create", path] => File::create_new(path).and(done()),
        ["truncate", path] => File::options().write(true).open(path)?.set_len(0).and(done()),
        // As WASI makes them, relative to directories: the C library has older calls for some, which no runner makes.
        ["remove", path] => Ok(unlinkat(CWD, path, AtFlags::empty())?).and(done()),
        ["mkdir", path] => Ok(mkdirat(CWD, path, Mode::RWXU)?).and(done()),
        ["rmdir", path] => Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?).and(done()),
        ["rename", from, to] => Ok(renameat(CWD, from, CWD, to)?).and(done()),
        ["link", from, to] => Ok(linkat(CWD, from, CWD, to, AtFlags::empty())?).and(done()),
        ["symlink", target, path] => Ok(symlinkat(target, CWD, path)?).and(done()),
        ["fifo", path] => make_node(path, FileType::Fifo).and(done()),
        // With the number 0, which is no device: this one takes no privilege.
        ["device", path] => make_node(path, FileType::CharacterDevice).and(done()),
        ["unix-bind", path] => UnixListener::bind(path).and(done()),
        ["exec", path] => Command::new(path).status().and(done()),
        ["bind", port] => TcpListener::bind(("127.0.0.1", parse(port)?)).and(done()),
        ["connect", port] => TcpStream::connect(("127.0.0.1", parse(port)?)).and(done()),
        ["udp", port] => UdpSocket::bind(("127.0.0.1", parse(port)?)).and(done()),
        ["lookup", name] => {
            let mut found: Vec<_> =
                (name, 0).to_socket_addrs()?.map(|address| address.ip().to_string()).collect();
            found.sort();
            found.dedup();
            Ok(found.join(" "))
        }
        ["unix", path] => UnixStream::connect(path).and(done()),
        ["abstract", name] => {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).and(done())
        }
        ["abstract-bind", name] => {
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?).and(done())
        }
        ["thread"] => {
            let thread = std::thread::Builder::new().spawn(|| ())?;
            thread.join().map_err(|_| io::Error::other("panicked")).and(done())
        }
        ["kill", pid, signal] => calls::signal(parse(pid)?, parse(signal)?).and(done()),
        ["sleep", seconds] => {
            std::thread::sleep(Duration::from_secs(parse(seconds)?));
            done()
        }
        ["panic"] => std::thread::spawn(|| panic!("as asked"))
            .join()
            .map_err(|_| io::Error::other("panicked")),
        ["abort"] => std::process::abort(),
        ["overflow"] => calls::overflow_stack(),
        #[cfg(target_arch = "x86_64")]
        ["int80"] => Ok(calls::call_as_32_bit().to_string()),
        #[cfg(target_arch = "x86_64")]
        ["x32"] => calls::call_as_x32().and(done()),
        ["time", name, rounds] => time(calls::call(name)?, parse(rounds)?),
        _ => Err(io::Error::from_raw_os_error(libc::ENOEXEC)),
    }
}

fn make_node(path: &str, kind: FileType) -> io::Result<()> {
    Ok(rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), 0)?)
}

fn done() -> io::Result<String> {
    Ok("ok".to_owned())
}

fn parse<T: std::str::FromStr>(number: &str) -> io::Result<T> {
    number.parse().map_err(|_| io::Error::from_raw_os_error(libc::EDOM))
}

/// Nanoseconds for each of `rounds` calls.
fn time(call: &calls::Call, rounds: u32) -> io::Result<String> {
    let begun = Instant::now();
    for _ in 0..rounds {
        let _ = std::hint::black_box(call.result());
    }
    Ok(format!("{:.1} ns", begun.elapsed().as_nanos() as f64 / f64::from(rounds)))
}
