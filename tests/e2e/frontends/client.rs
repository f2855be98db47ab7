//! What Docker, nerdctl and Podman have in common: a program that knows Docker's commands, and prints what Docker prints.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::command::{self, Output, eventually};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::trials::plain;

/// How to call such a program, and what it has loaded.
#[derive(Debug)]
pub struct Client {
    words: Vec<String>,
    environment: Vec<(&'static str, String)>,
    runtime: &'static str,
    loaded: Mutex<HashMap<String, u64>>,
}

impl Client {
    /// Of the program that `words` name, with `environment`, whose containers run under `runtime`.
    pub fn new(
        words: &[&str],
        environment: &[(&'static str, String)],
        runtime: &'static str,
    ) -> Self {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        let environment = environment.to_vec();
        Self { words, environment, runtime, loaded: Mutex::default() }
    }

    /// What makes the program talk to whom it should.
    pub fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    /// The program, without arguments yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program with `args` to its end.
    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Output {
        command::run(self.command().args(args), b"", LIMIT)
    }

    /// `run --runtime … ARGS`
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.call(&[&["run", "--runtime", self.runtime], args].concat())
    }

    /// `run --runtime … ARGS` with `stdin`.
    #[track_caller]
    pub fn run_with_input(&self, args: &[&str], stdin: &[u8]) -> Output {
        let mut run = self.command();
        run.args(["run", "--runtime", self.runtime]).args(args);
        command::run(&mut run, stdin, LIMIT)
    }

    /// What is to be known of a container, as `inspect` tells.
    #[track_caller]
    pub fn inspect(&self, container: &str) -> Value {
        let output = self.call(&["inspect", container]).expect_success();
        let mut found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        found[0].take()
    }

    /// The id of the container's process.
    #[track_caller]
    pub fn pid(&self, container: &str) -> u32 {
        let pid = self.inspect(container)["State"]["Pid"].as_u64().expect("a pid");
        u32::try_from(pid).expect("a pid")
    }

    /// Removes a container that may still run.
    ///
    /// # Panics
    /// When it stays. Podman sometimes finds its directories busy the first time, whichever runtime there is: its issue 11594.
    #[track_caller]
    pub fn remove(&self, container: &str) {
        let remove = || self.call(&["rm", "-f", "-t", "0", container]);
        let first = remove();
        if first.status != 0 && first.errors().contains("device or resource busy") {
            assert!(eventually(LIMIT, || remove().status == 0), "{first}");
        } else {
            first.expect_success();
        }
    }

    /// Waits until the container's state has `field` as `value`.
    ///
    /// # Panics
    /// When it has not, after a generous time.
    #[track_caller]
    pub fn wait_for(&self, container: &str, field: &str, value: &Value) {
        let is = || self.inspect(container)["State"][field] == *value;
        assert!(eventually(LIMIT, is), "{:#}", self.inspect(container)["State"]);
    }

    /// Waits until the container has said `text`.
    ///
    /// # Panics
    /// When it has not, after a generous time.
    #[track_caller]
    pub fn wait_for_log(&self, container: &str, text: &str) {
        let logs = || self.call(&["logs", container]).text();
        assert!(eventually(LIMIT, || logs().contains(text)), "no {text:?} in {:?}", logs());
    }

    /// Loads `image` unless it is there, and returns its name.
    #[track_caller]
    pub fn load(&self, image: &Image) -> String {
        let tarball = image.tarball();
        let mut hasher = DefaultHasher::new();
        tarball.hash(&mut hasher);
        let hash = hasher.finish();
        // Others wait meanwhile: they may want the same.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.get(image.name()) != Some(&hash) {
            let mut load = self.command();
            command::run(load.args(["load", "--quiet"]), &tarball, LIMIT).expect_success();
            loaded.insert(image.name().to_owned(), hash);
        }
        image.name().to_owned()
    }

    /// Loads an image of the fixture `name`, and returns the image's name.
    #[track_caller]
    pub fn guest(&self, name: &str) -> String {
        self.load(&Image::guest(name, &guests::module(name)))
    }

    /// Loads an image of the probe, with a directory `/data` (not everybody makes roots that can be written), and returns
    /// the image's name.
    #[track_caller]
    pub fn probe(&self) -> String {
        let image = Image::guest("probe", &guests::probe("probe-p2"));
        self.load(&image.directory("/data", 0o755))
    }

    /// The answers of a probe that is run with `flags`, without what they repeat.
    #[track_caller]
    pub fn ask(&self, flags: &[&str], requests: &[&str]) -> Vec<String> {
        let image = self.probe();
        let output = self.run(&[&["--rm"], flags, &[&image], requests].concat()).expect_success();
        answers(&output, requests)
    }

    /// Removes all containers, whatever state they are in.
    pub fn clear(&self) {
        let list = self.call(&["ps", "--all", "--quiet"]).text();
        let ids: Vec<&str> = list.lines().collect();
        if !ids.is_empty() {
            self.call(&[&["rm", "--force", "--volumes"], &ids[..]].concat()).expect_success();
        }
    }
}

/// What a probe has answered to `requests`, without what it repeats of them.
#[track_caller]
pub fn answers(output: &Output, requests: &[&str]) -> Vec<String> {
    let text = output.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), requests.len(), "{output}");
    let answer = |(line, request): (&&str, &&str)| {
        let rest = line.strip_prefix(request).and_then(|rest| rest.strip_prefix(": "));
        rest.unwrap_or_else(|| panic!("no answer to {request} in {output}")).to_owned()
    };
    lines.iter().zip(requests).map(answer).collect()
}

/// An image whose guest rests, with others in it that can be run beside it.
pub fn resting(name: &str) -> Image {
    Image::guest(name, &guests::module("sleep"))
        .file("/probe.wasm", &guests::probe("probe"))
        .file("/exit.wasm", &guests::module("exit"))
        .directory("/data", 0o755)
        .cmd(&["1000"])
}

/// A test of what tests share, one at a time, which has no container before it.
pub fn alone_with<T>(module: &str, name: &str, shared: fn() -> &'static T, test: fn(&T)) -> Trial
where
    T: Deref<Target = Client> + 'static,
{
    plain(module, name, move || {
        shared().clear();
        test(shared());
    })
}
