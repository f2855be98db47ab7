//! What there is to run: a file, or an image's files and what its configuration says.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lighter::cache::{Form, form_of};
use lighter::config::Config;
use lighter::error::Refusal;
use lighter::layers::Layer;

use super::args::Args;
use super::environment::Environment;
use super::mount::Mount;
use super::signals;
use super::user::User;
use crate::commands::images::store::{Store, Unpacked};
use crate::commands::images::{self, Execution};

/// As Docker has it where the image says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program, found.
#[derive(Debug)]
pub(super) enum Program {
    File(WasmFile),
    Image(Box<Unpacked>, Execution),
}

/// A WebAssembly file of this machine.
#[derive(Debug)]
pub(super) struct WasmFile {
    path: PathBuf,
    /// Where it is in the container.
    inside: String,
    export: Option<String>,
    form: Option<Form>,
}

/// Finds what was asked for.
///
/// # Errors
/// [`lighter::error::Cause::NotFound`] when it is a file that does not exist, and `Denied` when it is no WebAssembly.
pub(super) fn find(args: &Args, config: &Config) -> Result<Program> {
    let text = args.command.first().map(String::as_str).unwrap_or_default();
    if let Some(file) = WasmFile::find(text)? {
        return Ok(Program::File(file));
    }
    let image = images::find(text, &args.find)?;
    let execution = image.execution();
    let unpacked = Store::open()?
        .unpacked(&image, config.compile.max_module_bytes)
        .with_context(|| format!("image {text}"))?;
    Ok(Program::Image(Box::new(unpacked), execution))
}

impl WasmFile {
    /// The file that `text` means, `PATH` or `PATH#EXPORT`; `None` if it does not mean a file of WebAssembly.
    fn find(text: &str) -> Result<Option<Self>> {
        let (path, export) = match text.rsplit_once('#') {
            Some((path, export)) if !Path::new(text).exists() => (path, Some(export.to_owned())),
            _ => (text, None),
        };
        let is_named = has_suffix(path);
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if !is_named => {
                log::debug!("{path}: {e}");
                return Ok(None);
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                bail!(Refusal::not_found(format!("{path}: there is no such file")))
            }
            Err(e) => bail!(Refusal::denied(format!("{path}: {e}"))),
        };
        let mut head = Vec::new();
        let is_file = file.metadata().is_ok_and(|facts| facts.is_file());
        if is_file {
            let read = file.by_ref().take(4096).read_to_end(&mut head);
            read.with_context(|| format!("read {path}"))?;
        }
        let is_meant = (is_named && is_file) || head.starts_with(b"\0asm");
        if !is_meant {
            return Ok(None);
        }
        let form = form_of(&head).map_err(|why| Refusal::denied(format!("{path}: {why}")))?;
        let absolute = std::path::absolute(path).with_context(|| path.to_owned())?;
        let name =
            absolute.file_name().and_then(|name| name.to_str()).filter(|name| !name.contains('#'));
        let inside = format!("/{}", name.unwrap_or("app.wasm"));
        Ok(Some(Self { path: absolute, inside, export, form: Some(form) }))
    }
}

fn has_suffix(path: &str) -> bool {
    [".wasm", ".wat"].iter().any(|suffix| path.ends_with(suffix))
}

impl Program {
    pub(super) fn is_image(&self) -> bool {
        matches!(self, Self::Image(..))
    }

    /// An image's files, if there are any.
    pub(super) fn root(&self) -> Option<&Path> {
        match self {
            Self::File(_) => None,
            Self::Image(unpacked, _) => Some(&unpacked.files),
        }
    }

    /// The WebAssembly that an image has beside its files.
    pub(super) fn layers(&self) -> &[Layer] {
        match self {
            Self::File(_) => &[],
            Self::Image(unpacked, _) => &unpacked.layers,
        }
    }

    /// The container's arguments, the program first.
    pub(super) fn arguments(&self, args: &Args) -> Result<Vec<String>> {
        let given = args.command.get(1..).unwrap_or_default();
        match (self, &args.entrypoint) {
            (Self::File(file), None) => {
                let export = file.export.iter().map(|export| format!("#{export}"));
                let program = std::iter::once(file.inside.clone()).chain(export).collect();
                Ok(std::iter::once(program).chain(given.iter().cloned()).collect())
            }
            (Self::File(file), Some(_)) => bail!(
                "--entrypoint: is of images; a file is run itself, or a function of its: {}#FUNCTION",
                file.path.display()
            ),
            (Self::Image(unpacked, execution), entrypoint) => {
                let all = of_image(execution, entrypoint.as_deref(), given);
                match all.is_empty() && unpacked.layers.is_empty() {
                    true => bail!(
                        "the image does not say what to run: name a program of its after the image"
                    ),
                    false => Ok(all),
                }
            }
        }
    }

