//! The record of the soak: acknowledged bookings, and the number of calls.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bookd::proto::v1 as pb;
use tokio::sync::Notify;

use crate::random::Chance;

/// Acknowledged bookings that are checked after a kill: so many of the last ones, and so many of
/// those before.
const REMEMBERED: usize = 1_000;

/// Acknowledged bookings with their answers.
#[derive(Default)]
pub struct Ledger {
    last: VecDeque<(pb::BookAppointmentRequest, pb::BookAppointmentResponse)>,
    earlier: Vec<(pb::BookAppointmentRequest, pb::BookAppointmentResponse)>,
    chance: u64,
}

impl Ledger {
    pub fn note(
        &mut self,
        request: pb::BookAppointmentRequest,
        answer: pb::BookAppointmentResponse,
    ) {
        self.last.push_back((request, answer));
        if self.last.len() > REMEMBERED
            && let Some(earlier) = self.last.pop_front()
        {
            self.chance += 1;
            if self.earlier.len() < REMEMBERED {
                self.earlier.push(earlier);
            } else {
                let at = Chance(self.chance).below(self.chance);
                if let Some(place) = usize::try_from(at)
                    .ok()
                    .and_then(|at| self.earlier.get_mut(at))
                {
                    *place = earlier;
                }
            }
        }
    }

    /// Takes all remembered bookings, and begins anew.
    pub fn take(&mut self) -> Vec<(pb::BookAppointmentRequest, pb::BookAppointmentResponse)> {
        let Self { last, earlier, .. } = std::mem::take(self);
        earlier.into_iter().chain(last).collect()
    }
}

/// The number of calls of all workers together.
pub struct Calls {
    made: AtomicU64,
    every: u64,
    more: Notify,
}

impl Calls {
    /// Counts calls, and wakes a waiter after every so many.
    pub fn every(every: u64) -> Self {
        Self {
            made: AtomicU64::new(0),
            every,
            more: Notify::new(),
        }
    }

    pub fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// Waits until the next multiple of `every` calls.
    pub async fn more(&self) {
        self.more.notified().await;
    }

    pub fn note(&self) {
        if (self.made.fetch_add(1, Relaxed) + 1).is_multiple_of(self.every) {
            self.more.notify_one();
        }
    }
}
