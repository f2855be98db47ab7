//! The store of compiled code, and the compiler that fills it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lighter::cache::{Entry, Store, Wasm};
use lighter::config::{CompileConfig, Config};
use lighter::engine::Settings;
use lighter::programs::Programs;
use rustix::fs::{MemfdFlags, StatVfsMountFlags};

use super::super::human_bytes;
use super::finding::{Finding, Findings, Group, listed};

/// How long entries are verified.
const VERIFY: Duration = Duration::from_secs(10);

/// How long compiling next to nothing may take.
const COMPILE: Duration = Duration::from_secs(30);

/// The smallest command, as text.
const NOTHING: &[u8] = br#"(module (func (export "_start")))"#;

/// Below this, new code is soon not kept any more.
const SCARCE_BYTES: u64 = 256 << 20;
const SCARCE_INODES: u64 = 1000;

/// The store and what is around it.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    dir: PathBuf,
    max_bytes: u64,
    directory: Directory,
    /// The file system that the directory is on, or will be.
    space: Option<Space>,
    entries: Option<Entries>,
    /// Compiling next to nothing, in milliseconds; `None` if the compiler was not found.
    compiling: Option<Result<u64, String>>,
}

/// The directory itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Directory {
    Usable,
    /// Not there yet.
    Missing,
    /// Only its owner may look, which we are not.
    Foreign,
    /// Why it is not used.
    Unusable(String),
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Space {
    kind: String,
    read_only: bool,
    no_exec: bool,
    /// Bytes that are free, and inodes; `None` where they are not counted.
    free: u64,
    free_inodes: Option<u64>,
}

/// What is in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entries {
    count: usize,
    bytes: u64,
    /// Verified before the time for it was over.
    verified: usize,
    /// Those that will not be used, and why.
    broken: Vec<String>,
}

impl Facts {
    pub(super) fn gather(config: &Config, programs: Option<&Programs>) -> Self {
        let dir = &config.cache.dir;
        let (directory, entries) = match Store::existing(&config.cache) {
            Ok(Some(store)) => {
                (Directory::Usable, store.entries().ok().map(|e| verify(&store, &e)))
            }
            Ok(None) => (Directory::Missing, None),
            Err(why) => match foreign(dir) {
                true => (Directory::Foreign, None),
                false => (Directory::Unusable(why), None),
            },
        };
        Self {
            dir: dir.clone(),
            max_bytes: config.cache.max_bytes,
            directory,
            space: Space::around(dir),
            entries,
            compiling: programs.map(|programs| compile(&programs.lighter, &config.compile)),
        }
    }
}

/// Whether it is no fault that we may not look: we are not root, and the directory is root's.
fn foreign(dir: &Path) -> bool {
    let root = rustix::process::geteuid().is_root();
    !root && std::fs::symlink_metadata(dir).map_or(true, |facts| facts.uid() == 0)
}

fn verify(store: &Store, all: &[Entry]) -> Entries {
    let deadline = Instant::now() + VERIFY;
    let mut entries = Entries {
        count: all.len(),
        bytes: all.iter().map(|entry| entry.bytes).sum(),
        ..Entries::default()
    };
    // Those that were used last matter most.
    for entry in all.iter().rev().take_while(|_| Instant::now() < deadline) {
        entries.verified += 1;
        if let Err(why) = store.check(entry) {
            let name =
                entry.meta.as_ref().map_or_else(String::new, |meta| format!(" ({})", meta.name));
            let key = entry.key.to_string();
            entries.broken.push(format!("{}...{name}: {why}", &key[..key.len().min(12)]));
        }
    }
    entries
}

impl Space {
    /// Of the directory, or of the first of its parents that exists.
    fn around(dir: &Path) -> Option<Self> {
        let there = dir.ancestors().find(|dir| dir.is_dir())?;
        let facts = rustix::fs::statvfs(there).ok()?;
        let device = std::fs::metadata(there).ok()?.dev();
        Some(Self {
            kind: kind_of(there, device).unwrap_or_else(|| "an unknown kind".into()),
            read_only: facts.f_flag.contains(StatVfsMountFlags::RDONLY),
            no_exec: facts.f_flag.contains(StatVfsMountFlags::NOEXEC),
            free: facts.f_bavail.saturating_mul(facts.f_frsize),
            free_inodes: (facts.f_files > 0).then_some(facts.f_favail),
        })
    }
}

/// The kind of file system of the directory `path`, on the device `device`.
fn kind_of(path: &Path, device: u64) -> Option<String> {
    let wanted = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = || {
        mountinfo.lines().filter_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mut words = mount.split(' ').skip(2);
            Some((words.next()?, words.nth(1)?, file_system.split(' ').next()?))
        })
    };
    // Btrfs shows other device numbers for files than for mounts.
    mounts()
        .find(|(device, ..)| *device == wanted)
        .or_else(|| {
            mounts().filter(|(_, at, _)| path.starts_with(at)).max_by_key(|(_, at, _)| at.len())
        })
        .map(|(_, _, kind)| kind.to_owned())
}

