//! `mkimage GUEST.wasm|GUEST.wat NAME OUT.tar [ARG…]`: packs one guest into an image for `ctr images import`.
//!
//! The guest becomes the image's only file and its entrypoint; `ARG…` become its default arguments.
#![allow(clippy::print_stderr, reason = "a command-line tool")]

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

#[allow(dead_code, unreachable_pub, reason = "it belongs to the tests, which use more of it")]
#[path = "support/image.rs"]
mod image;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [guest, name, out, cmd @ ..] = args.as_slice() else {
        eprintln!("usage: mkimage GUEST.wasm|GUEST.wat NAME OUT.tar [ARG...]");
        return ExitCode::from(2);
    };
    match pack(Path::new(guest), name, Path::new(out), cmd) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mkimage: {error}");
            ExitCode::FAILURE
        }
    }
}

fn pack(guest: &Path, name: &str, out: &Path, cmd: &[String]) -> Result<(), Box<dyn Error>> {
    // Text is assembled, a binary passes unchanged.
    let wasm = wat::parse_file(guest)?;
    let stem = guest.file_stem().unwrap_or_default().to_string_lossy();
    let path = format!("/{stem}.wasm");
    let cmd: Vec<&str> = cmd.iter().map(String::as_str).collect();
    let image = image::Image::new(name).file(&path, &wasm).entrypoint(&[&path]).cmd(&cmd);
    image.write(out).map_err(|e| format!("write {}: {e}", out.display()).into())
}
