//! Where a container finds the WebAssembly layers of its image: as read-only files, at their titles and where its
//! entrypoint names one.
//!
//! From there on they are files like any: the runner opens its program inside, a second process can run another one.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use super::{CreateRequest, handler};
use crate::annotations::Handler;
use crate::bundle::Bundle;
use crate::error::{Refusal, Result};
use crate::layers::{self, Layer};
use crate::plan::{self, Entrypoint};

/// The name of a layer without a title, for an entrypoint that names none.
const UNTITLED: &str = "/module.wasm";

/// Adds mounts of the image's WebAssembly layers to the bundle, if its entrypoint is not among its files and the image has
/// such layers.
///
/// # Errors
/// When the layers cannot be had, or the entrypoint fits none or several of them.
pub(super) fn provide(bundle: &mut Bundle, request: &CreateRequest) -> Result<()> {
    let Some(content) = &request.content else { return Ok(()) };
    add_layers(bundle, || {
        layers::of(&request.id, content, &request.config, &request.programs.lighter)
    })
}

/// The same, of the layers that `layers` answers with, which is asked only where they are needed.
///
/// # Errors
/// As it has them; when the entrypoint fits none or several of the layers.
pub fn add_layers(bundle: &mut Bundle, layers: impl FnOnce() -> Result<Vec<Layer>>) -> Result<()> {
    let Some(process) = bundle.spec.process() else { return Ok(()) };
    if handler::is_sandbox(bundle) || bundle.requests.handler == Some(Handler::Linux) {
        return Ok(());
    }
    let is_empty = process.args().as_ref().is_none_or(Vec::is_empty);
    let entrypoint = if is_empty { any_program() } else { plan::entrypoint(process)? };
    if handler::is_there(bundle, &entrypoint.candidates) {
        return Ok(());
    }
    let about = |Refusal { cause, message }| {
        let what = match is_empty {
            true => "process.args: empty".to_owned(),
            false => {
                format!("process.args[0] {:?}: not in the root file system", entrypoint.name)
            }
        };
        Refusal { cause, message: format!("{what}, and the image's layers: {message}") }
    };
    let layers = layers().map_err(about)?;
    if layers.is_empty() {
        return Ok(());
    }
    let placed = place(&layers, &entrypoint).map_err(about)?;
    if let (Some(program), Some(process)) = (placed.program, bundle.spec.process_mut()) {
        let others = process.args().iter().flatten().skip(1).cloned();
        let args = std::iter::once(program).chain(others).collect();
        process.set_args(Some(args));
    }
    let is_mapped = has_user_namespace(&bundle.spec);
    let mounts = placed.files.into_iter().map(|(path, file)| mount(path, file, is_mapped));
    // Before all others, as part of the image: a volume hides what is beneath it, and gets no files of theirs.
    let others = bundle.spec.mounts().clone().unwrap_or_default();
    bundle.spec.set_mounts(Some(mounts.chain(others).collect()));
    Ok(())
}

/// What an image without an entrypoint asks for: its only program.
fn any_program() -> Entrypoint {
    Entrypoint { name: "/".to_owned(), candidates: vec!["/".to_owned()], export: None }
}

/// Which file goes where.
#[derive(Debug, PartialEq, Eq)]
struct Placed {
    /// Paths inside, and the files that go there.
    files: Vec<(String, PathBuf)>,
    /// The first of the arguments in place of one that cannot name a file.
    program: Option<String>,
}

/// Puts all layers at their titles, and the one that the entrypoint means where it says.
fn place(layers: &[Layer], entrypoint: &Entrypoint) -> Result<Placed> {
    let mut files = Vec::new();
    for layer in layers {
        if let Some(title) = &layer.title {
            let path = path_of(title).ok_or_else(|| {
                Refusal::invalid(format!("layer {}: its title {title:?} is no path", layer.digest))
            })?;
            if files.iter().any(|(other, _)| *other == path) {
                return Err(Refusal::invalid(format!("two layers have the title {title:?}")));
            }
            files.push((path, layer.file.clone()));
        }
    }
    let candidates: Vec<String> =
        entrypoint.candidates.iter().filter_map(|path| path_of(path)).collect();
    if files.iter().any(|(path, _)| candidates.contains(path)) {
        return Ok(Placed { files, program: None });
    }
    let layer = choose(layers, entrypoint)?;
    let program = match candidates.first() {
        Some(path) => {
            files.push((path.clone(), layer.file.clone()));
            None
        }
        // "/": a word for images that have but one program.
        None => {
            let path = layer.title.as_deref().and_then(path_of);
            if path.is_none() {
                files.push((UNTITLED.to_owned(), layer.file.clone()));
            }
            let export = entrypoint.export.as_ref().map(|export| format!("#{export}"));
            Some(path.unwrap_or_else(|| UNTITLED.to_owned()) + &export.unwrap_or_default())
        }
    };
    Ok(Placed { files, program })
}

