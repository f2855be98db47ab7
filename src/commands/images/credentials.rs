//! Who we are to a registry, as `podman login`, `skopeo login` and `docker login` have left it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Reference;

/// `auth.json` of containers-auth.json(5), and Docker's `config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AuthFile {
    auths: BTreeMap<String, Entry>,
    /// Programs that know, by registry.
    cred_helpers: BTreeMap<String, String>,
    /// The program that knows all others.
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// Base64 of `user:password`.
    auth: Option<String>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// A name and a password.
pub(super) type Credentials = (String, String);

/// Those for the repository of `reference`, if there are any: of `given`, else of the first of the usual files that has some.
///
/// # Errors
/// Names the file that cannot be read, or the helper that fails.
pub(super) fn find(reference: &Reference, given: Option<&Path>) -> Result<Option<Credentials>> {
    let files = match given {
        Some(file) if !file.exists() => bail!("--authfile {}: no such file", file.display()),
        Some(file) => vec![file.to_owned()],
        None => usual_files(),
    };
    for file in files {
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            // Another user's, where we were started with their home directory.
            Err(_) if given.is_none() => continue,
            Err(e) => return Err(e).with_context(|| file.display().to_string()),
        };
        let read: AuthFile =
            serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
        let found = read.find(reference).with_context(|| file.display().to_string())?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn usual_files() -> Vec<PathBuf> {
    let variable =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = variable("HOME");
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    [
        variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
        // Root's, of Podman.
        Some(format!("/run/containers/{}/auth.json", rustix::process::geteuid().as_raw()).into()),
        config.map(|dir| dir.join("containers/auth.json")),
        docker.map(|dir| dir.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl AuthFile {
    fn find(&self, reference: &Reference) -> Result<Option<Credentials>> {
        let host = canonical(&reference.registry);
        let helper = self.cred_helpers.iter().find(|(registry, _)| canonical(registry) == host);
        if let Some((registry, helper)) = helper {
            return ask(helper, registry);
        }
        // The most specific first: registry/team/app, registry/team, registry.
        let mut scope = format!("{host}/{}", reference.repository);
        loop {
            let entry = self.auths.iter().find(|(key, _)| canonical(key) == scope);
            if let Some(auth) = entry.and_then(|(_, entry)| entry.auth.as_deref())
                && !auth.is_empty()
            {
                return decode(auth).map(Some);
            }
            match scope.rfind('/') {
                Some(end) => scope.truncate(end),
                None => break,
            }
        }
        match &self.creds_store {
            Some(helper) if host == "docker.io" => ask(helper, "https://index.docker.io/v1/"),
            Some(helper) => ask(helper, &host),
            None => Ok(None),
        }
    }
}

/// A key of the file as we compare it: Docker's own has several names and forms.
fn canonical(key: &str) -> String {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.trim_end_matches("/v1/").trim_end_matches("/v2/").trim_end_matches('/');
    match bare {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

fn decode(auth: &str) -> Result<Credentials> {
    let bytes = STANDARD.decode(auth.trim()).context("auth: not base64")?;
    let text = String::from_utf8(bytes).context("auth: not UTF-8 text")?;
    let (user, password) = text.split_once(':').context("auth: not of the form user:password")?;
    // Some have written a NUL at the end.
    Ok((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// Asks `docker-credential-NAME`, as Docker and Podman do.
fn ask(helper: &str, registry: &str) -> Result<Option<Credentials>> {
    if helper.contains('/') {
        bail!("credential helper {helper:?}: not a name");
    }
    let program = format!("docker-credential-{helper}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| program.clone())?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says why below.
        let _ = writeln!(stdin, "{registry}");
    }
    let output = child.wait_with_output().with_context(|| program.clone())?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if words.contains("not found") {
            return Ok(None);
        }
        bail!("{program}: {words} ({})", output.status);
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).with_context(|| program.clone())?;
    match answer.username.as_str() {
        "<token>" => {
            bail!("{program} has an identity token for {registry}, which is not supported")
        }
        _ => Ok(Some((answer.username, answer.secret))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_entry_counts() {
        let auth = |text: &str| serde_json::json!({ "auth": STANDARD.encode(text) });
        let file = serde_json::json!({ "auths": {
            "https://index.docker.io/v1/": auth("hub:a:b"),
            "example.com": auth("all:1"),
            "example.com/team": auth("team:2"),
            "localhost:5000": { "auth": "" },
        }});
        let file: AuthFile = serde_json::from_value(file).unwrap();
        let find = |name: &str| file.find(&Reference::parse(name).unwrap()).unwrap();
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(find("app"), pair("hub", "a:b"));
        assert_eq!(find("example.com/app"), pair("all", "1"));
        assert_eq!(find("example.com/team/app:2"), pair("team", "2"));
        assert_eq!(find("example.com/teams/app"), pair("all", "1"));
        assert_eq!(find("localhost:5000/app"), None);
    }

    #[test]
    fn what_is_no_password_is_an_error() {
        assert!(decode("!").is_err());
        assert!(decode(&STANDARD.encode("nobody")).is_err());
        assert!(ask("../x", "example.com").unwrap_err().to_string().contains("not a name"));
    }
}
