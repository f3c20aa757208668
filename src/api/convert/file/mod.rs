//! Calendars and appointments as files hold them: the contract's messages, read by the readers of
//! requests.
//!
//! `imported_…` reads what `exported_…` writes, and checks nothing that a request would not be
//! checked for.

mod export;
mod import;

use crate::proto::v1 as pb;

pub use export::{exported_appointment, exported_calendar};
pub use import::{imported_appointment, imported_calendar};

/// A calendar as a file holds it, without its appointments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CalendarFile {
    /// The settings.
    pub calendar: pb::Calendar,
    /// The weekly rules.
    pub rules: Vec<pb::AvailabilityRule>,
    /// The hours on certain dates.
    pub overrides: Vec<pb::AvailabilityOverride>,
    /// The appointment types that can be booked.
    pub appointment_types: Vec<pb::AppointmentType>,
    /// The ids of deleted types that still have appointments.
    pub deleted_appointment_types: Vec<String>,
    /// The definitions of deleted types when they were deleted, as far as they are known.
    pub last_definitions: Vec<pb::AppointmentType>,
    /// The busy periods of each source.
    pub busy: Vec<(String, Vec<pb::Period>)>,
}
