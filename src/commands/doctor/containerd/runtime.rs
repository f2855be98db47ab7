//! Lighter as a runtime of pods: its table in the section of containerd's CRI plugin.

use std::path::{Path, PathBuf};

use lighter::config::Config;
use toml::{Table, Value};

use super::super::finding::{Findings, listed};
use super::super::programs::SHIM;
use super::config::Loaded;

/// The runtime's name, as `runtime_type` has it.
const RUNTIME: &str = "io.containerd.wasmtime.v1";

/// The section's names: in files of version 1, of containerd 1.x, and of containerd 2.x.
const CRI_1: &str = "cri";
const CRI_2: &str = "io.containerd.grpc.v1.cri";
const CRI_3: &str = "io.containerd.cri.v1.runtime";

const BOOK: &str = "docs/src/kubernetes.md";

/// One runtime that is, or nearly is, ours.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// What pods call it.
    name: String,
    section: &'static str,
    /// This release reads this section in a file of this version.
    read: bool,
    runtime_type: String,
    /// A program that goes before the type, and whether it is there.
    program: Option<(PathBuf, bool)>,
    options: Options,
    annotations: bool,
}

/// What a runtime's options make of Lighter's configuration.
#[derive(Clone, Debug)]
enum Options {
    None,
    File(PathBuf, Result<Config, String>),
    Text(Result<Config, String>),
}

/// Which sections of a file of `version` are read; of an unknown release, those that some release reads.
fn sections(version: i64, release: Option<(u32, u32)>) -> &'static [&'static str] {
    match (version, release.map(|(major, _)| major)) {
        (3.., Some(2..) | None) => &[CRI_3],
        (2, Some(2..) | None) => &[CRI_2, CRI_3],
        (2.., Some(_)) => &[CRI_2],
        (_, Some(2..)) => &[],
        _ => &[CRI_1],
    }
}

/// All in a merged configuration.
pub(super) fn all(loaded: &Loaded, release: Option<(u32, u32)>) -> Vec<Facts> {
    let read = sections(loaded.version(), release);
    let mut all = Vec::new();
    for section in [CRI_1, CRI_2, CRI_3] {
        let plugin = loaded.merged.get("plugins").and_then(|plugins| plugins.get(section));
        let runtimes = plugin.and_then(|p| p.get("containerd")?.get("runtimes")?.as_table());
        for (name, runtime) in runtimes.into_iter().flatten() {
            let text = |key: &str| runtime.get(key).and_then(Value::as_str).unwrap_or_default();
            let runtime_type = text("runtime_type");
            let program = Path::new(text("runtime_path"));
            let ours = |path: &Path| path.file_name().is_some_and(|name| name == SHIM);
            if !runtime_type.starts_with("io.containerd.wasmtime")
                && !ours(Path::new(runtime_type))
                && !ours(program)
            {
                continue;
            }
            let named = !program.as_os_str().is_empty();
            all.push(Facts {
                name: name.clone(),
                section,
                read: read.contains(&section),
                runtime_type: runtime_type.to_owned(),
                program: named.then(|| (program.into(), program.is_file())),
                options: Options::of(runtime.get("options").and_then(Value::as_table)),
                annotations: runtime.get("pod_annotations").is_some(),
            });
        }
    }
    all
}

impl Options {
    /// As containerd hands them over: the path of a file, or else the table itself.
    fn of(table: Option<&Table>) -> Self {
        let Some(table) = table.filter(|table| !table.is_empty()) else { return Self::None };
        let path = table
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("ConfigPath"))
            .and_then(|(_, value)| value.as_str())
            .filter(|path| !path.is_empty());
        match path.map(PathBuf::from) {
            Some(path) if path.exists() && !path.is_file() => {
                Self::File(path, Err("it is not a regular file".into()))
            }
            Some(path) => {
                let config = Config::load(Some(&path)).map_err(|refusal| refusal.message);
                Self::File(path, config)
            }
            None => {
                let config = Value::Table(table.clone()).try_into::<Config>();
                Self::Text(config.map_err(|e| e.message().replace('\n', " ")))
            }
        }
    }

    fn config(&self) -> Option<&Config> {
        match self {
            Self::None => None,
            Self::File(_, config) | Self::Text(config) => config.as_ref().ok(),
        }
    }
}

/// What concerns all runtimes: versions of the files, and whether there is a CRI plugin at all.
pub(super) fn judge_layout(
    loaded: &Loaded,
    release: Option<(u32, u32)>,
    kubernetes: bool,
    found: &mut Findings,
) {
    let version = loaded.version();
    let newer: Vec<String> = loaded
        .files
        .iter()
        .filter(|file| file.version() > version)
        .map(|file| file.path.display().to_string())
        .collect();
    if !newer.is_empty() && release.is_none_or(|(major, _)| major >= 2) {
        found.problem(
            "containerd.imports",
            format!(
                "{} is of a newer version than the main file, which is of version {version}: containerd loses the main \
                 file's settings, or does not start",
                listed(&newer)
            ),
            "bring the main file to the same version: containerd config migrate writes it",
        );
    }
    let disabled = loaded.merged.get("disabled_plugins").and_then(Value::as_array);
    let disabled = disabled.into_iter().flatten().filter_map(Value::as_str);
    if let Some(plugin) = disabled.into_iter().find(|p| [CRI_1, CRI_2, CRI_3].contains(p)) {
        let message =
            format!("the plugin {plugin} is disabled (disabled_plugins), so there are no pods");
        match kubernetes {
            true => found.problem(
                "containerd.cri",
                message,
                format!("take {plugin:?} out of disabled_plugins, and restart containerd"),
            ),
            false => found.note("containerd.cri", message),
        }
    }
}

