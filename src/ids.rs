//! The one place that makes ids: UUID version 7 (RFC 9562 §5.7), so that ids in order of time are rows in order.

use uuid::Uuid;

use crate::domain::ids::{AppointmentId, SeriesId};

/// A new appointment's id.
pub fn appointment_id() -> AppointmentId {
    AppointmentId(Uuid::now_v7())
}

/// A new series' id.
pub fn series_id() -> SeriesId {
    SeriesId(Uuid::now_v7())
}
