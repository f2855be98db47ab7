//! An OCI bundle: `config.json` and the directory around it, read once.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::annotations::Requests;
use crate::error::{Refusal, Result};

/// A bundle as its creator wrote it; nothing is resolved or checked against the machine yet.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The bundle's directory, absolute.
    pub path: PathBuf,
    /// `config.json`.
    pub spec: Spec,
    /// What its annotations ask of us.
    pub requests: Requests,
}

impl Bundle {
    /// Reads the bundle at `path`.
    ///
    /// # Errors
    /// Names the file, the line and the field of a `config.json` that cannot be read, and an
    /// annotation of ours that does not exist.
    pub fn load(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path)
            .map_err(|e| Refusal::system(format!("bundle {}", path.display()), e))?;
        let file = path.join("config.json");
        let text = std::fs::read_to_string(&file).map_err(|e| {
            let message = format!("{}: {e}", file.display());
            match e.kind() {
                std::io::ErrorKind::NotFound => Refusal::not_found(message),
                _ => Refusal::system("read", message),
            }
        })?;
        let spec =
            parse(&text).map_err(|e| Refusal::invalid(format!("{}: {e}", file.display())))?;
        let requests = match spec.annotations() {
            Some(annotations) => Requests::read(annotations)?,
            None => Requests::default(),
        };
        Ok(Self { path, spec, requests })
    }

    /// The directory of the root filesystem, if there is one.
    pub fn root(&self) -> Option<PathBuf> {
        self.spec.root().as_ref().map(|root| self.path.join(root.path()))
    }

    /// Whether the container's first process is to have a terminal.
    pub fn wants_terminal(&self) -> bool {
        self.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false)
    }
}

/// Says which field is wrong, and where: `process.user.uid: invalid type: … at line 12 column 9`.
fn parse(text: &str) -> Result<Spec, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let spec =
        serde_path_to_error::deserialize(&mut json).map_err(|e| match e.path().to_string() {
            field if field == "." => e.inner().to_string(),
            field => format!("{field}: {}", e.inner()),
        })?;
    json.end().map_err(|e| e.to_string())?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_malformed_config_names_line_and_field() {
        let text = "{\"ociVersion\":\"1.0.2\",\n\"process\":{\"cwd\":\"/\",\"args\":[\"a\"],\n\"user\":{\"uid\":\"root\",\"gid\":0}}}";
        let error = parse(text).unwrap_err();
        assert!(error.contains("process.user.uid"), "{error}");
        assert!(error.contains("line 3"), "{error}");
        let error = parse("{\"ociVersion\":\"1.0.2\",\n}").unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }
}
