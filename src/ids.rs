//! The generator of ids: UUID version 7 (RFC 9562 §5.7), so that rows in the order of ids are in
//! the order of time.
//!
//! No other file makes an id.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use bookd_core::ids::{AppointmentId, SeriesId};

/// The source of new ids.
#[derive(Debug, Default)]
pub enum Ids {
    /// Ids from the machine's clock and randomness.
    #[default]
    Random,
    /// Ids that count up from this number: for simulations, which return the same answers in every
    /// run.
    Counted(AtomicU64),
}

impl Ids {
    /// The id of a new appointment.
    pub fn appointment_id(&self) -> AppointmentId {
        AppointmentId(self.uuid())
    }

    /// The id of a new series.
    pub fn series_id(&self) -> SeriesId {
        SeriesId(self.uuid())
    }

    fn uuid(&self) -> Uuid {
        match self {
            Self::Random => Uuid::now_v7(),
            Self::Counted(next) => {
                let count = next.fetch_add(1, Ordering::Relaxed);
                uuid::Builder::from_unix_timestamp_millis(count, &[0; 10]).into_uuid()
            }
        }
    }
}
