//! Where certificates of authorities are, in images and on hosts.

use std::fs::File;
use std::path::Path;

use crate::error::{Refusal, Result};

/// The variable that names another file, as OpenSSL, Go and others read it.
pub const VARIABLE: &str = "SSL_CERT_FILE";

/// Where distributions keep them: Debian, Alpine and others; Fedora and its like; the BSDs, and Alpine.
pub const PLACES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Opens the host's: the file `named`, or the first of [`PLACES`] that is there; `None` if none is.
///
/// # Errors
/// When the one that is named cannot be opened.
pub fn of_host(named: Option<&Path>) -> Result<Option<File>> {
    let Some(path) = named else {
        return Ok(PLACES.iter().find_map(|path| File::open(path).ok()));
    };
    let failed = |e| {
        let path = path.display();
        Refusal::system(format!("ca_bundle in the node's configuration: open {path}"), e)
    };
    File::open(path).map(Some).map_err(failed)
}
