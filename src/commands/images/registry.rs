//! Registries: pulling into the store, and pushing what was built.

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use lighter::cache::Digest;
use oci_client::client::{ClientConfig, ClientProtocol, LayerDescriptor};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, RegistryOperation};
use tokio::io::AsyncWrite;

use super::manifest::{Descriptor, INDEX, MANIFEST, MAX_MANIFEST, Manifest, suiting};
use super::store::{Store, Writer};
use super::{FindArgs, Reference, credentials};

/// How a registry is talked to.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RegistryArgs {
    /// Whether the registry must prove who it is; without, plain HTTP will do, too [default: true, but for this machine's own]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) tls_verify: Option<bool>,
    /// File with credentials [default: $REGISTRY_AUTH_FILE, else those of podman, skopeo and docker]
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
}

/// The types of manifests that are asked for.
const ACCEPTED: [&str; 4] = [
    MANIFEST,
    INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// How long a registry may take to accept a connection, and then to say anything.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of the largest layer that is pulled.
const MAX_BLOB: u64 = 32 << 30;

/// Layers of the highest image that is pulled: as many as Docker allows.
const MAX_LAYERS: usize = 127;

/// Pulls all of an image for this machine into the store, and names it there.
///
/// # Errors
/// Says what the registry says, or what is wrong with what it sends.
pub(super) fn pull(reference: &Reference, store: &Store, args: &FindArgs) -> Result<()> {
    // What is there already, and is to be a part of it, must not be removed meanwhile.
    let _lock = store.lock()?;
    wait_for(async {
        let registry =
            Registry::connect(reference, &args.registry, RegistryOperation::Pull).await?;
        let root = registry.manifest(store, None).await?;
        let mut manifest: Manifest = root.1;
        let mut depth = 0;
        while manifest.config.is_none() && manifest.layers.is_empty() {
            let mut best = suiting(manifest.manifests, args.platform.as_ref()).into_iter();
            let Some(best) = best.next() else {
                bail!("the registry has it, but for no platform that suits this machine");
            };
            depth += 1;
            if depth > 4 {
                bail!("an index of an index of an index: too deep");
            }
            manifest = registry.manifest(store, Some(&best)).await?.1;
        }
        if manifest.layers.len() > MAX_LAYERS {
            bail!("it has {} layers, more than {MAX_LAYERS}", manifest.layers.len());
        }
        for blob in manifest.config.iter().chain(&manifest.layers) {
            registry.blob(store, blob).await?;
        }
        store.name(&reference.to_string(), root.0)
    })
}

/// Pushes blobs, each with its digest, and an image's manifest that refers to them, and calls it `reference` there.
///
/// # Errors
/// Says what the registry says.
pub(crate) fn push(
    reference: &Reference,
    blobs: &[(String, &[u8])],
    manifest: &[u8],
    args: &RegistryArgs,
) -> Result<()> {
    wait_for(async {
        let registry = Registry::connect(reference, args, RegistryOperation::Push).await?;
        for (digest, bytes) in blobs {
            registry.push_blob(digest, bytes).await?;
        }
        let kind = http::HeaderValue::from_static(MANIFEST);
        let pushed = registry.client.push_manifest_raw(&registry.target, manifest.to_vec(), kind);
        pushed.await.map(drop).map_err(|e| registry.explain(e))
    })
    .with_context(|| format!("push {reference}"))
}

fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    // The first to ask decides; whoever comes later has the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// A registry that has answered, and one image's name in it.
struct Registry {
    client: Client,
    target: oci_client::Reference,
    auth: RegistryAuth,
    host: String,
}

impl Registry {
    /// Finds out how the registry talks, and who we are to it. This machine's own may have any certificate or none, and
    /// so may others that need not prove who they are.
    async fn connect(
        reference: &Reference,
        args: &RegistryArgs,
        operation: RegistryOperation,
    ) -> Result<Self> {
        let host = reference.registry.clone();
        let is_trusted = !args.tls_verify.unwrap_or(!is_local(&host));
        let auth = match credentials::find(reference, args.authfile.as_deref())? {
            Some((user, password)) => RegistryAuth::Basic(user, password),
            None => RegistryAuth::Anonymous,
        };
        let (registry, repository) = (host.clone(), reference.repository.clone());
        let target = match reference.digest() {
            Some(digest) => {
                oci_client::Reference::with_digest(registry, repository, digest.to_owned())
            }
            None => {
                oci_client::Reference::with_tag(registry, repository, reference.tag().to_owned())
            }
        };
        let protocols = match is_trusted {
            true => vec![ClientProtocol::Https, ClientProtocol::Http],
            false => vec![ClientProtocol::Https],
        };
        let mut last = None;
        for protocol in protocols {
            let config = ClientConfig {
                protocol,
                accept_invalid_certificates: is_trusted,
                use_monolithic_push: true,
                connect_timeout: Some(CONNECT_TIMEOUT),
                read_timeout: Some(READ_TIMEOUT),
                user_agent: concat!("lighter/", env!("CARGO_PKG_VERSION")),
                ..ClientConfig::default()
            };
            let client = Client::try_from(config).context("prepare for TLS")?;
            let (target, auth) = (target.clone(), auth.clone());
            let registry = Self { client, target, auth, host: host.clone() };
            match registry.client.auth(&registry.target, &registry.auth, operation).await {
                Ok(_) => return Ok(registry),
                Err(e @ OciDistributionError::RequestError(_)) => last = Some(registry.explain(e)),
                Err(e) => return Err(registry.explain(e)),
            }
        }
        Err(last.unwrap_or_else(|| anyhow!("registry {host}: cannot be reached")))
    }

    /// Keeps the manifest or index that the image's name stands for, or that `descriptor` names.
    async fn manifest(
        &self,
        store: &Store,
        descriptor: Option<&Descriptor>,
    ) -> Result<(Descriptor, Manifest)> {
        let target = match descriptor {
            Some(descriptor) => {
                descriptor.sha256()?;
                self.target.clone_with_digest(descriptor.digest.clone())
            }
            None => self.target.clone(),
        };
        let pulled = self.client.pull_manifest_raw(&target, &self.auth, &ACCEPTED);
        let (bytes, _) = pulled.await.map_err(|e| self.explain(e))?;
        let size = bytes.len() as u64;
        if size > MAX_MANIFEST {
            bail!("its manifest has {size} bytes, more than {MAX_MANIFEST}");
        }
        let digest = format!("sha256:{}", Digest::of(&bytes));
        if let Some(wanted) = target.digest()
            && wanted != digest
        {
            bail!("manifest {wanted} is not what its digest says: its content has {digest}");
        }
        let manifest: Manifest =
            serde_json::from_slice(&bytes).with_context(|| format!("manifest {digest}"))?;
        store.put(&bytes)?;
        let media_type = if manifest.manifests.is_empty() { MANIFEST } else { INDEX };
        let media_type = manifest.media_type.clone().unwrap_or_else(|| media_type.to_owned());
        Ok((Descriptor { media_type, digest, size, ..Descriptor::default() }, manifest))
    }

    /// Keeps a blob, unless it is there.
    async fn blob(&self, store: &Store, descriptor: &Descriptor) -> Result<()> {
        let digest = descriptor.sha256()?;
        if store.has(&digest) {
            return Ok(());
        }
        let size = descriptor.size;
        if size > MAX_BLOB {
            bail!("blob {} has {size} bytes, more than {MAX_BLOB}", descriptor.digest);
        }
        let mut sink = Sink { writer: store.writer()?, left: size, failure: None };
        let named = LayerDescriptor { digest: &descriptor.digest, urls: &None };
        let pulled = self.client.pull_blob(&self.target, &named, &mut sink).await;
        let Sink { writer, left, failure } = sink;
        if let Some(failure) = failure {
            return Err(failure).with_context(|| format!("blob {}", descriptor.digest));
        }
        match pulled {
            Err(OciDistributionError::DigestError(_)) | Ok(()) if left > 0 => {
                bail!("blob {} is cut short: of {size} bytes {left} are missing", descriptor.digest)
            }
            // The better words are those of the writer.
            Err(OciDistributionError::DigestError(_)) => {}
            pulled => pulled.map_err(|e| self.explain(e))?,
        }
        writer.finish(store, &digest)
    }

    async fn push_blob(&self, digest: &str, bytes: &[u8]) -> Result<()> {
        let is_there = self.client.blob_exists(&self.target, digest).await;
        if is_there.map_err(|e| self.explain(e))? {
            return Ok(());
        }
        let pushed = self.client.push_blob(&self.target, bytes.to_vec(), digest);
        pushed.await.map(drop).map_err(|e| self.explain(e))
    }

    /// An error in words for whoever has typed the image's name.
    fn explain(&self, error: OciDistributionError) -> anyhow::Error {
        use OciDistributionError as E;
        let Self { host, target, .. } = self;
        let denied = || match self.auth {
            RegistryAuth::Anonymous => anyhow!(
                "registry {host}: not allowed without credentials, or there is no such repository; `podman login {host}` or \
                 `docker login {host}` keeps credentials that are used here, too"
            ),
            _ => anyhow!(
                "registry {host}: the credentials that are kept for it are refused, or do not allow this"
            ),
        };
        let missing = || anyhow!("registry {host} has no {}", named(target));
        match error {
            E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => denied(),
            E::ServerError { code: 401 | 403, .. } => denied(),
            E::ServerError { code: 404, .. } | E::ImageManifestNotFoundError(_) => missing(),
            E::RegistryError { envelope, url } => {
                let has = |wanted: &[OciErrorCode]| {
                    envelope.errors.iter().any(|error| wanted.contains(&error.code))
                };
                if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                    return denied();
                }
                if has(&[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::NotFound,
                ]) {
                    return missing();
                }
                if has(&[OciErrorCode::BlobUnknown]) {
                    return anyhow!("registry {host} lacks a part of {}: {url}", named(target));
                }
                let said: Vec<_> = envelope.errors.iter().map(|e| one_line(&e.message)).collect();
                anyhow!("registry {host} says: {}", said.join("; "))
            }
            E::ServerError { code, message, .. } => {
                anyhow!("registry {host} answers with {code}: {}", one_line(&message))
            }
            E::RequestError(e) if e.is_connect() => {
                anyhow::Error::from(e).context(format!("registry {host} cannot be reached"))
            }
            E::RequestError(e) if e.is_timeout() => {
                anyhow::Error::from(e).context(format!("registry {host} does not answer"))
            }
            other => anyhow::Error::from(other).context(format!("registry {host}")),
        }
    }
}

/// The image in its repository.
fn named(target: &oci_client::Reference) -> String {
    let repository = target.repository();
    match (target.digest(), target.tag()) {
        (Some(digest), _) => format!("{digest} in the repository {repository}"),
        (None, tag) => format!("tag {:?} in the repository {repository}", tag.unwrap_or("latest")),
    }
}

/// What a registry says goes to a terminal.
fn one_line(text: &str) -> String {
    lighter::error::Refusal::invalid(text.trim()).message
}

/// Whether a registry is on this machine, where Docker asks for no certificate either.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    name == "localhost"
        || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Where a blob goes as it comes: no more than was announced.
struct Sink {
    writer: Writer,
    left: u64,
    failure: Option<io::Error>,
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => self.writer.write_all(bytes).map(|()| left),
            None => Err(io::Error::other("has more bytes than its manifest says")),
        };
        Poll::Ready(match written {
            Ok(left) => {
                self.left = left;
                Ok(bytes.len())
            }
            Err(e) => {
                let kind = e.kind();
                self.failure = Some(e);
                Err(kind.into())
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_registries_need_no_certificate() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["docker.io", "localhost.example.com", "10.0.0.1:5000", "128.0.0.1"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
