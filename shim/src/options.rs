//! This node's configuration, as a request or the node itself gives it.

use std::path::Path;

use lighter::config::Config;
use lighter::error::{Refusal, Result};

/// Names another configuration file for this node, in containerd's environment.
const CONFIG_VARIABLE: &str = "LIGHTER_CONFIG";

/// What a request says about configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// Nothing, or something meant for runc.
    Node,
    /// A file to read.
    File(String),
    /// TOML itself.
    Text(String),
}

impl Options {
    /// The configuration that counts.
    ///
    /// # Errors
    /// Names the file or field and the key that is wrong.
    pub(crate) fn resolve(self) -> Result<Config> {
        match self {
            Self::Node => Config::load(std::env::var_os(CONFIG_VARIABLE).as_deref().map(Path::new)),
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
        let config = Options::Text("[cache]\nmax_bytes = 5".into())
            .resolve()
            .expect("config");
        assert_eq!(config.cache.max_bytes, 5);
        let error = Options::Text("[cache]\nmax_byte = 5".into())
            .resolve()
            .expect_err("refused");
        assert!(error.message.contains("max_byte"), "{error}");
    }
}
