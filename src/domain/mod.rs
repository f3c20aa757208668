//! The core: what is bookable, and what a command changes. No IO, async, protobuf, SQL, clock or randomness.

pub mod interval;
pub mod time;
