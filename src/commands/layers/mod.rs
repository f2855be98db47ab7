//! `lighter layers ORDER`: has the WebAssembly layers of a container's image in the node's store, and lists them.
//!
//! See `lighter::layers` for who asks and why. The answer goes to standard output as JSON, a refusal as well.

mod grpc;
mod image;

use std::io::Write;
use std::process::ExitCode;

use lighter::cache::{Described, Digest, Store, Writer};
use lighter::error::{Refusal, Result};
use lighter::layers::{Answer, Layer, Order};

use grpc::Client;

/// List the WebAssembly layers of a container's image; for Lighter's own use
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// What to do, as JSON
    order: String,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let order: Order = serde_json::from_str(&args.order)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer: Answer = runtime.block_on(layers(&order));
    serde_json::to_writer(std::io::stdout().lock(), &answer)?;
    std::io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}

async fn layers(order: &Order) -> Answer {
    let mut client = Client::connect(&order.content).await?;
    let Some((name, target)) = image::of_container(&mut client, &order.container).await? else {
        return Ok(Vec::new());
    };
    let about = |refusal: Refusal| {
        let message = format!("image {name:?}: {}", refusal.message);
        Refusal { message, ..refusal }
    };
    let store = Store::open(&order.cache);
    // Without a store there is nothing to remember; what to do with layers then is decided once there are some.
    let digest = target.sha256().map_err(about)?;
    let known = || store.as_ref().ok().and_then(|store| store.layers_of(&digest));
    if let Some(layers) = known() {
        return Ok(list(&store, layers));
    }
    let _lock = store.as_ref().ok().and_then(|store| store.lock_image(&digest));
    if let Some(layers) = known() {
        return Ok(list(&store, layers));
    }

    let found = image::wasm_layers(&mut client, &target).await.map_err(about)?;
    let mut layers: Vec<Described> = Vec::new();
    for layer in found {
        let described = Described {
            digest: layer.sha256().map_err(about)?,
            bytes: layer.size,
            title: layer.title().map(str::to_owned),
        };
        if layer.size > order.max_module_bytes {
            return Err(about(Refusal::denied(format!(
                "layer {} has {} bytes, more than the {} that compile.max_module_bytes allows",
                layer.digest, layer.size, order.max_module_bytes
            ))));
        }
        layers.push(described);
    }
    match &store {
        Ok(store) => {
            for layer in layers.iter().filter(|layer| !store.has_layer(layer)) {
                keep(&mut client, store, layer).await.map_err(about)?;
            }
            if let Err(e) = store.remember_layers(&digest, &layers) {
                log::warn!("cannot remember the layers of {name:?}: {e}");
            }
        }
        Err(e) if !layers.is_empty() => {
            return Err(about(Refusal::system("there is nowhere to keep its layers", e)));
        }
        Err(_) => {}
    }
    Ok(list(&store, layers))
}

/// Copies a layer from containerd's content store to ours.
async fn keep(client: &mut Client, store: &Store, layer: &Described) -> Result<()> {
    let mut writer: Writer<'_> = store.write_layer(layer)?;
    let name = format!("sha256:{}", layer.digest);
    image::read(client, &name, |piece| writer.write(piece)).await?;
    writer.finish()
}

fn list(store: &Result<Store, String>, layers: Vec<Described>) -> Vec<Layer> {
    let file = |digest: &Digest| store.as_ref().map(|store| store.layer_path(digest));
    layers
        .into_iter()
        .filter_map(|Described { digest, title, .. }| {
            let file = file(&digest).ok()?;
            Some(Layer { digest: format!("sha256:{digest}"), title, file })
        })
        .collect()
}
