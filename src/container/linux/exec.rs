//! A Linux program beside the first of its container: `lighter linux exec`, which joins the container and becomes it.
//!
//! The program that joins is a child of ours from the start, in the container's control group and pid namespace. It talks to
//! us over a socket on descriptor 3, which is closed when it becomes the other. `src/commands/linux/exec.rs` is its side:
//!
//! | supervisor | `lighter linux exec` |
//! |---|---|
//! | the process, as the specification's JSON | |
//! | | `NamespacesReady`: it has opened those of the container |
//! | `Proceed` | |
//! | | `Refused`, or nothing, and the socket closes |

use std::ffi::OsStr;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::Duration;

use oci_spec::runtime::{self, LinuxNamespaceType};

use super::LinuxContainer;
use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::container::terminal::{self, Wanted};
use crate::container::{ExecRequest, ExecSpec, Process, ended};
use crate::error::{Refusal, Result};
use crate::plan::{Namespace, Namespaces};
use crate::sandbox::{self, Launched};
use crate::wire::{Peer, ToRunner, ToSupervisor};

impl LinuxContainer {
    /// Runs a program beside the first; returns once it runs. Nothing is left of one that does not.
    pub(in crate::container) fn exec(
        &self,
        request: ExecRequest,
        bundle: &Bundle,
        cgroup: &Cgroup,
    ) -> Result<Process> {
        let ExecRequest { spec: ExecSpec(process), streams, programs, .. } = request;
        let wanted = Wanted::by(&process, &bundle.spec, &streams)?;
        let wanted = wanted.map(|wanted| wanted.inside(self.pid()));
        let (stdio, console) = terminal::open(streams, wanted)?;
        let init = self.pid().to_string();
        let [program, linux, root, exec, of, path] =
            ["lighter", "linux", "--root", "exec", "--init", "--bundle"].map(OsStr::new);
        let (state, bundle_path) = (self.state.path.as_os_str(), bundle.path.as_os_str());
        let args = [program, linux, root, state, exec, of, OsStr::new(&init), path, bundle_path];
        let group = cgroup.open()?;
        let Launched { pid, pidfd, peer } = sandbox::launch_program(
            &programs.lighter,
            &args,
            stdio,
            &pid_namespace(self.pid(), bundle),
            group.as_ref(),
        )?;
        let set_up = || {
            if group.is_none() {
                cgroup.take_in(pid)?;
            }
            let first = bundle.spec.process().as_ref();
            let adjustment = process.oom_score_adj().or(first.and_then(|p| p.oom_score_adj()));
            sandbox::set_oom_score(pid, adjustment)?;
            self.converse(&peer, &process)
        };
        let started = set_up();
        let process = Process { pid, pidfd, report: None, console: Mutex::new(console) };
        match started {
            Ok(()) => Ok(process),
            Err(refusal) => {
                process.abandon();
                Err(refusal)
            }
        }
    }

    fn converse(&self, peer: &Peer, process: &runtime::Process) -> Result<()> {
        let failed = |e: &dyn Display| Refusal::system("lighter linux exec", e);
        let out_of_turn =
            |message: ToSupervisor| failed(&format_args!("said {message:?} out of turn"));
        peer.send(process, None).map_err(|e| failed(&e))?;
        match peer.receive().map_err(|e| failed(&e))? {
            Some((ToSupervisor::NamespacesReady, _)) => {}
            Some((ToSupervisor::Refused(refusal), _)) => return Err(refusal),
            Some((other, _)) => return Err(out_of_turn(other)),
            None => return Err(failed(&"ended before it had joined the container")),
        }
        // As long as it has not ended, nobody else has its id, and the namespaces that were found by it are its own.
        if ended(self.pidfd(), Duration::ZERO) {
            return Err(Refusal::not_found("the container's first process has ended"));
        }
        peer.send(&ToRunner::Proceed, None).map_err(|e| failed(&e))?;
        match peer.receive().map_err(|e| failed(&e))? {
            None => Ok(()),
            Some((ToSupervisor::Refused(refusal), _)) => Err(refusal),
            Some((other, _)) => Err(out_of_turn(other)),
        }
    }
}

/// The one that it must be born in; the others it joins itself.
fn pid_namespace(init: u32, bundle: &Bundle) -> Namespaces {
    let namespaces = bundle.spec.linux().as_ref().and_then(|l| l.namespaces().as_deref());
    let mut kinds = namespaces.unwrap_or_default().iter().map(|namespace| namespace.typ());
    let join = match kinds.any(|kind| kind == LinuxNamespaceType::Pid) {
        true => vec![(Namespace::Pid, format!("/proc/{init}/ns/pid"))],
        false => Vec::new(),
    };
    Namespaces { join, ..Namespaces::default() }
}
