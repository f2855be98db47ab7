//! The walls around a guest's process, tried from inside by a native program in the runner's place.

use libtest_mimic::Trial;

use crate::support::namespace::Namespace;
use crate::support::probe;
use crate::support::trials::trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    trials![the_probe_is_in_the_container]
}

fn the_probe_is_in_the_container(namespace: &Namespace<'_>) {
    let requests = ["create /new", "read /new", "read /etc/passwd", "mkdir /run/a", "nonsense"];
    let answers = probe::run(namespace, &probe::image(), &[], &requests);
    for (request, answer) in requests.iter().zip(["ok", "ok", "ENOENT", "ok", "ENOEXEC"]) {
        assert_eq!(answers.to(request), answer, "{request}: {}", answers.output);
    }
    answers.output.expect_success();
}
