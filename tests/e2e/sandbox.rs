//! A running guest's process, looked at from the host: what it is, what it holds, what it could reach.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::json;

use crate::support::command::{eventually, run};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::netns::NetworkNamespace;
use crate::support::process::{Process, inode};
use crate::support::spec::{directory, spec};
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        it_has_no_capabilities_and_cannot_gain_any,
        it_has_namespaces_of_its_own_and_is_the_first_of_its_processes,
        it_joins_namespaces_by_path,
        it_shares_the_pid_namespace_of_another_container,
        it_holds_its_streams_its_directories_and_nothing_else,
        only_the_mounts_of_its_plan_are_in_its_tree,
        its_root_is_not_the_hosts,
        nothing_of_the_hosts_environment_reaches_it,
        user_groups_umask_limits_and_names_are_as_asked,
        capabilities_asked_for_are_not_given,
        a_user_namespace_maps_its_users,
    ]
}

/// A guest that sleeps until the test ends, and its process.
#[track_caller]
fn asleep(namespace: &Namespace<'_>, id: &str, flags: &[&str]) -> Process {
    let image = Image::guest("sleep", &guests::module("sleep"));
    namespace.run_detached(&image, id, flags, &["/sleep.wasm", "1000"]).expect_success();
    Process::of(namespace.task_pid(id).expect("it runs"))
}

fn it_has_no_capabilities_and_cannot_gain_any(namespace: &Namespace<'_>) {
    expect_no_privileges(&asleep(namespace, "asleep", &[]));
}

fn capabilities_asked_for_are_not_given(namespace: &Namespace<'_>) {
    expect_no_privileges(&asleep(namespace, "asleep", &["--privileged"]));
}

