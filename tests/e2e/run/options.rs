//! Options that are wrong, or cannot be honoured: each is refused, with what to type.

use libtest_mimic::Trial;

use super::Here;
use crate::support::guests;
use crate::support::trials::plain_trials;

pub(super) fn tests() -> Vec<Trial> {
    plain_trials![what_cannot_be_honoured_is_refused, a_bundle_is_run_as_other_runtimes_do]
}

fn what_cannot_be_honoured_is_refused() {
    let here = Here::new();
    here.file("hello.wasm", guests::module("hello"));
    for (flags, words) in [
        (&["-p", "8080:80"][..], "-p 8080:8080"),
        (&["-p", "127.0.0.1:80:80"], "chooses the address"),
        (&["-v", "data:/data"], "no named volumes"),
        (&["-v", "/data"], "no anonymous volumes"),
        (&["-v", "./none:/data"], "No such file"),
        (&["--mount", "type=volume,dst=/x"], "no named volumes"),
        (&["-m", "lots"], "is not a size"),
        (&["-m", "1m"], "linux.resources.memory.limit"),
        (&["--memory-swap", "1g"], "needs --memory"),
        (&["-m", "64m", "--memory-swap", "32m"], "is less than --memory"),
        (&["--cpus", "none"], "is not a number of processors"),
        (&["-u", "alice"], "is not a number"),
        (&["-w", "dir"], "is not an absolute path"),
        (&["-e", "=x"], "no name"),
        (&["--env-file", "none"], "No such file"),
        (&["--ulimit", "files=1"], "there is no limit \"files\""),
        (&["--stop-signal", "STOPP"], "is not a signal"),
        (&["--annotation", "io.lighter.unknown=1"], "is not an annotation of Lighter's"),
        (&["--network", "bridge"], "bridge"),
        (&["--entrypoint", "/x"], "is of images"),
        (&["--name", "a/b"], "container id"),
        (&["-d", "--rm"], "leave --rm away"),
        (&["-d", "-i"], "nobody stays"),
        (&["-d", "-t"], "--tty"),
        (&["--privileged"], "--privileged"),
        (&["--pid-file", "x"], "need --bundle"),
    ] {
        let output = here.run(&[flags, &["./hello.wasm"]].concat()).expect_status(125);
        assert!(output.errors().contains(words), "no {words:?} in: {output}");
        assert_eq!(output.text(), "");
    }
    here.run(&[]).expect_status(125);
    here.is_clean();
}

fn a_bundle_is_run_as_other_runtimes_do() {
    let here = Here::new();
    std::fs::create_dir_all(here.path("bundle/rootfs")).unwrap();
    here.file("bundle/rootfs/exit.wasm", guests::module("exit"));
    let spec = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/exit.wasm", "7"]},
        "root": {"path": "rootfs"},
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}],
            "cgroupsPath": format!("/{}run/bundle", crate::support::leaks::mark()),
        },
    });
    here.file("bundle/config.json", spec.to_string());
    here.lighter(&["run", "--bundle", "bundle", "one"]).expect_status(7);
    for args in [
        &["run", "--bundle", "bundle", "-e", "A=1", "one"][..],
        &["run", "-b", "bundle", "one", "two"],
    ] {
        let error = here.lighter(args).expect_failure();
        assert!(error.contains("run --bundle: "), "{error}");
    }
    here.is_clean();
}
