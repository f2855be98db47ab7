//! `lighter build`: a WebAssembly program as an image that registries and container engines take.

mod form;
mod layout;
mod rootfs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use lighter::cache::{Form as Wasm, form_of};
use serde_json::{Map, Value, json};

use super::host_architecture;
use super::images::registry::RegistryArgs;
use super::images::{Platform, Reference};
use form::Image;
use rootfs::Added;

/// Pack a WebAssembly program into an image
///
/// The image is written as an OCI layout: what `ctr image import`, `podman load`, `docker load`, `nerdctl load`, and
/// `skopeo copy oci-archive:…` read; or pushed to a registry, with the credentials of `podman login` or `docker login`.
/// The same input makes the same bytes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The program: a module or component, binary (.wasm) or text (.wat), which becomes binary
    #[arg(value_name = "FILE")]
    program: PathBuf,
    /// Arguments that the program gets unless others are given when it is run
    #[arg(last = true, value_name = "ARG")]
    args: Vec<String>,
    /// The image's name: app, example.com/team/app:1.2
    #[arg(short, long, value_name = "NAME", value_parser = Reference::parse_new)]
    tag: Reference,
    /// Where it goes: a tar file if the name ends in .tar, standard output if it is -, else a directory
    #[arg(short, long, value_name = "PATH", required_unless_present = "push")]
    output: Option<PathBuf>,
    /// Push it to the registry that its name begins with
    #[arg(long)]
    push: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// How the program lies in the image
    #[arg(long, value_enum, default_value_t = Form::Rootfs)]
    form: Form,
    /// Operating system and architecture that the image is for [default: linux and this machine's for a rootfs, wasi/wasm
    /// for a layer]
    #[arg(long, value_name = "OS/ARCH", value_parser = Platform::parse)]
    platform: Option<Platform>,
    /// The program's path in the container, and then perhaps the function to call: /bin/app.wasm#export [default: / and the
    /// file's name]
    #[arg(long, value_name = "PATH")]
    entrypoint: Option<String>,
    /// Add a file or a directory to the root file system (rootfs only); may be repeated
    #[arg(long, value_name = "SOURCE:PATH", value_parser = Added::parse)]
    add: Vec<Added>,
    /// Set a variable of the environment; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// The user and group that run the program, as numbers: 1000, 1000:1000
    #[arg(short, long, value_name = "UID[:GID]", value_parser = user)]
    user: Option<String>,
    /// The working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Set a label; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Set an annotation of the manifest; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    annotation: Vec<(String, String)>,
}

/// How a program lies in its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// As a file of a root file system: for every engine
    Rootfs,
    /// As a layer of its own, with an ordinary configuration
    Layer,
    /// As an artifact after CNCF's conventions, with no configuration but what the program itself needs
    Artifact,
}

/// What an image is for if nothing else is said.
fn default_platform(form: Form) -> Platform {
    let (os, architecture) = match form {
        Form::Layer | Form::Artifact => ("wasi", "wasm"),
        Form::Rootfs => ("linux", host_architecture()),
    };
    Platform { os: os.to_owned(), architecture: architecture.to_owned() }
}

