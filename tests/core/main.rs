//! Tests of the pure core; they build and run without the server.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod zone;
