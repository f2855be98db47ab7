//! A container that an earlier process created and left.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::linux::LinuxContainer;
use super::wasm::WasmContainer;
use super::{Container, Kind, ended};
use crate::error::{Refusal, Result};
use crate::programs::Programs;
use crate::record::Record;
use crate::state::{Program, State};

/// Where a container is in its life: "State" in runtime.md of the OCI runtime specification, and `paused`, which all
/// runtimes add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is being created.
    Creating,
    /// It waits to be started.
    Created,
    /// Its program has been started, and has not ended.
    Running,
    /// Its processes are stopped where they are.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// A container that an earlier process created and left, as its record tells.
#[derive(Debug)]
pub struct Recorded {
    record: Record,
    state: State,
    /// Until its first process has ended.
    container: Option<Container>,
}

impl Recorded {
    /// Looks at the container of `record`.
    ///
    /// # Errors
    /// [`crate::error::Cause::NotFound`] when nothing is known of it yet, or any more; when the record cannot be read.
    pub fn open(record: &Record, programs: &Result<Programs>) -> Result<Self> {
        let state = State::read(record)?.ok_or_else(|| record.missing())?;
        let process = state.process().filter(|pidfd| {
            // One that nobody has collected yet is there, and has ended.
            !ended(std::os::fd::AsFd::as_fd(pidfd), Duration::ZERO)
        });
        let container = match process {
            None => None,
            Some(pidfd) => {
                let kind = match state.program {
                    Program::Wasm => {
                        Kind::Wasm(Box::new(WasmContainer::open(record, &state, pidfd)?))
                    }
                    Program::Linux => {
                        let programs = programs.as_ref().map_err(Clone::clone)?;
                        Kind::Linux(LinuxContainer::open(record, &state, pidfd, programs))
                    }
                };
                Some(Container {
                    kind,
                    cgroup: state.cgroup.clone(),
                    bundle: state.hook_state.bundle.clone().into(),
                    record: record.clone(),
                })
            }
        };
        Ok(Self { record: record.clone(), state, container })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.state.hook_state.id
    }

    /// Its bundle's directory.
    pub fn bundle(&self) -> &Path {
        Path::new(&self.state.hook_state.bundle)
    }

    /// The version of the specification that its bundle names.
    pub fn oci_version(&self) -> &str {
        &self.state.hook_state.oci_version
    }

    /// Its bundle's annotations.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.state.hook_state.annotations
    }

    /// The id of its first process; 0 before there is one, and once it has ended.
    pub fn pid(&self) -> u32 {
        self.container.as_ref().map_or(0, Container::pid)
    }

    /// When it was created.
    pub fn created(&self) -> SystemTime {
        self.state.created
    }

    /// Whether its program is WebAssembly.
    pub fn is_wasm(&self) -> bool {
        self.state.program == Program::Wasm
    }

    /// Where it is in its life, now.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn status(&self) -> Result<Status> {
        let Some(container) = &self.container else {
            return Ok(match self.state.pid == 0 && self.record.is_locked() {
                true => Status::Creating,
                false => Status::Stopped,
            });
        };
        if ended(container.pidfd(), Duration::ZERO) {
            return Ok(Status::Stopped);
        }
        if self.state.cgroup.is_frozen() {
            return Ok(Status::Paused);
        }
        let waits = match &container.kind {
            Kind::Linux(container) => container.waits()?,
            // Asked of the guest's own process: no record could be as true.
            Kind::Wasm(_) => match self.record.knock() {
                Ok(_) => true,
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => false,
                // It is not created before it has a door.
                Err(_) => return Ok(Status::Creating),
            },
        };
        Ok(if waits { Status::Created } else { Status::Running })
    }

    /// The container, for as long as its first process has not ended.
    ///
    /// # Errors
    /// [`crate::error::Cause::NotFound`] once it has.
    pub fn container(&self) -> Result<&Container> {
        self.container.as_ref().ok_or_else(|| {
            Refusal::not_found(format!(
                "container {:?} is not running: its process has ended",
                self.id()
            ))
        })
    }

    /// Removes what is left of it, its record included; runs `poststop` hooks. Of one that has not ended, only if it was
    /// never started, or with `force`.
    ///
    /// # Errors
    /// When it runs; all that went wrong, in one sentence.
    pub fn delete(self, force: bool, programs: &Result<Programs>) -> Result<()> {
        let status = self.status();
        if !force && let Ok(Status::Running | Status::Paused) = status {
            return Err(Refusal::invalid(format!(
                "container {:?} is not stopped, and cannot be deleted without force",
                self.id()
            )));
        }
        Container::clean_up(&self.record, programs).map(drop)
    }
}
