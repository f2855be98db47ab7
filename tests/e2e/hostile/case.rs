//! One attack: its image, a piece of the host that it must not reach, and how the two are compared afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{Output, run_holding_stdin};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::namespace::{Namespace, runtime, unique_id};
use crate::support::process::{Mount, Process};
use crate::support::remains::nothing_remains;
use crate::support::spec::{directory, spec};

/// What must not be seen in a container.
const SECRET: &str = "a secret of the host";

/// An error takes no longer, whatever an image has in it.
const AT_ONCE: Duration = Duration::from_secs(20);

pub(super) struct Case<'n> {
    namespace: &'n Namespace<'n>,
    id: String,
    image: TempDir,
    host: TempDir,
    /// For what is of the host, too, and may be known inside.
    beside: TempDir,
    host_before: BTreeMap<PathBuf, (u32, Vec<u8>)>,
    flags: Vec<String>,
    /// The container's `config.json`.
    pub(super) spec: Value,
}

impl<'n> Case<'n> {
    /// An image with the probe as `/probe.wasm`, which it runs as root.
    pub(super) fn new(namespace: &'n Namespace<'n>) -> Self {
        let (image, host, beside, id) = (directory(), directory(), directory(), unique_id());
        fs::set_permissions(host.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(host.path().join("secret"), SECRET).unwrap();
        let spec = spec(namespace, &id, image.path(), &["/probe.wasm"]);
        let host_before = contents(host.path());
        let case =
            Self { namespace, id, image, host, beside, host_before, flags: Vec::new(), spec };
        case.file("/probe.wasm", &guests::probe("probe"));
        case
    }

    /// The directory of the host that holds `secret`, as text.
    pub(super) fn host(&self) -> String {
        self.host.path().display().to_string()
    }

    /// A path that leads to `path` of the host from anywhere, if dots are not kept inside.
    pub(super) fn climbing(&self, path: &str) -> String {
        format!("{}{path}", "../".repeat(16).trim_end_matches('/'))
    }

    /// Where `path` of the image is; with the directories that lead there.
    pub(super) fn place(&self, path: &str) -> PathBuf {
        let place = self.image.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    }

    pub(super) fn file(&self, path: &str, bytes: &[u8]) {
        fs::write(self.place(path), bytes).unwrap();
    }

    pub(super) fn directory(&self, path: &str) {
        fs::create_dir_all(self.place(path)).unwrap();
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        symlink(target, self.place(path)).unwrap();
    }

    /// A device node or, with a number of (0, 0), a named pipe, open to every user.
    pub(super) fn node(&self, path: &str, kind: FileType, (major, minor): (u32, u32)) {
        let place = self.place(path);
        mknodat(CWD, &place, kind, Mode::empty(), makedev(major, minor)).unwrap();
        fs::set_permissions(place, fs::Permissions::from_mode(0o666)).unwrap();
    }

    /// A new directory of the host, bound to `target`. A file `note` is in it.
    pub(super) fn volume(&mut self, target: &str) -> PathBuf {
        let volume = self.beside("volume");
        fs::write(volume.join("note"), "volume").unwrap();
        self.bind(&volume, target);
        volume
    }

    /// Binds `source` to `target`.
    pub(super) fn bind(&mut self, source: &Path, target: &str) {
        let mount = json!({"destination": target, "type": "bind", "source": source, "options": ["rbind", "rw"]});
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
    }

    /// Takes the mounts on and below `target` out of `config.json`.
    pub(super) fn without_mounts_below(&mut self, target: &str) {
        let below =
            |mount: &Value| Path::new(mount["destination"].as_str().unwrap()).starts_with(target);
        self.spec["mounts"].as_array_mut().unwrap().retain(|mount| !below(mount));
    }

    /// What the container runs instead of the probe.
    pub(super) fn runs(&mut self, args: &[&str]) {
        self.spec["process"]["args"] = json!(args);
    }

    /// The container's program, of `bytes`, instead of the probe.
    pub(super) fn program(&mut self, path: &str, bytes: &[u8]) {
        self.file(path, bytes);
        self.runs(&[path]);
    }

    /// A configuration of the node for this container alone, with a store of its own.
    pub(super) fn configuration(&mut self, text: &str) {
        let file = self.beside("configuration").join("lighter.toml");
        let cache = file.with_file_name("cache");
        fs::write(&file, format!("[cache]\ndir = {cache:?}\n{text}")).unwrap();
        self.flags = vec!["--runtime-config-path".into(), file.display().to_string()];
    }

    /// Create fails at once, in one line with all of `words`.
    #[track_caller]
    pub(super) fn expect_refusal(self, words: &[&str]) {
        let output = self.run(|| true);
        assert!(output.elapsed < AT_ONCE, "{output}");
        let text = output.text();
        assert!(text.is_empty(), "the guest says {text:?}");
        let error = output.expect_failure();
        let strange = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(
            !error.trim_end_matches('\n').contains(strange),
            "more than one plain line: {error:?}"
        );
        assert!(error.len() < 10_000, "{} bytes of error", error.len());
        for word in words {
            let word = self.filled(word);
            assert!(error.contains(&word), "no {word:?} in: {error}");
        }
        self.expect_no_trace(&error);
    }

    /// The probe answers each request as expected, in a process that nothing of the host is in reach of.
    #[track_caller]
    pub(super) fn expect_contained(mut self, answers: &[(&str, &str)]) {
        let answers: Vec<(String, String)> = answers
            .iter()
            .map(|(request, answer)| (self.filled(request), self.filled(answer)))
            .collect();
        let args = self.spec["process"]["args"].as_array_mut().unwrap();
        args.extend(answers.iter().map(|(request, _)| json!(request)));
        args.push(json!("line"));
        let seen = Mutex::new(None);
        let output = self.run(|| {
            let running = self.namespace.task_status(&self.id).as_deref() == Some("RUNNING");
            let pid = running.then(|| self.namespace.task_pid(&self.id)).flatten();
            if let Some(pid) = pid {
                seen.lock().unwrap().get_or_insert_with(|| Inside::of(pid));
            }
            pid.is_some()
        });
        let output = output.expect_success();
        let text = output.text();
        let mut lines = text.lines();
        for (request, expected) in &answers {
            let line = lines.next().unwrap_or_default();
            let answer = line.strip_prefix(&format!("{request}: ")).unwrap_or_else(|| {
                panic!("no answer to {request:?} in {output}");
            });
            let as_expected = match expected.as_str() {
                "error" => answer.starts_with("error") && !answer.contains("no such request"),
                expected => answer == expected,
            };
            assert!(as_expected, "{request}: {answer}, not {expected}");
        }
        let inside = seen.into_inner().unwrap().expect("it was seen running");
        inside.expect_nothing_of(self.host.path());
        self.expect_no_trace(&text);
    }

    fn run(&self, may_end: impl Fn() -> bool + Send) -> Output {
        self.namespace.uses_containers();
        let config = self.beside("bundle").join("config.json");
        fs::write(&config, self.spec.to_string()).unwrap();
        let mut ctr: Command = self.namespace.command();
        ctr.args(["run", "--rm", "--runtime", &runtime(), "--config"]).arg(config);
        // Some input, so that it does not end before it may.
        run_holding_stdin(ctr.args(&self.flags).arg(&self.id), b" ", LIMIT, may_end)
    }

    /// The host is as it was, nothing is left, and containers run.
    #[track_caller]
    fn expect_no_trace(&self, said: &str) {
        assert!(!said.contains(SECRET), "the host's secret is out: {said}");
        assert_eq!(contents(self.host.path()), self.host_before, "the host's files");
        let own = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!own.contains(&self.host()), "mounted on the host");
        nothing_remains(self.namespace);
        let (root, id) = (directory(), unique_id());
        fs::write(root.path().join("hello.wasm"), guests::module("hello")).unwrap();
        let spec = spec(self.namespace, &id, root.path(), &["/hello.wasm"]);
        let hello = self.namespace.run_spec(&spec, &id, &["--rm"]).expect_success();
        assert_eq!(hello.text(), "hello\n");
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{host}", &self.host())
    }

