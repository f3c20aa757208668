//! The services of the contract: a file for each, and for what of one is long.

pub mod availability;
pub mod booking;
pub mod calendars;
pub mod lists;
pub(crate) mod series;
pub mod server_info;
pub mod slots;
pub mod watch;
pub mod watch_slots;
pub(crate) mod zone_drift;
