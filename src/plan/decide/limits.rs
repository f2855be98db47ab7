//! The engine's limits, from the bundle's resources and annotations and the node's configuration.

use oci_spec::runtime::Spec;

use crate::config::Config;
use crate::error::Result;
use crate::plan::Limits;

pub(super) fn limits(_spec: &Spec, _config: &Config) -> Result<Limits> {
    Ok(Limits::default())
}
