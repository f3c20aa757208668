//! The state that all connections of a server share: limits, metrics, and the stage of its
//! shutdown.
//!
//! Stages only advance.

use std::sync::Arc;

use tokio::sync::watch;

use crate::header_blocks::BlockBytes;
use crate::limits::ServerLimits;
use crate::metrics::Metrics;
use crate::tls::Tls;

/// The stage of a server's life. The order of the variants is the order in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    Draining,
    Aborted,
}

/// The state that all connections of a server share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) limits: Arc<ServerLimits>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) block_bytes: Arc<BlockBytes>,
    /// The TLS of all connections; none where they are plain.
    pub(crate) tls: Option<Tls>,
    /// The server has ended when the last of these receivers is dropped.
    pub(crate) stage: watch::Receiver<Stage>,
}

impl Shared {
    pub(crate) fn new(
        limits: ServerLimits,
        tls: Option<Tls>,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        let block_bytes = Arc::new(BlockBytes::new(limits.block_bytes_max));
        Self {
            limits: Arc::new(limits),
            metrics: Arc::default(),
            block_bytes,
            tls,
            stage,
        }
    }

    /// Waits until the server is at `stage` or beyond. A server whose handle is dropped is beyond
    /// every stage.
    pub(crate) async fn reached(&mut self, stage: Stage) {
        let _ended_too = self.stage.wait_for(|now| *now >= stage).await;
    }
}

/// Asks a running server to shut down, from any thread; [`crate::Running::shutdown`] waits for it.
#[derive(Clone, Debug)]
pub struct Stopper {
    pub(crate) stage: Arc<watch::Sender<Stage>>,
}

impl Stopper {
    /// Stops accepting, sends GOAWAY on every connection, and lets calls in flight finish.
    pub fn drain(&self) {
        self.advance(Stage::Draining);
    }

    /// Drops every connection at once, and with them the calls in flight.
    pub fn abort(&self) {
        self.advance(Stage::Aborted);
    }

    fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let later = to > *stage;
            *stage = to.max(*stage);
            later
        });
    }
}