    /// What an image's configuration says, and Docker adds; a file has none.
    pub(super) fn environment(&self, user: &User) -> Environment {
        let Self::Image(_, execution) = self else { return Environment::default() };
        let mut environment = Environment::of_image(execution.env.as_deref().unwrap_or_default());
        environment.set_default("PATH", PATH);
        environment.set_default("HOME", user.home.as_deref().unwrap_or("/"));
        environment
    }

    pub(super) fn working_directory(&self) -> &Path {
        let dir = match self {
            Self::File(_) => None,
            Self::Image(_, execution) => execution.working_dir.as_deref(),
        };
        Path::new(dir.filter(|dir| !dir.is_empty()).unwrap_or("/"))
    }

    /// Who runs it.
    pub(super) fn user(&self, args: &Args) -> Result<User> {
        let of_image = match self {
            Self::File(_) => None,
            Self::Image(_, execution) => execution.user.as_deref(),
        };
        let text = args.user.as_deref().or(of_image).unwrap_or_default();
        User::find(text, self.root()).map_err(anyhow::Error::msg)
    }

    /// What is mounted for it before all else.
    pub(super) fn mounts(&self) -> Option<Mount> {
        match self {
            Self::File(file) => {
                Some(Mount::bind(&file.path, &file.inside, &["ro", "nosuid", "nodev"]))
            }
            Self::Image(..) => None,
        }
    }

    /// The ports that an image says it listens on, `80/tcp,53/udp`.
    pub(super) fn exposed_ports(&self) -> Option<String> {
        let Self::Image(_, execution) = self else { return None };
        let ports = execution.exposed_ports.as_ref().filter(|ports| !ports.is_empty())?;
        Some(ports.keys().cloned().collect::<Vec<_>>().join(","))
    }

    /// Modules of WASI preview 1 cannot.
    pub(super) fn may_look_up_names(&self) -> bool {
        !matches!(self, Self::File(WasmFile { form: Some(Form::Module), .. }))
    }

    /// The signal that asks it to end, by its name or number.
    pub(super) fn stop_signal_name<'a>(&'a self, args: &'a Args) -> Option<&'a str> {
        let of_image = match self {
            Self::File(_) => None,
            Self::Image(_, execution) => execution.stop_signal.as_deref(),
        };
        args.stop_signal.as_deref().or(of_image).filter(|signal| !signal.is_empty())
    }

    /// The same by its number.
    pub(super) fn stop_signal(&self, args: &Args) -> Result<i32> {
        self.stop_signal_name(args)
            .map_or(Ok(libc::SIGTERM), |signal| signals::number(signal).context("--stop-signal"))
    }
}

/// As Docker has it: another entrypoint is without the image's command, and so is one with arguments.
fn of_image(execution: &Execution, entrypoint: Option<&str>, given: &[String]) -> Vec<String> {
    let own = || execution.entrypoint.clone().unwrap_or_default();
    let command = || execution.cmd.clone().unwrap_or_default();
    let (program, rest) = match entrypoint {
        Some("") => (Vec::new(), given.to_vec()),
        Some(program) => (vec![program.to_owned()], given.to_vec()),
        None if given.is_empty() => (own(), command()),
        None => (own(), given.to_vec()),
    };
    program.into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_those_of_docker() {
        let strings =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let execution = Execution {
            entrypoint: Some(strings(&["/app", "-v"])),
            cmd: Some(strings(&["serve"])),
            ..Execution::default()
        };
        for (entrypoint, given, expected) in [
            (None, &[][..], &["/app", "-v", "serve"][..]),
            (None, &["x", "y"], &["/app", "-v", "x", "y"]),
            (Some("/other"), &[], &["/other"]),
            (Some("/other"), &["x"], &["/other", "x"]),
            (Some(""), &["/x"], &["/x"]),
        ] {
            assert_eq!(of_image(&execution, entrypoint, &strings(given)), strings(expected));
        }
    }

    #[test]
    fn files_are_told_from_images() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("a.wat"), "(module)").unwrap();
        std::fs::write(path("b"), b"\0asm\x01\0\0\0").unwrap();
        std::fs::write(path("c.wasm"), b"\x7fELF").unwrap();
        std::fs::write(path("d.tar"), b"archive").unwrap();
        let found = |name: &str| WasmFile::find(&path(name));
        assert_eq!(found("a.wat").unwrap().unwrap().inside, "/a.wat");
        let module = found("b#run").unwrap().unwrap();
        assert_eq!((module.inside.as_str(), module.export.as_deref()), ("/b", Some("run")));
        assert_eq!(module.form, Some(Form::Module));
        assert!(found("d.tar").unwrap().is_none() && found("none").unwrap().is_none());
        assert!(found("").unwrap().is_none(), "a directory");
        let cause = |name| found(name).unwrap_err().downcast::<Refusal>().unwrap().cause;
        assert_eq!(cause("none.wasm"), lighter::error::Cause::NotFound);
        assert_eq!(cause("c.wasm"), lighter::error::Cause::Denied);
    }
}
