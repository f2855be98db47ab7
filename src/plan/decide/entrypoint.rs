//! Where the program is: `process.args[0]` is a path, or a name looked up in `PATH`, and may name an export.

use oci_spec::runtime::Process;

use super::process::{environment, working_directory};
use crate::error::{Refusal, Result};
use crate::plan::Entrypoint;

/// What runc and shells look through where the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Reads the entrypoint of a process.
///
/// # Errors
/// When `process.args` is empty, or its first element names no file or an empty export.
pub fn entrypoint(process: &Process) -> Result<Entrypoint> {
    let name = process
        .args()
        .as_ref()
        .and_then(|args| args.first())
        .ok_or_else(|| Refusal::invalid("process.args: empty; it must name a .wasm file"))?;
    let (file, export) = match name.split_once('#') {
        Some((_, "")) => {
            return Err(Refusal::invalid(format!(
                "process.args[0] {name:?}: no export is named after the '#'"
            )));
        }
        Some((file, export)) => (file, Some(export.to_owned())),
        None => (name.as_str(), None),
    };
    if file.is_empty() {
        return Err(Refusal::invalid(format!("process.args[0] {name:?}: names no file")));
    }
    Ok(Entrypoint { name: name.clone(), candidates: candidates(file, process)?, export })
}

/// A name with a slash is a path, relative to the working directory; any other is searched for.
fn candidates(file: &str, process: &Process) -> Result<Vec<String>> {
    let cwd = working_directory(process)?;
    let below = |dir: &str| match dir {
        "" => join(&cwd, file),
        dir if dir.starts_with('/') => join(dir, file),
        dir => join(&join(&cwd, dir), file),
    };
    if file.starts_with('/') {
        return Ok(vec![file.to_owned()]);
    }
    if file.contains('/') {
        return Ok(vec![below("")]);
    }
    let env = environment(process)?;
    let path = env.iter().rev().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_str());
    Ok(path.unwrap_or(DEFAULT_PATH).split(':').map(below).collect())
}

fn join(dir: &str, file: &str) -> String {
    format!("{}/{file}", dir.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::ProcessBuilder;

    use super::*;

    fn of(args: &[&str], env: &[&str], cwd: &str) -> Result<Entrypoint> {
        let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        entrypoint(
            &ProcessBuilder::default()
                .args(strings(args))
                .env(strings(env))
                .cwd(cwd)
                .build()
                .expect("a process"),
        )
    }

    #[test]
    fn paths_names_and_exports() {
        let path = of(&["/app.wasm"], &[], "/").unwrap();
        assert_eq!((path.candidates, path.export), (vec!["/app.wasm".to_owned()], None));
        let export = of(&["/app.wasm#greet"], &[], "/").unwrap();
        assert_eq!(export.candidates, ["/app.wasm"]);
        assert_eq!(export.export.as_deref(), Some("greet"));
        assert_eq!(of(&["bin/app.wasm"], &[], "/srv/").unwrap().candidates, ["/srv/bin/app.wasm"]);
        let found = of(&["app"], &["PATH=/opt/bin::rel:/"], "/srv").unwrap();
        assert_eq!(found.candidates, ["/opt/bin/app", "/srv/app", "/srv/rel/app", "/app"]);
    }

    #[test]
    fn refuses_what_names_nothing() {
        for args in [&[][..], &[""], &["#x"], &["/a.wasm#"]] {
            assert!(
                of(args, &[], "/").unwrap_err().message.starts_with("process.args"),
                "{args:?}"
            );
        }
    }
}
