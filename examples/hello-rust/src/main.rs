//! Shows what a WebAssembly container sees: its arguments, its environment, its files, and a volume.
//!
//! `cargo build --release --target wasm32-wasip1` (or `wasm32-wasip2`, which makes a component).

use std::error::Error;
use std::fs;
use std::path::Path;

/// Where a volume is expected; without one nothing is written.
const VOLUME: &str = "/data";

fn main() -> Result<(), Box<dyn Error>> {
    println!("Hello from Rust.");
    for (number, argument) in std::env::args().enumerate() {
        println!("argument {number}: {argument}");
    }
    for (name, value) in std::env::vars() {
        println!("environment: {name}={value}");
    }
    for name in names_in(Path::new("/"))? {
        println!("in /: {name}");
    }
    // Further arguments name files to print.
    for file in std::env::args().skip(1) {
        match fs::read_to_string(&file) {
            Ok(text) => println!("{file}: {}", text.trim_end()),
            Err(error) => eprintln!("cannot read {file}: {error}"),
        }
    }
    if Path::new(VOLUME).is_dir() {
        println!("this is visit {} to {VOLUME}", count_visit(&Path::new(VOLUME).join("visits"))?);
    }
    Ok(())
}

fn names_in(dir: &Path) -> Result<Vec<String>, std::io::Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Adds one to the number kept in `file`, and returns the new one.
fn count_visit(file: &Path) -> Result<u64, Box<dyn Error>> {
    let visits = match fs::read_to_string(file) {
        Ok(text) => text.trim().parse::<u64>()? + 1,
        Err(_) => 1,
    };
    fs::write(file, format!("{visits}\n"))?;
    Ok(visits)
}