#[track_caller]
fn expect_no_privileges(process: &Process) {
    assert_eq!(process.status("NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(process.status(set), "0000000000000000", "{set}");
    }
}

fn it_has_namespaces_of_its_own_and_is_the_first_of_its_processes(namespace: &Namespace<'_>) {
    let (process, host) = (asleep(namespace, "asleep", &[]), Process::own());
    for kind in ["mnt", "pid", "ipc", "uts", "net"] {
        assert_ne!(process.namespace(kind), host.namespace(kind), "{kind}");
    }
    let in_both = process.status("NSpid");
    assert_eq!(in_both, format!("{} 1", process.status("Pid")), "its pid on the host, and inside");
}

fn it_joins_namespaces_by_path(namespace: &Namespace<'_>) {
    let network = NetworkNamespace::make("joined");
    let first = asleep(namespace, "first", &[]);
    let path = |kind: &str| first.path("ns").join(kind).display().to_string();
    let second = asleep(
        namespace,
        "second",
        &[
            "--with-ns",
            &format!("network:{}", network.path().display()),
            "--with-ns",
            &format!("ipc:{}", path("ipc")),
            "--with-ns",
            &format!("uts:{}", path("uts")),
        ],
    );
    assert_eq!(second.namespace("net"), inode(&network.path()));
    assert_eq!(second.namespace("ipc"), first.namespace("ipc"));
    assert_eq!(second.namespace("uts"), first.namespace("uts"));
    assert_ne!(second.namespace("pid"), first.namespace("pid"));
    assert_ne!(second.namespace("mnt"), first.namespace("mnt"));
    expect_no_privileges(&second);
}

fn it_shares_the_pid_namespace_of_another_container(namespace: &Namespace<'_>) {
    let first = asleep(namespace, "first", &[]);
    let path = first.path("ns").join("pid").display().to_string();
    let second = asleep(namespace, "second", &["--with-ns", &format!("pid:{path}")]);
    assert_eq!(second.namespace("pid"), first.namespace("pid"));
    assert_ne!(second.status("NSpid").split(' ').nth(1), Some("1"), "only one is the first");
    // What shares its namespace ends with it, as in any pod with one.
    namespace.ctr(&["task", "kill", "--signal", "SIGTERM", "second"]).expect_success();
    let stopped = || namespace.task_status("second").is_some_and(|status| status == "STOPPED");
    assert!(eventually(LIMIT, stopped));
    assert_eq!(namespace.task_status("first").as_deref(), Some("RUNNING"));
}

fn it_holds_its_streams_its_directories_and_nothing_else(namespace: &Namespace<'_>) {
    let volume = directory();
    let mount = format!("type=bind,src={},dst=/data,options=rbind:rw", volume.path().display());
    let process = asleep(namespace, "asleep", &["--mount", &mount]);
    let open = process.descriptors();
    let numbers: Vec<u32> = open.iter().map(|(number, _)| *number).take(3).collect();
    assert_eq!(numbers, [0, 1, 2], "{open:?}");
    let (streams, others) = open.split_at(3);
    for (number, target) in streams {
        let is_fifo = target.contains("/fifo/")
            && target.ends_with(["-stdin", "-stdout", "-stderr"][*number as usize]);
        assert!(is_fifo, "descriptor {number} is {target}");
    }
    // Directories as the guest names them, and what an event loop is made of.
    let allowed = [
        "/",
        "/data",
        "/dev",
        "/dev/shm",
        "/run",
        "anon_inode:[eventpoll]",
        "anon_inode:[eventfd]",
    ];
    for (number, target) in others {
        // The compiled code is mapped from a file that only Lighter writes; it is open to read.
        let is_code = target.ends_with(".cwasm") && process.reads_only(*number);
        assert!(is_code || allowed.contains(&target.as_str()), "descriptor {number} is {target}");
    }
    assert!(others.iter().any(|(_, target)| target == "/data"), "{others:?}");
    assert!(
        others.iter().filter(|(_, target)| target.ends_with(".cwasm")).count() <= 1,
        "{others:?}"
    );
}

fn only_the_mounts_of_its_plan_are_in_its_tree(namespace: &Namespace<'_>) {
    let volume = directory();
    let mount = |name: &str, options: &str| {
        format!("type=bind,src={},dst=/{name},options={options}", volume.path().display())
    };
    let (open, closed) = (mount("open", "rbind:rw"), mount("closed", "rbind:ro"));
    let process =
        asleep(namespace, "asleep", &["--mount", &open, "--mount", &closed, "--read-only"]);
    let mounts = process.mounts();
    let mut points: Vec<&str> = mounts.iter().map(|mount| mount.point.as_str()).collect();
    points.sort();
    assert_eq!(points, ["/", "/closed", "/dev", "/dev/shm", "/open", "/run"], "{mounts:?}");
    for (point, access) in [("/", "ro"), ("/closed", "ro"), ("/open", "rw")] {
        let mount = mounts.iter().find(|mount| mount.point == point).unwrap();
        assert_eq!(mount.options[0], access, "{mount:?}");
    }
    for mount in mounts.iter().filter(|mount| ["/dev", "/dev/shm", "/run"].contains(&&*mount.point))
    {
        assert_eq!(mount.kind, "tmpfs", "{mount:?}");
    }
}

fn its_root_is_not_the_hosts(namespace: &Namespace<'_>) {
    let process = asleep(namespace, "asleep", &[]);
    let (root, cwd) = (process.path("root/."), process.path("cwd/."));
    assert_ne!(inode(&root), inode("/".as_ref()));
    let names = |dir: &std::path::Path| {
        let entries = std::fs::read_dir(dir).unwrap().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&root), ["dev", "run", "sleep.wasm"]);
    assert_eq!(names(&cwd), names(&root));
    assert_eq!(names(&process.path("root/..")), names(&root), "nothing is above its root");
}

