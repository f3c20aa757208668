//! The core: what is bookable, and what a command changes.
//!
//! No IO, async, protobuf, SQL, clock or randomness: `now`, ids and zones come with each command.

pub mod appointment;
pub mod calendar;
pub mod change;
pub mod command;
pub mod decide;
pub mod deletion;
pub mod field_violation;
pub mod ids;
pub mod log;
pub mod prefixes;
pub mod quota;
pub mod reach;
pub mod refusal;
pub mod slots;
pub mod state;
pub mod time;
pub mod token;
