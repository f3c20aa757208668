//! One connection from its first byte to its last.
//!
//! A connection always ends: by its peer, by a failed handshake, by the handshake timer, by age, by idleness, by a missed
//! ping, by answers that its peer does not read, or with the server. Calls in flight get a grace
//! period after GOAWAY, unless the server aborts or the peer does not read the answers.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::admission::ConnectionShare;
use crate::connection_service::{Activity, Calls, ConnectionService, Peer};
use crate::handshake::{Handshaking, Written};
use crate::header_blocks::HeaderBlocks;
use crate::limits::ServerLimits;
use crate::shared::{Shared, Stage};
use crate::tasks::Tasks;
use crate::tls::{CertificateName, HandshakeError, Secured, shake_hands};

/// A peer that reads at all takes at least the bytes that wait for it, divided by this number, in
/// each period.
const UNREAD_DIVISOR: u64 = 8;
/// The bytes that such a peer takes at least. Pings are fewer.
const UNREAD_BYTES_LEAST: u64 = 1_024;

/// The peer of a connection, and the connection's number.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    pub(crate) number: u64,
}

/// Serves a connection until it is over.
pub(crate) async fn serve<I, S>(io: I, origin: Origin, service: S, mut shared: Shared, tasks: Tasks)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Calls,
{
    let limits = shared.limits.clone();
    let handshake_end = Instant::now() + limits.handshake;
    let Some((io, certificate)) = secured(io, &origin, &mut shared, handshake_end).await else {
        return;
    };
    let activity = Arc::new(Activity::default());
    let (io, mut preface, written) = Handshaking::new(io);
    let io = HeaderBlocks::new(io, Arc::clone(&shared.block_bytes));
    let share = ConnectionShare::default();
    let peer = Peer {
        address: Some(origin.peer),
        certificate,
    };
    let service = ConnectionService::new(service, peer, share.clone(), activity.clone());
    let mut connection = pin!(builder(&limits, tasks).serve_connection(TokioIo::new(io), service));

    tokio::select! {
        biased;
        () = shared.reached(Stage::Aborted) => return,
        _ = &mut connection => return,
        _ = &mut preface => {}
        () = tokio::time::sleep_until(handshake_end) => {
            shared.metrics.handshake_timeouts.fetch_add(1, Relaxed);
            tracing::debug!(peer = %origin.peer, "closed: no HTTP/2 preface in time");
            return;
        }
    }

    let mut unread = pin!(left_unread(&share, &written, limits.unread));
    let grace = tokio::select! {
        biased;
        result = &mut connection => {
            if let Err(error) = result {
                tracing::debug!(peer = %origin.peer, %error, "a connection ended with an error");
            }
            return;
        }
        () = shared.reached(Stage::Draining) => None,
        () = tokio::time::sleep(limits.age_of(origin.number)) => Some(limits.age_grace),
        () = activity.idle_for(limits.idle) => Some(limits.age_grace),
        () = &mut unread => return cut_unread(&shared, &origin),
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        () = shared.reached(Stage::Aborted) => {}
        _ = &mut connection => {}
        () = over(grace) => tracing::debug!(peer = %origin.peer, "closed: calls outlived the grace after GOAWAY"),
        () = unread => cut_unread(&shared, &origin),
    }
}

/// Puts a connection inside TLS, if the server has TLS, and finds the name of its client. None if
/// the handshake failed, was not over at `end`, or was cut by the shutdown: no call has begun.
async fn secured<I>(
    io: I,
    origin: &Origin,
    shared: &mut Shared,
    end: Instant,
) -> Option<(Secured<I>, Option<Arc<CertificateName>>)>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(tls) = &shared.tls else {
        return Some((Secured::Plain(io), None));
    };
    // In a box: plain connections do not carry the state of a handshake.
    let handshake = Box::pin(shake_hands(
        io,
        tls.config(),
        Arc::clone(&shared.block_bytes),
    ));
    let peer = origin.peer;
    let shaken = tokio::select! {
        biased;
        () = shared.reached(Stage::Draining) => return None,
        shaken = handshake => shaken,
        () = tokio::time::sleep_until(end) => {
            shared.metrics.handshake_timeouts.fetch_add(1, Relaxed);
            tracing::debug!(%peer, "closed: no TLS handshake in time");
            return None;
        }
    };
    match shaken {
        Ok((io, certificate)) => Some((Secured::Tls(io), certificate)),
        Err(HandshakeError::NeverBegun) => None,
        Err(HandshakeError::Failed(error, io)) => {
            shared.metrics.handshakes_failed.fetch_add(1, Relaxed);
            tracing::debug!(%peer, %error, "closed: the TLS handshake failed");
            tokio::select! {
                () = shared.reached(Stage::Draining) => {}
                () = io.close() => {}
                () = tokio::time::sleep_until(end) => {}
            }
            None
        }
    }
}

