//! Where a message about the container's end belongs, by Kubernetes's convention.

use crate::bundle::Bundle;
use crate::plan::{Mount, MountSource};

/// kubelet's, where the pod says nothing.
const DEFAULT: &str = "/dev/termination-log";
/// `terminationMessagePath` of the pod, as kubelet tells the runtime.
const ANNOTATION: &str = "io.kubernetes.container.terminationMessagePath";

/// The file that the engine has mounted for the message, if it has and it can be written.
pub(super) fn message(bundle: &Bundle, mounts: &[Mount]) -> Option<String> {
    let annotation = bundle.spec.annotations().as_ref().and_then(|all| all.get(ANNOTATION));
    let path = annotation.map_or(DEFAULT, String::as_str);
    // The last of several at one place is the one to be seen.
    let mount = mounts.iter().rev().find(|mount| mount.destination == path)?;
    let is_bind = matches!(mount.source, MountSource::Bind { .. });
    (is_bind && !mount.is_read_only()).then(|| path.to_owned())
}
