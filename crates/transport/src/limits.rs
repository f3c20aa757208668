//! The limits of one connection and of all connections together.
//!
//! Every limit has a default that is safe on an open network; no limit may be infinite.

use std::time::Duration;

use crate::admission::AdmissionLimits;

/// Calls in progress on one connection. gRPC clients queue further calls; a proxy opens a second
/// connection.
const STREAMS_MAX: u32 = 200;
/// Streams that the peer reset before they were taken up, or that the server reset for errors of
/// the peer, before the connection is closed. This is the defence against rapid reset
/// (RUSTSEC-2024-0003), far above what clients that cancel calls reach.
const RESET_STREAMS_MAX: usize = 1_024;
/// Bytes of the decoded headers of one call: far above the limit of the layers, so that a call
/// whose headers are too large is refused with a reason. Above this limit HTTP/2 answers 431 by
/// itself; above four times the limit it ends the connection.
const HEADER_LIST_BYTES_MAX: u32 = 128 * 1_024;
/// Bytes of unfinished header blocks and TLS handshakes of all connections together: 512 blocks of
/// the longest that are decoded.
const BLOCK_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Bytes of one call's answer that wait in memory for a peer that reads slowly.
const SEND_BUFFER_BYTES_MAX: usize = 256 * 1_024;
/// Connections that may be open at once: a few per client process, and below the usual limits on
/// descriptors.
const CONNECTIONS_MAX: usize = 10_000;
/// Time for the TLS handshake, where there is TLS, and for the HTTP/2 preface and the first SETTINGS,
/// which a client sends first.
const HANDSHAKE_SECONDS: u64 = 5;
/// Age at which a connection gets GOAWAY, so that clients spread over servers that were added.
const AGE_SECONDS: u64 = 30 * 60;
/// Time for calls in flight after a GOAWAY by age or idleness. It is long, because only streams
/// need it.
const AGE_GRACE_SECONDS: u64 = 5 * 60;
/// Bytes that a peer may send ahead of what was read, on one call and on one connection. They are
/// small, because the memory counts for each connection; a request of 1 MiB takes some more round
/// trips.
const STREAM_WINDOW_BYTES: u32 = 128 * 1_024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1_024;
/// A peer that takes less than an eighth of the answers that wait for it in this time loses its
/// connection. The time is as long as a watcher may pause; a watcher that reads again gets its
/// error first.
const UNREAD_SECONDS: u64 = 60;
/// Time within which a worker that is not stuck takes up a connection. Taking one up takes a few
/// microseconds; a call computes without a pause for some hundred milliseconds at most.
const STUCK_SECONDS: u64 = 1;
/// Time without a call after which a connection gets GOAWAY.
const IDLE_SECONDS: u64 = 10 * 60;
/// Silence after which the peer is pinged, and the time in which it must answer.
const KEEPALIVE_SECONDS: u64 = 30;
const KEEPALIVE_TIMEOUT_SECONDS: u64 = 20;

/// The limits of one server. `ServerLimits::default()` is meant for production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Calls in progress on one connection.
    pub streams_max: u32,
    /// Reset streams on one connection before it is closed, counted separately for each side that
    /// reset them.
    pub reset_streams_max: usize,
    /// Bytes of the decoded headers of one call.
    pub header_list_bytes_max: u32,
    /// Bytes of unfinished header blocks and TLS handshakes on all connections together, besides
    /// 24 KiB that each connection may have. A connection that sends more is closed.
    pub block_bytes_max: usize,
    /// Bytes of one call's answer that wait for a slow reader.
    pub send_buffer_bytes_max: usize,
    /// Bytes of one call that the peer may send ahead.
    pub stream_window_bytes: u32,
    /// Bytes of all calls of one connection that the peer may send ahead.
    pub connection_window_bytes: u32,
    /// Time in which a peer must take an eighth of the answers that wait for it.
    pub unread: Duration,
    /// What all calls together may hold.
    pub admission: AdmissionLimits,
    /// Connections that may be open at once; further ones are closed unanswered.
    pub connections_max: usize,
    /// Time after which a worker that has not taken up a connection gets no further ones until it
    /// runs again.
    pub stuck: Duration,
    /// Time for the TLS handshake, the HTTP/2 preface and the first SETTINGS together.
    pub handshake: Duration,
    /// Age at which a connection gets GOAWAY, before jitter of a tenth to either side.
    pub age: Duration,
    /// Time for calls in flight after a GOAWAY by age or idleness.
    pub age_grace: Duration,
    /// Time without a call before GOAWAY: at least this, at most twice this.
    pub idle: Duration,
    /// Silence after which the peer is pinged.
    pub keepalive: Duration,
    /// Time the peer has to answer a ping.
    pub keepalive_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            streams_max: STREAMS_MAX,
            reset_streams_max: RESET_STREAMS_MAX,
            header_list_bytes_max: HEADER_LIST_BYTES_MAX,
            block_bytes_max: BLOCK_BYTES_MAX,
            send_buffer_bytes_max: SEND_BUFFER_BYTES_MAX,
            stream_window_bytes: STREAM_WINDOW_BYTES,
            connection_window_bytes: CONNECTION_WINDOW_BYTES,
            unread: Duration::from_secs(UNREAD_SECONDS),
            admission: AdmissionLimits::default(),
            connections_max: CONNECTIONS_MAX,
            stuck: Duration::from_secs(STUCK_SECONDS),
            handshake: Duration::from_secs(HANDSHAKE_SECONDS),
            age: Duration::from_secs(AGE_SECONDS),
            age_grace: Duration::from_secs(AGE_GRACE_SECONDS),
            idle: Duration::from_secs(IDLE_SECONDS),
            keepalive: Duration::from_secs(KEEPALIVE_SECONDS),
            keepalive_timeout: Duration::from_secs(KEEPALIVE_TIMEOUT_SECONDS),
        }
    }
}

impl ServerLimits {
    /// The age of the connection with this number: `age` plus or minus a tenth, so that connections
    /// that came together do not go together. The number alone decides, not chance, so that
    /// simulations are repeatable.
    pub(crate) fn age_of(&self, connection_number: u64) -> Duration {
        // Fibonacci hashing spreads neighbours over the whole range.
        let spread = connection_number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let permille = 900 + u32::try_from(spread % 201).expect("a remainder below 201 fits");
        self.age.saturating_mul(permille) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_connection_is_within_a_tenth_and_differs_between_neighbours() {
        let limits = ServerLimits::default();
        let ages: Vec<Duration> = (0..1_000).map(|number| limits.age_of(number)).collect();
        assert!(
            ages.iter()
                .all(|age| *age >= limits.age * 9 / 10 && *age <= limits.age * 11 / 10)
        );
        assert!(
            ages.windows(2)
                .all(|pair| pair[0].abs_diff(pair[1]) > Duration::from_secs(1))
        );
        assert!(ages.iter().any(|age| *age < limits.age * 92 / 100));
        assert!(ages.iter().any(|age| *age > limits.age * 108 / 100));
    }
}
