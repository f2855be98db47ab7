//! An image's name, as people write it and as engines keep it.

use std::fmt;

/// A full reference: registry, repository, and a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    registry: String,
    repository: String,
    tag: String,
}

impl Reference {
    /// Reads a name, and completes it as Docker and Podman do: `app` is `docker.io/library/app:latest`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err("a digest is what an image has, not what it is given: use a tag".into());
        }
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
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.to_owned() })
    }

    /// The tag alone, which is what an OCI layout calls its image.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.tag)
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
    }

    #[test]
    fn names_that_no_registry_takes_are_refused() {
        for text in ["", "App", "a//b", "app:", "app:-x", "a@sha256:0", "../up", "a/.b"] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
