//! Many pods at once, which outlive a crash of containerd.

use std::sync::Mutex;
use std::time::Duration;

use k8s_cri::v1::{ContainerState, PodSandboxState};
use libtest_mimic::Trial;

use crate::support::command::Process;
use crate::support::cri::{Container, Kubelet, Node, Pod};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![thirty_pods_outlive_a_crash_of_containerd]
}

const PODS: usize = 30;

/// How many requests kubelet has under way.
const AT_ONCE: usize = 4;

fn thirty_pods_outlive_a_crash_of_containerd() {
    let node = Node::start("many", "");
    let kubelet = Kubelet::of(&node, "many");
    let image = Image::guest("sleep", &guests::module("sleep"));
    kubelet.import(&image);
    let pods: Vec<(Pod<'_>, Container<'_>)> = each((0..PODS).collect(), |number| {
        let pod = kubelet.run(kubelet.host_pod(&format!("pod-{number}")));
        let command = ["/sleep.wasm", "1000"];
        let app = pod.start(kubelet.container("app", &image, &command));
        (pod, app)
    });
    let processes: Vec<Process> =
        pods.iter().map(|(_, app)| Process::open(app.pid()).expect("it runs")).collect();

    node.containerd().kill9();
    assert!(processes.iter().all(Process::runs), "some ended with containerd");
    node.containerd().restart();
    kubelet.wait_until_ready();
    for ((pod, app), process) in pods.iter().zip(&processes) {
        assert_eq!(pod.status().state(), PodSandboxState::SandboxReady);
        assert_eq!(app.status().state(), ContainerState::ContainerRunning);
        assert!(process.runs(), "it ended when containerd came back");
        app.wait_for_output("sleeping\n");
    }

    each(pods, |(pod, app)| {
        app.stop(Duration::from_secs(60)).unwrap();
        assert_eq!(app.status().exit_code, 143);
        app.remove().unwrap();
        pod.stop().unwrap();
        pod.remove().unwrap();
    });
    kubelet.nothing_remains();
}

/// What `work` makes of each, some at a time.
fn each<T: Send, U: Send>(items: Vec<T>, work: impl Fn(T) -> U + Sync) -> Vec<U> {
    let (items, made) = (Mutex::new(items), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let Some(item) = items.lock().unwrap().pop() else { return };
                        let one = work(item);
                        made.lock().unwrap().push(one);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| match panic.downcast_ref::<String>() {
                Some(message) => panic!("{message}"),
                None => std::panic::resume_unwind(panic),
            });
        }
    });
    made.into_inner().unwrap()
}
