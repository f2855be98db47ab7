//! The walls around the guest's process: those the bundle names, and ours.

use oci_spec::runtime::Spec;

use super::seccomp::seccomp;
use crate::config::Config;
use crate::error::Result;
use crate::host::Host;
use crate::plan::{Confinement, Wall};

pub(super) fn confinement(spec: &Spec, host: &Host, _config: &Config) -> Result<Confinement> {
    let missing = if host.seccomp { vec![] } else { vec![Wall::Seccomp] };
    Ok(Confinement { seccomp: seccomp(spec, host)?, missing })
}
