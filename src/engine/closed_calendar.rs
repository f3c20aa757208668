//! A calendar that is closed while its deletion is prepared, and the messages to the writer about
//! it.
//!
//! At most one deletion is prepared at a time, for as long as its caller holds the
//! [`DeletionLock`].

use std::sync::{Arc, Weak};

use tokio::sync::{OwnedMutexGuard, oneshot};

use bookd_core::appointment::Appointment;
use bookd_core::calendar::Calendar;
use bookd_core::ids::{AppointmentId, CalendarId};
use bookd_core::log::LogEvent;
use bookd_core::time::Instant;

use super::Failure;
use super::batch::Envelope;

/// Held by the caller of a deletion until its end; while it is held no other calendar is deleted in
/// slices.
pub(super) type DeletionLock = Arc<OwnedMutexGuard<()>>;

/// A step of a deletion that the writer makes.
pub(super) enum DeletionStep {
    /// Close this calendar to changes, and begin. The reply is none where the store deletes at
    /// once.
    Begin {
        calendar: CalendarId,
        deletion_lock: Weak<OwnedMutexGuard<()>>,
        reply: StepReply<Option<BegunDeletion>>,
    },
    /// Stage these events of this deletion, after the `before` events that are staged already.
    Stage {
        number: u64,
        before: u64,
        events: Vec<LogEvent>,
        reply: StepReply<()>,
    },
}

pub(super) type StepReply<T> = oneshot::Sender<Result<T, Failure>>;

/// A deletion that was begun.
pub(super) struct BegunDeletion {
    pub(super) number: u64,
    /// The calendar as it stays until the end.
    pub(super) calendar: Arc<Calendar>,
    pub(super) now: Instant,
}

impl DeletionStep {
    /// Answers that the writer has ended.
    pub(super) fn refuse(self) {
        match self {
            Self::Begin { reply, .. } => drop(reply.send(Err(Failure::ShuttingDown))),
            Self::Stage { reply, .. } => drop(reply.send(Err(Failure::ShuttingDown))),
        }
    }
}

/// The deletion under way, as the writer knows it.
pub(super) struct OngoingDeletion {
    pub(super) number: u64,
    pub(super) calendar: CalendarId,
    pub(super) deletion_lock: Weak<OwnedMutexGuard<()>>,
    /// Commands that would change the calendar, and wait for the end of the deletion.
    pub(super) waiting: Vec<Envelope>,
    /// Holds and requests of this calendar alone that have expired meanwhile. They are recorded at
    /// the end, when it is known whether the deletion cancelled them.
    pub(super) expired: Vec<(Instant, AppointmentId)>,
}

impl OngoingDeletion {
    /// Whether an appointment takes time of the calendar.
    pub(super) fn holds(&self, it: &Appointment) -> bool {
        it.calendars().any(|calendar| *calendar == self.calendar)
    }
}
