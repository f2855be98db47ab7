//! Whose certificates a guest believes: those of its image, or else the host's. They are read when it asks by `https` for the
//! first time, so that all others pay nothing for them.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use lighter::certificates;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

/// No bundle is larger: those of distributions are a quarter of a megabyte.
const MOST_BYTES: u64 = 8 << 20;
/// Servers whose sessions are kept, so that the next connection to one is made in less time.
const SESSIONS: usize = 32;

/// Where certificates are looked for, and what came of it.
pub(super) struct Roots {
    /// The file that the guest's environment names.
    named: Option<String>,
    /// The host's, for an image that has none.
    host: Option<File>,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Roots {
    pub(super) fn new(env: &[(String, String)], host: Option<File>) -> Self {
        Self { named: named(env).map(str::to_owned), host, config: OnceCell::new() }
    }

    /// How connections are made, with the certificates read if they were not yet.
    ///
    /// # Errors
    /// A sentence on the file that cannot be used, or that there is none. It is tried again the next time.
    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        self.config.get_or_try_init(async || self.read().and_then(client)).await.cloned()
    }

    fn read(&self) -> Result<RootCertStore, String> {
        if let Some(path) = &self.named {
            let variable = certificates::VARIABLE;
            let found = open(path).and_then(|file| parse(&file));
            let store = found.map_err(|error| format!("{variable}={path:?}: {error}"))?;
            return match store.is_empty() {
                true => Err(format!("{variable}={path:?}: there is no certificate in it")),
                false => Ok(store),
            };
        }
        let of_image = certificates::PLACES.iter().filter_map(|path| open(path).ok());
        let of_host = self.host.iter().filter_map(|file| file.try_clone().ok());
        of_image
            .chain(of_host)
            .filter_map(|file| parse(&file).ok())
            .find(|store| !store.is_empty())
            .ok_or_else(|| {
                "neither the image nor the host has CA certificates at one of the usual places"
                    .to_owned()
            })
    }
}

/// Whether a guest with this environment finds certificates in its own image, or is to find none elsewhere.
pub(crate) fn are_in_image(env: &[(String, String)]) -> bool {
    named(env).is_some() || certificates::PLACES.iter().any(|path| Path::new(path).exists())
}

fn named(env: &[(String, String)]) -> Option<&str> {
    let of =
        |(name, value): &'_ (String, String)| name == certificates::VARIABLE && !value.is_empty();
    env.iter().rev().find(|pair| of(pair)).map(|(_, path)| path.as_str())
}

/// As the guest itself could: the path leads through its own files, and it may be anything.
fn open(path: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file")),
    }
}

/// The certificates of a file in PEM. What is none, or of a kind that nobody can use, is left out, as everywhere.
fn parse(mut file: &File) -> io::Result<RootCertStore> {
    let mut text = Vec::new();
    file.rewind()?;
    if file.take(MOST_BYTES).read_to_end(&mut text)? as u64 == MOST_BYTES {
        return Err(io::Error::other(format!("it is larger than {MOST_BYTES} bytes")));
    }
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
    Ok(store)
}

fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![super::tls::HTTP_2.to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_named_and_no_bundle_is_named_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "no certificate\n").expect("written");
        let long = dir.path().join("long.pem");
        File::create(&long).and_then(|file| file.set_len(MOST_BYTES)).expect("written");
        for (path, why) in [
            (dir.path().join("none"), "No such file or directory"),
            (dir.path().to_owned(), "it is no file"),
            (empty, "there is no certificate in it"),
            (long, "it is larger than 8388608 bytes"),
        ] {
            let path = path.to_str().expect("text");
            let env = [("SSL_CERT_FILE".to_owned(), path.to_owned())];
            let error = Roots::new(&env, None).read().expect_err(why);
            assert!(error.starts_with(&format!("SSL_CERT_FILE={path:?}: {why}")), "{error}");
        }
    }

    #[test]
    fn the_last_value_of_the_variable_counts_unless_it_is_empty() {
        let env = |values: &[&str]| -> Vec<(String, String)> {
            values.iter().map(|value| ("SSL_CERT_FILE".into(), (*value).into())).collect()
        };
        assert_eq!(named(&env(&["/a", "/b"])), Some("/b"));
        assert_eq!(named(&env(&[""])), None);
        assert_eq!(named(&[("SSL_CERT_DIR".into(), "/a".into())]), None);
    }
}
