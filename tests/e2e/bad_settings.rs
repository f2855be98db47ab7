//! Mistakes of the operator: in annotations, in `config.json`, in the node's configuration, and its limits.

use std::path::PathBuf;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::containerd::Containerd;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::remains::nothing_remains;
use crate::support::suite::Suite;
use crate::support::trials::{plain_trials, trials};

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    let mut tests = trials![
        an_unknown_annotation_of_ours_is_named,
        an_annotation_with_an_unknown_value_is_named,
        an_empty_entrypoint_is_refused,
        a_config_that_does_not_fit_names_field_and_place,
        a_missing_configuration_is_named,
        an_unknown_key_of_the_configuration_is_named,
        a_module_over_the_limit_is_refused,
        a_compilation_that_takes_too_long_is_refused,
        a_compilation_that_takes_too_much_processor_time_is_refused,
        a_compilation_that_takes_too_much_memory_is_refused,
    ];
    tests.extend(plain_trials![an_unknown_key_of_the_nodes_configuration_is_named]);
    tests
}

fn an_unknown_annotation_of_ours_is_named(namespace: &Namespace<'_>) {
    let flags = ["--annotation", "io.lighter.nope=1"];
    expect_refusal(namespace, &hello(), &flags, &["annotations: \"io.lighter.nope\""]);
}

fn an_annotation_with_an_unknown_value_is_named(namespace: &Namespace<'_>) {
    let flags = ["--annotation", "io.lighter.handler=java"];
    expect_refusal(
        namespace,
        &hello(),
        &flags,
        &["\"io.lighter.handler\" is \"java\"", "\"wasm\""],
    );
}

fn an_empty_entrypoint_is_refused(namespace: &Namespace<'_>) {
    let spec = Spec::new(namespace);
    for (args, words) in [
        (json!([]), "process.args: empty"),
        (json!([""]), "process.args[0] \"\": names no file"),
        (json!(["#greet"]), "process.args[0] \"#greet\": names no file"),
        (json!(["/app.wasm#"]), "process.args[0] \"/app.wasm#\": no export is named"),
    ] {
        let error = spec.refusal(namespace, |spec| spec["process"]["args"] = args);
        assert!(error.contains(words), "no {words:?} in: {error}");
    }
}

/// What ctr itself does not understand never comes to us; values of enumerations it passes on.
fn a_config_that_does_not_fit_names_field_and_place(namespace: &Namespace<'_>) {
    let spec = Spec::new(namespace);
    let limit = json!([{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]);
    let error = spec.refusal(namespace, |spec| spec["process"]["rlimits"] = limit);
    for word in ["config.json: ", "process.rlimits[0].type", "RLIMIT_NOPE", "line 1 column "] {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    let error = spec.refusal(namespace, |spec| {
        spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "planet"}]);
    });
    for word in ["config.json: ", "linux.namespaces[1].type", "planet", "line 1 column "] {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    let error = spec.refusal(namespace, |spec| spec["process"]["cwd"] = json!("srv"));
    assert!(error.contains("process.cwd \"srv\": not an absolute path"), "{error}");
    let error = spec.refusal(namespace, |spec| spec["process"]["env"] = json!(["A=1", "NONE"]));
    assert!(error.contains("process.env[1] \"NONE\": not of the form KEY=value"), "{error}");
    // The specification itself is all right.
    spec.run(namespace, |_| {}).expect_success();
}

fn a_missing_configuration_is_named(namespace: &Namespace<'_>) {
    let flags = ["--runtime-config-path", "/nonexistent/lighter.toml"];
    expect_refusal(namespace, &hello(), &flags, &["/nonexistent/lighter.toml", "No such file"]);
}

fn an_unknown_key_of_the_configuration_is_named(namespace: &Namespace<'_>) {
    let node = Node::new("[compile]\n\ntimeout = 5\n");
    let words = [&node.path(), "line 3", "`timeout`", "`timeout_seconds`"];
    expect_refusal(namespace, &hello(), &node.flags(), &words.map(|word| word as &str));
}

/// The same where a node has it: in the file that the environment names.
fn an_unknown_key_of_the_nodes_configuration_is_named() {
    let node = Node::new("[cache]\ndirectory = \"/x\"\n");
    let containerd = Containerd::start_on_node("", &node.file);
    let namespace = Namespace::of(&containerd, "unknown-key");
    let words = [&node.path(), "line 2", "`directory`", "`dir`"];
    expect_refusal(&namespace, &hello(), &[], &words.map(|word| word as &str));
}