/// The layer whose title ends in the file name of the entrypoint, else the only one there is.
fn choose<'l>(layers: &'l [Layer], entrypoint: &Entrypoint) -> Result<&'l Layer> {
    let file = entrypoint.name.split('#').next().and_then(|path| Path::new(path).file_name());
    let titled = |layer: &&Layer| {
        let title = layer.title.as_deref().and_then(|title| Path::new(title).file_name());
        title.is_some() && title == file
    };
    let fitting: Vec<_> = layers.iter().filter(titled).collect();
    match (fitting.as_slice(), layers) {
        ([layer], _) => Ok(layer),
        ([], [layer]) => Ok(layer),
        _ => {
            let list: Vec<_> = layers
                .iter()
                .map(|Layer { digest, title, .. }| match title {
                    Some(title) => format!("{title:?} ({digest})"),
                    None => format!("{digest} (without a title)"),
                })
                .collect();
            let which = if fitting.is_empty() { "none" } else { "more than one" };
            Err(Refusal::not_found(format!("{which} of them fits: {}", list.join(", "))))
        }
    }
}

/// An absolute path without detours; `None` for the root, or for what leads up.
fn path_of(title: &str) -> Option<String> {
    let mut path = String::new();
    for component in Path::new(title).components() {
        match component {
            Component::Normal(part) => path = path + "/" + part.to_str()?,
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!path.is_empty() && !path.contains('\0')).then_some(path)
}

fn has_user_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
    namespaces.unwrap_or_default().iter().any(|n| n.typ() == LinuxNamespaceType::User)
}

fn mount(path: String, file: PathBuf, is_mapped: bool) -> Mount {
    let mut options = vec!["bind", "ro", "nosuid", "nodev", "noexec"];
    if is_mapped {
        // Made by the supervisor: a container's root may not look into the node's store.
        options.push("idmap");
    }
    let mut mount = Mount::default();
    mount
        .set_destination(path.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(file))
        .set_options(Some(options.into_iter().map(str::to_owned).collect()));
    mount
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(title: Option<&str>) -> Layer {
        let digest = format!("sha256:{}", title.unwrap_or("untitled"));
        Layer { file: Path::new("/kept").join(&digest), digest, title: title.map(str::to_owned) }
    }

    fn placed(titles: &[Option<&str>], args0: &str, candidates: &[&str]) -> Result<Placed> {
        let layers: Vec<_> = titles.iter().map(|title| layer(*title)).collect();
        let entrypoint = Entrypoint {
            name: args0.to_owned(),
            candidates: candidates.iter().map(|path| (*path).to_owned()).collect(),
            export: args0.split_once('#').map(|(_, export)| export.to_owned()),
        };
        place(&layers, &entrypoint)
    }

    /// Where which layer is.
    fn paths(placed: &Placed) -> Vec<(&str, &str)> {
        let title = |file: &PathBuf| file.to_str().unwrap()["/kept/sha256:".len()..].len();
        placed
            .files
            .iter()
            .map(|(path, file)| {
                let file = file.to_str().unwrap();
                (path.as_str(), &file[file.len() - title(&PathBuf::from(file))..])
            })
            .collect()
    }

    #[test]
    fn a_title_is_a_path() {
        let one = placed(&[Some("app.wasm")], "/app.wasm", &["/app.wasm"]).unwrap();
        assert_eq!(paths(&one), [("/app.wasm", "app.wasm")]);
        let two =
            placed(&[Some("bin/a.wasm"), Some("/b.wasm")], "/bin/a.wasm#x", &["/bin//a.wasm"]);
        assert_eq!(paths(&two.unwrap()), [("/bin/a.wasm", "bin/a.wasm"), ("/b.wasm", "/b.wasm")]);
    }

    #[test]
    fn a_file_name_is_enough() {
        let titles = [Some("a.wasm"), Some("b.wasm"), None];
        let found = placed(&titles, "b.wasm", &["/usr/bin/b.wasm", "/bin/b.wasm"]).unwrap();
        assert_eq!(paths(&found)[2], ("/usr/bin/b.wasm", "b.wasm"));
        assert_eq!(found.program, None);
    }

    #[test]
    fn the_only_layer_has_any_name() {
        let only = placed(&[None], "/run", &["/run"]).unwrap();
        assert_eq!(paths(&only), [("/run", "untitled")]);
        let root = placed(&[None], "/#greet", &["/"]).unwrap();
        assert_eq!(paths(&root), [("/module.wasm", "untitled")]);
        assert_eq!(root.program.as_deref(), Some("/module.wasm#greet"));
        let titled = placed(&[Some("a.wasm")], "/", &["/"]).unwrap();
        assert_eq!(paths(&titled), [("/a.wasm", "a.wasm")]);
        assert_eq!(titled.program.as_deref(), Some("/a.wasm"));
    }

    #[test]
    fn what_fits_none_or_several_is_listed() {
        let error = placed(&[Some("a.wasm"), None], "/c.wasm", &["/c.wasm"]).unwrap_err().message;
        assert!(
            error.contains("none of them fits: \"a.wasm\" (sha256:a.wasm), sha256:"),
            "{error}"
        );
        let error = placed(&[Some("x/a"), Some("y/a")], "/a", &["/a"]).unwrap_err().message;
        assert!(error.contains("more than one"), "{error}");
    }

    #[test]
    fn no_title_leads_up_or_is_taken_twice() {
        for title in ["../a.wasm", "a/../../b", "..", "/", "", "."] {
            let error = placed(&[Some(title)], "/a", &["/a"]).unwrap_err().message;
            assert!(error.contains(&format!("its title {title:?} is no path")), "{error}");
        }
        let error = placed(&[Some("a"), Some("/./a")], "/a", &["/a"]).unwrap_err().message;
        assert!(error.contains("two layers have the title"), "{error}");
    }
}
