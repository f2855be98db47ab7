//! Pods, as kubelet has containerd's CRI plugin run them.

mod annotations;
mod exec;
mod images;
mod inside;
mod life;
mod logs;
mod many;
mod mixed;
mod namespaces;
mod resources;
mod security;
mod servers;
mod stats;
mod streaming;
mod update;
mod volumes;

use k8s_cri::v1::ContainerConfig;
use libtest_mimic::Trial;

use crate::support::cri::Pod;
use crate::support::guests;
use crate::support::image::Image;

/// `kubelet_trials![one, two]`: tests that run pods on the shared node, each `fn(&Kubelet)`.
macro_rules! kubelet_trials {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::support::trials::of_kubelet(module_path!(), stringify!($test), $test)),*]
    };
}

use kubelet_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    [
        life::tests(),
        logs::tests(),
        inside::tests(),
        volumes::tests(),
        security::tests(),
        namespaces::tests(),
        resources::tests(),
        stats::tests(),
        mixed::tests(),
        annotations::tests(),
        streaming::tests(),
        exec::tests(),
        images::tests(),
        update::tests(),
        many::tests(),
        servers::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those that depend on the kind of control groups, and one or another of those that depend on containerd's release.
pub fn of_this_kernel() -> Vec<Trial> {
    [
        life::of_this_release(),
        resources::tests(),
        servers::tests(),
        stats::tests(),
        mixed::tests(),
        images::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// An image with the probe as a component, which has a network.
fn probe() -> Image {
    Image::guest("probe", &guests::probe("probe-p2"))
}

/// What the probe answers to the requests that `config` gives it as arguments, each in one line.
#[track_caller]
fn answers(pod: &Pod<'_>, config: ContainerConfig) -> Vec<String> {
    let requests = config.command[1..].to_vec();
    let container = pod.start(config);
    let status = container.wait();
    let output = container.output();
    assert_eq!(status.exit_code, 0, "{status:?}: {output}{}", container.errors());
    let lines: Vec<&str> = output.lines().filter(|line| !line.starts_with("listening")).collect();
    assert_eq!(lines.len(), requests.len(), "{output}{}", container.errors());
    let answer = |(line, request): (&&str, &String)| {
        let answer = line.strip_prefix(request.as_str()).and_then(|rest| rest.strip_prefix(": "));
        answer.or_else(|| line.strip_prefix(request.as_str())?.strip_prefix(':')).map(str::to_owned)
    };
    let answers = lines.iter().zip(&requests).map(answer);
    answers.map(|answer| answer.unwrap_or_else(|| panic!("no answer in {output}"))).collect()
}
