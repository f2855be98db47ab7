//! What a Create request's options say, and this node's configuration.

use std::path::Path;

use lighter::config::Config;
use lighter::error::{Refusal, Result};

/// What a request's options say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Where the configuration is.
    pub(crate) source: Source,
    /// Control groups are made by systemd.
    pub(crate) systemd_cgroup: bool,
}

impl Options {
    /// Nothing special but the configuration.
    pub(crate) fn from_source(source: Source) -> Self {
        Self { source, systemd_cgroup: false }
    }
}

/// Where the configuration is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Where this node has it.
    Node,
    /// In this file.
    File(String),
    /// Here: TOML.
    Text(String),
}

impl Source {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Names the file or field and the key that is wrong.
    pub(crate) fn load(self) -> Result<Config> {
        match self {
            Self::Node => Config::load(None),
            Self::File(path) => Config::load(Some(Path::new(&path))),
            Self::Text(text) => toml::from_str(&text).map_err(|error| {
                Refusal::invalid(format!("config_body in the runtime options: {error}"))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_toml_and_an_unknown_key_is_named() {
        let config = Source::Text("[cache]\nmax_bytes = 5".into()).load().expect("config");
        assert_eq!(config.cache.max_bytes, 5);
        let error = Source::Text("[cache]\nmax_byte = 5".into()).load().expect_err("refused");
        assert!(error.message.contains("max_byte"), "{error}");
    }
}
