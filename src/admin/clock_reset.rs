//! Brings a store that believed a wrong clock back to the one that is right, offline.
//!
//! A store's time never goes back by itself. This says first what going back means, and does it only when told to.

use std::sync::Arc;

use super::{AdminError, StoreFile};
use crate::clock::{Clock, SystemClock};
use crate::engine::CLOCK_BEHIND_LOGGED;
use crate::open_store::open_sqlite;
use crate::store::log_reader::PART_EVENTS_MAX;
use crate::store::sqlite::Sqlite;
use crate::store::{Boot, CalendarFilter, CommitBatch, CommitError, Store, StoreError};
use bookd_core::appointment::Appointment;
use bookd_core::change::{AppointmentEvent, Change};
use bookd_core::decide::reset_clock;
use bookd_core::ids::{AppointmentId, Revision};
use bookd_core::log::LogPosition;
use bookd_core::state::State;
use bookd_core::time::Instant;

/// How many appointments are read at a time.
const PAGE: usize = 1_000;

/// What a reset finds, and what it changes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The last change, and when it says that it was made.
    pub last: (Revision, Instant),
    /// What this machine's clock shows.
    pub now: Instant,
    /// What lies after that; none when the store's time is not ahead.
    pub ahead: Option<Ahead>,
}

/// What was made by the wrong clock, and the change that brings the store back.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// The first change that is kept and says that it was made after now.
    pub first: Revision,
    /// Changes that do.
    pub changes: u64,
    /// Holds and requests that they let run out.
    pub expired: u64,
    /// Every change that is kept lies after now: the clock may be the one that is wrong.
    pub is_all: bool,
    /// The change that brings the store back, with a hold that it shortens in each of its events.
    pub reset: Change,
}

/// What a reset of a store comes to; it is written where it is to be done.
pub fn reset(store: &StoreFile, is_to_be_done: bool) -> Result<Plan, AdminError> {
    store.must_be_there()?;
    let zones = store.load_zones()?;
    let path = &store.path;
    let mut store = open_sqlite(path, &zones)?;
    let plan = plan(&mut store, SystemClock.now())
        .map_err(|error| AdminError::unreadable(path, &error))?;
    if let Some(ahead) = plan.ahead.as_ref().filter(|_| is_to_be_done) {
        let batch = CommitBatch {
            changes: std::slice::from_ref(&ahead.reset),
            requests: &[],
            expected: &[],
        };
        store.commit(&batch).map_err(|error| match error {
            CommitError::Refused(error) => AdminError::unreadable(path, &error),
            CommitError::Unknown(error) => {
                let unknown = "whether the reset was written is not known; run it again to see";
                AdminError::Failed(format!("{}: {error}; {unknown}", path.display()))
            }
        })?;
    }
    Ok(plan)
}

fn plan(store: &mut Sqlite, now: Instant) -> Result<Plan, StoreError> {
    let boot = store.boot()?;
    let last = (boot.revision, boot.last_time);
    // A clock that is this little behind catches up by itself.
    if boot.last_time.since(now) <= CLOCK_BEHIND_LOGGED {
        return Ok(Plan {
            last,
            now,
            ahead: None,
        });
    }
    let waiting = waiting(store, &boot)?;
    let state = State {
        revision: boot.revision,
        last_time: boot.last_time,
        ..State::default()
    };
    let reset = reset_clock(&state, &waiting, now);
    let first = store.first_change_after(now)?.unwrap_or(boot.revision);
    let is_all = store
        .oldest()?
        .is_none_or(|oldest| oldest.revision == first);
    let (changes, expired) = made_after(store, first, now)?;
    Ok(Plan {
        last,
        now,
        ahead: Some(Ahead {
            first,
            changes,
            expired,
            is_all,
            reset,
        }),
    })
}

/// Every hold and request.
fn waiting(store: &mut Sqlite, boot: &Boot) -> Result<Vec<Arc<Appointment>>, StoreError> {
    let ids: Vec<AppointmentId> = boot.expiring.iter().map(|it| it.appointment).collect();
    let mut waiting = Vec::with_capacity(ids.len());
    for page in ids.chunks(PAGE) {
        waiting.extend(store.load_appointments(page)?.into_iter().map(Arc::new));
    }
    Ok(waiting)
}

/// How many changes from `first` on say that they were made after `now`, and how much they let run out.
fn made_after(store: &Sqlite, first: Revision, now: Instant) -> Result<(u64, u64), StoreError> {
    let mut reader = store.reader()?;
    let (mut changes, mut expired) = (0, 0);
    let mut from = LogPosition::of(first);
    loop {
        let page = reader.changes_from(from, &CalendarFilter::All, PART_EVENTS_MAX)?;
        if page.next == from {
            return Ok((changes, expired));
        }
        for told in page.changes.iter().filter(|it| it.entry.time > now) {
            changes += u64::from(told.is_last());
            expired += told
                .entry
                .appointments()
                .filter(|it| it.kind == AppointmentEvent::Expired)
                .count() as u64;
        }
        from = page.next;
    }
}
