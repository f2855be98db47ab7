//! Other limits for a container that runs: in its group's files, and for its guest.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::grpc::{Client, Io};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, unique_id};
use crate::support::remains::nothing_remains;
use crate::support::spec::directory;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_guests_group_is_limited_anew,
        a_linux_containers_group_is_limited_anew,
        a_guests_own_memory_follows_its_groups,
        a_guest_that_meets_a_lowered_limit_is_out_of_memory,
        the_limit_of_the_annotation_stays,
        an_update_before_the_start_holds,
        what_cannot_be_honoured_changes_nothing,
    ]
}

const MIB: i64 = 1 << 20;

fn a_guests_group_is_limited_anew(namespace: &Namespace<'_>) {
    let image = Image::guest("sleep", &guests::module("sleep"));
    limited_anew(namespace, &image, &["/sleep.wasm", "600"]);
}

fn a_linux_containers_group_is_limited_anew(namespace: &Namespace<'_>) {
    limited_anew(namespace, &Image::linux("linux"), &["/bin/sleep", "600"]);
}

/// Files of a group, as version 1 and version 2 have them.
const MEMORY: [&str; 2] = ["memory/memory.limit_in_bytes", "memory.max"];
const SWAP: [&str; 2] = ["memory/memory.memsw.limit_in_bytes", "memory.swap.max"];
const PIDS: [&str; 2] = ["pids/pids.max", "pids.max"];
const QUOTA: [&str; 2] = ["cpu/cpu.cfs_quota_us", "cpu.max"];
const PERIOD: [&str; 2] = ["cpu/cpu.cfs_period_us", "cpu.max"];
const SHARES: [&str; 2] = ["cpu/cpu.shares", "cpu.weight"];

#[track_caller]
fn limited_anew(namespace: &Namespace<'_>, image: &Image, args: &[&str]) {
    let id = unique_id();
    namespace.run_detached(image, &id, &["--null-io"], args).expect_success();
    let client = Client::of(namespace);
    let mut expected: Vec<([&str; 2], [String; 2])> = Vec::new();
    let mut step = |resources: Value, changes: &[([&'static str; 2], [&str; 2])]| {
        client.update(&id, &resources).unwrap_or_else(|why| panic!("{resources}: {why}"));
        for (files, values) in changes {
            expected.retain(|(known, _)| known != files);
            expected.push((*files, values.map(str::to_owned)));
        }
        // The changed ones, and all others.
        for (files, values) in &expected {
            let (file, value) = match version_2() {
                false => (group(namespace, &id, files[0], true), &values[0]),
                true => (group(namespace, &id, files[1], false), &values[1]),
            };
            if file.exists() || !file.ends_with("memory.swap.max") {
                let now = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file:?}: {e}"));
                assert_eq!(now.trim(), value, "{} after {resources}", file.display());
            }
        }
    };
    let memory = |mib: i64| (mib * MIB).to_string();
    let (m32, m48, m64, m96, m128, m160) =
        (memory(32), memory(48), memory(64), memory(96), memory(128), memory(160));
    // First from no limit, then raised beyond the old one for both, then lowered below the old one of memory.
    step(json!({"memory": {"limit": 64 * MIB}}), &[(MEMORY, [&m64, &m64])]);
    let swap =
        |limit: i64, swap: i64| json!({"memory": {"limit": limit * MIB, "swap": swap * MIB}});
    step(swap(64, 96), &[(SWAP, [&m96, &m32])]);
    step(swap(128, 160), &[(MEMORY, [&m128, &m128]), (SWAP, [&m160, &m32])]);
    step(swap(32, 48), &[(MEMORY, [&m32, &m32]), (SWAP, [&m48, &memory(16)])]);
    step(json!({"pids": {"limit": 50}}), &[(PIDS, ["50", "50"])]);
    let both = json!({"cpu": {"quota": 20_000, "period": 50_000}});
    step(both, &[(QUOTA, ["20000", "20000 50000"]), (PERIOD, ["50000", "20000 50000"])]);
    step(json!({"cpu": {"shares": 2048}}), &[(SHARES, ["2048", "174"])]);
    let quota = json!({"cpu": {"quota": 30_000}});
    step(quota, &[(QUOTA, ["30000", "30000 50000"]), (PERIOD, ["50000", "30000 50000"])]);
    let period = json!({"cpu": {"period": 100_000}});
    step(period, &[(QUOTA, ["30000", "30000 100000"]), (PERIOD, ["100000", "30000 100000"])]);
    step(
        json!({"cpu": {"quota": -1}}),
        &[(QUOTA, ["-1", "max 100000"]), (PERIOD, ["100000", "max 100000"])],
    );
    // What says nothing, or must not, changes nothing.
    step(json!({}), &[]);
    step(
        json!({"cpu": {"quota": 0, "shares": 0}, "memory": {"limit": 0}, "pids": {"limit": 0}}),
        &[],
    );
    step(json!({"devices": [{"allow": true, "access": "rwm"}]}), &[]);
    let _ = client.kill(&id, "", 9, true);
    namespace.wait_for_end(&id);
    client.delete(&id).unwrap();
    nothing_remains(namespace);
}

fn version_2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A file of the container's group; on version 1 its first part is the controller.
fn group(namespace: &Namespace<'_>, id: &str, file: &str, version_1: bool) -> PathBuf {
    let root = PathBuf::from("/sys/fs/cgroup");
    let own = format!("{}/{id}", namespace.name());
    match file.split_once('/').filter(|_| version_1) {
        Some((controller, file)) => root.join(controller).join(own).join(file),
        None => root.join(own).join(file),
    }
}

/// A guest that grows when it is told to.
struct Larder<'a> {
    namespace: &'a Namespace<'a>,
    client: Client,
    id: String,
    dir: TempDir,
    input: File,
    /// How often it has answered.
    answers: usize,
}

