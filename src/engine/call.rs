//! What a call brings to the engine beside what it asks, and what it is answered.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant as Deadline;

use bookd_core::appointment::Appointment;
use bookd_core::calendar::Calendar;
use bookd_core::decide::Outcome;
use bookd_core::ids::{Caller, Revision};
use bookd_core::time::Instant;

use super::closed_calendar::Asking;

/// What counts for as long as it stands in the writer's queue, though nobody may wait for its answer any more.
pub type Held = Arc<dyn Any + Send + Sync>;

/// How a reader waits.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// After this it does not.
    pub deadline: Option<Deadline>,
    /// See `Held`.
    pub held: Option<Held>,
}

/// How a command is to be taken.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Who sends it.
    pub caller: Caller,
    /// By which connection it came; none = from this process. Commands of several are decided in turn.
    pub sender: Option<SocketAddr>,
    /// By which method, for the log.
    pub method: &'static str,
    /// The client's idempotency key, if it gave one.
    pub request: Option<RequestId>,
    /// Decide and answer, but change nothing.
    pub is_dry_run: bool,
    /// After this nobody waits for the answer.
    pub deadline: Option<Deadline>,
    /// See `Held`.
    pub held: Option<Held>,
    /// The engine's own: with the end of a deletion goes what stands for whoever waits for it.
    pub asking: Option<Asking>,
}

/// A client's idempotency key and what it stands for, as hashes; the store never learns the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestId {
    /// Of caller and `request_id`.
    pub hash: [u8; 16],
    /// Of RPC and canonical request.
    pub fingerprint: [u8; 16],
}

/// What a command led to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The change's; of an answer that changed nothing, the last one it saw.
    pub revision: Revision,
    /// What it is about.
    pub outcome: Outcome,
    /// The calendar it is about, as it is after the command.
    pub calendar: Option<Arc<Calendar>>,
    /// The appointments that lie outside open time now.
    pub outside: Vec<Appointment>,
    /// The writer's `now`.
    pub time: Instant,
}
