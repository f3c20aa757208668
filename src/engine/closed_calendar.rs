//! A calendar that is closed while its deletion is prepared, and what is asked of the writer about it.

use std::sync::{Arc, Weak};

use tokio::sync::{OwnedMutexGuard, oneshot};

use bookd_core::appointment::Appointment;
use bookd_core::calendar::Calendar;
use bookd_core::ids::{AppointmentId, CalendarId};
use bookd_core::log::LogEvent;
use bookd_core::time::Instant;

use super::Failure;
use super::batch::Envelope;

/// As long as it is held somebody waits for a deletion, and no other calendar is deleted in slices.
pub(super) type Asking = Arc<OwnedMutexGuard<()>>;

/// What is asked of the writer.
pub(super) enum DeletionStep {
    /// Let nobody change this calendar, and begin. None where it is made at once.
    Begin {
        calendar: CalendarId,
        asking: Weak<OwnedMutexGuard<()>>,
        reply: Reply<Option<Begun>>,
    },
    /// Stage these events of this deletion, behind so many.
    Stage {
        number: u64,
        before: u64,
        events: Vec<LogEvent>,
        reply: Reply<()>,
    },
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, Failure>>;

/// A deletion that was begun.
pub(super) struct Begun {
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

/// The deletion under way, as the writer sees it.
pub(super) struct Closing {
    pub(super) number: u64,
    pub(super) calendar: CalendarId,
    pub(super) asking: Weak<OwnedMutexGuard<()>>,
    /// Commands that would change the calendar.
    pub(super) waiting: Vec<Envelope>,
    /// Of the calendar alone, and has run out; recorded once it is known whether it is cancelled.
    pub(super) expired: Vec<(Instant, AppointmentId)>,
}

impl Closing {
    pub(super) fn holds(&self, it: &Appointment) -> bool {
        it.calendars().any(|calendar| *calendar == self.calendar)
    }
}
