//! The thread that does all that no request should wait for. A server of which nothing is to be seen has none.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Ended, channel};
use std::thread::Builder;
use std::time::Duration;

use lighter::error::{Refusal, Result};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::otlp::{Settings, Span, export};
use super::record::Done;
use super::{Common, access, admin};

/// How long the server's end waits for what is still to be written and sent.
const PATIENCE: Duration = Duration::from_secs(2);
const STACK: usize = 256 << 10;

/// What is to be done beside the requests.
pub(in crate::http) struct Background {
    pub(super) admin: Option<TcpListener>,
    pub(super) lines: Option<mpsc::Receiver<Done>>,
    pub(super) spans: Option<(mpsc::Receiver<Span>, Settings)>,
}

/// The thread that does it, if there is anything to do.
pub(in crate::http) struct Running(Option<(watch::Sender<bool>, Ended<()>)>);

impl Background {
    /// Begins, with answering for the server's health among it.
    pub(in crate::http) fn start(self, common: &Arc<Common>) -> Result<Running> {
        if self.admin.is_none() && self.lines.is_none() && self.spans.is_none() {
            return Ok(Running(None));
        }
        let failed = |e| Refusal::system("start a thread that observes", e);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = channel();
        let common = Arc::clone(common);
        let work = move || {
            self.work(&runtime, common, stopped);
            // Nobody may wait for it any more.
            let _ = end.send(());
        };
        Builder::new().name("observe".into()).stack_size(STACK).spawn(work).map_err(failed)?;
        Ok(Running(Some((stop, ended))))
    }

    fn work(self, runtime: &Runtime, common: Arc<Common>, stop: watch::Receiver<bool>) {
        runtime.block_on(async {
            if let Some(listener) = self.admin {
                tokio::spawn(admin::serve(listener, Arc::clone(&common)));
            }
            let export = self.spans.map(|(spans, settings)| {
                tokio::spawn(export(spans, settings, Arc::clone(&common), stop.clone()))
            });
            if let Some(lines) = self.lines {
                let output = common.instances.output.again();
                access::write(lines, &output, &common.observer, stop.clone()).await;
            }
            if let Some(export) = export {
                let _ = export.await;
            }
            let mut stop = stop;
            // It is over as well when there is nobody to say so.
            let _ = stop.wait_for(|stop| *stop).await;
        });
    }
}

impl Running {
    /// Waits until what is known of the requests is told, as far as it is taken.
    pub(in crate::http) fn finish(self) {
        if let Some((stop, ended)) = self.0 {
            let _ = stop.send(true);
            let _ = ended.recv_timeout(PATIENCE);
        }
    }
}
