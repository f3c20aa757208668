//! Brings a store whose time is ahead of the clock back to the clock, offline.
//!
//! The time of a store never runs back by itself. A reset is planned and shown first, and written
//! only when the caller asks for it.

use std::sync::Arc;

use super::{AdminError, StoreFile};
use crate::clock::{Clock, SystemClock};
use crate::engine::CLOCK_BEHIND_LOGGED;
use crate::open_store::open_sqlite;
use crate::store::log_reader::{ChangePart, PART_EVENTS_MAX};
use crate::store::sqlite::Sqlite;
use crate::store::{Boot, CommitBatch, CommitError, Store, StoreError, WatchFilter};
use bookd_core::appointment::Appointment;
use bookd_core::change::{AppointmentEvent, Change};
use bookd_core::decide::reset_clock;
use bookd_core::ids::{AppointmentId, Revision};
use bookd_core::log::LogPosition;
use bookd_core::state::State;
use bookd_core::time::Instant;

/// Appointments that are read at a time.
const PAGE: usize = 1_000;

/// The findings of a reset, and the change that it makes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The revision and the time of the last change.
    pub last: (Revision, Instant),
    /// The time of this machine's clock.
    pub now: Instant,
    /// How the store is ahead of the clock; none if it is not ahead.
    pub ahead: Option<Ahead>,
}

/// The changes that were made by the wrong clock, and the change that brings the store back.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// The first change that is kept and has a time after now.
    pub first: Revision,
    /// The number of changes with a time after now.
    pub changes: u64,
    /// The number of holds and requests that expired in these changes.
    pub expired: u64,
    /// Whether every change that is kept lies after now, so that the clock may be the one that is
    /// wrong.
    pub is_all: bool,
    /// The change that brings the store back; each of its events shortens a hold.
    pub reset: Change,
}

/// Plans the reset of a store, and writes it if `is_confirmed`.
pub fn reset(store: &StoreFile, is_confirmed: bool) -> Result<Plan, AdminError> {
    store.must_be_there()?;
    let zones = store.load_zones()?;
    let path = &store.path;
    let mut store = open_sqlite(path, &zones)?;
    let plan = plan(&mut store, SystemClock.now())
        .map_err(|error| AdminError::unreadable(path, &error))?;
    if let Some(ahead) = plan.ahead.as_ref().filter(|_| is_confirmed) {
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
    // A clock that is at most this far behind catches up by itself.
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

/// All outstanding holds and requests.
fn waiting(store: &mut Sqlite, boot: &Boot) -> Result<Vec<Arc<Appointment>>, StoreError> {
    let ids: Vec<AppointmentId> = boot
        .expiring
        .iter()
        .map(|expiring| expiring.appointment)
        .collect();
    let mut waiting = Vec::with_capacity(ids.len());
    for page in ids.chunks(PAGE) {
        waiting.extend(store.load_appointments(page)?.into_iter().map(Arc::new));
    }
    Ok(waiting)
}

/// The number of changes from `first` on with a time after `now`, and the number of holds and
/// requests that expired in them.
fn made_after(store: &Sqlite, first: Revision, now: Instant) -> Result<(u64, u64), StoreError> {
    let mut reader = store.reader()?;
    let (mut changes, mut expired) = (0, 0);
    let mut from = LogPosition::of(first);
    loop {
        let page = reader.changes_from(from, &WatchFilter::ALL, PART_EVENTS_MAX)?;
        if page.next == from {
            return Ok((changes, expired));
        }
        let is_ahead = |part: &&ChangePart| part.entry.time > now;
        for part in page.changes.iter().filter(is_ahead) {
            changes += u64::from(part.is_last());
            expired += part
                .entry
                .appointments()
                .filter(|event| event.kind == AppointmentEvent::Expired)
                .count() as u64;
        }
        from = page.next;
    }
}
