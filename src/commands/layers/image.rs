//! Images as containerd has them: of which one a container is, its manifest, and its layers.

use lighter::error::{Cause, Refusal, Result};
use lighter::layers::MEDIA_TYPES;

use super::grpc::Client;
use crate::commands::images::manifest::{
    Descriptor, MAX_MANIFEST, MAX_MANIFESTS, Manifest, suiting,
};

/// An image may have so many WebAssembly layers.
const MAX_LAYERS: usize = 64;

/// The image of a container: its name, and its manifest or index. `None` if it has none.
pub(super) async fn of_container(
    client: &mut Client,
    id: &str,
) -> Result<Option<(String, Descriptor)>> {
    let mut name = String::new();
    let request = api::Named { name: id.to_owned() };
    let method = "containerd.services.containers.v1.Containers/Get";
    client
        .call(method, &request, |answer: api::ContainerAnswer| {
            name = answer.container.map(|container| container.image).unwrap_or_default();
            Ok(())
        })
        .await?;
    if name.is_empty() {
        return Ok(None);
    }
    let mut target = None;
    let method = "containerd.services.images.v1.Images/Get";
    client
        .call(method, &api::Named { name: name.clone() }, |answer: api::ImageAnswer| {
            target = answer.image.and_then(|image| image.target);
            Ok(())
        })
        .await?;
    let target = target.ok_or_else(|| {
        Refusal::system(format_args!("image {name:?}"), "containerd does not say where it is")
    })?;
    let descriptor = Descriptor {
        media_type: target.media_type,
        digest: target.digest,
        size: target.size.unsigned_abs(),
        ..Descriptor::default()
    };
    Ok(Some((name, descriptor)))
}

/// The WebAssembly layers of the first manifest that suits and has any.
///
/// # Errors
/// Names a layer of a type that is neither WebAssembly nor an archive of files.
pub(super) async fn wasm_layers(
    client: &mut Client,
    target: &Descriptor,
) -> Result<Vec<Descriptor>> {
    let mut pending = vec![target.clone()];
    let mut seen = 0;
    while let Some(descriptor) = pending.pop() {
        seen += 1;
        if seen > MAX_MANIFESTS {
            return Err(Refusal::invalid(format!("it has more than {MAX_MANIFESTS} manifests")));
        }
        let manifest = match manifest(client, &descriptor).await {
            // Manifests of other platforms are often not there.
            Err(refusal) if refusal.cause == Cause::NotFound && seen > 1 => continue,
            read => read?,
        };
        // The last is looked at first.
        pending.extend(suiting(manifest.manifests, None).into_iter().rev());
        let others = manifest.layers.into_iter().filter(|layer| !layer.is_archive());
        let layers: Vec<_> = others.collect();
        if !layers.is_empty() {
            return check(layers);
        }
    }
    Ok(Vec::new())
}

fn check(layers: Vec<Descriptor>) -> Result<Vec<Descriptor>> {
    if let Some(layer) = layers.iter().find(|layer| !layer.is_wasm()) {
        return Err(Refusal::denied(format!(
            "layer {} is of type {:?}, which is neither an archive of files nor one of {}",
            layer.digest,
            layer.media_type,
            MEDIA_TYPES.join(", ")
        )));
    }
    if layers.len() > MAX_LAYERS {
        let count = layers.len();
        return Err(Refusal::denied(format!(
            "it has {count} WebAssembly layers, more than {MAX_LAYERS}"
        )));
    }
    Ok(layers)
}

async fn manifest(client: &mut Client, descriptor: &Descriptor) -> Result<Manifest> {
    let digest = &descriptor.digest;
    let about = |what: &str| Refusal::invalid(format!("manifest {digest}: {what}"));
    if descriptor.size > MAX_MANIFEST {
        return Err(about(&format!("has {} bytes, more than {MAX_MANIFEST}", descriptor.size)));
    }
    let mut text = Vec::new();
    read(client, digest, |piece| {
        text.extend_from_slice(piece);
        match text.len() as u64 > descriptor.size {
            true => Err(about(&format!("has more than the {} bytes it should", descriptor.size))),
            false => Ok(()),
        }
    })
    .await?;
    if lighter::cache::Digest::of(&text) != descriptor.sha256()? {
        return Err(about("its content is not what its digest says"));
    }
    serde_json::from_slice(&text).map_err(|e| about(&e.to_string()))
}

/// Reads content by its digest, piece by piece.
pub(super) async fn read(
    client: &mut Client,
    digest: &str,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let request = api::ReadContent { digest: digest.to_owned() };
    let method = "containerd.services.content.v1.Content/Read";
    client.call(method, &request, |answer: api::Content| take(&answer.data)).await
}

/// The few messages of containerd's API that are needed, with the few fields of them.
mod api {
    /// `GetContainerRequest`, `GetImageRequest`.
    #[derive(prost::Message)]
    pub(super) struct Named {
        #[prost(string, tag = "1")]
        pub(super) name: String,
    }

    /// `GetContainerResponse`
    #[derive(prost::Message)]
    pub(super) struct ContainerAnswer {
        #[prost(message, tag = "1")]
        pub(super) container: Option<Container>,
    }

    /// `Container`
    #[derive(prost::Message)]
    pub(super) struct Container {
        #[prost(string, tag = "3")]
        pub(super) image: String,
    }

    /// `GetImageResponse`
    #[derive(prost::Message)]
    pub(super) struct ImageAnswer {
        #[prost(message, tag = "1")]
        pub(super) image: Option<Image>,
    }

    /// `Image`
    #[derive(prost::Message)]
    pub(super) struct Image {
        #[prost(message, tag = "3")]
        pub(super) target: Option<Target>,
    }

    /// `Descriptor`
    #[derive(prost::Message)]
    pub(super) struct Target {
        #[prost(string, tag = "1")]
        pub(super) media_type: String,
        #[prost(string, tag = "2")]
        pub(super) digest: String,
        #[prost(int64, tag = "3")]
        pub(super) size: i64,
    }

    /// `ReadContentRequest`
    #[derive(prost::Message)]
    pub(super) struct ReadContent {
        #[prost(string, tag = "1")]
        pub(super) digest: String,
    }

    /// `ReadContentResponse`
    #[derive(prost::Message)]
    pub(super) struct Content {
        #[prost(bytes = "vec", tag = "2")]
        pub(super) data: Vec<u8>,
    }
}
