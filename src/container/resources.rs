//! What is asked of a container that runs already.

use oci_spec::runtime::LinuxResources;

use crate::error::{Refusal, Result};

/// Limits to be changed: `linux.resources` of the runtime specification, of which only what is given counts.
#[derive(Clone, Debug)]
pub struct Resources(pub(super) LinuxResources);

impl Resources {
    /// Reads them from JSON.
    ///
    /// # Errors
    /// Names the field that is not of its type.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        serde_path_to_error::deserialize(&mut reader).map(Self).map_err(|error| {
            let field = match error.path().to_string() {
                path if path == "." => "linux.resources".to_owned(),
                path => format!("linux.resources.{path}"),
            };
            Refusal::invalid(format!("{field}: {}", error.inner()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_named() {
        assert!(Resources::parse(br#"{"memory":{"limit":67108864}}"#).is_ok());
        for (json, field) in [
            (r#"{"memory":{"limit":"64Mi"}}"#, "linux.resources.memory.limit: "),
            (r#"{"cpu":[]}"#, "linux.resources.cpu: "),
            ("", "linux.resources: "),
        ] {
            let message = Resources::parse(json.as_bytes()).unwrap_err().message;
            assert!(message.starts_with(field), "{message}");
        }
    }
}
