//! Volumes as kubelet mounts them: by paths of the host, for reading or writing, into guests and Linux containers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use k8s_cri::v1::{ContainerConfig, Int64Value, Mount};
use libtest_mimic::Trial;

use super::{answers, kubelet_trials, probe};
use crate::support::command::run;
use crate::support::containerd::LIMIT;
use crate::support::cri::Kubelet;
use crate::support::image::Image;
use crate::support::spec::directory;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        a_volume_is_written_or_only_read,
        a_volume_is_shared_by_a_guest_and_a_linux_program,
        a_file_and_a_subdirectory_of_a_volume,
        an_empty_dir_in_memory_has_its_size,
        a_read_only_root_with_a_volume_to_write_to,
        a_volume_of_a_group_is_written_by_its_members,
        the_termination_message_is_written,
        a_volume_that_is_not_there_is_refused,
    ]
}

fn mount(host: &Path, container: &str, readonly: bool) -> Mount {
    Mount {
        container_path: container.into(),
        host_path: host.to_string_lossy().into_owned(),
        readonly,
        ..Default::default()
    }
}

/// A container with the probe that shall answer `requests`.
fn asked(kubelet: &Kubelet<'_>, name: &str, requests: &[&str]) -> ContainerConfig {
    kubelet.container(name, &probe(), &[&["/probe.wasm"], requests].concat())
}

fn a_volume_is_written_or_only_read(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let dir = directory();
    fs::write(dir.path().join("note"), "from the node\n").unwrap();
    let mut config = asked(
        kubelet,
        "app",
        &["cat /rw/note", "write /rw/new hello", "cat /ro/new", "write /ro/x y"],
    );
    config.mounts = vec![mount(dir.path(), "/rw", false), mount(dir.path(), "/ro", true)];
    let [note, write, read, refused] = &answers(&pod, config)[..] else { panic!("four answers") };
    assert_eq!((note.as_str(), write.as_str(), read.as_str()), ("from the node", "ok", "hello"));
    assert!(refused.starts_with("error"), "{refused}");
    assert_eq!(fs::read_to_string(dir.path().join("new")).unwrap(), "hello\n");
    pod.end();
}

fn a_volume_is_shared_by_a_guest_and_a_linux_program(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let dir = directory();
    let script = "echo from linux > /shared/linux; until [ -e /shared/guest ]; do sleep 0.05; done; \
                  cat /shared/guest";
    let mut linux = kubelet.container("linux", &Image::linux("shell"), &["sh", "-c", script]);
    linux.mounts.push(mount(dir.path(), "/shared", false));
    let linux = pod.start(linux);
    let there = || dir.path().join("linux").exists();
    assert!(crate::support::command::eventually(LIMIT, there), "{:?}", linux.lines());
    let mut guest = asked(kubelet, "guest", &["cat /data/linux", "write /data/guest from a guest"]);
    guest.mounts.push(mount(dir.path(), "/data", false));
    assert_eq!(answers(&pod, guest), ["from linux", "ok"]);
    linux.wait();
    assert_eq!(linux.output(), "from a guest\n");
    pod.end();
}