pub(crate) fn run(args: Box<Args>) -> Result<ExitCode> {
    let (wasm, kind) = program(&args.program)?;
    let platform = args.platform.clone().unwrap_or_else(|| default_platform(args.form));
    let annotations: Map<String, Value> =
        args.annotation.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    let image = match args.form {
        Form::Rootfs => {
            let entrypoint = args.entrypoint()?;
            let files = rootfs::archive(&wasm, file_of(&entrypoint), &args.add)?;
            Image::of_rootfs(&files, &platform, args.config(&entrypoint), annotations)?
        }
        Form::Layer => {
            args.refuse_files()?;
            let entrypoint = args.entrypoint()?;
            let config = args.config(&entrypoint);
            Image::of_layer(wasm, kind, file_of(&entrypoint), &platform, config, annotations)
        }
        Form::Artifact => {
            args.refuse_files()?;
            args.refuse_config()?;
            Image::of_artifact(wasm, kind, annotations)?
        }
    };
    if let Some(output) = &args.output {
        layout::write(&image, &args.tag, output)?;
    }
    if args.push {
        image.push(&args.tag, &args.registry)?;
    }
    if args.output.as_deref() != Some(Path::new("-")) {
        super::say(&format!("{}\n{}", image.digest(), args.tag))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// The program's path in the container, with the function that it names.
    fn entrypoint(&self) -> Result<String> {
        let entrypoint = match &self.entrypoint {
            Some(path) => path.clone(),
            None => {
                let stem = self.program.file_stem().and_then(|name| name.to_str());
                let stem = stem.ok_or_else(|| anyhow!("{:?}: not UTF-8 text", self.program))?;
                format!("/{stem}.wasm")
            }
        };
        let file = file_of(&entrypoint);
        if !file.starts_with('/') || file.ends_with('/') || file.split('/').any(|part| part == "..")
        {
            bail!("--entrypoint {entrypoint:?}: not the absolute path of a file");
        }
        Ok(entrypoint)
    }

    /// The `config` of an image's configuration, after OCI's image specification.
    fn config(&self, entrypoint: &str) -> Value {
        let mut config = json!({ "Entrypoint": [entrypoint] });
        if !self.args.is_empty() {
            config["Cmd"] = json!(self.args);
        }
        if !self.env.is_empty() {
            let lines = self.env.iter().map(|(name, value)| format!("{name}={value}"));
            config["Env"] = lines.collect();
        }
        if let Some(user) = &self.user {
            config["User"] = json!(user);
        }
        if let Some(dir) = &self.workdir {
            config["WorkingDir"] = json!(dir);
        }
        if !self.label.is_empty() {
            config["Labels"] = self.label.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        }
        config
    }

    fn refuse_files(&self) -> Result<()> {
        match self.add.is_empty() {
            true => Ok(()),
            false => bail!("--add: only an image of the form rootfs has files beside its program"),
        }
    }

    /// An artifact has no place for any of these: whoever runs it says them.
    fn refuse_config(&self) -> Result<()> {
        let given = [
            ("--entrypoint", self.entrypoint.is_some()),
            ("--env", !self.env.is_empty()),
            ("--user", self.user.is_some()),
            ("--workdir", self.workdir.is_some()),
            ("--label", !self.label.is_empty()),
            ("--platform", self.platform.is_some()),
            ("arguments", !self.args.is_empty()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((what, _)) => {
                bail!("{what}: an artifact has no place for it; the forms rootfs and layer have")
            }
        }
    }
}

/// Reads the program; text becomes binary.
fn program(path: &Path) -> Result<(Vec<u8>, Wasm)> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let named = || path.display().to_string();
    let mut form = form_of(&bytes).map_err(|why| anyhow!("{}: {why}", named()))?;
    let wasm = match form {
        Wasm::Text => {
            let wasm = wat::Parser::new()
                .parse_bytes(Some(path), &bytes)
                .with_context(named)?
                .into_owned();
            form = form_of(&wasm).map_err(|why| anyhow!("{}: {why}", named()))?;
            wasm
        }
        Wasm::Module | Wasm::Component => bytes,
    };
    Ok((wasm, form))
}

/// The path without the function after `#`.
fn file_of(entrypoint: &str) -> &str {
    entrypoint.split('#').next().unwrap_or_default()
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not of the form NAME=VALUE".into()),
    }
}

/// An image without a passwd file knows no names.
fn user(text: &str) -> Result<String, String> {
    let numbers = text.split(':').all(|id| id.parse::<u32>().is_ok());
    match numbers && text.split(':').count() <= 2 {
        true => Ok(text.to_owned()),
        false => {
            Err("not a number, or two with a colon between: the image has no names of users".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_pairs() {
        assert!(user("1000:1000").is_ok() && user("7").is_ok());
        assert!(user("root").is_err() && user("1:2:3").is_err() && user("").is_err());
        assert_eq!(pair("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert!(pair("=b").is_err());
    }
}
