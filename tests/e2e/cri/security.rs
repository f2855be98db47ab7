//! The security contexts of pods and containers.

use k8s_cri::v1::security_profile::ProfileType;
use k8s_cri::v1::{Capability, Int64Value, SecurityProfile};
use libtest_mimic::Trial;

use super::{kubelet_trials, probe};
use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::cri::{Container, Kubelet};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::process::Process;
use crate::support::suite::Suite;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        users_and_groups,
        a_named_user_of_the_image,
        the_default_filter_is_on,
        capabilities_are_for_linux_programs,
        a_privileged_container_runs_as_one,
    ]
}

fn sleep_as(name: &str) -> (Image, [&'static str; 2]) {
    (Image::guest(name, &guests::module("sleep")), ["/sleep.wasm", "1000"])
}

/// Its process, once that is its own program: the last of what confines a Linux program comes with its execution, a moment
/// after the start.
#[track_caller]
fn begun(container: &Container<'_>) -> Process {
    let process = container.process();
    let exe = || std::fs::read_link(process.path("exe")).unwrap_or_default();
    let begun = || exe() != Suite::get().program("lighter");
    assert!(eventually(LIMIT, begun), "it is still {}", exe().display());
    process
}

fn users_and_groups(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let (sleep, args) = sleep_as("sleep");
    for (name, image, command) in
        [("guest", &sleep, &args[..]), ("linux", &Image::linux("shell"), &["sleep", "1000"])]
    {
        let mut config = kubelet.container(name, image, command);
        let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        context.run_as_user = Some(Int64Value { value: 1234 });
        context.run_as_group = Some(Int64Value { value: 5678 });
        context.supplemental_groups = vec![4321, 4322];
        context.no_new_privs = true;
        let process = begun(&pod.start(config));
        assert_eq!(process.status("Uid"), "1234 1234 1234 1234", "{name}");
        assert_eq!(process.status("Gid"), "5678 5678 5678 5678", "{name}");
        // From release to release, the plugin does or does not repeat the first group here.
        let groups = process.status("Groups");
        let groups: Vec<&str> = groups.split(' ').filter(|&group| group != "5678").collect();
        assert_eq!(groups, ["4321", "4322"], "{name}");
        assert_eq!(process.status("NoNewPrivs"), "1", "{name}");
        assert_eq!(process.status("CapEff"), "0000000000000000", "{name}");
    }
    pod.end();
}

fn a_named_user_of_the_image(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let image = Image::guest("sleep-of-app", &guests::module("sleep"))
        .file("/etc/passwd", b"root:x:0:0::/:/x\napp:x:77:88::/:/x\n")
        .file("/etc/group", b"root:x:0:\napp:x:88:\nmore:x:99:app\n");
    let mut config = kubelet.container("app", &image, &["/sleep-of-app.wasm", "1000"]);
    let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    context.run_as_username = "app".into();
    let process = begun(&pod.start(config));
    assert_eq!(process.status("Uid"), "77 77 77 77");
    assert_eq!(process.status("Gid"), "88 88 88 88");
    assert!(process.status("Groups").split(' ').any(|group| group == "99"));
    pod.end();
}

fn the_default_filter_is_on(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let (sleep, args) = sleep_as("sleep");
    let filters = |kind: ProfileType, name: &str, image: &Image, command: &[&str]| {
        let mut config = kubelet.container(name, image, command);
        let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        let profile = SecurityProfile { profile_type: kind.into(), ..Default::default() };
        context.seccomp = Some(profile);
        let process = begun(&pod.start(config));
        process.status("Seccomp_filters").parse::<u32>().unwrap()
    };
    use ProfileType::{RuntimeDefault, Unconfined};
    // A guest has ours besides.
    let with = filters(RuntimeDefault, "guest-filtered", &sleep, &args);
    let without = filters(Unconfined, "guest-free", &sleep, &args);
    assert_eq!((with, without), (2, 1));
    let (image, command) = (Image::linux("shell"), ["sleep", "1000"]);
    let with = filters(RuntimeDefault, "linux-filtered", &image, &command);
    let without = filters(Unconfined, "linux-free", &image, &command);
    assert_eq!((with, without), (1, 0));
    pod.end();
}

fn capabilities_are_for_linux_programs(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let (sleep, args) = sleep_as("sleep");
    for (name, image, command, expected) in [
        ("guest", &sleep, &args[..], "0000000000000000"),
        // CAP_NET_BIND_SERVICE alone.
        ("linux", &Image::linux("shell"), &["sleep", "1000"], "0000000000000400"),
    ] {
        let mut config = kubelet.container(name, image, command);
        let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        context.capabilities = Some(Capability {
            add_capabilities: vec!["NET_BIND_SERVICE".into()],
            drop_capabilities: vec!["ALL".into()],
            ..Default::default()
        });
        assert_eq!(begun(&pod.start(config)).status("CapEff"), expected, "{name}");
    }
    pod.end();
}

/// A guest has no use for privileges and gets none; a Linux program gets what there is.
fn a_privileged_container_runs_as_one(kubelet: &Kubelet<'_>) {
    let mut config = kubelet.pod("app");
    let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    context.privileged = true;
    let pod = kubelet.run(config);
    let privileged = |name: &str, image: &Image, command: &[&str]| {
        let mut config = kubelet.container(name, image, command);
        let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        context.privileged = true;
        context.masked_paths.clear();
        context.readonly_paths.clear();
        pod.start(config)
    };
    let guest = privileged("guest", &probe(), &["/probe.wasm", "echo 127.0.0.1:7000"]);
    guest.wait_for_output("listening on 127.0.0.1:7000\n");
    assert_eq!(guest.process().status("CapEff"), "0000000000000000");
    let script = "echo x > /proc/sys/kernel/domainname && ls /dev/kmsg /dev/full; sleep 1000";
    let linux = privileged("linux", &Image::linux("shell"), &["sh", "-c", script]);
    linux.wait_for_output("/dev/full\n/dev/kmsg\n");
    let own = Process::own().status("CapEff");
    assert_eq!(linux.process().status("CapEff"), own);
    pod.end();
}
