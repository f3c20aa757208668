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

mod prometheus;
mod server;
