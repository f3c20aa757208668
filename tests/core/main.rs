//! Tests of the pure core; they need no feature.

mod availability;
mod cases;
mod checker;
mod claims;
mod slots;
mod world;
