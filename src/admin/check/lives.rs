//! R6: each appointment's life in the log: only what may follow what, a hold ends once, and nothing runs out early.
//!
//! The table is written down here a second time: a slip in the writer's own, or past it, is seen.

use super::Checked;
use bookd_core::appointment::{AppointmentState as S, Image};
use bookd_core::change::AppointmentEvent as E;
use bookd_core::log::LogEntry;
use bookd_core::time::Instant;

/// Of each event the states from which it may come, none for what is new; and those to which it leads, none where the
/// state stays.
const TABLE: [(E, &[S], &[S]); 17] = [
    (E::Booked, &[], &[S::Confirmed, S::Pending]),
    (E::Held, &[], &[S::Held]),
    (E::Extended, &[S::Held], &[]),
    (E::Released, &[S::Held], &[S::Cancelled]),
    (E::Confirmed, &[S::Held], &[S::Confirmed, S::Pending]),
    (E::Approved, &[S::Pending], &[S::Confirmed]),
    (E::Declined, &[S::Pending], &[S::Declined]),
    (E::Moved, &[S::Held, S::Pending, S::Confirmed], &[]),
    (
        E::Cancelled,
        &[S::Held, S::Pending, S::Confirmed],
        &[S::Cancelled],
    ),
    (E::Updated, &S::ALL, &[]),
    (E::MarkedNoShow, &[S::Confirmed], &[S::NoShow]),
    (E::Completed, &[S::Confirmed], &[S::Completed]),
    (E::Undone, &[S::NoShow, S::Completed], &[S::Confirmed]),
    (E::Expired, &[S::Held, S::Pending], &[S::Expired]),
    (E::Redacted, &S::ALL, &[]),
    (E::Shortened, &[S::Held], &[]),
    (
        E::Imported,
        &[],
        &[
            S::Pending,
            S::Confirmed,
            S::Cancelled,
            S::Declined,
            S::Expired,
            S::NoShow,
            S::Completed,
        ],
    ),
];

/// Notes what of a change cannot be; events of calendars have no life.
pub(super) fn check(entry: &LogEntry, checked: &mut Checked) {
    let LogEntry { revision, time, .. } = *entry;
    for it in entry.appointments() {
        checked.examined += 1;
        let id = it.id;
        if let Some(why) = impossible(it.kind, it.before.as_ref(), &it.after, time) {
            let from = it
                .before
                .as_ref()
                .map_or_else(|| "nothing".to_owned(), |image| image.state.to_string());
            let to = it.after.state;
            checked.find(format!(
                "revision {revision} makes {to} of appointment {id}, which was {from}: {why}"
            ));
        }
        if it.after.revision != revision {
            let other = it.after.revision;
            checked.find(format!(
                "revision {revision} says that revision {other} made appointment {id} what it is"
            ));
        }
    }
}

/// Why this cannot have happened at `time`; none when it can.
fn impossible(
    kind: E,
    before: Option<&Image>,
    after: &Image,
    time: Instant,
) -> Option<&'static str> {
    let Some((kind, from, to)) = TABLE.into_iter().find(|(it, ..)| *it == kind) else {
        return Some("nothing that bookd knows happened");
    };
    let now = after.state;
    let is_from = before.map_or(from.is_empty(), |before| from.contains(&before.state));
    let is_to = if to.is_empty() {
        before.map(|it| it.state) == Some(now)
    } else {
        to.contains(&now)
    };
    if !is_from || !is_to {
        return Some("the one does not follow the other");
    }
    if !waits_as_it_must(now, after) {
        return Some("what waits ends by itself, and what does not never");
    }
    before
        .and_then(|before| impossible_then(kind, before, after, time))
        .or_else(|| {
            let is_dead = now == S::Held && after.expire_time.is_some_and(|it| it <= time);
            is_dead.then_some("it is over already")
        })
}

/// HELD and PENDING have an end, EXPIRED may tell its own, nothing else has one.
fn waits_as_it_must(now: S, after: &Image) -> bool {
    match now {
        S::Held | S::Pending => after.expire_time.is_some(),
        S::Expired => true,
        S::Confirmed | S::Cancelled | S::Declined | S::NoShow | S::Completed => {
            after.expire_time.is_none()
        }
    }
}

/// What the time at which it happened, and what it must leave as it is, have against it.
fn impossible_then(kind: E, before: &Image, after: &Image, time: Instant) -> Option<&'static str> {
    let is_waiting = matches!(before.state, S::Held | S::Pending);
    let is_due = before.expire_time.is_some_and(|it| it <= time);
    match kind {
        E::Expired if !is_due => return Some("its time had not come"),
        E::Expired | E::Updated | E::Redacted => {}
        _ if is_waiting && is_due => return Some("it had run out"),
        E::MarkedNoShow | E::Completed if time < before.start => return Some("it had not begun"),
        _ => {}
    }
    // A request that waits takes its buffers, and its seat, when it is approved.
    let calendars = |it: &Image| it.calendars().cloned().collect::<Vec<_>>();
    let claimed = |it: &Image| {
        (
            it.start,
            it.duration,
            it.local_start,
            it.time_zone.clone(),
            calendars(it),
        )
    };
    let is_elsewhere = claimed(before) != claimed(after);
    if (is_elsewhere && kind != E::Moved) || before.type_id != after.type_id {
        return Some("only a move changes its time and calendars, and nothing its type");
    }
    let may_change_its_end = is_waiting && !matches!(kind, E::Expired | E::Updated | E::Redacted);
    if before.expire_time != after.expire_time && !may_change_its_end {
        return Some("its end changed by itself");
    }
    None
}
