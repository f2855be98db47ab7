//! HTTP servers in pods: kubelet's probes ask them, and its way to stop a container drains them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use k8s_cri::v1::{ContainerState, KeyValue, LinuxContainerResources};
use libtest_mimic::Trial;

use super::kubelet_trials;
use crate::http::server::{Client, get, image};
use crate::support::containerd::LIMIT;
use crate::support::cri::{Container, Kubelet, Pod};

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    kubelet_trials![
        a_server_is_probed_and_drained,
        a_server_whose_requests_want_too_much_memory_goes_on,
    ]
}

/// A server at `PORT`, which the pod's other containers reach at the pod's address, and so do probes.
fn server<'a>(
    kubelet: &Kubelet<'_>,
    pod: &Pod<'a>,
    memory: i64,
    annotations: &[(&str, &str)],
) -> (Container<'a>, SocketAddr) {
    let mut config = kubelet.container("web", &image(), &[]);
    config.envs = vec![KeyValue { key: "PORT".into(), value: "8088".into() }];
    config.annotations = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    config.linux.as_mut().unwrap().resources =
        Some(LinuxContainerResources { memory_limit_in_bytes: memory, ..Default::default() });
    let container = pod.start(config);
    let address = pod.status().network.expect("it has a network").ip.parse().unwrap();
    (container, SocketAddr::new(address, 8088))
}

/// A connection from the node, as probes have it.
fn connect(kubelet: &Kubelet<'_>, address: SocketAddr) -> io::Result<Client> {
    let stream = kubelet.node().within(|| TcpStream::connect_timeout(&address, LIMIT))?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(Client::of(stream))
}

/// The status of a GET, on a connection of its own.
fn status(kubelet: &Kubelet<'_>, address: SocketAddr, target: &str) -> u16 {
    let mut client = connect(kubelet, address).unwrap();
    client.send(get(target).as_bytes());
    client.response("GET").status
}

fn a_server_is_probed_and_drained(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let (container, address) = server(kubelet, &pod, 0, &[]);
    // It has been listening since before it was started: the first probe succeeds.
    assert_eq!(status(kubelet, address, "/hello"), 200);
    let mut under_way = connect(kubelet, address).unwrap();
    under_way.send(get("/sleep?2000").as_bytes());
    sleep(Duration::from_millis(200));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| container.stop(Duration::from_secs(30)));
        assert_eq!(under_way.response("GET").text(), "slept\n");
        stop.join().unwrap().unwrap();
    });
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let status = container.status();
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"), "{status:?}");
    assert!(connect(kubelet, address).is_err(), "nobody listens any more");
    drop(container);
    pod.end();
}

/// Each of twenty requests would have 16 MiB of 96: some get it, the others are told, and nobody is killed.
fn a_server_whose_requests_want_too_much_memory_goes_on(kubelet: &Kubelet<'_>) {
    let pod = kubelet.run_pod("app");
    let annotations = [("io.lighter.http.concurrency", "20")];
    let (container, address) = server(kubelet, &pod, 96 << 20, &annotations);
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..20).map(|_| connect(kubelet, address).unwrap()).collect();
        for client in &mut clients {
            client.send(get("/hold?16000000,500").as_bytes());
        }
        let answers: Vec<_> =
            clients.iter_mut().map(|client| client.response("GET").status).collect();
        // What the guest is told is that there is no more memory (507), or there was none to begin with (503).
        let served = answers.iter().filter(|status| **status == 200).count();
        assert!((1..20).contains(&served), "{answers:?}");
        assert!(answers.iter().all(|status| [200, 503, 507].contains(status)), "{answers:?}");
    }
    assert_eq!(status(kubelet, address, "/hello"), 200);
    assert!(container.is(ContainerState::ContainerRunning));
    container.stop(Duration::from_secs(30)).unwrap();
    assert_eq!(container.status().exit_code, 0);
    drop(container);
    pod.end();
}