fn a_module_over_the_limit_is_refused(namespace: &Namespace<'_>) {
    let node = Node::new("[compile]\nmax_module_bytes = 100\n");
    let bytes = format!("has {} bytes", guests::module("hello").len());
    let words = ["\"/hello.wasm\"", &bytes, "more than the 100 that compile.max_module_bytes"];
    expect_refusal(namespace, &hello(), &node.flags(), &words);
}

fn a_compilation_that_takes_too_long_is_refused(namespace: &Namespace<'_>) {
    let node = Node::with_cache("[compile]\ntimeout_seconds = 1\n");
    let words = ["\"/python.wasm\"", "longer than compile.timeout_seconds (1)"];
    expect_refusal(namespace, &python(), &node.flags(), &words);
}

fn a_compilation_that_takes_too_much_processor_time_is_refused(namespace: &Namespace<'_>) {
    let node = Node::with_cache("[compile]\ncpu_seconds = 1\n");
    let words = ["\"/python.wasm\"", "more processor time than compile.cpu_seconds (1)"];
    expect_refusal(namespace, &python(), &node.flags(), &words);
}

fn a_compilation_that_takes_too_much_memory_is_refused(namespace: &Namespace<'_>) {
    let node = Node::with_cache("[compile]\nmax_memory_bytes = 300000000\n");
    let words = ["\"/python.wasm\"", "more memory than compile.max_memory_bytes (300000000)"];
    expect_refusal(namespace, &python(), &node.flags(), &words);
}

fn hello() -> Image {
    Image::guest("hello", &guests::module("hello"))
}

/// Large enough that no machine compiles it in a second.
fn python() -> Image {
    Image::guest("python", &guests::program("python-3.12.0.wasm"))
}

/// `ctr run` fails and shows all of `words`, and nothing remains.
#[track_caller]
fn expect_refusal(namespace: &Namespace<'_>, image: &Image, flags: &[&str], words: &[&str]) {
    let error = namespace.run_with(image, flags, &[], b"").expect_failure();
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    nothing_remains(namespace);
}

/// A configuration file of Lighter's own.
struct Node {
    file: PathBuf,
    _dir: TempDir,
}

impl Node {
    fn new(text: &str) -> Self {
        let dir = TempDir::new_in(Suite::get().scratch()).unwrap();
        let file = dir.path().join("lighter.toml");
        std::fs::write(&file, text).unwrap();
        Self { file, _dir: dir }
    }

    /// With a store of its own, where other tests' compiled code is not.
    fn with_cache(text: &str) -> Self {
        let node = Self::new("");
        let cache = node.file.with_file_name("cache");
        std::fs::write(&node.file, format!("[cache]\ndir = {cache:?}\n{text}")).unwrap();
        node
    }

    fn path(&self) -> String {
        self.file.display().to_string()
    }

    fn flags(&self) -> [&str; 2] {
        ["--runtime-config-path", self.file.to_str().unwrap()]
    }
}

/// A whole specification, for `ctr run --config`, of a container that says hello.
struct Spec {
    valid: Value,
    _dir: TempDir,
}

impl Spec {
    fn new(namespace: &Namespace<'_>) -> Self {
        let dir = TempDir::new_in(Suite::get().scratch()).unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("app.wasm"), guests::module("hello")).unwrap();
        let valid = json!({
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["/app.wasm"], "cwd": "/"},
            "root": {"path": root},
            "linux": {
                "cgroupsPath": format!("/{}/spec", namespace.name()),
                "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "network"}],
            },
        });
        Self { valid, _dir: dir }
    }

    #[track_caller]
    fn run(
        &self,
        namespace: &Namespace<'_>,
        change: impl FnOnce(&mut Value),
    ) -> crate::support::command::Output {
        let mut spec = self.valid.clone();
        change(&mut spec);
        namespace.run_spec(&spec, &unique_id(), &["--rm"])
    }

    /// What `ctr run` says when it fails.
    #[track_caller]
    fn refusal(&self, namespace: &Namespace<'_>, change: impl FnOnce(&mut Value)) -> String {
        let error = self.run(namespace, change).expect_failure();
        nothing_remains(namespace);
        error
    }
}
