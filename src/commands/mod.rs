//! One file per verb of the command line.

use std::path::PathBuf;

use lighter::config::Config;

pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod compile;
mod compiler;
pub(crate) mod completions;
pub(crate) mod doctor;
mod images;
pub(crate) mod inspect;
pub(crate) mod layers;
pub(crate) mod linux;
pub(crate) mod man;
pub(crate) mod oci;
pub(crate) mod pull;
pub(crate) mod run;
mod style;
mod world;

/// Where this node's configuration is.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArg {
    /// Configuration file [default: $LIGHTER_CONFIG, else /etc/lighter/config.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArg {
    fn load(&self) -> anyhow::Result<Config> {
        Ok(Config::load(self.config.as_deref())?)
    }
}

/// This machine's processor, as images name it.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Writes a line to standard output.
fn say(line: &str) -> anyhow::Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Bytes as people read them.
fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// Reads a number of bytes: `1000000`, `64K`, `512MiB`, `2G`; units are powers of 1024.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        unit => return Err(format!("unknown unit {unit:?}; use K, M, G or T")),
    };
    let number: u64 = digits.parse().map_err(|e| format!("{digits:?}: {e}"))?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_and_written() {
        assert_eq!(parse_bytes("0"), Ok(0));
        assert_eq!(parse_bytes("64K"), Ok(65536));
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        assert!(parse_bytes("2 GB").is_err());
        assert!(parse_bytes("99999999999T").is_err());
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
    }
}
