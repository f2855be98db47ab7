//! The file in which Kubernetes looks for why a container ended, mounted as kubelet mounts it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use libtest_mimic::Trial;

use crate::support::command::Output;
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::spec::directory;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![
        a_guest_that_fails_leaves_word,
        a_guest_that_does_not_fail_leaves_none,
        what_the_guest_has_said_stays,
        a_file_that_cannot_be_written_is_left_alone,
        kubernetes_may_name_another_file,
        an_image_cannot_lead_the_message_elsewhere,
    ]
}

/// What kubelet makes: an empty file for all users, outside of the container.
struct File {
    dir: tempfile::TempDir,
}

impl File {
    fn new() -> Self {
        let dir = directory();
        let file = dir.path().join("message");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        Self { dir }
    }

    /// The flag that mounts it.
    fn mount(&self, destination: &str, options: &str) -> String {
        let source = self.dir.path().join("message");
        format!(
            "--mount=type=bind,src={},dst={destination},options=rbind:{options}",
            source.display()
        )
    }

    fn text(&self) -> String {
        fs::read_to_string(self.dir.path().join("message")).unwrap()
    }
}

const USUAL: &str = "/dev/termination-log";

/// Runs `image` with `flags` and the message where it usually is; returns that, too.
#[track_caller]
fn run(
    namespace: &Namespace<'_>,
    image: &Image,
    flags: &[&str],
    args: &[&str],
) -> (Output, String) {
    let file = File::new();
    let mount = file.mount(USUAL, "rw");
    let output = namespace.run_with(image, &[&[mount.as_str()], flags].concat(), args, b"");
    (output, file.text())
}

fn guest(name: &str) -> Image {
    Image::guest(name, &guests::module(name))
}

fn a_guest_that_fails_leaves_word(namespace: &Namespace<'_>) {
    // As another user, without any right of its own.
    let of_user = Image::guest("trap4", &guests::module("trap")).user("1000:1000");
    for (image, flags, status) in [
        (guest("trap"), &[][..], 134),
        (guest("hungry"), &["--memory-limit", "33554432"], 137),
        (guest("spin"), &["--annotation", "io.lighter.limits.timeout=300ms"], 124),
        (guest("spin"), &["--annotation", "io.lighter.limits.cpu-time=100ms"], 152),
        (of_user, &[], 134),
    ] {
        let (output, message) = run(namespace, &image, flags, &[]);
        assert_eq!(output.status, status, "{output}");
        let errors = output.errors();
        let last = errors.lines().find(|line| line.starts_with("lighter: guest "));
        assert_eq!(Some(message.as_str()), last, "{} {flags:?}", image.name());
    }
}

fn a_guest_that_does_not_fail_leaves_none(namespace: &Namespace<'_>) {
    for (image, args, status) in
        [(guest("hello"), &["/hello.wasm"][..], 0), (guest("exit"), &["/exit.wasm", "7"], 7)]
    {
        let (output, message) = run(namespace, &image, &[], args);
        assert_eq!((output.status, message.as_str()), (status, ""), "{output}");
    }
}

fn what_the_guest_has_said_stays(namespace: &Namespace<'_>) {
    let file = File::new();
    let image = Image::guest("probe", &guests::probe("probe-p2"));
    let write = format!("write {USUAL} by-the-guest");
    let mount = file.mount(USUAL, "rw");
    let args = ["/probe.wasm", &write, "echo 0.0.0.0:8080"];
    let flags = ["--annotation", "io.lighter.limits.timeout=1s", &mount];
    let output = namespace.run_with(&image, &flags, &args, b"");
    assert_eq!(output.status, 124, "{output}");
    assert_eq!(file.text(), "by-the-guest\n", "{output}");
}

fn a_file_that_cannot_be_written_is_left_alone(namespace: &Namespace<'_>) {
    let file = File::new();
    let image = Image::guest("trap", &guests::module("trap"));
    let output = namespace.run_with(&image, &[&file.mount(USUAL, "ro")], &["/trap.wasm"], b"");
    assert_eq!((output.status, file.text().as_str()), (134, ""), "{output}");
    // Not a mount, but a file of the image's.
    let image = Image::guest("trap2", &guests::module("trap")).file_with_mode("/log", 0o666, b"");
    let annotation = "io.kubernetes.container.terminationMessagePath=/log";
    let output = namespace.run_with(&image, &["--annotation", annotation], &["/trap2.wasm"], b"");
    assert_eq!(output.status, 134, "{output}");
}

fn kubernetes_may_name_another_file(namespace: &Namespace<'_>) {
    let file = File::new();
    let image = Image::guest("trap", &guests::module("trap"));
    let annotation = "io.kubernetes.container.terminationMessagePath=/why";
    let flags = ["--annotation", annotation, &file.mount("/why", "rw")];
    let output = namespace.run_with(&image, &flags, &["/trap.wasm"], b"");
    assert_eq!(output.status, 134, "{output}");
    assert!(file.text().starts_with("lighter: guest trapped: "), "{:?}", file.text());
}

fn an_image_cannot_lead_the_message_elsewhere(namespace: &Namespace<'_>) {
    let file = File::new();
    // Where it is mounted, a link of the image's leads through another directory.
    let image = Image::guest("trap3", &guests::module("trap"))
        .directory("/elsewhere", 0o777)
        .symlink("/logs", "elsewhere");
    let annotation = "io.kubernetes.container.terminationMessagePath=/logs/why";
    let flags = ["--annotation", annotation, &file.mount("/logs/why", "rw")];
    let output = namespace.run_with(&image, &flags, &["/trap3.wasm"], b"");
    assert_eq!((output.status, file.text().as_str()), (134, ""), "{output}");
}
