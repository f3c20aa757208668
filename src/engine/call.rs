//! The options of a call to the engine, and the answer to a command.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant as Deadline;

use bookd_core::appointment::Appointment;
use bookd_core::calendar::Calendar;
use bookd_core::decide::Outcome;
use bookd_core::ids::{Caller, Revision};
use bookd_core::reach::Reach;
use bookd_core::time::Instant;

use super::closed_calendar::DeletionLock;

/// What a call holds until its command leaves the writer's queue, even when its caller has gone
/// away: the admission permit, so that a queued command keeps counting against the limit of open
/// calls.
pub type QueuePermit = Arc<dyn Any + Send + Sync>;

/// How long a read waits, and what it holds meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// The latest time until which the read waits; none = [`super::WAIT_MAX`] from now.
    pub deadline: Option<Deadline>,
    /// Held until the command or read leaves the writer's queue.
    pub permit: Option<QueuePermit>,
}

/// The options of a command: its caller, its deadline, and how to decide it.
#[derive(Clone, Debug, Default)]
pub struct SubmitOptions {
    /// The authenticated caller, as the log records it.
    pub caller: Caller,
    /// What the caller may change; by default everything. The calendars that the command names are
    /// within reach.
    pub reach: Reach,
    /// The connection that the command came by; none = this process. Connections are served in
    /// turn.
    pub sender: Option<SocketAddr>,
    /// The RPC method, for log lines.
    pub method: &'static str,
    /// The client's idempotency key, if it gave one.
    pub request: Option<RequestId>,
    /// Decide and answer, but change nothing.
    pub is_dry_run: bool,
    /// The time after which nobody waits for the answer.
    pub deadline: Option<Deadline>,
    /// Held until the command or read leaves the writer's queue.
    pub permit: Option<QueuePermit>,
    /// Set by the engine alone: the command that ends a deletion carries the lock on deletions.
    pub deletion_lock: Option<DeletionLock>,
}

/// A client's idempotency key and what it stands for, as hashes; the store never learns the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestId {
    /// Hash of caller and `request_id`.
    pub hash: [u8; 16],
    /// Hash of RPC method and canonical request.
    pub fingerprint: [u8; 16],
}

/// The answer to a command that was not refused.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The revision of the change; when nothing changed, the last revision that the decision saw.
    pub revision: Revision,
    /// The appointments, calendar and type that the command is about.
    pub outcome: Outcome,
    /// The calendar that the command is about, as it is after the command.
    pub calendar: Option<Arc<Calendar>>,
    /// The appointments that lie outside open time after a change of hours.
    pub outside: Vec<Appointment>,
    /// The writer's `now` for the command.
    pub time: Instant,
    /// The commit that the answer waited for; none where nothing was written.
    pub commit: Option<CommitFigures>,
}

/// A commit, as far as an operator asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitFigures {
    /// The commands that were decided together.
    pub commands: usize,
    /// How long the commit took until it was on disk.
    pub took: Duration,
}
