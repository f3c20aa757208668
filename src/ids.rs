//! The generator of ids: UUID version 7 (RFC 9562 §5.7), so that rows in the order of ids are in
//! the order of time; and of the secrets of tokens, from the randomness of the system.
//!
//! No other file makes an id.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::auth::{RANDOM_BYTES, Secret};
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

    /// A new token.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes, and why.
    pub fn secret(&self) -> Result<Secret, String> {
        let mut random = [0; RANDOM_BYTES];
        match self {
            Self::Random => getrandom::fill(&mut random)
                .map_err(|error| format!("the system gives no random bytes: {error}"))?,
            Self::Counted(next) => {
                let count = next.fetch_add(1, Ordering::Relaxed).to_le_bytes();
                random[..count.len()].copy_from_slice(&count);
            }
        }
        Ok(Secret::of(random))
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
