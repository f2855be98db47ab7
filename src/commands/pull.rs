//! `lighter pull`: an image from a registry, into the store of images.

use std::process::ExitCode;

use super::images::{self, FindArgs, Pull};

/// Fetch an image from a registry, so that containers of it start without asking for it
///
/// Images are kept in /var/lib/lighter/images, or for others than root in ~/.local/share/lighter/images, as an OCI layout.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image's name: app, example.com/team/app:1.2
    image: String,
    #[command(flatten)]
    find: FindArgs,
}

pub(crate) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    if images::is_path(&args.image) {
        anyhow::bail!("{}: is on this machine already, and needs no pulling", args.image);
    }
    // That is what this command is for, whether or not it is here.
    if args.find.pull == Pull::Missing {
        args.find.pull = Pull::Always;
    }
    let image = images::find(&args.image, &args.find)?;
    super::say(&format!("{}\n{}", image.digest, image.name))?;
    Ok(ExitCode::SUCCESS)
}
