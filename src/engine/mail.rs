//! What can lie in the writer's mailbox.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant as Deadline;

use bookd_core::calendar::Calendar;
use bookd_core::command::Command;
use bookd_core::ids::CalendarId;

use super::call::{Answer, Held, Terms};
use super::closed_calendar::DeletionStep;
use super::error::Failure;

/// A message to the actor.
pub(super) enum Mail {
    /// Decide this.
    Command {
        command: Box<Command>,
        terms: Terms,
        reply: oneshot::Sender<Result<Answer, Failure>>,
    },
    /// Bring these calendars into memory, so that a reader finds them published.
    Load(Load),
    /// Prepare the deletion of a calendar.
    Deletion(DeletionStep),
    /// Look at the clock: tests move it by hand.
    Tick { reply: oneshot::Sender<()> },
}

/// Calendars that somebody asks for.
pub(super) struct Load {
    pub(super) calendars: Vec<CalendarId>,
    /// Those of them that were loaded beside the writer, as of some moment.
    pub(super) adopted: Vec<Arc<Calendar>>,
    pub(super) deadline: Deadline,
    pub(super) _held: Option<Held>,
    /// The answer is the first that does not exist.
    pub(super) reply: oneshot::Sender<Result<Option<CalendarId>, Failure>>,
}

impl Mail {
    /// Answers that the writer has ended. Nothing happened: it was not taken.
    pub(super) fn refuse(self) {
        match self {
            Self::Command { reply, .. } => drop(reply.send(Err(Failure::ShuttingDown))),
            Self::Load(load) => drop(load.reply.send(Err(Failure::ShuttingDown))),
            Self::Deletion(step) => step.refuse(),
            // Whoever waits for a tick is told by the end of the channel.
            Self::Tick { reply } => drop(reply),
        }
    }
}
