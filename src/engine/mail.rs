//! The messages of the writer's mailbox.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant as Deadline;

use bookd_core::calendar::Calendar;
use bookd_core::command::Command;
use bookd_core::ids::CalendarId;

use super::call::{QueuePermit, SubmitOptions};
use super::closed_calendar::DeletionStep;
use super::error::Failure;
use super::reply::Reply;

/// A message to the actor.
pub(super) enum Mail {
    /// Decide this command.
    Command {
        command: Box<Command>,
        options: SubmitOptions,
        reply: Reply,
    },
    /// Bring these calendars into memory, so that a reader finds them published.
    Load(Load),
    /// Make a step of the deletion of a calendar.
    Deletion(DeletionStep),
    /// Read the clock: tests move it by hand.
    Tick { reply: oneshot::Sender<()> },
}

/// Calendars that a read needs in memory.
pub(super) struct Load {
    pub(super) calendars: Vec<CalendarId>,
    /// Those of them that a store connection has loaded, for the writer to adopt if they are
    /// unchanged.
    pub(super) adopted: Vec<Arc<Calendar>>,
    pub(super) deadline: Deadline,
    pub(super) _permit: Option<QueuePermit>,
    /// Receives the first calendar that does not exist, if any.
    pub(super) reply: oneshot::Sender<Result<Option<CalendarId>, Failure>>,
}

impl Mail {
    /// Answers that the writer has ended. Nothing happened, for the message was not processed.
    pub(super) fn refuse(self) {
        match self {
            Self::Command { reply, .. } => reply.send(Err(Failure::ShuttingDown)),
            Self::Load(load) => drop(load.reply.send(Err(Failure::ShuttingDown))),
            Self::Deletion(step) => step.refuse(),
            // The end of the channel answers those that wait for a tick.
            Self::Tick { reply } => drop(reply),
        }
    }
}