/// kubelet mounts `subPath` by the path of what it is, and ConfigMaps by links within them.
fn a_file_and_a_subdirectory_of_a_volume(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let dir = directory();
    for sub in ["..data_1", "deep/er"] {
        fs::create_dir_all(dir.path().join(sub)).unwrap();
    }
    fs::write(dir.path().join("..data_1/key"), "value\n").unwrap();
    std::os::unix::fs::symlink("..data_1", dir.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/key", dir.path().join("key")).unwrap();
    let requests = ["cat /config/key", "cat /app/key", "write /deep/x y", "ls /deep"];
    let mut config = asked(kubelet, "app", &requests);
    config.mounts = vec![
        mount(dir.path(), "/config", true),
        mount(&dir.path().join("..data_1/key"), "/app/key", true),
        mount(&dir.path().join("deep/er"), "/deep", false),
    ];
    assert_eq!(answers(&pod, config), ["value", "value", "ok", "x"]);
    assert!(dir.path().join("deep/er/x").exists());
    pod.end();
}

fn an_empty_dir_in_memory_has_its_size(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let volume = InMemory::mount("size=1m");
    let mut config = asked(
        kubelet,
        "app",
        &["fill /scratch/full 4194304", "write /scratch/other x", "ls /scratch"],
    );
    config.mounts.push(mount(volume.0.path(), "/scratch", false));
    let [full, _, listed] = &answers(&pod, config)[..] else { panic!("three answers") };
    assert!(full.contains("after 1024 KiB") || full.contains("after 10"), "{full}");
    assert_eq!(listed, "full other");
    pod.end();
}

/// A file system in memory, as kubelet mounts it for `emptyDir.medium: Memory`.
struct InMemory(tempfile::TempDir);

impl InMemory {
    fn mount(options: &str) -> Self {
        let dir = directory();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path());
        run(&mut mount, b"", LIMIT).expect_success();
        Self(dir)
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn a_read_only_root_with_a_volume_to_write_to(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let dir = directory();
    let mut guest = asked(kubelet, "guest", &["write /x y", "write /data/guest y"]);
    let script = "echo y > /data/linux; echo y > /x";
    let mut linux = kubelet.container("linux", &Image::linux("shell"), &["sh", "-c", script]);
    for config in [&mut guest, &mut linux] {
        let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        context.readonly_rootfs = true;
        config.mounts.push(mount(dir.path(), "/data", false));
    }
    let [refused, written] = &answers(&pod, guest)[..] else { panic!("two answers") };
    assert!(refused.starts_with("error"), "{refused}");
    assert_eq!(written, "ok");
    let (status, lines) = pod.run_container(linux);
    assert_eq!(status.exit_code, 1, "{lines:?}");
    assert!(dir.path().join("linux").exists());
    pod.end();
}

/// kubelet gives a volume to `fsGroup`, and that group to the pod's containers.
fn a_volume_of_a_group_is_written_by_its_members(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let dir = directory();
    chown(dir.path(), Some(0), Some(4321)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o2770)).unwrap();
    let script = "echo y > /data/linux";
    let guest = |name: &str| asked(kubelet, name, &["write /data/guest y"]);
    let linux = |name: &str| kubelet.container(name, &Image::linux("shell"), &["sh", "-c", script]);
    let as_user = |mut config: ContainerConfig, groups: &[i64]| {
        let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        context.run_as_user = Some(Int64Value { value: 1234 });
        context.run_as_group = Some(Int64Value { value: 5678 });
        context.supplemental_groups = groups.into();
        config.mounts.push(mount(dir.path(), "/data", false));
        config
    };
    let refused = &answers(&pod, as_user(guest("stranger"), &[]))[0];
    assert!(refused.starts_with("error"), "{refused}");
    assert_eq!(pod.run_container(as_user(linux("linux-stranger"), &[])).0.exit_code, 1);
    assert_eq!(answers(&pod, as_user(guest("member"), &[4321])), ["ok"]);
    assert_eq!(pod.run_container(as_user(linux("linux-member"), &[4321])).0.exit_code, 0);
    for name in ["guest", "linux"] {
        let facts = fs::metadata(dir.path().join(name)).unwrap();
        assert_eq!((facts.uid(), facts.gid()), (1234, 4321), "{name}");
    }
    pod.end();
}

/// A file that kubelet makes and mounts, and reads when the container has ended.
fn the_termination_message_is_written(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let dir = directory();
    let script = ["sh", "-c", "echo the end > /dev/termination-log"];
    for (name, mut config) in [
        ("guest", asked(kubelet, "guest", &["write /dev/termination-log the end"])),
        ("linux", kubelet.container("linux", &Image::linux("shell"), &script)),
    ] {
        let message = dir.path().join(name);
        fs::write(&message, "").unwrap();
        fs::set_permissions(&message, fs::Permissions::from_mode(0o666)).unwrap();
        config.mounts.push(mount(&message, "/dev/termination-log", false));
        let (status, lines) = pod.run_container(config);
        assert_eq!(status.exit_code, 0, "{lines:?}");
        assert_eq!(fs::read_to_string(message).unwrap(), "the end\n", "{name}: {lines:?}");
    }
    pod.end();
}

fn a_volume_that_is_not_there_is_refused(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let dir = directory();
    let absent = dir.path().join("gone");
    let mut config = asked(kubelet, "app", &["ls /data"]);
    config.mounts.push(mount(&absent, "/data", false));
    // The plugin makes it, as it does for other runtimes; what it cannot make, it refuses.
    assert_eq!(answers(&pod, config), [""]);
    assert!(absent.is_dir());
    fs::write(dir.path().join("file"), "").unwrap();
    let mut config = asked(kubelet, "other", &["ls /data"]);
    config.mounts.push(mount(&dir.path().join("file/below"), "/data", false));
    assert!(pod.create(config).is_err());
    pod.end();
}
