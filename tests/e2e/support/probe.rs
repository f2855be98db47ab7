//! The native probe: a program that enters a container exactly as the runner does, and then tries what it is asked to.
//!
//! It is an example of the runner's package, which is built with the runner's tests. Requests and answers are
//! described in `runner/examples/probe/`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;

use super::command::{self, Output};
use super::containerd::LIMIT;
use super::guests;
use super::image::Image;
use super::namespace::{Namespace, unique_id};
use super::suite::{Suite, repository};

/// What came back, by request.
#[derive(Debug)]
pub struct Answers {
    answers: BTreeMap<String, String>,
    /// All of what `ctr run` said, and the exit status.
    pub output: Output,
}

impl Answers {
    fn of(output: Output) -> Self {
        let text = output.text();
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        let answers = lines.map(|(request, answer)| (request.into(), answer.into())).collect();
        Self { answers, output }
    }

    /// The answer to `request`.
    ///
    /// # Panics
    /// When there is none: the request ended the probe, or an earlier one did.
    #[track_caller]
    pub fn to(&self, request: &str) -> &str {
        let answer = self.answers.get(request);
        answer.unwrap_or_else(|| panic!("no answer to {request:?}: {}", self.output))
    }

    /// Each request with its answer.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.answers.iter().map(|(request, answer)| (request.as_str(), answer.as_str()))
    }
}

/// The image that the probe is to run in place of: any guest does, for none of it is run.
pub fn image() -> Image {
    Image::guest("hello", &guests::module("hello"))
}

/// `ctr run --rm … IMAGE ID` with the probe as the runner; `image` has the guest of [`image`].
#[track_caller]
pub fn run(namespace: &Namespace<'_>, image: &Image, flags: &[&str], requests: &[&str]) -> Answers {
    let name = namespace.import(image);
    let mut ctr = namespace.command();
    ctr.args(["run", "--rm", "--runtime", &runtime()]).args(flags);
    ctr.args([&name, &unique_id(), "/hello.wasm"]).args(requests);
    Answers::of(command::run(&mut ctr, b"", LIMIT))
}

/// The same detached, under the id `id`.
#[track_caller]
pub fn run_detached(
    namespace: &Namespace<'_>,
    image: &Image,
    id: &str,
    flags: &[&str],
    requests: &[&str],
) -> Output {
    let name = namespace.import(image);
    let mut ctr = namespace.command();
    ctr.args(["run", "--detach", "--runtime", &runtime()]).args(flags);
    ctr.args([&name, id, "/hello.wasm"]).args(requests);
    command::run(&mut ctr, b"", LIMIT)
}

/// The same for a whole `config.json`, whose root has the guest as `/hello.wasm`.
#[track_caller]
pub fn run_spec(namespace: &Namespace<'_>, spec: &Value, requests: &[&str]) -> Answers {
    namespace.uses_containers();
    let mut spec = spec.clone();
    let args = std::iter::once("/hello.wasm").chain(requests.iter().copied());
    spec["process"]["args"] = args.map(Value::from).collect();
    let file = tempfile::NamedTempFile::new_in(Suite::get().scratch()).unwrap();
    std::fs::write(file.path(), spec.to_string()).unwrap();
    let mut ctr = namespace.command();
    ctr.args(["run", "--rm", "--runtime", &runtime(), "--config"]).arg(file.path());
    Answers::of(command::run(ctr.arg(unique_id()), b"", LIMIT))
}

/// The probe itself, as built.
///
/// # Panics
/// When it is not.
pub fn program() -> PathBuf {
    let program = std::env::var_os("LIGHTER_PROBE")
        .map_or_else(|| repository().join("target/release/examples/probe"), PathBuf::from);
    assert!(
        program.is_file(),
        "{} is not built: run `make probe`, or name it in LIGHTER_PROBE",
        program.display()
    );
    program
}

/// The shim under test, in a directory where the probe has the runner's name. containerd takes its path for a runtime.
fn runtime() -> String {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let suite = Suite::get();
        let directory = suite.dir().join("probe");
        std::fs::create_dir(&directory).unwrap();
        for name in ["containerd-shim-wasmtime-v1", "lighter"] {
            std::fs::hard_link(suite.program(name), directory.join(name)).unwrap();
        }
        std::fs::copy(program(), directory.join("lighter-runner")).unwrap();
        directory
    });
    directory.join("containerd-shim-wasmtime-v1").display().to_string()
}