fn nothing_of_the_hosts_environment_reaches_it(namespace: &Namespace<'_>) {
    let process = asleep(namespace, "asleep", &["--env", "OF_THE_GUEST=1"]);
    // The guest's variables are given to the guest, and not to the process that runs it.
    assert_eq!(process.text("environ"), "");
    let line = process.text("cmdline").replace('\0', " ");
    assert_eq!(
        line.split_whitespace().next().and_then(|name| name.rsplit('/').next()),
        Some("lighter-runner")
    );
}

fn user_groups_umask_limits_and_names_are_as_asked(namespace: &Namespace<'_>) {
    let root = directory();
    std::fs::write(root.path().join("sleep.wasm"), guests::module("sleep")).unwrap();
    let mut spec = spec(namespace, "asked", root.path(), &["/sleep.wasm", "1000"]);
    spec["hostname"] = json!("guest-of-test");
    spec["domainname"] = json!("example.test");
    spec["process"]["user"] =
        json!({"uid": 1000, "gid": 2000, "additionalGids": [3000, 4000], "umask": 0o027});
    spec["process"]["oomScoreAdj"] = json!(321);
    spec["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]);
    let own_name = rustix::system::uname().nodename().to_owned();
    namespace.run_spec(&spec, "asked", &["--detach"]).expect_success();
    let process = Process::of(namespace.task_pid("asked").expect("it runs"));

    assert_eq!(process.status("Uid"), "1000 1000 1000 1000");
    assert_eq!(process.status("Gid"), "2000 2000 2000 2000");
    assert_eq!(process.status("Groups"), "3000 4000");
    assert_eq!(process.status("Umask"), "0027");
    assert_eq!(process.text("oom_score_adj").trim(), "321");
    let limits = process.text("limits");
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["100", "200"], "{limits}");
    assert_eq!(limit("Max core file size"), ["0", "0"], "{limits}");
    expect_no_privileges(&process);

    let pid = process.status("Pid");
    let mut hostname = Command::new("nsenter");
    let inside = run(hostname.args(["--uts", "--target", &pid, "uname", "-n"]), b"", LIMIT);
    assert_eq!(inside.expect_success().text(), "guest-of-test\n");
    assert_eq!(rustix::system::uname().nodename(), &*own_name, "the host keeps its name");
}

fn a_user_namespace_maps_its_users(namespace: &Namespace<'_>) {
    let (root, volume) = (directory(), directory());
    std::fs::write(root.path().join("probe.wasm"), guests::probe("probe")).unwrap();
    // What is mounted must have a place already: the container's root has no rights over the host's directory.
    for target in ["dev", "run", "data"] {
        std::fs::create_dir(root.path().join(target)).unwrap();
    }
    std::os::unix::fs::chown(volume.path(), Some(100_000), Some(200_000)).unwrap();
    let args = ["/probe.wasm", "write /data/new text", "line"];
    let mut spec = spec(namespace, "mapped", root.path(), &args);
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    spec["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    let mount = json!({"destination": "/data", "type": "bind", "source": volume.path(), "options": ["rbind", "rw"]});
    spec["mounts"].as_array_mut().unwrap().push(mount);
    namespace.run_spec(&spec, "mapped", &["--detach"]).expect_success();
    let process = Process::of(namespace.task_pid("mapped").expect("it runs"));

    assert_eq!(process.status("Uid"), "100000 100000 100000 100000", "as the host counts");
    assert_eq!(process.status("Gid"), "200000 200000 200000 200000", "as the host counts");
    let words =
        |name: &str| process.text(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words("uid_map"), ["0", "100000", "1000"]);
    assert_eq!(words("gid_map"), ["0", "200000", "1000"]);
    for kind in ["user", "mnt", "pid", "ipc", "uts", "net"] {
        assert_ne!(process.namespace(kind), Process::own().namespace(kind), "{kind}");
    }
    expect_no_privileges(&process);
    let new = volume.path().join("new");
    assert!(eventually(LIMIT, || new.exists()), "the guest writes to its volume");
    let written = std::fs::metadata(&new).unwrap();
    assert_eq!((written.uid(), written.gid()), (100_000, 200_000));
}
