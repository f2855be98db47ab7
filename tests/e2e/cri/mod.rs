//! Pods, as kubelet has containerd's CRI plugin run them.

mod life;

use libtest_mimic::Trial;

/// `kubelet_trials![one, two]`: tests that run pods on the shared node, each `fn(&Kubelet)`.
macro_rules! kubelet_trials {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::support::trials::of_kubelet(module_path!(), stringify!($test), $test)),*]
    };
}

use kubelet_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    [life::tests()].into_iter().flatten().collect()
}