fn cut_unread(shared: &Shared, origin: &Origin) {
    shared.metrics.unread.fetch_add(1, Relaxed);
    tracing::debug!(peer = %origin.peer, "closed: it asks and does not read the answers");
}

/// Resolves when answers waited for the peer through a whole `period` in which the peer took next
/// to nothing; looks once a period. The connection can only be closed then: HTTP/2 makes no
/// progress while a peer grants no window. Both sides of the comparison are bytes on the wire. The
/// memory of an answer is not counted: it is many times the bytes of a small answer, and no peer
/// could read fast enough for it.
async fn left_unread(share: &ConnectionShare, written: &Written, period: Duration) {
    loop {
        let (waiting, emptied_before, written_before) =
            (share.unsent(), share.emptied(), written.bytes());
        tokio::time::sleep(period).await;
        let least = (waiting as u64 / UNREAD_DIVISOR).max(UNREAD_BYTES_LEAST);
        let is_waiting_since = waiting > 0 && share.emptied() == emptied_before;
        if is_waiting_since && written.bytes().wrapping_sub(written_before) < least {
            return;
        }
    }
}

/// Waits for the end of the grace period. None where the server drains: it has one grace period for
/// all of its connections, and aborts at its end.
async fn over(grace: Option<Duration>) {
    match grace {
        Some(grace) => tokio::time::sleep(grace).await,
        None => pending().await,
    }
}

fn builder(limits: &ServerLimits, tasks: Tasks) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_pending_accept_reset_streams(limits.reset_streams_max)
        .max_local_error_reset_streams(limits.reset_streams_max)
        .max_header_list_size(limits.header_list_bytes_max)
        .max_send_buf_size(limits.send_buffer_bytes_max)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .keep_alive_interval(limits.keepalive)
        .keep_alive_timeout(limits.keepalive_timeout)
        // gRPC does not use the date, and formatting it costs time on every answer.
        .auto_date_header(false);
    builder
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use bytes::Bytes;

    use super::*;
    use crate::admission::Admission;

    const PERIOD: Duration = Duration::from_secs(60);

    /// Asks at once for more small answers than it takes, one after the other; for so many periods.
    async fn is_cut_who_takes(answers_a_period: usize, periods: usize) -> bool {
        const ANSWER: usize = 300;
        const WAITING: usize = 150;
        let (admission, share, written) = (
            Arc::new(Admission::default()),
            ConnectionShare::default(),
            Written::default(),
        );
        let next = || {
            admission
                .keep(Bytes::from(vec![7; ANSWER]), &share)
                .expect("it is below the limit")
        };
        let mut waiting: std::collections::VecDeque<Bytes> = (0..WAITING).map(|_| next()).collect();
        let reads = async {
            for _ in 0..periods * answers_a_period {
                tokio::time::sleep(PERIOD / u32::try_from(answers_a_period).expect("few")).await;
                written.note(&Poll::Ready(Ok(ANSWER)));
                waiting.pop_front();
                waiting.push_back(next());
            }
        };
        tokio::select! {
            () = left_unread(&share, &written, PERIOD) => true,
            () = reads => false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_small_answers_slowly_and_steadily_is_not_closed() {
        assert!(
            !is_cut_who_takes(50, 10).await,
            "a third of what waits in each period"
        );
        assert!(is_cut_who_takes(10, 10).await, "less than an eighth");
    }
}
