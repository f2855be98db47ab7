//! The end of a process's streams: what it wrote last gets to whoever reads it.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::binary::Logger;
use super::{Held, fifo};

/// How long the news of a process's end waits for readers to take what is left of its output.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same for a program that logs it, and has nothing else to do: it is late only where the machine is busy.
const PATIENCE_WITH_LOGGER: Duration = Duration::from_secs(2);
/// How often it is looked whether they have.
const DRAIN_POLL: Duration = Duration::from_millis(2);
/// How often a fifo without a reader is looked at again, once its writer is gone.
const READER_POLL: Duration = Duration::from_millis(100);
/// How long a terminal's copying may go on once the task is to be deleted.
const LAST_COPY: Duration = Duration::from_secs(2);

/// What is left of the streams of a process that has ended.
#[derive(Debug)]
pub(crate) struct Rest {
    hand_over: JoinHandle<()>,
    /// Told when a terminal's output has been copied.
    copied: oneshot::Receiver<()>,
    logger: Option<Logger>,
}

impl Held {
    /// To be awaited when the process has ended, before anybody is told: lets readers see the end of its output. Returns
    /// when those that are there have all of it, or soon if they do not take it. What no reader has come for is kept.
    ///
    /// A client may close its ends as soon as it hears of the exit, and with them what it has not read; so does nerdctl's
    /// logging program.
    pub(crate) async fn hand_over(self) -> Rest {
        let Self { stdin, output_readers, ends, terminal, logger } = self;
        drop((stdin, ends));
        let (has_copied, copied) = oneshot::channel();
        let (has_taken, taken) = oneshot::channel();
        let begin = Instant::now();
        let pipes = logger.as_ref().and_then(|logger| logger.pipes().ok());
        let patience = if pipes.is_some() { PATIENCE_WITH_LOGGER } else { PATIENCE };
        let hand_over = tokio::spawn(async move {
            if let Some(terminal) = terminal {
                terminal.finish().await;
            }
            let _ = has_copied.send(());
            if let Some(pipes) = pipes {
                while !pipes.iter().all(fifo::is_empty) && begin.elapsed() < patience {
                    tokio::time::sleep(DRAIN_POLL).await;
                }
            }
            wait_for_readers(output_readers, begin, has_taken).await;
        });
        let _ = timeout(patience, taken).await;
        Rest { hand_over, copied, logger }
    }
}

impl Rest {
    /// To be awaited when nothing of the task runs any more: gives up what nobody came for, and ends the program that
    /// logs its output.
    pub(crate) async fn finish(mut self) {
        if timeout(LAST_COPY, &mut self.copied).await.is_err() {
            log::debug!("nobody reads what is left of a terminal's output");
        }
        self.hand_over.abort();
        if let Some(logger) = self.logger {
            // Only then has a terminal's last writer to the program gone.
            let _ = self.hand_over.await;
            logger.finish().await;
        }
    }
}

/// Returns when each fifo's content is in the hands of a reader; says so earlier, when all that are there have taken it.
async fn wait_for_readers(
    output_readers: Vec<OwnedFd>,
    begin: Instant,
    has_taken: oneshot::Sender<()>,
) {
    // As long as any end is open, the fifo keeps what is in it.
    let mut waiting: Vec<OwnedFd> =
        output_readers.into_iter().filter_map(fifo::swap_ends).collect();
    let mut has_taken = Some(has_taken);
    while !waiting.is_empty() {
        let patient = begin.elapsed() < PATIENCE;
        // With our end goes the last writing one, and a reader sees the end after what it still has to read.
        waiting.retain(|end| !fifo::has_reader(end) || (patient && !fifo::is_empty(end)));
        let draining = waiting.iter().any(fifo::has_reader);
        if !draining && let Some(taken) = has_taken.take() {
            let _ = taken.send(());
        }
        if !waiting.is_empty() {
            tokio::time::sleep(if draining { DRAIN_POLL } else { READER_POLL }).await;
        }
    }
}
