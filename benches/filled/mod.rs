//! Fills the file of a store through the core and the store, without a server.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a benchmark stops when it cannot go on, and none needs all of this"
)]

use std::sync::Arc;

use bookd::clock::{Clock, SystemClock};
use bookd::store::sqlite::Sqlite;
use bookd::store::{CommitBatch, Store};
use bookd_core::calendar::availability::{Rule, Weekdays, Window};
use bookd_core::change::Change;
use bookd_core::command::{Booking, Command as Asked};
use bookd_core::decide::decide;
use bookd_core::ids::{AppointmentId, CalendarId, Caller};
use bookd_core::state::State;
use bookd_core::time::Instant;
use bookd_core::time::zone::Zone;

/// Decides a command, applies its change, and adds it to the changes of the next commit.
pub(crate) fn take(state: &mut State, command: &Asked, changes: &mut Vec<Change>) {
    let now = SystemClock.now().max(state.last_time);
    let change = decide(state, command, now)
        .unwrap()
        .change(state, now, Caller::default())
        .unwrap();
    state.apply(&change);
    changes.push(change);
}

/// Commits the changes.
pub(crate) fn commit(store: &mut Sqlite, changes: &mut Vec<Change>) {
    store
        .commit(&CommitBatch {
            changes,
            requests: &[],
            expected: &[],
        })
        .unwrap();
    store.after_commit().unwrap();
    changes.clear();
}

/// The command that makes a calendar, open around the clock.
pub(crate) fn opened(id: &CalendarId, utc: &Arc<Zone>) -> Asked {
    let window = Window::new(0, 24 * 60).unwrap();
    let rules = vec![Rule {
        weekdays: Weekdays::ALL,
        window,
        first_date: None,
        last_date: None,
    }];
    Asked::SetAvailability {
        calendar: id.clone(),
        zone: None,
        utc: Arc::clone(utc),
        rules,
        etag: None,
    }
}

/// A booking with a new id.
pub(crate) fn booking(id: &CalendarId, start: Instant) -> Booking {
    crate::world::booking(AppointmentId(uuid::Uuid::now_v7()), id, start)
}
