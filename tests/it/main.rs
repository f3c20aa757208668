//! The server over real sockets, module by module.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod http2;
mod server;
mod wire;
