//! What files a guest sees, what it may do to them, and that none of them are the host's.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use libtest_mimic::Trial;

use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::spec::directory;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_root_can_be_written_unless_it_is_read_only,
        a_component_sees_the_same_root,
        a_volume_is_shared_with_the_host,
        a_read_only_volume_is_only_read,
        a_single_file_can_be_mounted,
        a_tmpfs_is_empty_and_full_when_its_size_is_reached,
        a_mount_can_lie_in_another,
        devices_do_what_they_are_for,
        the_kernels_windows_are_not_there,
        a_user_writes_files_of_its_own_and_none_of_others,
        a_working_directory_is_where_relative_paths_begin,
        a_mount_target_behind_a_link_is_where_the_link_leads_inside,
        an_entrypoint_may_be_a_link_inside_the_image,
    ]
}

/// An image with the probe and nothing else, as a module.
fn probe() -> Image {
    Image::guest("probe", &guests::probe("probe"))
}

/// What the probe answers to `requests`, one line each without the request.
#[track_caller]
fn ask(namespace: &Namespace<'_>, image: &Image, flags: &[&str], requests: &[&str]) -> Vec<String> {
    let args: Vec<&str> = std::iter::once("/probe.wasm").chain(requests.iter().copied()).collect();
    let output = namespace.run_with(image, flags, &args, b"").expect_success();
    let text = output.text();
    let answers: Vec<String> = text
        .lines()
        .zip(requests)
        .map(|(line, request)| {
            let answer = line.strip_prefix(request).and_then(|rest| rest.strip_prefix(":"));
            answer.unwrap_or_else(|| panic!("no answer to {request:?} in {output}")).trim().into()
        })
        .collect();
    assert_eq!(answers.len(), requests.len(), "an answer to each request: {output}");
    answers
}

fn bind(source: &Path, target: &str, access: &str) -> String {
    format!("type=bind,src={},dst={target},options=rbind:{access}", source.display())
}

