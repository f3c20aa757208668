//! The core: what is bookable, and what a command changes. No IO, async, protobuf, SQL, clock or randomness.

pub mod appointment;
pub mod appointment_type;
pub mod availability;
pub mod calendar;
pub mod change;
pub mod claims;
pub mod code;
pub mod command;
mod cursor;
pub mod decide;
pub mod drift;
pub mod feasible;
pub mod free_busy;
pub mod ids;
pub mod interval;
pub mod limits;
pub mod open_time;
pub mod refusal;
pub mod series;
pub mod several;
pub mod slots;
pub mod state;
pub mod time;
mod wording;
pub mod zone;
