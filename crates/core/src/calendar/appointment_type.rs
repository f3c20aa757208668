//! An appointment type: duration, grid, buffers, notice, horizon, seats, limits and approval of its
//! appointments.
//!
//! Every value of the type is valid. A change of it affects later claims only.

use crate::calendar::availability::Rule;
use crate::ids::{Etag, Revision, TypeId, TypeNumber};
use crate::time::{Instant, Minutes, Seconds};

/// The default horizon, in days.
pub const HORIZON_DAYS_DEFAULT: u32 = 365;
/// The furthest horizon, in days.
pub const HORIZON_DAYS_MAX: u32 = 100_000;
/// The most seats of one session.
pub const CAPACITY_MAX: u32 = 10_000;
/// The most durations to choose from, besides the default one.
pub const DURATION_OPTIONS_MAX: usize = 100;
/// The most types of one calendar, deleted ones counted.
pub const TYPES_MAX: usize = 1_000;

/// How many sessions may start in a local day, Monday week, month and year; none = any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// In one local date.
    pub per_day: Option<u32>,
    /// From a Monday to the Sunday after it.
    pub per_week: Option<u32>,
    /// In one month of the calendar.
    pub per_month: Option<u32>,
    /// From January to December.
    pub per_year: Option<u32>,
}

impl Limits {
    /// Whether no period has a limit.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// When a resource was created and last changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamps {
    /// The commit time of the change that made it.
    pub create_time: Instant,
    /// The commit time of the last change to it.
    pub update_time: Instant,
    /// The revision of the last change to it.
    pub revision: Revision,
}

impl Stamps {
    /// The stamps of a resource that the change `revision` creates.
    pub const fn created(now: Instant, revision: Revision) -> Self {
        Self {
            create_time: now,
            update_time: now,
            revision,
        }
    }

    /// The stamps of the same resource after the change `revision`.
    pub const fn updated(self, now: Instant, revision: Revision) -> Self {
        Self {
            create_time: self.create_time,
            update_time: now,
            revision,
        }
    }
}

/// A kind of appointment that can be booked on a calendar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppointmentType {
    /// The client's name of it.
    pub id: TypeId,
    /// Its number within the calendar.
    pub number: TypeNumber,
    /// For people; at most 200 characters.
    pub display_name: String,
    /// The default duration, at least a minute.
    pub duration: Minutes,
    /// Further durations that a client may ask for.
    pub duration_options: Vec<Minutes>,
    /// The grid's step; none = the default duration.
    pub slot_step: Option<Minutes>,
    /// Kept free before the start.
    pub buffer_before: Minutes,
    /// Kept free after the end.
    pub buffer_after: Minutes,
    /// The least time between the booking and the start.
    pub min_notice: Seconds,
    /// How many local dates ahead it can be booked.
    pub horizon_days: u32,
    /// Seats of one session, at least 1.
    pub capacity: u32,
    /// The limits on sessions of this type.
    pub limits: Limits,
    /// Whether a booking begins as PENDING.
    pub requires_approval: bool,
    /// Whether a PENDING appointment takes its time.
    pub pending_blocks: bool,
    /// The least time between a cancellation and the start; none = it can be cancelled at any time.
    pub cancel_notice: Option<Seconds>,
    /// The least time between a move and the start; none = it can be moved at any time.
    pub reschedule_notice: Option<Seconds>,
    /// Weekly rules instead of the calendar's; empty = the calendar's.
    pub rules: Vec<Rule>,
    /// When it was created and last changed.
    pub stamps: Stamps,
}

impl AppointmentType {
    /// The type `default` of a new calendar: 60 minutes, and nothing else set.
    pub fn default_type(stamps: Stamps) -> Self {
        Self {
            id: TypeId::default_type(),
            number: TypeNumber(0),
            display_name: String::new(),
            duration: Minutes::new(60).expect("an hour is less than seven days"),
            duration_options: Vec::new(),
            slot_step: None,
            buffer_before: Minutes::ZERO,
            buffer_after: Minutes::ZERO,
            min_notice: Seconds::ZERO,
            horizon_days: HORIZON_DAYS_DEFAULT,
            capacity: 1,
            limits: Limits::default(),
            requires_approval: false,
            pending_blocks: true,
            cancel_notice: None,
            reschedule_notice: None,
            rules: Vec::new(),
            stamps,
        }
    }

    /// The step of the grid of starts.
    pub fn step(&self) -> Minutes {
        self.slot_step.unwrap_or(self.duration)
    }

    /// Whether a client may ask for this duration.
    pub fn allows(&self, duration: Minutes) -> bool {
        duration == self.duration || self.duration_options.contains(&duration)
    }

    /// The etag of the type as it is.
    pub fn etag(&self) -> Etag {
        Etag::of(self.id.as_str().as_bytes(), self.stamps.revision)
    }
}