/// What a runtime is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) release: Option<(u32, u32)>,
    pub(super) systemd: bool,
    /// Pods come here.
    pub(super) kubernetes: bool,
    /// The main file, and what is in it and its imports.
    pub(super) file: &'a Path,
    pub(super) loaded: Option<&'a Loaded>,
}

impl Node<'_> {
    /// How the runtime is added.
    fn how_to_add(&self) -> String {
        const IMPORTS: &str = "imports = [\"/etc/containerd/conf.d/*.toml\"]";
        let file = self.file.display();
        let imports = self.loaded.and_then(|l| l.merged.get("imports")?.as_array());
        let imports = imports.is_some_and(|imports| !imports.is_empty());
        // 2.x reads files of version 2 as 1.x does, and then wants no newer ones beside them.
        let old = match self.loaded {
            Some(loaded) => loaded.version() < 3,
            None => self.release.is_none_or(|(major, _)| major < 2),
        };
        let how = match (old, imports) {
            (true, _) if self.loaded.is_some_and(|loaded| loaded.version() < 2) => format!(
                "write {file} in version 2, with the full names of plugins (as containerd config dump does), and append \
                 packaging/containerd/wasmtime-1.x.toml to it"
            ),
            (true, _) => format!("append packaging/containerd/wasmtime-1.x.toml to {file}"),
            (false, true) => {
                format!(
                    "copy packaging/containerd/wasmtime-2.x.toml to a directory that {file} imports"
                )
            }
            (false, false) => format!(
                "copy packaging/containerd/wasmtime-2.x.toml to /etc/containerd/conf.d, and write version = 3 and \
                 {IMPORTS} at the top of {file}"
            ),
        };
        format!("{how} ({BOOK}); then restart containerd")
    }
}

pub(super) fn judge(runtimes: &[Facts], node: &Node<'_>, found: &mut Findings) {
    const ID: &str = "containerd.runtime";
    let file = node.file.display();
    if !runtimes.iter().any(|runtime| runtime.read && runtime.is_ours()) {
        let message = format!("{file} has no runtime of the type {RUNTIME}");
        if node.kubernetes {
            found.problem(ID, format!("{message}, and pods come by it"), node.how_to_add());
        } else {
            let message = format!("{message}; only pods need it, ctr and nerdctl do not");
            found.hint(ID, message, node.how_to_add());
        }
    }
    for runtime in runtimes {
        let Facts { name, section, runtime_type, .. } = runtime;
        if !runtime.read {
            found.warning(
                "containerd.section",
                format!("the runtime {name:?} is in the section {section:?}, which this containerd does not read in this file"),
                format!("take it out there; {}", node.how_to_add()),
            );
            continue;
        }
        if !runtime.is_ours() {
            found.warning(
                "containerd.type",
                format!(
                    "the runtime {name:?} has the type {runtime_type:?}, which is not Lighter's"
                ),
                format!("runtime_type = {RUNTIME:?}"),
            );
            continue;
        }
        found.ok(ID, format!("pods of the handler {name:?} run on Lighter"));
        judge_program(runtime, found);
        judge_options(runtime, node, found);
        if !runtime.annotations {
            found.hint(
                "containerd.annotations",
                format!("pods of {name:?} cannot choose by annotation how they are run (no pod_annotations)"),
                "pod_annotations = [\"io.lighter.*\", \"run.oci.handler\", \"module.wasm.image/*\"], if they shall",
            );
        }
    }
}

impl Facts {
    fn is_ours(&self) -> bool {
        self.runtime_type == RUNTIME
            || Path::new(&self.runtime_type).is_absolute()
            || self.program.is_some()
    }
}

fn judge_program(runtime: &Facts, found: &mut Findings) {
    if let Some((program, false)) = &runtime.program {
        found.problem(
            "containerd.runtime-path",
            format!(
                "the runtime {:?} has runtime_path {}, which is not there",
                runtime.name,
                program.display()
            ),
            "correct runtime_path, or remove it: containerd finds the shim in its PATH",
        );
    }
}

fn judge_options(runtime: &Facts, node: &Node<'_>, found: &mut Findings) {
    const ID: &str = "containerd.options";
    let name = &runtime.name;
    match &runtime.options {
        Options::None => {}
        Options::File(path, Ok(_)) => {
            found.ok(ID, format!("its ConfigPath {} is understood", path.display()));
        }
        Options::File(path, Err(why)) if why.contains("Permission denied") => {
            found.note(ID, format!("could not look into its ConfigPath {}", path.display()));
        }
        Options::File(path, Err(why)) => found.problem(
            ID,
            format!("no container of the handler {name:?} is created, for its ConfigPath is wrong: {why}"),
            format!("correct {}, or remove ConfigPath", path.display()),
        ),
        Options::Text(_) if node.release.is_some_and(|release| release < (1, 7)) => found.warning(
            ID,
            format!("the options of {name:?} have no effect: containerd before 1.7 hands over a ConfigPath only"),
            "write them into a file, and set ConfigPath to its path",
        ),
        Options::Text(Ok(_)) => found.ok(ID, "its options are understood"),
        Options::Text(Err(why)) => found.problem(
            ID,
            format!("no container of the handler {name:?} is created, for its options are not Lighter's: {why}"),
            "take that key out; the options are ConfigPath, or else the keys of Lighter's configuration",
        ),
    }
    if runtime.options.config().is_some_and(|config| config.systemd_cgroup) && !node.systemd {
        found.warning(
            "containerd.systemd-cgroup",
            format!("{name:?} has SystemdCgroup = true, but init is not systemd: plain control groups are made"),
            "remove SystemdCgroup",
        );
    }
}
