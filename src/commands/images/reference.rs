//! An image's name, as people write it and as engines keep it.

use std::fmt;

use super::manifest::sha256;

/// A full reference: registry, repository, and a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(super) registry: String,
    pub(super) repository: String,
    tag: String,
    digest: Option<String>,
}

impl Reference {
    /// Reads a name, and completes it as Docker and Podman do: `app` is `docker.io/library/app:latest`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) => {
                sha256(digest).map_err(|e| e.message)?;
                (text, Some(digest.to_owned()))
            }
            None => (text, None),
        };
        let (registry, rest) = match text.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, rest)
            }
            _ => ("docker.io", text),
        };
        let (repository, tag) = rest.rsplit_once(':').unwrap_or((rest, "latest"));
        let repository = match repository.contains('/') || registry != "docker.io" {
            true => repository.to_owned(),
            false => format!("library/{repository}"),
        };
        if !registry.split(['.', ':']).all(|part| !part.is_empty() && part.chars().all(is_of_host))
        {
            return Err(format!("{registry:?}: not a registry's host name, and perhaps its port"));
        }
        if !repository.split('/').all(is_component) {
            return Err(format!(
                "{repository:?}: the parts of a repository's name are lower-case letters, digits, and . _ - between them"
            ));
        }
        if !is_tag(tag) {
            return Err(format!(
                "{tag:?}: a tag is up to 128 letters, digits, and . _ - after the first"
            ));
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.to_owned(), digest })
    }

    /// The same for an image that is being made.
    pub(crate) fn parse_new(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err("a digest is what an image has, not what it is given: use a tag".into());
        }
        Self::parse(text)
    }

    /// The tag alone, which is what an OCI layout calls its image.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// The digest that the image must have.
    pub(crate) fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repository, tag, digest } = self;
        match digest {
            Some(digest) => write!(f, "{registry}/{repository}@{digest}"),
            None => write!(f, "{registry}/{repository}:{tag}"),
        }
    }
}

fn is_of_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

/// One part of a repository's name, see "Pulling manifests" of OCI's distribution specification.
fn is_component(part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(is_word)
        && part.ends_with(is_word)
        && part.chars().all(|c| is_word(c) || matches!(c, '.' | '_' | '-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128
        && tag.starts_with(is_word)
        && tag.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        for (text, full) in [
            ("app", "docker.io/library/app:latest"),
            ("team/app:1.2", "docker.io/team/app:1.2"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("example.com/a/b/c:x", "example.com/a/b/c:x"),
        ] {
            assert_eq!(Reference::parse(text).expect(text).to_string(), full);
        }
        let digest = format!("sha256:{}", "0".repeat(64));
        let exact = Reference::parse(&format!("app:1@{digest}")).unwrap();
        assert_eq!(exact.to_string(), format!("docker.io/library/app@{digest}"));
        assert!(Reference::parse_new(&format!("app@{digest}")).is_err());
    }

    #[test]
    fn names_that_no_registry_takes_are_refused() {
        for text in ["", "App", "a//b", "app:", "app:-x", "a@sha256:0", "a@", "../up", "a/.b"] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
