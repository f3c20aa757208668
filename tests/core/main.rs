//! Tests of the pure core; they need no feature.
#![allow(clippy::unwrap_used, clippy::panic)]

mod availability;
mod cases;
mod checker;
mod claims;
mod random;
mod several;
mod slots;
mod world;
