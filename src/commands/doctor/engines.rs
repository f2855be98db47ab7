//! Docker and Podman: the runtimes of Lighter's that they are told of. That either is not there is no fault.

use std::fs;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Findings, Group};
use super::look::read;
use super::programs::SHIM;

const DOCKER: &str = "/etc/docker/daemon.json";

/// Where Podman's configuration may be, in the order in which it is read; `*.conf` of directories.
const PODMAN: [&str; 3] = [
    "/usr/share/containers/containers.conf",
    "/etc/containers/containers.conf",
    "/etc/containers/containers.conf.d",
];

/// The runtime's name for containerd.
const RUNTIME: &str = "io.containerd.wasmtime.v1";

/// One runtime of ours as a file has it: its name there, and the programs that it may be.
type Runtime = (String, Vec<PathBuf>);

/// One runtime of ours in an engine's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    engine: Engine,
    file: PathBuf,
    /// What it is called there.
    name: String,
    /// The programs that it may be, and whether each is there; none if it goes by containerd's name.
    programs: Vec<(PathBuf, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Docker,
    Podman,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
        }
    }
}

/// What the engines are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    entries: Vec<Entry>,
    /// Files that could not be understood, and why.
    unreadable: Vec<(Engine, PathBuf, String)>,
}

impl Facts {
    pub(super) fn gather() -> Self {
        let mut facts = Self::default();
        facts.add(Engine::Docker, Path::new(DOCKER), docker);
        let mut files: Vec<PathBuf> = Vec::new();
        for path in PODMAN.map(PathBuf::from) {
            match fs::read_dir(&path) {
                Ok(dir) => {
                    let inside = dir.flatten().map(|entry| entry.path());
                    files.extend(
                        inside.filter(|file| file.extension().is_some_and(|e| e == "conf")),
                    );
                }
                Err(_) => files.push(path),
            }
        }
        if let Some(home) = std::env::var_os("HOME") {
            files.push(Path::new(&home).join(".config/containers/containers.conf"));
        }
        for file in files {
            facts.add(Engine::Podman, &file, podman);
        }
        // Whoever became another user may have root's home still.
        facts
            .unreadable
            .retain(|(_, file, _)| file.starts_with("/etc") || file.starts_with("/usr"));
        facts
    }

    fn add(
        &mut self,
        engine: Engine,
        file: &Path,
        parse: fn(&str) -> Result<Vec<Runtime>, String>,
    ) {
        let runtimes = match read(file).map_err(|e| (e.kind(), e.to_string())) {
            Ok(text) => parse(&text),
            Err((std::io::ErrorKind::NotFound, _)) => return,
            Err((_, why)) => Err(why),
        };
        match runtimes {
            Ok(runtimes) => self.entries.extend(runtimes.into_iter().map(|(name, programs)| {
                let there = |path: PathBuf| {
                    let there = path.is_file();
                    (path, there)
                };
                let programs = programs.into_iter().map(there).collect();
                Entry { engine, file: file.into(), name, programs }
            })),
            Err(why) => self.unreadable.push((engine, file.into(), why)),
        }
    }
}

fn is_ours(program: &Path) -> bool {
    program.file_name().is_some_and(|name| name == "lighter" || name == SHIM)
}

/// Our runtimes in `daemon.json`: those of containerd's name, and paths to our programs.
fn docker(text: &str) -> Result<Vec<Runtime>, String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let runtimes = json["runtimes"].as_object().into_iter().flatten();
    Ok(runtimes
        .filter_map(|(name, runtime)| {
            let path = runtime["path"].as_str().map(PathBuf::from);
            if runtime["runtimeType"] == RUNTIME {
                return Some((name.clone(), Vec::new()));
            }
            path.filter(|path| is_ours(path)).map(|path| (name.clone(), vec![path]))
        })
        .collect())
}

