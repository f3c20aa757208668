//! Tests of the pure core; they build and run without the server.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod cases;
mod checker;
mod claims;
mod search;
mod world;
mod zone;
