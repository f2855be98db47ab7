//! Lighter's own configuration.

use std::path::PathBuf;

use lighter::config::{Config, DEFAULT_PATH, VARIABLE};

use super::super::ConfigArg;
use super::finding::{Finding, Findings, Group};

/// Where the configuration is and what it says.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    path: PathBuf,
    /// It was named, and so must exist.
    named: bool,
    exists: bool,
    config: Result<Config, String>,
}

impl Facts {
    pub(super) fn gather(arg: &ConfigArg) -> Self {
        let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        let named = arg.config.clone().or(variable.map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| DEFAULT_PATH.into());
        let facts = std::fs::metadata(&path);
        let config = match &facts {
            // Reading it might never end.
            Ok(facts) if !facts.is_file() => {
                Err(format!("configuration {} is not a regular file", path.display()))
            }
            _ => Config::load(named.as_deref()).map_err(|refusal| refusal.message),
        };
        Self { exists: facts.is_ok(), path, named: named.is_some(), config }
    }

    /// What holds: the defaults where the file is wrong.
    pub(super) fn in_force(&self) -> Config {
        self.config.clone().unwrap_or_default()
    }
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    const ID: &str = "configuration.file";
    let mut found = Findings::of(Group::Configuration);
    let path = facts.path.display();
    match &facts.config {
        Ok(_) if facts.exists || facts.named => found.ok(ID, format!("{path} is understood")),
        Ok(_) => found.ok(ID, format!("there is no {path}: all defaults hold")),
        Err(why) if why.contains("Permission denied") => {
            found.note(ID, format!("could not look ({why}); below, the defaults are taken for it"));
        }
        Err(why) => {
            found.problem(
                ID,
                format!("{why} (below, the defaults are taken for it)"),
                format!("correct {path}: no container is created with it as it is"),
            );
        }
    }
    found.done()
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Status, find};
    use super::*;

    fn facts(path: Option<PathBuf>) -> Facts {
        Facts::gather(&ConfigArg { config: path })
    }

    #[test]
    fn a_wrong_file_is_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lighter.toml");
        let status = |path| find(&judge(&facts(Some(path))), "configuration.file").status;
        assert_eq!(status(file.clone()), Status::Problem);
        std::fs::write(&file, "[cache]\nsize = 3\n").unwrap();
        assert_eq!(status(file.clone()), Status::Problem);
        std::fs::write(&file, "[cache]\nmax_bytes = 3\n").unwrap();
        assert_eq!(status(file.clone()), Status::Ok);
        assert_eq!(facts(Some(file)).in_force().cache.max_bytes, 3);
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(status(pipe), Status::Problem);
        assert_eq!(status(dir.path().into()), Status::Problem);
    }

    #[test]
    fn none_is_as_good_as_one() {
        let none = Facts {
            path: DEFAULT_PATH.into(),
            named: false,
            exists: false,
            config: Ok(Config::default()),
        };
        let findings = judge(&none);
        let finding = find(&findings, "configuration.file");
        assert_eq!(finding.status, Status::Ok);
        assert!(finding.message.contains("defaults"), "{finding:?}");
    }
}