    /// A new directory of the host's.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        let dir = self.beside.path().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    }
}

/// What a container's process has, as the kernel tells it.
struct Inside {
    mounts: Vec<Mount>,
    /// Its root, what is above that, its working directory, and all that it has open.
    open: Vec<(PathBuf, Identity)>,
}

type Identity = (u64, u64);

impl Inside {
    fn of(pid: u32) -> Self {
        let process = Process::of(pid);
        let descriptors =
            process.descriptors().into_iter().map(|(number, _)| format!("fd/{number}"));
        let names =
            ["root/.", "root/..", "cwd/."].map(str::to_owned).into_iter().chain(descriptors);
        let open = names.map(|name| process.path(&name));
        let open = open.map(|path| (path.clone(), identity(&path))).collect();
        Self { mounts: process.mounts(), open }
    }

    /// Neither the host's root nor `host` are in reach.
    #[track_caller]
    fn expect_nothing_of(&self, host: &Path) {
        let Self { mounts, open } = self;
        let roots = mounts.iter().filter(|mount| mount.point == "/").count();
        assert_eq!(roots, 1, "one root in {mounts:?}");
        assert_eq!(open[0].1, open[1].1, "nothing is above its root");
        let own = Process::own().mounts();
        let root = own.iter().find(|mount| mount.point == "/").expect("a root");
        for mount in mounts {
            let is_root = mount.device == root.device && mount.root == root.root;
            assert!(!is_root, "the host's root is mounted: {mount:?}");
            let is_host = mount.root.contains(&*host.to_string_lossy());
            assert!(!is_host, "the host's directory is mounted: {mount:?}");
        }
        let closed = ["/".as_ref(), host].map(identity);
        for (path, identity) in open {
            assert!(!closed.contains(identity), "{} is the host's", path.display());
        }
    }
}

fn identity(path: &Path) -> Identity {
    let meta = fs::metadata(path).unwrap_or_else(|e| panic!("stat {}: {e}", path.display()));
    (meta.dev(), meta.ino())
}

/// All files below `dir`: their modes and what is in them.
fn contents(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut to_visit = vec![dir.to_owned()];
    while let Some(path) = to_visit.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if meta.is_dir() {
            to_visit.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, (meta.mode(), bytes));
    }
    found
}
