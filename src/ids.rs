//! The one place that makes ids: UUID version 7 (RFC 9562 §5.7), so that ids in order of time are rows in order.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use bookd_core::ids::{AppointmentId, SeriesId};

/// Where new ids come from.
#[derive(Debug, Default)]
pub enum Ids {
    /// From the machine's clock and randomness.
    #[default]
    Random,
    /// Counted on from here: for simulations, which give the same answers in every run.
    Counted(AtomicU64),
}

impl Ids {
    /// A new appointment's id.
    pub fn appointment_id(&self) -> AppointmentId {
        AppointmentId(self.uuid())
    }

    /// A new series' id.
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
