//! Starts that one calendar offers and the others are asked for, up to 64 at a time, one bit each.
//!
//! Starts are in order. A calendar is asked for all that are left, and withdraws some; a bit that is
//! gone does not come back.
//!
//! ```text
//! starts           0900 0930 1000 1030 1100 1130      of the grid of the calendar that leads
//! left               1    1    1    1    1    1
//! calendar 1       +++++++++[..refused..[+++++++      withdraws 1000 and 1030
//! left               1    1    0    0    1    1
//! calendar 2       .refused.[++++++++++++[..refused.. withdraws 0900 and 1130, and refuses what
//! left               0    1    0    0    1    0       follows for longer: no start there is a candidate
//! ```

use crate::ids::AppointmentKey;
use crate::slots::search::Slot;
use crate::slots::span::Span;
use crate::time::{Instant, MINUTE};

/// The most candidates at a time.
pub(crate) const CANDIDATES_MAX: usize = u64::BITS as usize;

/// Slots of the calendar that leads, and which of them the calendars asked so far can take.
pub(crate) struct Candidates {
    /// In order, in minutes since 1970.
    starts: [i64; CANDIDATES_MAX],
    /// The least number of seats on the calendars that have sessions, of each candidate.
    seats: [u32; CANDIDATES_MAX],
    /// The first taken seat on the calendar that leads; 0 where none is taken.
    seat: [AppointmentKey; CANDIDATES_MAX],
    /// Those with a taken seat.
    seated: u64,
    /// The least number of seats on the calendars without sessions.
    seats_max: u32,
    count: usize,
    /// Those that no calendar refused.
    left: u64,
}

impl Candidates {
    /// No candidates yet.
    pub(crate) const fn new() -> Self {
        Self {
            starts: [0; CANDIDATES_MAX],
            seats: [0; CANDIDATES_MAX],
            seat: [AppointmentKey(0); CANDIDATES_MAX],
            seated: 0,
            seats_max: u32::MAX,
            count: 0,
            left: 0,
        }
    }

    /// Leaves no candidate.
    pub(crate) fn clear(&mut self) {
        (self.count, self.left, self.seated) = (0, 0, 0);
    }

    /// Adds the next slot of the calendar that leads, and its first taken seat. There must be less
    /// than `CANDIDATES_MAX` before.
    pub(crate) fn push(&mut self, slot: Slot, seat: AppointmentKey) {
        let index = self.count;
        self.starts[index] = slot.start.seconds().div_euclid(MINUTE);
        self.seats[index] = slot.seats_remaining;
        self.seat[index] = seat;
        self.seated |= u64::from(seat != AppointmentKey(0)) << index;
        self.left |= 1 << index;
        self.count += 1;
    }

    /// How many were added, those that were withdrawn included.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The start of the last candidate, refused or not; none when the leader has no more slots.
    pub(crate) fn last_start(&self) -> Option<Instant> {
        let last = self.count.checked_sub(1)?;
        Some(Instant::from_seconds(self.starts[last] * MINUTE))
    }

    /// Those that no calendar refused.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }

    /// All starts, in minutes since 1970; those of the bits that are left count.
    pub(crate) const fn starts(&self) -> &[i64; CANDIDATES_MAX] {
        &self.starts
    }

    /// The start of the first of these candidates.
    pub(crate) fn first_of(&self, candidates: u64) -> Option<Instant> {
        let first = self.starts.get(candidates.trailing_zeros() as usize)?;
        Some(Instant::from_seconds(*first * MINUTE))
    }

    /// Those of these candidates that start before `end`.
    pub(crate) fn before(&self, candidates: u64, end: Instant) -> u64 {
        let mut later = candidates;
        while self.first_of(later).is_some_and(|start| start < end) {
            later &= later - 1;
        }
        candidates & !later
    }

    /// The calendar refuses these candidates.
    pub(crate) fn withdraw(&mut self, candidates: u64) {
        self.left &= !candidates;
    }

    /// The calendar has no sessions, and so many seats: it cannot take part in a session that has
    /// begun to fill.
    pub(crate) fn limit_to_new(&mut self, seats: u32) {
        self.left &= !self.seated;
        self.seats_max = self.seats_max.min(seats);
    }

    /// The calendar has the seats of this span for these candidates. A session with this seat on
    /// only some of the calendars is one of another set of calendars, and takes their time. The
    /// seats of one set are in the same order on every calendar.
    pub(crate) fn limit_to_span(&mut self, mut candidates: u64, span: Span) {
        while candidates != 0 {
            let index = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            self.seats[index] = self.seats[index].min(span.seats);
            if self.seat[index] != span.seat {
                self.left &= !(1 << index);
            }
        }
    }

    /// The start and the seats of each that no calendar refused, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Instant, u32)> {
        let mut left = self.left;
        std::iter::from_fn(move || {
            let start = self.first_of(left)?;
            let seats = self.seats[left.trailing_zeros() as usize];
            left &= left - 1;
            Some((start, seats.min(self.seats_max)))
        })
    }
}
