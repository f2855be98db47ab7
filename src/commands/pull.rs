//! `lighter pull`: an image from a registry, into the store of images.

use std::process::ExitCode;

use super::images::registry::RegistryArgs;
use super::images::{self, FindArgs, Platform, Pull};

/// Fetch an image from a registry, so that containers of it start without asking for it
///
/// Images are kept in $LIGHTER_IMAGES, by default in /var/lib/lighter/images for root and in
/// $XDG_DATA_HOME/lighter/images for others, as an OCI layout.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image's name: app, example.com/team/app:1.2
    image: String,
    /// Operating system and architecture to choose of an image for several [default: wasi/wasm, else linux and this
    /// machine's]
    #[arg(long, value_name = "OS/ARCH", value_parser = Platform::parse)]
    platform: Option<Platform>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if images::is_path(&args.image) {
        anyhow::bail!("{}: is on this machine already, and needs no pulling", args.image);
    }
    let Args { image, platform, registry } = args;
    let image = images::find(&image, &FindArgs { pull: Pull::Always, platform, registry })?;
    super::say(&format!("{}\n{}", image.digest, image.name))?;
    Ok(ExitCode::SUCCESS)
}
