//! containerd as kubelet sees it: a node with the CRI plugin switched on, and the pods on it.
//!
//! [`Kubelet`] makes each request as kubelet does; a test changes what it is about in the request itself, which is the
//! type of the protocol (`k8s_cri::v1`).

mod configuration;
mod group;
mod kubelet;
mod log;
mod node;
mod pod;
pub mod socket;

pub use configuration::{NETWORK_PLUGINS, network_plugins};
pub use group::Group;
pub use kubelet::Kubelet;
pub use log::{Line, Stream};
pub use node::Node;
pub use pod::{Container, Pod};
