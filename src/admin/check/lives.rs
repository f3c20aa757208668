//! R6: the states of each appointment in the log follow each other as they may, a hold ends once,
//! and nothing expires early.
//!
//! The table of transitions is a second one, independent of the writer's, so that an error in the
//! writer's table or a change that went past it is found.

use super::Checked;
use bookd_core::appointment::{AppointmentState as S, Image};
use bookd_core::change::AppointmentEvent as E;
use bookd_core::log::LogEntry;
use bookd_core::time::Instant;

/// For each event the states before it, empty for a new appointment, and the states after it, empty
/// if the state stays. Every event has a row.
const TABLE: [(E, &[S], &[S]); E::ALL.len()] = [
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

/// Reports the events of appointments in a change that are impossible.
pub(super) fn check(entry: &LogEntry, checked: &mut Checked) {
    let LogEntry { revision, time, .. } = *entry;
    for event in entry.appointments() {
        checked.examined += 1;
        let id = event.id;
        if let Some(why) = impossible(event.kind, event.before.as_ref(), &event.after, time) {
            let from = event
                .before
                .as_ref()
                .map_or_else(|| "nothing".to_owned(), |image| image.state.to_string());
            let to = event.after.state;
            checked.find(format!(
                "revision {revision} makes {to} of appointment {id}, which was {from}: {why}"
            ));
        }
        if event.after.revision != revision {
            let other = event.after.revision;
            checked.find(format!(
                "revision {revision} says that revision {other} made appointment {id} what it is"
            ));
        }
    }
}

/// Why an event is impossible at `time`; none if it is possible.
fn impossible(
    kind: E,
    before: Option<&Image>,
    after: &Image,
    time: Instant,
) -> Option<&'static str> {
    let Some((kind, from, to)) = TABLE.into_iter().find(|(event, ..)| *event == kind) else {
        return Some("nothing that bookd knows happened");
    };
    let now = after.state;
    let is_from = before.map_or(from.is_empty(), |before| from.contains(&before.state));
    let is_to = if to.is_empty() {
        before.map(|image| image.state) == Some(now)
    } else {
        to.contains(&now)
    };
    if !is_from || !is_to {
        return Some("the one does not follow the other");
    }
    if !has_right_expiry(now, after) {
        return Some("what waits ends by itself, and what does not never");
    }
    before
        .and_then(|before| impossible_change(kind, before, after, time))
        .or_else(|| {
            let is_dead = now == S::Held && after.expire_time.is_some_and(|end| end <= time);
            is_dead.then_some("it is over already")
        })
}

/// Whether the image has an expiry where its state needs one: HELD and PENDING have one, EXPIRED
/// may keep its own, other states have none.
fn has_right_expiry(now: S, after: &Image) -> bool {
    match now {
        S::Held | S::Pending => after.expire_time.is_some(),
        S::Expired => true,
        S::Confirmed | S::Cancelled | S::Declined | S::NoShow | S::Completed => {
            after.expire_time.is_none()
        }
    }
}

/// Why a change of an existing appointment is impossible, by its time and by the fields that it
/// must leave; none if it is possible.
fn impossible_change(
    kind: E,
    before: &Image,
    after: &Image,
    time: Instant,
) -> Option<&'static str> {
    let is_waiting = matches!(before.state, S::Held | S::Pending);
    let is_due = before.expire_time.is_some_and(|end| end <= time);
    match kind {
        E::Expired if !is_due => return Some("its time had not come"),
        E::Expired | E::Updated | E::Redacted => {}
        _ if is_waiting && is_due => return Some("it had run out"),
        E::MarkedNoShow | E::Completed if time < before.start => return Some("it had not begun"),
        _ => {}
    }
    // Buffers and the seat are not compared, because a pending request takes them when it is
    // approved.
    let calendars = |image: &Image| image.calendars().cloned().collect::<Vec<_>>();
    let claimed = |image: &Image| {
        (
            image.start,
            image.duration,
            image.local_start,
            image.time_zone.clone(),
            calendars(image),
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
