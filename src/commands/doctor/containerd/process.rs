//! The containerd that runs: found by its name in `/proc`, as far as we may look.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::child::{self, ask};
use super::super::look::processes;
use super::{CONFIGURATION, Options, SOCKET};

/// One process of containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: String,
    /// Its flags, absolute.
    pub(super) config: Option<PathBuf>,
    pub(super) address: Option<PathBuf>,
    /// Its environment's `PATH`, if we may look.
    pub(super) path: Option<OsString>,
    /// Bytes of address space that it may have; the largest number if that is not limited.
    pub(super) address_space: Option<u64>,
    /// The file that it was started from is gone.
    pub(super) replaced: bool,
}

impl Process {
    fn read(dir: &Path) -> Option<Self> {
        let pid = dir.file_name()?.to_str()?.to_owned();
        let arguments = fs::read(dir.join("cmdline")).ok()?;
        let words: Vec<&[u8]> = arguments.split(|&byte| byte == 0).collect();
        let cwd = fs::read_link(dir.join("cwd")).unwrap_or_else(|_| "/".into());
        let flag = |names: &[&str]| flag(&words, names).map(|value| cwd.join(value));
        let environment = fs::read(dir.join("environ")).ok();
        let path = environment.as_deref().and_then(|environment| {
            let mut variables = environment.split(|&byte| byte == 0);
            Some(OsString::from_vec(variables.find_map(|v| v.strip_prefix(b"PATH="))?.to_vec()))
        });
        let limits = fs::read_to_string(dir.join("limits")).unwrap_or_default();
        let program = fs::read_link(dir.join("exe")).ok();
        Some(Self {
            pid,
            config: flag(&["--config", "-config", "-c", "--c"]),
            address: flag(&["--address", "-address", "-a", "--a"]),
            path,
            address_space: limits.lines().find_map(|line| {
                match line.strip_prefix("Max address space")?.split_whitespace().next()? {
                    "unlimited" => Some(u64::MAX),
                    number => number.parse().ok(),
                }
            }),
            replaced: program
                .is_some_and(|program| program.as_os_str().as_bytes().ends_with(b" (deleted)")),
        })
    }

    /// Its program, whatever is by now at the path that it was started from.
    pub(super) fn program(&self) -> PathBuf {
        Path::new("/proc").join(&self.pid).join("exe")
    }

    fn config(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(CONFIGURATION))
    }
}

/// The value of a flag, `--flag value` or `--flag=value`.
fn flag(words: &[&[u8]], names: &[&str]) -> Option<PathBuf> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        for name in names {
            let value = match word.strip_prefix(name.as_bytes()) {
                Some([]) => words.next().copied(),
                Some([b'=', value @ ..]) => Some(value),
                _ => None,
            };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                return Some(OsStr::from_bytes(value).into());
            }
        }
    }
    None
}

/// All that run here.
pub(super) fn all() -> Vec<Process> {
    processes("containerd").filter_map(|dir| Process::read(&dir)).collect()
}

/// The one that is meant, and how many others there are.
///
/// It is the one that was named; else the one with the usual configuration; else the only one.
pub(super) fn choose(all: Vec<Process>, options: &Options<'_>) -> (Option<Process>, usize) {
    let (named_config, named_address) = (options.config, options.address);
    let address = |process: &Process| process.address.clone();
    let named = named_config.is_some() || named_address.is_some();
    let chosen = all.iter().position(|process| match (named_config, named_address) {
        (Some(config), _) if process.config() == config => true,
        (_, Some(named)) => match address(process) {
            Some(address) => address == named,
            None => {
                super::config::socket_in(process.config()).as_deref().unwrap_or(Path::new(SOCKET))
                    == named
            }
        },
        (Some(_), None) => false,
        (None, None) => process.config() == Path::new(CONFIGURATION),
    });
    let chosen = chosen.or_else(|| (!named && all.len() == 1).then_some(0));
    let others = all.len() - usize::from(chosen.is_some());
    (chosen.and_then(|index| all.into_iter().nth(index)), others)
}

/// The version that a program of containerd says it has.
pub(super) fn version_of(program: &Path) -> Option<String> {
    let answer = ask(Command::new(program).arg("--version"), child::LIMIT).ok()?;
    // containerd github.com/containerd/containerd 1.6.20~ds1 REVISION
    answer.stdout.split_whitespace().nth(2).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(config: Option<&str>, address: Option<&str>) -> Process {
        Process {
            pid: "1".into(),
            config: config.map(PathBuf::from),
            address: address.map(PathBuf::from),
            path: None,
            address_space: None,
            replaced: false,
        }
    }

    #[test]
    fn flags_are_read_as_containerd_reads_them() {
        let read = |line: &str, names: &[&str]| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            flag(&words, names).map(|path| path.display().to_string())
        };
        let names = ["--config", "-c"];
        assert_eq!(read("containerd --config /a", &names).as_deref(), Some("/a"));
        assert_eq!(read("containerd --config=/a -l debug", &names).as_deref(), Some("/a"));
        assert_eq!(read("containerd -c /a", &names).as_deref(), Some("/a"));
        assert_eq!(read("containerd --configuration /a", &names), None);
        assert_eq!(read("containerd", &names), None);
    }

    #[test]
    fn the_one_that_is_meant_is_chosen() {
        let options = |config, address| Options { config, address, kubernetes: false };
        let usual = process(None, None);
        let docker = process(Some("/run/docker/containerd/containerd.toml"), None);
        let k3s = process(Some("/k3s/config.toml"), Some("/run/k3s/containerd.sock"));
        let all = vec![docker.clone(), k3s.clone(), usual.clone()];

        assert_eq!(choose(all.clone(), &options(None, None)), (Some(usual), 2));
        let named = Some(Path::new("/k3s/config.toml"));
        assert_eq!(choose(all.clone(), &options(named, None)), (Some(k3s.clone()), 2));
        let named = Some(Path::new("/run/k3s/containerd.sock"));
        assert_eq!(choose(all.clone(), &options(None, named)), (Some(k3s.clone()), 2));
        let named = Some(Path::new("/else.toml"));
        assert_eq!(choose(all, &options(named, None)), (None, 3));
        assert_eq!(choose(vec![k3s.clone()], &options(None, None)), (Some(k3s.clone()), 0));
        assert_eq!(choose(vec![k3s, docker], &options(None, None)), (None, 2));
    }
}
