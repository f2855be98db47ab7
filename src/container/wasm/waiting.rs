//! A runner before it has its plan: it is executed and linked while its supervisor decides what it will do.

use std::os::fd::{AsFd, OwnedFd};

use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::container::terminal::{self, Wanted};
use crate::container::{CreateRequest, Streams, reap, send_signal};
use crate::error::Result;
use crate::host::Host;
use crate::plan;
use crate::sandbox::{self, Launched};
use crate::state::{Program, State};
use crate::trace::{self, Who};

/// A runner that waits for its plan, in its control group, which has no limits yet. Dropping it changes nothing.
#[derive(Debug)]
#[must_use]
pub(in crate::container) struct Waiting {
    /// As it was recorded.
    pub(super) state: State,
    pub(super) launched: Launched,
    pub(super) born_in_group: bool,
    /// The supervisor's side of its terminal, if it has one.
    pub(super) console: Option<OwnedFd>,
}

impl Waiting {
    /// Records the container, makes its group and starts the runner in it. Of a refusal nothing is left but the record.
    ///
    /// # Errors
    /// Names the step that failed.
    pub(in crate::container) fn launch(
        request: &CreateRequest,
        streams: Streams,
        wanted: Option<Wanted>,
        bundle: &Bundle,
        host: &Host,
        cgroup: Cgroup,
    ) -> Result<Self> {
        let namespaces = plan::namespaces(&bundle.spec, host)?;
        let (stdio, console) = terminal::open(streams, wanted)?;
        // Recorded before there is anything to clean up, so that whoever cleans up knows of it.
        let state = State::of_planned(&request.id, bundle, cgroup, Program::Wasm);
        state.write(&request.record)?;
        let launched = state.cgroup.make().and_then(|group| {
            trace::step(Who::Supervisor, "control group made");
            let (programs, group) = (&request.programs, group.as_ref());
            sandbox::launch(programs, &request.id, stdio, &namespaces, group)
                .map(|launched| (launched, group.is_some()))
        });
        match launched {
            Ok((launched, born_in_group)) => {
                trace::step(Who::Supervisor, "runner spawned");
                Ok(Self { state, launched, born_in_group, console })
            }
            Err(refusal) => {
                remove_group(&state);
                Err(refusal)
            }
        }
    }

    /// Ends it, for a container that comes to nothing; only the record is left.
    pub(in crate::container) fn abandon(self) {
        let pidfd = self.launched.pidfd.as_fd();
        let _ = send_signal(pidfd, libc::SIGKILL);
        // There is an exit to collect, however it ended.
        let _ = reap(pidfd);
        remove_group(&self.state);
    }
}

fn remove_group(state: &State) {
    if let Err(left) = state.cgroup.remove() {
        log::warn!("after a refused create of {}: {left}", state.hook_state.id);
    }
}
