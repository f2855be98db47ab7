//! The walls around the guest's process: those the bundle names, and ours.

use oci_spec::runtime::Spec;

use crate::config::Config;
use crate::error::Result;
use crate::host::Host;
use crate::plan::Confinement;

pub(super) fn confinement(_spec: &Spec, _host: &Host, _config: &Config) -> Result<Confinement> {
    Ok(Confinement::default())
}