impl<'a> Larder<'a> {
    #[track_caller]
    fn create(namespace: &'a Namespace<'a>, flags: &[&str]) -> Self {
        let (dir, id) = (directory(), unique_id());
        let stdin = dir.path().join("stdin");
        mknodat(CWD, &stdin, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let image = Image::guest("larder", &guests::module("larder"));
        namespace.create_container(&image, &id, flags, &["/larder.wasm"]);
        let client = Client::of(namespace);
        let file = |name: &str| format!("file://{}", dir.path().join(name).display());
        let io = Io {
            stdin: stdin.display().to_string(),
            stdout: file("stdout"),
            stderr: file("stderr"),
            terminal: false,
        };
        let input = File::options().read(true).write(true).open(&stdin).unwrap();
        client.create(&id, &io).unwrap();
        Self { namespace, client, id, dir, input, answers: 0 }
    }

    #[track_caller]
    fn start(namespace: &'a Namespace<'a>, flags: &[&str]) -> Self {
        let larder = Self::create(namespace, flags);
        larder.client.start(&larder.id, "").unwrap();
        larder
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// Has it grow by 8 MiB so many times; `grown`, `grown`, `refused`.
    #[track_caller]
    fn grow(&mut self, times: usize) -> Vec<String> {
        self.input.write_all(&vec![b'+'; times]).unwrap();
        let all = self.answers + times;
        let answered = eventually(LIMIT, || self.text("stdout").lines().count() >= all);
        let said = self.text("stdout");
        assert!(answered, "it has said {said} {}", self.text("stderr"));
        let answers = said.lines().skip(self.answers).map(str::to_owned).collect();
        self.answers = all;
        answers
    }

    #[track_caller]
    fn limit(&self, mib: i64) {
        let limit = if mib < 0 { -1 } else { mib * MIB };
        self.client.update(&self.id, &json!({"memory": {"limit": limit}})).unwrap();
    }

    /// Kills it; returns what was said on its standard error.
    #[track_caller]
    fn end(self) -> String {
        let _ = self.client.kill(&self.id, "", 9, false);
        self.namespace.wait_for_end(&self.id);
        self.client.delete(&self.id).unwrap();
        self.text("stderr")
    }
}

const OF_64_MIB: [&str; 2] = ["--memory-limit", "67108864"];

fn a_guests_own_memory_follows_its_groups(namespace: &Namespace<'_>) {
    let mut larder = Larder::start(namespace, &OF_64_MIB);
    // It begins with one MiB.
    assert_eq!(larder.grow(4), ["grown"; 4]);
    larder.limit(40);
    assert_eq!(larder.grow(2), ["refused"; 2]);
    larder.limit(64);
    assert_eq!(larder.grow(4), ["grown", "grown", "grown", "refused"]);
    larder.limit(128);
    assert_eq!(larder.grow(3), ["grown"; 3]);
    larder.limit(-1);
    assert_eq!(larder.grow(10), ["grown"; 10]);
    let told = larder.end();
    let wanted = |total, have, limit, rest| {
        format!(
            "lighter: memory limit: the guest asked for a total of {total}, and may have {have} \
             (linux.resources.memory.limit is {limit}, of which {rest} are for the runtime)\n"
        )
    };
    let lower = wanted("41 MiB", "35.34 MiB", "40 MiB", "4.65 MiB");
    let first = wanted("65 MiB", "59.25 MiB", "64 MiB", "4.75 MiB");
    assert_eq!(told, format!("{lower}{first}"));
}

fn a_guest_that_meets_a_lowered_limit_is_out_of_memory(namespace: &Namespace<'_>) {
    let mut larder = Larder::start(namespace, &OF_64_MIB);
    assert_eq!(larder.grow(2), ["grown"; 2]);
    larder.limit(24);
    larder.input.write_all(b"!").unwrap();
    namespace.wait_for_end(&larder.id);
    assert_eq!(larder.client.wait(&larder.id, ""), Ok(137));
    let told = larder.end();
    assert!(told.contains("guest ran out of memory: it wanted a total of 25 MiB"), "{told}");
    assert!(told.contains("linux.resources.memory.limit is 24 MiB"), "{told}");
}

fn the_limit_of_the_annotation_stays(namespace: &Namespace<'_>) {
    let annotation = ["--annotation", "io.lighter.limits.memory=20Mi"];
    let mut larder = Larder::start(namespace, &[&OF_64_MIB[..], &annotation].concat());
    for limit in [128, -1] {
        larder.limit(limit);
        let answers = larder.grow(3);
        assert_eq!(answers.last().map(String::as_str), Some("refused"), "{limit}: {answers:?}");
    }
    let told = larder.end();
    let once = "lighter: memory limit: the guest asked for a total of 25 MiB, and may have 20 MiB \
                (annotation io.lighter.limits.memory)\n";
    assert_eq!(told, once);
}

fn an_update_before_the_start_holds(namespace: &Namespace<'_>) {
    let mut larder = Larder::create(namespace, &OF_64_MIB);
    larder.limit(24);
    larder.client.start(&larder.id, "").unwrap();
    assert_eq!(larder.grow(3), ["grown", "grown", "refused"]);
    larder.client.pause(&larder.id).unwrap();
    larder.limit(64);
    larder.client.resume(&larder.id).unwrap();
    assert_eq!(larder.grow(1), ["grown"]);
    larder.end();
}

fn what_cannot_be_honoured_changes_nothing(namespace: &Namespace<'_>) {
    let mut larder = Larder::start(namespace, &OF_64_MIB);
    assert_eq!(larder.grow(2), ["grown"; 2]);
    for (resources, sentence) in [
        (
            json!({"memory": {"limit": 4 * MIB}}),
            "linux.resources.memory.limit 4194304: too little for a WebAssembly guest",
        ),
        (json!({"memory": {"limit": "64Mi"}}), "linux.resources.memory.limit: invalid type"),
        (
            json!({"memory": {"limit": 48 * MIB}, "unified": {"../x": "1"}}),
            "linux.resources.unified: \"../x\" is not the name of a control group's file",
        ),
        (
            json!({"memory": {"limit": 16 * MIB, "checkBeforeUpdate": true}}),
            "linux.resources.memory.limit 16777216: the container uses",
        ),
    ] {
        let why = larder.client.update(&larder.id, &resources).unwrap_err();
        assert_eq!(why.code, tonic::Code::InvalidArgument, "{why}");
        assert!(why.message.contains(sentence), "{why}");
    }
    let files = if version_2() { (MEMORY[1], false) } else { (MEMORY[0], true) };
    let file = group(namespace, &larder.id, files.0, files.1);
    assert_eq!(fs::read_to_string(file).unwrap().trim(), "67108864");
    // Nor is the guest's own limit another.
    assert_eq!(larder.grow(5), ["grown", "grown", "grown", "grown", "grown"]);
    larder.end();
}
