//! The states of an appointment, and the table of transitions between them.
//!
//! `Transition::target` is the complete table: every pair of state and transition that is not in it
//! is refused.

use std::fmt;

use crate::time::Instant;

/// The state of an appointment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AppointmentState {
    /// A hold, which takes its time until it expires.
    Held,
    /// A request that waits for approval.
    Pending,
    /// Booked.
    Confirmed,
    /// Cancelled, or a released hold.
    Cancelled,
    /// Approval was refused.
    Declined,
    /// A hold that expired, or a request that was not approved before its start.
    Expired,
    /// The invitee did not come.
    NoShow,
    /// Took place.
    Completed,
}

impl AppointmentState {
    /// Every state, in the order of the enumeration.
    pub const ALL: [Self; 8] = [
        Self::Held,
        Self::Pending,
        Self::Confirmed,
        Self::Cancelled,
        Self::Declined,
        Self::Expired,
        Self::NoShow,
        Self::Completed,
    ];

    /// Whether an appointment in this state never takes time again.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Cancelled | Self::Declined | Self::Expired)
    }

    /// The state at `now`: EXPIRED from the expiry on, whether the expiry is recorded or not.
    pub fn at(self, expire_time: Option<Instant>, now: Instant) -> Self {
        match expire_time {
            Some(expire_time) if expire_time <= now => Self::Expired,
            _ => self,
        }
    }

    /// The name in errors, in upper case with underscores: `NO_SHOW`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::Cancelled => "CANCELLED",
            Self::Declined => "DECLINED",
            Self::Expired => "EXPIRED",
            Self::NoShow => "NO_SHOW",
            Self::Completed => "COMPLETED",
        }
    }
}

impl fmt::Display for AppointmentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A change of the state of an existing appointment. Moving and editing keep the state and are not
/// in this list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transition {
    /// HELD becomes CONFIRMED or, with a type that requires approval, PENDING.
    Confirm,
    /// PENDING becomes CONFIRMED.
    Approve,
    /// PENDING becomes DECLINED.
    Decline,
    /// HELD becomes CANCELLED.
    Release,
    /// HELD, PENDING and CONFIRMED become CANCELLED.
    Cancel,
    /// HELD and PENDING become EXPIRED.
    Expire,
    /// CONFIRMED becomes NO_SHOW.
    MarkNoShow,
    /// NO_SHOW becomes CONFIRMED again.
    UndoNoShow,
    /// CONFIRMED becomes COMPLETED.
    Complete,
    /// COMPLETED becomes CONFIRMED again.
    UndoComplete,
}

/// The result of a transition from a state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// The appointment gets this state.
    Becomes(AppointmentState),
    /// The appointment has the state already: OK, without a change or a revision.
    Already,
    /// The transition is refused.
    Refused,
}

impl Transition {
    /// Every transition.
    pub const ALL: [Self; 10] = [
        Self::Confirm,
        Self::Approve,
        Self::Decline,
        Self::Release,
        Self::Cancel,
        Self::Expire,
        Self::MarkNoShow,
        Self::UndoNoShow,
        Self::Complete,
        Self::UndoComplete,
    ];

    /// The table. With `wants_approval` a confirmed hold becomes PENDING.
    pub fn target(self, from: AppointmentState, wants_approval: bool) -> Target {
        use AppointmentState as S;
        use Target::{Already, Becomes, Refused};
        match (self, from) {
            (Self::Confirm, S::Held) if wants_approval => Becomes(S::Pending),
            (Self::Confirm, S::Held) => Becomes(S::Confirmed),
            (Self::Confirm, S::Pending | S::Confirmed) => Already,
            (Self::Approve, S::Pending) => Becomes(S::Confirmed),
            (Self::Approve, S::Confirmed) => Already,
            (Self::Decline, S::Pending) => Becomes(S::Declined),
            (Self::Decline, S::Declined) => Already,
            (Self::Release, S::Held) => Becomes(S::Cancelled),
            (Self::Cancel, S::Held | S::Pending | S::Confirmed) => Becomes(S::Cancelled),
            (Self::Release | Self::Cancel, S::Cancelled) => Already,
            (Self::Expire, S::Held | S::Pending) => Becomes(S::Expired),
            (Self::Expire, S::Expired) => Already,
            (Self::MarkNoShow, S::Confirmed) => Becomes(S::NoShow),
            (Self::MarkNoShow, S::NoShow) => Already,
            (Self::Complete, S::Confirmed) => Becomes(S::Completed),
            (Self::Complete, S::Completed) => Already,
            (Self::UndoNoShow, S::NoShow) | (Self::UndoComplete, S::Completed) => {
                Becomes(S::Confirmed)
            }
            (Self::UndoNoShow | Self::UndoComplete, S::Confirmed) => Already,
            _ => Refused,
        }
    }

    /// The verb in errors: "an appointment in state DECLINED cannot be *approved*".
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Confirm => "confirmed",
            Self::Approve => "approved",
            Self::Decline => "declined",
            Self::Release => "released",
            Self::Cancel => "cancelled",
            Self::Expire => "expired",
            Self::MarkNoShow => "marked as no-show",
            Self::UndoNoShow => "marked as not a no-show",
            Self::Complete => "completed",
            Self::UndoComplete => "marked as not completed",
        }
    }
}
