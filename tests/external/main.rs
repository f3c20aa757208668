//! The binary beside programs of others, which must be installed: see `.ci/run`.
//!
//! Nothing here is skipped: a program that is missing is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

#[path = "../../crates/transport/src/tls/authority.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod authority;
mod clients;
mod prometheus;
mod server;
