//! A server: returns each line to whoever sent it, one connection after the other. Its argument is where it listens, by default
//! `0.0.0.0:7000`.
//!
//! `cargo build --release --target wasm32-wasip2`: a component, since modules have no sockets.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:7000".into());
    let listener = TcpListener::bind(&address)?;
    println!("listening on {address}");
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(converse) {
            eprintln!("a connection failed: {error}");
        }
    }
    Ok(())
}

fn converse(stream: TcpStream) -> io::Result<()> {
    for line in BufReader::new(&stream).lines() {
        writeln!(&stream, "{}", line?)?;
    }
    Ok(())
}
