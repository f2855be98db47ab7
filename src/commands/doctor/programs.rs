//! Lighter's own programs: where they are, whether they run, and whether they belong together.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lighter::engine::WASMTIME_VERSION;
use lighter::error::Refusal;
use lighter::programs::Programs;

use super::child::{self, ask};
use super::finding::{Finding, Findings, Group};

/// containerd makes it of the runtime's name, `io.containerd.wasmtime.v1`.
pub(super) const SHIM: &str = "containerd-shim-wasmtime-v1";

/// Where containerd looks for the shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SearchPath {
    /// A value of `PATH`.
    pub(super) value: std::ffi::OsString,
    pub(super) whose: Whose,
}

/// How sure we are of where containerd looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// It is that of the running containerd.
    Running,
    /// None runs: it is what one would have as a service of systemd.
    Service,
    /// We may not look, or not even ask whether one runs; so this is the same guess.
    Hidden,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    name: &'static str,
    path: PathBuf,
    /// Owner and mode of the file.
    owner: u32,
    mode: u32,
    /// What it says of itself, or why it says nothing.
    release: Result<Release, String>,
}

/// Lighter's and Wasmtime's versions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Release {
    lighter: String,
    wasmtime: String,
}

/// The three programs.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    own: Release,
    /// Why the shim's helpers are not found.
    missing: Option<String>,
    /// What is there of the shim, the runner, and the command.
    found: Vec<Program>,
    path: SearchPath,
    /// A shim that is installed, but not where containerd looks.
    elsewhere: Option<PathBuf>,
}

impl Facts {
    /// `located` is what this command found as its helpers, `path` where containerd looks for the shim.
    pub(super) fn gather(located: &Result<Programs, Refusal>, path: &SearchPath) -> Self {
        let shim = in_path(&path.value, SHIM);
        let own_dir = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
        let own_path = std::env::var_os("PATH").unwrap_or_default();
        let elsewhere = own_dir
            .map(|dir| dir.join(SHIM))
            .filter(|file| file.is_file())
            .or_else(|| in_path(&own_path, SHIM))
            .filter(|_| shim.is_none());
        // The shim finds its helpers beside itself first.
        let beside = shim.as_deref().and_then(Path::parent);
        let helper = |name, located: Option<&PathBuf>| {
            let near = beside.map(|dir| dir.join(name)).filter(|file| file.is_file());
            near.or_else(|| located.cloned())
        };
        let located = located.as_ref();
        let runner = helper("lighter-runner", located.map(|programs| &programs.runner).ok());
        let command = helper("lighter", located.map(|programs| &programs.lighter).ok());
        let found = [
            shim.map(|path| Program::examine(SHIM, path, "-v")),
            runner.map(|path| Program::examine("lighter-runner", path, "--version")),
            command.map(|path| Program::examine("lighter", path, "--version")),
        ];
        Self {
            own: Release {
                lighter: env!("CARGO_PKG_VERSION").into(),
                wasmtime: WASMTIME_VERSION.into(),
            },
            missing: located.err().map(ToString::to_string),
            found: found.into_iter().flatten().collect(),
            path: path.clone(),
            elsewhere,
        }
    }
}

impl Program {
    fn examine(name: &'static str, path: PathBuf, flag: &str) -> Self {
        let (owner, mode) = fs::metadata(&path).map_or((0, 0), |facts| (facts.uid(), facts.mode()));
        let release = ask(Command::new(&path).arg(flag), child::LIMIT).and_then(|answer| {
            Release::read(&answer.stdout).ok_or_else(|| {
                let words = format!("{} {}", answer.stdout, answer.stderr);
                match answer.success {
                    true => "it does not tell its release".to_owned(),
                    false => format!("it says {:?}", words.trim()),
                }
            })
        });
        Self { name, path, owner, mode, release }
    }
}

impl Release {
    /// From `lighter-runner 0.1.0 (Wasmtime 48.0.8)`, or lines like `Version: 0.1.0`, in which there may be other versions.
    fn read(text: &str) -> Option<Self> {
        let is_version =
            |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        let mut words = text.split(|c: char| c.is_whitespace() || "():".contains(c));
        let lighter = words.by_ref().find(is_version)?.into();
        let mut words = words.skip_while(|word| !word.eq_ignore_ascii_case("wasmtime"));
        Some(Self { lighter, wasmtime: words.find(is_version)?.into() })
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (Wasmtime {})", self.lighter, self.wasmtime)
    }
}

/// The first executable of this name in a value of `PATH`.
pub(super) fn in_path(path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| {
        fs::metadata(file).is_ok_and(|facts| facts.is_file() && facts.mode() & 0o111 != 0)
    })
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings::of(Group::Programs);
    if !facts.found.iter().any(|program| program.name == SHIM) {
        shim_is_missing(facts, &mut found);
    }
    if let Some(why) = &facts.missing {
        found.problem(
            "programs.missing",
            why.clone(),
            "install all three programs together: make install",
        );
    }
    for program in &facts.found {
        judge_program(program, &facts.own, &mut found);
    }
    found.done()
}

