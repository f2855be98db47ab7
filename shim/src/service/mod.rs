//! What containerd speaks: the only place that knows its types.

mod answers;
mod convert;
mod pod;
mod publish;
mod sandbox;
mod task;

pub(crate) use answers::{Caller, bootstrap_answer, delete_answer, runtime_info};
pub(crate) use publish::publish;
pub(crate) use task::services;