/// Has the compiler compile next to nothing, within the limits of the configuration.
fn compile(program: &Path, limits: &CompileConfig) -> Result<u64, String> {
    let limits = CompileConfig {
        timeout_seconds: limits.timeout_seconds.min(COMPILE.as_secs()),
        ..limits.clone()
    };
    let memory = rustix::fs::memfd_create("lighter-doctor", MemfdFlags::CLOEXEC)
        .map_err(|e| format!("make a memory file: {e}"))?;
    let file = File::from(memory);
    (&file).write_all(NOTHING).map_err(|e| e.to_string())?;
    let wasm = Wasm { file: &file, name: "a module that does nothing", root: None };
    lighter::cache::compile(program, &limits, &wasm, &Settings::default())
        .map(|compiled| compiled.report.compile_ms)
        .map_err(|refusal| refusal.message)
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings::of(Group::Cache);
    directory(facts, &mut found);
    if let Some(space) = &facts.space {
        mount(facts, space, &mut found);
        room(facts, space, &mut found);
    }
    if let Some(all) = &facts.entries {
        entries(facts, all, &mut found);
    }
    const ID: &str = "cache.compiler";
    match &facts.compiling {
        Some(Ok(ms)) => {
            found.ok(ID, format!("the compiler runs within its limits ({ms} ms for a module that does nothing)"));
        }
        Some(Err(why)) => found.problem(
            ID,
            format!("modules cannot be compiled: {why}"),
            "if a limit is named, raise it in the section [compile] of Lighter's configuration; else try \
             lighter compile FILE.wasm, which compiles in the same way",
        ),
        None => {}
    }
    found.done()
}

fn directory(facts: &Facts, found: &mut Findings) {
    const ID: &str = "cache.directory";
    let dir = facts.dir.display();
    match &facts.directory {
        Directory::Usable => found.ok(ID, format!("{dir} belongs to you alone, as it must")),
        Directory::Missing => {
            found.ok(ID, format!("{dir} is not there yet: the first container makes it"));
        }
        Directory::Foreign => {
            found.note(ID, format!("could not look into {dir}: only root may (run lighter doctor as root)"));
        }
        Directory::Unusable(why) => found.warning(
            ID,
            format!("the store is not used, and each container compiles its module anew: {why}"),
            format!("chown root:root {dir} && chmod 700 {dir}; if it is not a directory, remove it; or set cache.dir"),
        ),
    }
}

fn mount(facts: &Facts, space: &Space, found: &mut Findings) {
    const ID: &str = "cache.mount";
    let (dir, kind) = (facts.dir.display(), &space.kind);
    if space.no_exec {
        found.problem(
            ID,
            format!("{dir} is on a file system mounted noexec ({kind}): code in it cannot be run"),
            "mount it with exec, or set cache.dir to a directory of a file system that is",
        );
    } else if space.read_only {
        found.warning(
            ID,
            format!("{dir} is on a file system mounted read-only ({kind}): code that is not in it is compiled for each container"),
            "mount it for writing, or set cache.dir to a directory that can be written",
        );
    } else {
        found.ok(ID, format!("it is on {kind}, mounted for writing and for running code"));
    }
}

fn room(facts: &Facts, space: &Space, found: &mut Findings) {
    const ID: &str = "cache.space";
    let used = facts.entries.as_ref().map_or(0, |entries| entries.bytes);
    let wanted = facts.max_bytes.saturating_sub(used);
    let (free, max) = (human_bytes(space.free), human_bytes(facts.max_bytes));
    let remedy = "make room, set cache.max_bytes lower, or cache.dir to another file system; lighter cache prune \
                  --max-size 512M removes what was not used for longest";
    if space.read_only {
        return;
    }
    if space.free < SCARCE_BYTES.min(wanted) {
        found.warning(
            ID,
            format!("{free} are free: new code will soon not be kept, and be compiled for each container"),
            remedy,
        );
    } else if space.free < wanted {
        found.hint(
            ID,
            format!(
                "{free} are free, less than the store may still grow by (cache.max_bytes is {max})"
            ),
            remedy,
        );
    } else {
        found
            .ok(ID, format!("{free} are free; the store grows to {max} at most (cache.max_bytes)"));
    }
    if let Some(inodes) = space.free_inodes.filter(|&inodes| inodes < SCARCE_INODES) {
        found.warning(
            "cache.inodes",
            format!(
                "{inodes} inodes are free: new code will soon not be kept (an entry takes three)"
            ),
            "remove files from that file system, or set cache.dir to another",
        );
    }
}

fn entries(facts: &Facts, entries: &Entries, found: &mut Findings) {
    const ID: &str = "cache.entries";
    let Entries { count, bytes, verified, broken } = entries;
    let noun = if *count == 1 { "module" } else { "modules" };
    let what = format!("it holds the code of {count} {noun}, {}", human_bytes(*bytes));
    if *count == 0 {
        found.ok(ID, "it is empty");
    } else if *verified < *count {
        found.note(
            ID,
            format!("{what}; the {verified} used last were verified in {} s", VERIFY.as_secs()),
        );
    } else if broken.is_empty() {
        found.ok(ID, format!("{what}, all verified"));
    } else {
        found.note(ID, what);
    }
    if !broken.is_empty() {
        let shown = &broken[..broken.len().min(3)];
        found.warning(
            "cache.broken",
            format!("{} of them will not be used: {}", broken.len(), listed(shown)),
            format!(
                "nothing: each is compiled anew when it is next used. If that happens again, look for errors of the disk \
                 under {} (dmesg), or for who writes there",
                facts.dir.display()
            ),
        );
    }
}

#[cfg(test)]
mod tests;