/// A volume that every user may write to.
fn open_directory() -> tempfile::TempDir {
    let dir = directory();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

fn a_root_can_be_written_unless_it_is_read_only(namespace: &Namespace<'_>) {
    let image = probe().file("/etc/motd", b"welcome\n");
    let requests = ["write /new text", "cat /new", "write /etc/motd changed", "cat /etc/motd"];
    let answers = ask(namespace, &image, &[], &requests);
    assert_eq!(answers, ["ok", "text", "ok", "changed"]);

    let answers = ask(namespace, &image, &["--read-only"], &requests);
    assert!(answers[0].starts_with("error"), "{answers:?}");
    assert_eq!(answers[1], "error: entity not found");
    assert!(answers[2].starts_with("error"), "{answers:?}");
    assert_eq!(answers[3], "welcome", "another container's changes are not seen either");
}

fn a_component_sees_the_same_root(namespace: &Namespace<'_>) {
    let image = Image::guest("probe", &guests::probe("probe-p2")).file("/etc/motd", b"welcome\n");
    let volume = directory();
    std::fs::write(volume.path().join("note"), "from the host\n").unwrap();
    let mount = bind(volume.path(), "/data", "ro");
    let requests =
        ["ls /", "cat /etc/motd", "write /new text", "cat /data/note", "write /data/x y"];
    let answers = ask(namespace, &image, &["--mount", &mount], &requests);
    assert_eq!(answers[..4], ["data dev etc probe.wasm run", "welcome", "ok", "from the host"]);
    assert!(answers[4].starts_with("error"), "{answers:?}");
}

fn a_volume_is_shared_with_the_host(namespace: &Namespace<'_>) {
    let volume = directory();
    std::fs::write(volume.path().join("from-host"), "hello guest\n").unwrap();
    let mount = bind(volume.path(), "/data", "rw");
    let requests = ["cat /data/from-host", "write /data/from-guest hello host", "ls /data"];
    let answers = ask(namespace, &probe(), &["--mount", &mount], &requests);
    assert_eq!(answers, ["hello guest", "ok", "from-guest from-host"]);
    let written = std::fs::read_to_string(volume.path().join("from-guest")).unwrap();
    assert_eq!(written, "hello host\n");
}

fn a_read_only_volume_is_only_read(namespace: &Namespace<'_>) {
    let volume = open_directory();
    std::fs::write(volume.path().join("note"), "kept\n").unwrap();
    let mount = bind(volume.path(), "/data", "ro");
    let requests =
        ["cat /data/note", "write /data/note lost", "remove /data/note", "mkdir /data/d"];
    let answers = ask(namespace, &probe(), &["--mount", &mount], &requests);
    assert_eq!(answers[0], "kept");
    assert!(answers[1..].iter().all(|answer| answer.starts_with("error")), "{answers:?}");
    assert_eq!(std::fs::read_to_string(volume.path().join("note")).unwrap(), "kept\n");
    assert_eq!(std::fs::read_dir(volume.path()).unwrap().count(), 1);
}

fn a_single_file_can_be_mounted(namespace: &Namespace<'_>) {
    let volume = directory();
    let (open, closed) = (volume.path().join("open"), volume.path().join("closed"));
    std::fs::write(&open, "open\n").unwrap();
    std::fs::write(&closed, "closed\n").unwrap();
    let mounts = [bind(&open, "/etc/app/open", "rw"), bind(&closed, "/etc/app/closed", "ro")];
    let flags = ["--mount", &mounts[0], "--mount", &mounts[1]];
    let requests = [
        "ls /etc/app",
        "cat /etc/app/open",
        "write /etc/app/open new",
        "cat /etc/app/closed",
        "write /etc/app/closed new",
    ];
    let answers = ask(namespace, &probe(), &flags, &requests);
    assert_eq!(answers[..4], ["closed open", "open", "ok", "closed"]);
    assert!(answers[4].starts_with("error"), "{answers:?}");
    assert_eq!(std::fs::read_to_string(&open).unwrap(), "new\n");
    assert_eq!(std::fs::read_to_string(&closed).unwrap(), "closed\n");
}

fn a_tmpfs_is_empty_and_full_when_its_size_is_reached(namespace: &Namespace<'_>) {
    let mount = "type=tmpfs,src=tmpfs,dst=/scratch,options=size=64k:mode=1777";
    let requests = ["ls /scratch", "fill /scratch/a 32768", "fill /scratch/b 65536", "ls /scratch"];
    let answers = ask(namespace, &probe(), &["--mount", mount], &requests);
    assert_eq!(answers, ["", "ok", "no storage space after 32 KiB", "a b"]);
    // Each container has one of its own.
    assert_eq!(ask(namespace, &probe(), &["--mount", mount], &["ls /scratch"]), [""]);
}

fn a_mount_can_lie_in_another(namespace: &Namespace<'_>) {
    let (outer, inner) = (directory(), directory());
    std::fs::write(outer.path().join("note"), "outer\n").unwrap();
    std::fs::create_dir(outer.path().join("inner")).unwrap();
    std::fs::write(outer.path().join("inner/note"), "covered\n").unwrap();
    std::fs::write(inner.path().join("note"), "inner\n").unwrap();
    let mounts = [bind(outer.path(), "/data", "ro"), bind(inner.path(), "/data/inner", "rw")];
    let flags = ["--mount", &mounts[0], "--mount", &mounts[1]];
    let requests = [
        "cat /data/note",
        "cat /data/inner/note",
        "write /data/inner/new text",
        "write /data/new x",
    ];
    let answers = ask(namespace, &probe(), &flags, &requests);
    assert_eq!(answers[..3], ["outer", "inner", "ok"]);
    assert!(answers[3].starts_with("error"), "{answers:?}");
    assert!(inner.path().join("new").exists());
    assert!(!outer.path().join("inner/new").exists());
}

fn devices_do_what_they_are_for(namespace: &Namespace<'_>) {
    let requests = ["ls /dev", "read /dev/zero 4096", "write /dev/null x", "read /dev/null 1"];
    let answers = ask(namespace, &probe(), &[], &requests);
    assert_eq!(answers[1..], ["4096 bytes, sum 0", "ok", "0 bytes, sum 0"]);
    for device in answers[0].split(' ') {
        let known = ["full", "null", "random", "shm", "urandom", "zero"];
        assert!(known.contains(&device), "{device} in /dev of a guest");
    }
}

fn the_kernels_windows_are_not_there(namespace: &Namespace<'_>) {
    let requests = ["ls /", "ls /proc", "ls /sys", "cat /proc/self/status", "ls /dev/pts"];
    let answers = ask(namespace, &probe(), &[], &requests);
    assert_eq!(answers[0], "dev probe.wasm run");
    for answer in &answers[1..] {
        assert_eq!(answer, "error: entity not found");
    }
    // Nor where an image has a place for them.
    let image = Image::new("example.test/places:latest")
        .file("/probe.wasm", &guests::probe("probe"))
        .directory("/proc", 0o555)
        .directory("/sys", 0o555)
        .entrypoint(&["/probe.wasm"]);
    assert_eq!(ask(namespace, &image, &["--privileged"], &["ls /proc", "ls /sys"]), ["", ""]);
}

fn a_user_writes_files_of_its_own_and_none_of_others(namespace: &Namespace<'_>) {
    let (open, closed) = (open_directory(), directory());
    std::fs::write(closed.path().join("secret"), "secret\n").unwrap();
    let secret = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(closed.path().join("secret"), secret).unwrap();
    let mounts = [bind(open.path(), "/open", "rw"), bind(closed.path(), "/closed", "rw")];
    let flags = ["--mount", &mounts[0], "--mount", &mounts[1]];
    let requests = ["write /open/new text", "write /closed/new text", "cat /closed/secret"];
    let answers = ask(namespace, &probe().user("1000:2000"), &flags, &requests);
    assert_eq!(answers[0], "ok");
    assert_eq!(answers[1..], ["error: permission denied", "error: permission denied"]);
    let written = std::fs::metadata(open.path().join("new")).unwrap();
    assert_eq!((written.uid(), written.gid(), written.mode() & 0o777), (1000, 2000, 0o644));
    assert!(!closed.path().join("new").exists());
}

/// For a program that takes its first directory as where it is. One of wasi-libc takes `/`, whatever it is given.
fn a_working_directory_is_where_relative_paths_begin(namespace: &Namespace<'_>) {
    let image = Image::guest("note", &guests::module("note"));
    let image = image.file("/srv/note", b"in /srv\n").file("/srv/app/note", b"in /srv/app\n");
    let image = image.working_dir("/srv/app");
    assert_eq!(namespace.run(&image, &[]).expect_success().text(), "in /srv/app\n");
    let output = namespace.run_with(&image, &["--cwd", "/srv"], &[], b"").expect_success();
    assert_eq!(output.text(), "in /srv\n");
}

fn a_mount_target_behind_a_link_is_where_the_link_leads_inside(namespace: &Namespace<'_>) {
    let (volume, host) = (directory(), directory());
    std::fs::write(volume.path().join("note"), "volume\n").unwrap();
    // A directory of the host's, which the image has too.
    let outside = host.path().display().to_string();
    let image = probe().directory(&outside, 0o755).symlink("/data", &outside);
    let mount = bind(volume.path(), "/data/deep", "rw");
    let requests = [format!("cat {outside}/deep/note"), "cat /data/deep/note".to_owned()];
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    assert_eq!(ask(namespace, &image, &["--mount", &mount], &requests), ["volume", "volume"]);
    assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 0, "made on the host");
}

fn an_entrypoint_may_be_a_link_inside_the_image(namespace: &Namespace<'_>) {
    for (number, target) in
        ["/bin/real.wasm", "bin/real.wasm", "../../bin/real.wasm"].iter().enumerate()
    {
        let image = Image::new(&format!("example.test/link{number}:latest"))
            .file("/bin/real.wasm", &guests::module("hello"))
            .symlink("/app.wasm", target)
            .entrypoint(&["/app.wasm"]);
        assert_eq!(namespace.run(&image, &[]).expect_success().text(), "hello\n");
    }
}
