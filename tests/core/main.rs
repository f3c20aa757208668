//! Tests of the pure core; they build and run without the server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::type_complexity,
    missing_docs,
    unreachable_pub
)]

mod availability;
mod cases;
mod checker;
mod claims;
mod decide;
mod exhaustive;
mod import;
mod model;
mod outside;
mod random;
mod reference;
mod series;
mod several;
mod slots;
mod steps;
mod tidy;
mod world;
mod zone;
