//! Counters of connections.
//!
//! The counters only grow, except `open`, which goes down exactly once for every connection that it
//! counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of connections since the start of the server.
#[derive(Debug, Default)]
pub struct Metrics {
    pub(crate) accepted: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) handshake_timeouts: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) unread: AtomicU64,
}

impl Metrics {
    /// Connections that were accepted and not refused.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// Connections closed at once because too many were open.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Connections closed because the TLS handshake or the HTTP/2 preface did not end in time.
    pub fn handshake_timeouts(&self) -> u64 {
        self.handshake_timeouts.load(Relaxed)
    }

    /// Connections closed because their TLS handshake failed: another protocol, no version in
    /// common, or a client certificate that is missing or not accepted. Peers that left without a
    /// byte are not counted.
    pub fn handshakes_failed(&self) -> u64 {
        self.handshakes_failed.load(Relaxed)
    }

    /// Connections closed because their answers were not read.
    pub fn unread(&self) -> u64 {
        self.unread.load(Relaxed)
    }

    /// Errors of accepting a connection, such as running out of descriptors.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Relaxed)
    }
}

/// A connection that counts as open until this value is dropped.
pub(crate) struct OpenConnection {
    metrics: Arc<Metrics>,
}

impl OpenConnection {
    /// Counts a connection, or counts a refusal above `connections_max`. Only the listener calls
    /// this, so that comparing first and counting then cannot pass the limit.
    pub(crate) fn admit(metrics: &Arc<Metrics>, connections_max: usize) -> Option<OpenConnection> {
        if metrics.open() >= u64::try_from(connections_max).unwrap_or(u64::MAX) {
            metrics.refused.fetch_add(1, Relaxed);
            return None;
        }
        metrics.accepted.fetch_add(1, Relaxed);
        metrics.open.fetch_add(1, Relaxed);
        Some(OpenConnection {
            metrics: metrics.clone(),
        })
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.metrics.open.fetch_sub(1, Relaxed);
    }
}
