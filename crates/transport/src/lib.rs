//! The transport: HTTP/2, plain or inside TLS, from the listener to the service, with admission
//! control, deadlines, limits and the access log.
//!
//! Nothing that a peer does on its connection slows another connection down, holds memory without a
//! limit of [`ServerLimits`], or outlives [`Running::shutdown`]. The crate knows nothing of bookd.
//!
//! A *worker* is a current-thread runtime. A connection and all its calls live on one worker,
//! because a wake-up across threads costs more than deciding a booking does. tonic's own server is
//! not used: it announces no stream limit, drops aged connections without GOAWAY, spins when
//! descriptors run out, and waits for ever on an open stream.

mod access_log;
mod admission;
mod admission_control;
mod amounts;
mod bodies;
mod call_metrics;
mod connection;
mod connection_service;
mod deadline;
mod early_answer;
mod error_mapping;
pub mod grpc;
mod handshake;
mod header_blocks;
mod limits;
mod listener;
mod liveness;
mod methods;
mod metrics;
mod protocol;
mod rejection;
mod request_body;
mod request_check;
mod response_body;
mod retry_schedule;
mod server;
mod shared;
mod stack;
mod tasks;
#[cfg(test)]
mod testing;
mod timer;
mod tls;
mod traces;
mod worker;
mod worker_queue;

pub use access_log::Observing;
pub use admission::{Admission, AdmissionLimits, CallPermit, ConnectionShare};
pub use call_metrics::{CallMetrics, EndedCalls, WorkerCalls};
pub use connection_service::{Calls, Peer};
pub use deadline::Deadline;
pub use limits::ServerLimits;
pub use liveness::Liveness;
pub use methods::{Method, Methods};
pub use metrics::Metrics;
pub use protocol::{BoxError, CallOutcome, FoundIn, MessageProgress, Protocol};
pub use rejection::Rejection;
pub use request_body::RequestBody;
pub use retry_schedule::RETRY_MAX;
pub use server::{Ended, Running, Workers, serve_connection, start, start_with_tls};
pub use shared::Stopper;
pub use stack::{Stack, stack};
pub use tls::{CertificateName, ServerCertificate, Tls, TlsError, TlsFiles};
pub use traces::{TraceContext, TraceNote, TraceNotes, TracedCall, Traces};