/// Our runtimes in `containers.conf`: tables of `[engine.runtimes]` with a path to our programs.
fn podman(text: &str) -> Result<Vec<Runtime>, String> {
    let toml: toml::Table = toml::from_str(text).map_err(|e| e.message().replace('\n', " "))?;
    let runtimes = toml.get("engine").and_then(|engine| engine.get("runtimes")?.as_table());
    Ok(runtimes
        .into_iter()
        .flatten()
        .filter_map(|(name, paths)| {
            let paths = paths.as_array()?.iter().filter_map(|path| path.as_str());
            let paths: Vec<PathBuf> = paths.map(PathBuf::from).collect();
            paths.iter().any(|path| is_ours(path)).then(|| (name.clone(), paths))
        })
        .collect())
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings::of(Group::Engines);
    for Entry { engine, file, name, programs } in &facts.entries {
        let (engine, file) = (engine.name(), file.display());
        let id = "engines.runtime";
        match programs.iter().find(|(_, there)| *there) {
            None if programs.is_empty() => {
                found.ok(id, format!("{engine} has the runtime {name:?} for {RUNTIME} ({file})"));
            }
            Some((program, _)) => {
                found.ok(
                    id,
                    format!("{engine} has the runtime {name:?}: {} ({file})", program.display()),
                );
            }
            None => {
                let paths: Vec<_> =
                    programs.iter().map(|(path, _)| path.display().to_string()).collect();
                found.warning(
                    id,
                    format!(
                        "{engine} has the runtime {name:?}, but there is no {} ({file})",
                        paths.join(" or ")
                    ),
                    format!("install it there, or correct the path in {file}"),
                );
            }
        }
    }
    for (engine, file, why) in &facts.unreadable {
        let file = file.display();
        match why.contains("Permission denied") {
            true => found.note("engines.file", format!("could not look into {file}: {why}")),
            false => found.warning(
                "engines.file",
                format!("{}'s configuration {file} cannot be read: {why}", engine.name()),
                format!("correct {file}"),
            ),
        }
    }
    found.done()
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Status, find};
    use super::*;

    fn judged(engine: Engine, text: &str) -> Vec<Finding> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("conf");
        let program = dir.path().join("lighter");
        fs::write(&file, text.replace("LIGHTER", program.to_str().unwrap())).unwrap();
        fs::write(program, "").unwrap();
        let mut facts = Facts::default();
        facts.add(engine, &file, if engine == Engine::Docker { docker } else { podman });
        judge(&facts)
    }

    #[test]
    fn runtimes_of_docker_are_found() {
        let findings = judged(
            Engine::Docker,
            r#"{"runtimes": {"wasm": {"runtimeType": "io.containerd.wasmtime.v1"}, "x": {"path": "/x/runsc"}}}"#,
        );
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert!(findings[0].message.starts_with("Docker has the runtime \"wasm\" for io."));
        let findings =
            judged(Engine::Docker, r#"{"runtimes": {"l": {"path": "/nowhere/lighter"}}}"#);
        assert_eq!(find(&findings, "engines.runtime").status, Status::Warning);
        let findings = judged(Engine::Docker, r#"{"runtimes": {"l": {"path": "LIGHTER"}}}"#);
        assert_eq!(find(&findings, "engines.runtime").status, Status::Ok);
        assert!(judged(Engine::Docker, "{}").is_empty());
        let findings = judged(Engine::Docker, "{,}");
        assert_eq!(find(&findings, "engines.file").status, Status::Warning);
    }

    #[test]
    fn runtimes_of_podman_are_found() {
        let text = "[engine.runtimes]\nrunc = [\"/usr/bin/runc\"]\nw = [\"/nowhere/lighter\", \"LIGHTER\"]\n";
        let findings = judged(Engine::Podman, text);
        let finding = find(&findings, "engines.runtime");
        assert_eq!(finding.status, Status::Ok, "{finding:?}");
        let findings = judged(Engine::Podman, "[engine.runtimes]\nw = [\"/nowhere/lighter\"]\n");
        let finding = find(&findings, "engines.runtime");
        assert!(finding.message.contains("there is no /nowhere/lighter"), "{finding:?}");
        assert!(judged(Engine::Podman, "[engine]\n").is_empty());
        assert!(!judged(Engine::Podman, "[engine").is_empty());
    }

    #[test]
    fn a_node_without_them_is_not_told_so() {
        assert!(judge(&Facts::default()).is_empty());
    }
}
