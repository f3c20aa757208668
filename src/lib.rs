//! bookd, the booking engine that other services call.
//!
//! The layers, each importing only layers below it:
//!
//! ```text
//! main, cli         flags, client commands, tables
//! service           starts and stops everything in order
//! admin             check, backup, restore, import, export; prints nothing
//! admin_port        metrics and probes over HTTP/1.1
//! api               parse → call → render: knows protobuf, and no store
//! auth              who calls, and what they may do
//! engine            the writer: mailbox → batch → decide → commit → publish → answer
//! log               committed changes for readers: log tail, subscriptions, compaction
//! store             durability: SQLite, and memory as the reference
//! bookd_core        the core: decides; pure, a crate of its own
//! bookd_transport   connections, limits, deadlines: used by api and service, a crate of its own
//! ```

#[cfg(feature = "server")]
pub mod admin;
#[cfg(feature = "server")]
pub mod admin_port;
#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "server")]
pub mod bell;
#[cfg(feature = "client")]
pub mod cli;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(all(feature = "server", feature = "client"))]
pub mod config;
#[cfg(any(feature = "server", feature = "client"))]
pub mod descriptors;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod exposure;
pub mod failpoints;
#[cfg(feature = "server")]
pub mod fold;
#[cfg(feature = "server")]
pub mod ids;
#[cfg(feature = "server")]
pub mod layout;
#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "server")]
pub mod open_store;
#[cfg(feature = "proto")]
pub mod proto;
#[cfg(feature = "client")]
pub mod proto_json;
#[cfg(all(test, feature = "server"))]
mod sample;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod signals;
#[cfg(feature = "server")]
pub mod store;
#[cfg(all(feature = "server", feature = "client"))]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "server")]
pub mod trace_export;
pub mod zones;
