//! Where Lighter's other programs are.

use std::path::{Path, PathBuf};

use crate::error::{Refusal, Result};

/// The programs that this one starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `lighter-runner`, which runs one guest.
    pub runner: PathBuf,
    /// `lighter`, which compiles, and runs Linux containers.
    pub lighter: PathBuf,
}

impl Programs {
    /// Finds them beside the running program, else in `PATH`.
    ///
    /// # Errors
    /// Names the program that is in neither place.
    pub fn locate() -> Result<Self> {
        let own =
            std::env::current_exe().map_err(|e| Refusal::system("find our own program", e))?;
        let beside = own.parent().unwrap_or(Path::new("/"));
        Ok(Self { runner: find("lighter-runner", beside)?, lighter: find("lighter", beside)? })
    }
}

fn find(name: &str, beside: &Path) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside.to_path_buf())
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "program {name:?} is neither in {} nor in PATH; install it beside the shim",
                beside.display()
            ))
        })
}