fn shim_is_missing(facts: &Facts, found: &mut Findings) {
    let SearchPath { value, whose } = &facts.path;
    let value = value.to_string_lossy();
    let owner = match whose {
        Whose::Running => "the PATH of the running containerd",
        Whose::Service => "the PATH that containerd has as a service of systemd",
        Whose::Hidden => {
            return found.note(
                "programs.shim",
                format!(
                    "there is no {SHIM} in {value}; could not look whether containerd has another PATH"
                ),
            );
        }
    };
    let remedy = match &facts.elsewhere {
        Some(file) => format!(
            "{} is not where containerd looks: install it into one of these directories, or add its own to containerd's \
             PATH (systemctl edit containerd: [Service] Environment=PATH=...), and restart containerd",
            file.display()
        ),
        None => "install Lighter: make install".to_owned(),
    };
    let message = format!("there is no {SHIM} in {owner} ({value})");
    found.problem("programs.shim", message, remedy);
}

fn judge_program(program: &Program, own: &Release, found: &mut Findings) {
    let Program { name, path, owner, mode, release } = program;
    let id = match *name {
        SHIM => "programs.shim",
        "lighter-runner" => "programs.runner",
        _ => "programs.lighter",
    };
    let shown = path.display();
    match release {
        Ok(release) if release == own => found.ok(id, format!("{shown} is {release}")),
        Ok(release) => found.problem(
            id,
            format!("{shown} is {release}, and this command is {own}: they do not work together"),
            "install all three programs of one build: make install; and remove older ones from PATH",
        ),
        Err(why) if why.contains("not by hand") => found.problem(
            id,
            format!("{shown} is of an older release than this command, {own}"),
            "install all three programs of one build: make install; and remove older ones from PATH",
        ),
        Err(why) => found.problem(
            id,
            format!("{shown} does not run: {why}"),
            "install it anew: make install; if the file is good, look for a file system mounted noexec, or a missing \
             library (ldd)",
        ),
    }
    if *mode & 0o022 != 0 || *owner != 0 {
        found.warning(
            "programs.writable",
            format!(
                "{shown} can be replaced by others than root (owner {owner}, mode {:03o})",
                mode & 0o7777
            ),
            format!("chown root:root {shown} && chmod 755 {shown}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Status, find};
    use super::*;

    fn release(lighter: &str) -> Release {
        Release { lighter: lighter.into(), wasmtime: "48.0.8".into() }
    }

    fn program(name: &'static str) -> Program {
        let path = Path::new("/usr/local/bin").join(name);
        Program { name, path, owner: 0, mode: 0o100_755, release: Ok(release("0.1.0")) }
    }

    fn good() -> Facts {
        Facts {
            own: release("0.1.0"),
            missing: None,
            found: vec![program(SHIM), program("lighter-runner"), program("lighter")],
            path: SearchPath { value: "/usr/local/bin:/usr/bin".into(), whose: Whose::Running },
            elsewhere: None,
        }
    }

    #[test]
    fn three_of_one_release_are_ok() {
        let findings = judge(&good());
        assert_eq!(findings.len(), 3, "{findings:#?}");
        assert!(findings.iter().all(|finding| finding.status == Status::Ok), "{findings:#?}");
    }

    #[test]
    fn another_release_is_a_problem() {
        let mut facts = good();
        facts.found[1].release = Ok(release("0.0.9"));
        facts.found[2].release = Err("it says \"error while loading shared libraries\"".into());
        let findings = judge(&facts);
        let runner = find(&findings, "programs.runner");
        assert_eq!(runner.status, Status::Problem);
        assert!(runner.message.contains("0.0.9 (Wasmtime 48.0.8), and this command is 0.1.0"));
        let command = find(&findings, "programs.lighter");
        assert!(command.message.contains("does not run: it says"), "{command:?}");
    }

    #[test]
    fn a_shim_in_the_wrong_place_is_named() {
        let mut facts = good();
        facts.found.remove(0);
        facts.elsewhere = Some("/opt/lighter/bin/containerd-shim-wasmtime-v1".into());
        let findings = judge(&facts);
        let shim = find(&findings, "programs.shim");
        assert_eq!(shim.status, Status::Problem);
        assert!(shim.message.contains("running containerd (/usr/local/bin:/usr/bin)"), "{shim:?}");
        assert!(shim.remedy.as_ref().unwrap().starts_with("/opt/lighter/bin/"), "{shim:?}");
        facts.path.whose = Whose::Hidden;
        assert_eq!(find(&judge(&facts), "programs.shim").status, Status::Note);
    }

    #[test]
    fn programs_that_others_can_replace_are_a_warning() {
        for (owner, mode) in [(1000, 0o100_755), (0, 0o100_775)] {
            let mut facts = good();
            (facts.found[0].owner, facts.found[0].mode) = (owner, mode);
            assert_eq!(find(&judge(&facts), "programs.writable").status, Status::Warning);
        }
    }

    #[test]
    fn releases_are_read_in_all_forms() {
        let expected = Some(release("0.1.0"));
        assert_eq!(Release::read("lighter-runner 0.1.0 (Wasmtime 48.0.8)\n"), expected);
        let command = "lighter version 0.1.0\nspec: 1.2.1\nwasmtime: 48.0.8\n";
        assert_eq!(Release::read(command), expected);
        let shim = "containerd-shim-wasmtime-v1:\n  Version:  0.1.0\n  Wasmtime: 48.0.8\n";
        assert_eq!(Release::read(shim), expected);
        assert_eq!(Release::read("hello"), None);
    }
}
