//! The server over real sockets, module by module.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

mod harness;
mod http2;
mod kill;
mod listing;
mod race;
mod readme;
mod reasons;
mod server;
mod sqlite;
mod store;
mod stored;
mod wire;
