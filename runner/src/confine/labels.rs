//! Labels of the process for the kernel's security modules: an AppArmor profile, a SELinux label.
//!
//! Programs get theirs with execve(2), which never happens here: this process changes its own, once it needs no
//! more than a guest does.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use lighter::error::{Refusal, Result};
use lighter::plan::Confinement;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

/// The labels to take on. Their files are open, as there is no `/proc` any more when it is time.
#[derive(Debug)]
pub(crate) struct Labels(Vec<Label>);

#[derive(Debug)]
struct Label {
    field: String,
    file: File,
    /// What the module wants to have written.
    command: String,
}

impl Labels {
    /// Opens the way to the labels of the plan by `process`, this process's directory in a proc file system.
    ///
    /// # Errors
    /// When the kernel has no such module, or AppArmor no such profile, or does not let this process have it.
    pub(crate) fn open(confinement: &Confinement, process: BorrowedFd<'_>) -> Result<Self> {
        let mut labels = Vec::new();
        if let Some(profile) = &confinement.apparmor {
            let field = format!("process.apparmorProfile {profile:?}");
            let file = match open(process, "attr/apparmor/current") {
                // Before Linux 5.8 the modules shared one file.
                Err(Errno::NOENT) => open(process, "attr/current"),
                opened => opened,
            };
            let command = format!("changeprofile {profile}");
            let label =
                Label { file: file.map_err(|e| Refusal::system(&field, e))?, field, command };
            // Asked for now, so that a profile which is not there is an error of Create.
            label.write(&format!("permprofile {profile}"))?;
            labels.push(label);
        }
        if let Some(label) = &confinement.selinux {
            let field = format!("process.selinuxLabel {label:?}");
            let file = open(process, "attr/current").map_err(|e| Refusal::system(&field, e))?;
            labels.push(Label { field, file, command: label.clone() });
        }
        Ok(Self(labels))
    }

    /// Takes them on.
    ///
    /// # Errors
    /// When a module forbids it.
    pub(super) fn take_on(self) -> Result<()> {
        self.0.iter().try_for_each(|label| label.write(&label.command))
    }
}

impl Label {
    fn write(&self, command: &str) -> Result<()> {
        // In one piece, and always from the start: the kernel takes nothing else.
        let written = self.file.write_at(command.as_bytes(), 0);
        written.map(drop).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Refusal::not_found(format!("{}: no such profile is loaded", self.field))
            }
            _ => Refusal::system(&self.field, e),
        })
    }
}

fn open(process: BorrowedFd<'_>, path: &str) -> rustix::io::Result<File> {
    openat(process, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map(File::from)
}
