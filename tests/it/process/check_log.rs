//! `bookd check` judges the log change by change: it finds an impossible change even if the rows
//! follow from the log and nothing is wrong at the end.

use bookd_core::appointment::{AppointmentState as S, Image, Place, Target, Transition};
use bookd_core::change::AppointmentEvent as E;
use bookd_core::command::Command;
use bookd_core::ids::AppointmentKey;
use bookd_core::time::{DAY, HOUR, Instant, MINUTE};

use crate::forged_log::{BEGINNING, Forged, called_off, start_at};
use crate::stored::{at_hour, id, minutes, open, put_special};

/// Whether an event may lead from one state to another, by the writer's own table of transitions.
fn is_allowed(kind: E, from: Option<S>, to: S) -> bool {
    let becomes = |transitions: &[Transition], from: S| {
        let targets = transitions
            .iter()
            .flat_map(|it| [it.target(from, false), it.target(from, true)]);
        targets.into_iter().any(|it| it == Target::Becomes(to))
    };
    match (kind, from) {
        (E::Booked, None) => matches!(to, S::Confirmed | S::Pending),
        (E::Held, None) => to == S::Held,
        (E::Imported, None) => to != S::Held,
        (_, None) | (E::Booked | E::Held | E::Imported, _) => false,
        (E::Extended | E::Shortened, Some(from)) => from == S::Held && to == from,
        (E::Moved, Some(from)) => matches!(from, S::Held | S::Pending | S::Confirmed) && to == from,
        (E::Updated | E::Redacted, Some(from)) => to == from,
        (E::Released, Some(from)) => becomes(&[Transition::Release], from),
        (E::Confirmed, Some(from)) => becomes(&[Transition::Confirm], from),
        (E::Approved, Some(from)) => becomes(&[Transition::Approve], from),
        (E::Declined, Some(from)) => becomes(&[Transition::Decline], from),
        (E::Cancelled, Some(from)) => becomes(&[Transition::Cancel], from),
        (E::MarkedNoShow, Some(from)) => becomes(&[Transition::MarkNoShow], from),
        (E::Completed, Some(from)) => becomes(&[Transition::Complete], from),
        (E::Undone, Some(from)) => {
            becomes(&[Transition::UndoNoShow, Transition::UndoComplete], from)
        }
        (E::Expired, Some(from)) => becomes(&[Transition::Expire], from),
    }
}

#[test]
fn of_every_event_and_two_states_exactly_those_are_found_that_the_table_does_not_join() {
    let mut allowed = 0;
    for kind in E::ALL {
        for from in [None].into_iter().chain(S::ALL.map(Some)) {
            for to in S::ALL {
                let mut forged = Forged::new();
                let start = at_hour(BEGINNING);
                let before = from.map(|from| forged.make(1, start, from));
                // An outcome is recorded after the start, and an expiry at its time.
                let now = match kind {
                    E::MarkedNoShow | E::Completed | E::Undone | E::Expired => start,
                    _ => forged.0.now.plus(MINUTE),
                };
                forged.0.now = now;
                let like = forged.appointment(1, start, to);
                let after = match before.as_deref() {
                    Some(before) => {
                        let keeps = from == Some(to) || to == S::Expired;
                        let expire_time = if keeps {
                            before.expire_time
                        } else {
                            like.expire_time
                        };
                        before.with_image(Image {
                            state: to,
                            expire_time,
                            ..before.image.clone()
                        })
                    }
                    None => like,
                };
                forged.commit_event(kind, before.as_ref(), after);
                let is_allowed = is_allowed(kind, from, to);
                allowed += usize::from(is_allowed);
                let found = forged.found();
                let promises: Vec<_> = found.iter().map(|it| it.0).collect();
                assert_eq!(
                    promises.contains(&"R6"),
                    !is_allowed,
                    "{kind:?} from {from:?} to {to:?}: {found:?}"
                );
                assert!(
                    promises.iter().all(|it| *it == "R6"),
                    "{kind:?} from {from:?} to {to:?}: {found:?}"
                );
            }
        }
    }
    assert!(allowed > 40, "{allowed}");
}

/// A function that changes the image of an appointment.
type Alter = fn(&mut Image);

/// Seconds after the appointment was made; a hold ends 10 minutes after.
const AT_ONCE: i64 = 0;
const BEFORE_ITS_END: i64 = 9 * MINUTE;
const AT_ITS_END: i64 = 10 * MINUTE;
const AFTER_ITS_END: i64 = 11 * MINUTE;

const NOTHING: Alter = |_| ();
const CONFIRMED: Alter = |it| (it.state, it.expire_time) = (S::Confirmed, None);
const EXPIRED: Alter = |it| it.state = S::Expired;
const CANCELLED: Alter = |it| (it.state, it.expire_time) = (S::Cancelled, None);
const DECLINED: Alter = |it| (it.state, it.expire_time) = (S::Declined, None);
const LATER: Alter = |it| {
    (it.start, it.local_start) = (it.start.plus(HOUR), it.local_start.plus(HOUR));
    it.places[0].start = it.start;
};

/// What an appointment does, its state before, the seconds after it was made, the event, the change
/// of the image, and whether the log may say so.
type Row = (&'static str, S, i64, E, Alter, bool);

const ROWS: [Row; 20] = [
    (
        "runs out early",
        S::Held,
        BEFORE_ITS_END,
        E::Expired,
        EXPIRED,
        false,
    ),
    (
        "runs out in time",
        S::Held,
        AT_ITS_END,
        E::Expired,
        EXPIRED,
        true,
    ),
    (
        "is confirmed in time",
        S::Held,
        BEFORE_ITS_END,
        E::Confirmed,
        CONFIRMED,
        true,
    ),
    (
        "is confirmed at its end",
        S::Held,
        AT_ITS_END,
        E::Confirmed,
        CONFIRMED,
        false,
    ),
    (
        "is let go afterwards",
        S::Held,
        AFTER_ITS_END,
        E::Released,
        CANCELLED,
        false,
    ),
    (
        "is extended afterwards",
        S::Held,
        AFTER_ITS_END,
        E::Extended,
        |it| it.expire_time = Some(at_hour(0)),
        false,
    ),
    (
        "is extended into the past",
        S::Held,
        BEFORE_ITS_END,
        E::Extended,
        |it| it.expire_time = Some(it.update_time),
        false,
    ),
    (
        "is confirmed and runs out all the same",
        S::Held,
        AT_ONCE,
        E::Confirmed,
        |it| it.state = S::Confirmed,
        false,
    ),
    (
        "never ends",
        S::Held,
        AT_ONCE,
        E::Extended,
        |it| it.expire_time = None,
        false,
    ),
    (
        "is declined after it was to start",
        S::Pending,
        DAY + 10 * HOUR,
        E::Declined,
        DECLINED,
        false,
    ),
    (
        "is declined in time",
        S::Pending,
        AT_ONCE,
        E::Declined,
        DECLINED,
        true,
    ),
    (
        "did not come before it began",
        S::Confirmed,
        AT_ONCE,
        E::MarkedNoShow,
        |it| it.state = S::NoShow,
        false,
    ),
    (
        "took place before it began",
        S::Confirmed,
        AT_ONCE,
        E::Completed,
        |it| it.state = S::Completed,
        false,
    ),
    ("moves", S::Confirmed, AT_ONCE, E::Moved, LATER, true),
    (
        "moves without a move",
        S::Confirmed,
        AT_ONCE,
        E::Updated,
        LATER,
        false,
    ),
    (
        "lasts longer without a move",
        S::Confirmed,
        AT_ONCE,
        E::Redacted,
        |it| it.duration = minutes(90),
        false,
    ),
    (
        "changes calendars without a move",
        S::Held,
        AT_ONCE,
        E::Extended,
        |it| it.places.clear(),
        false,
    ),
    (
        "waits longer without a word",
        S::Held,
        AT_ONCE,
        E::Updated,
        |it| it.expire_time = Some(at_hour(0)),
        false,
    ),
    ("is updated", S::Held, AT_ONCE, E::Updated, NOTHING, true),
    (
        "is cancelled twice",
        S::Cancelled,
        AT_ONCE,
        E::Cancelled,
        NOTHING,
        false,
    ),
];

#[test]
fn a_hold_that_ends_too_early_too_late_or_twice_is_found_and_so_is_what_only_a_move_may_change() {
    for (what, from, seconds_later, kind, change, is_allowed) in ROWS {
        let mut forged = Forged::new();
        let before = forged.make(1, at_hour(BEGINNING), from);
        forged.0.now = forged.0.now.plus(seconds_later);
        let mut after = (*before).clone();
        change(&mut after.image);
        forged.commit_event(kind, Some(&before), after);
        let expected: &[&str] = if is_allowed { &[] } else { &["R6"] };
        let found = forged.found();
        let promises: Vec<_> = found.iter().map(|it| it.0).collect();
        assert_eq!(promises, expected, "{what}: {found:?}");
    }
}

/// A second claim on a taken time is found; a claim on a time that was released is not.
#[test]
fn two_on_one_time_are_found_though_one_of_them_gave_way_later() {
    for (kind, state) in [
        (E::Booked, S::Confirmed),
        (E::Booked, S::Pending),
        (E::Held, S::Held),
        (E::Imported, S::Confirmed),
    ] {
        for (minutes_later, is_conflict) in [
            (0, true),
            (59, true),
            (60, false),
            (-59, true),
            (-60, false),
        ] {
            let mut forged = Forged::in_a_file();
            let first = forged.make(1, at_hour(BEGINNING), S::Confirmed);
            let second =
                forged.appointment(2, at_hour(BEGINNING).plus(minutes_later * MINUTE), state);
            let second = forged.commit_event(kind, None, second);
            forged.commit_event(E::Cancelled, Some(&second), called_off(&second));
            let expected: &[&str] = if is_conflict { &["R1"] } else { &[] };
            assert_eq!(
                forged.promises(),
                expected,
                "{state:?} {minutes_later} minutes later"
            );

            forged.commit_event(E::Cancelled, Some(&first), called_off(&first));
            let third = forged.appointment(3, at_hour(BEGINNING), state);
            forged.commit_event(kind, None, third);
            assert_eq!(forged.promises(), expected, "a released time is free");
        }
    }
}

#[test]
fn what_moved_away_ran_out_or_had_another_calendar_is_in_the_way_of_nobody() {
    let mut forged = Forged::in_a_file();
    let start = at_hour(BEGINNING);
    let first = forged.make(1, start, S::Confirmed);
    forged.commit_event(E::Moved, Some(&first), start_at(&first, start.plus(DAY)));
    forged.make(2, start, S::Held);
    // The hold has expired without a record: its time is free from then on.
    forged.0.now = forged.0.now.plus(10 * MINUTE);
    forged.make(3, start, S::Confirmed);
    assert!(forged.promises().is_empty(), "{:?}", forged.found());
    forged.0.run(&Command::DeleteCalendar {
        calendar: id("ada"),
        force: true,
        etag: None,
        beforehand: None,
    });
    open(&mut forged.0, "ada", "UTC");
    forged.make(4, start, S::Confirmed);
    assert!(forged.promises().is_empty(), "{:?}", forged.found());
    let moved = forged.make(5, start.plus(2 * DAY), S::Confirmed);
    let there = forged.commit_event(E::Moved, Some(&moved), start_at(&moved, start));
    forged.commit_event(E::Cancelled, Some(&there), called_off(&there));
    assert_eq!(forged.promises(), ["R1"], "a move claims time, too");
}

#[test]
fn an_approval_claims_the_time_that_the_request_did_not_take() {
    for (blocks, expected) in [(false, &["R1"][..]), (true, &[])] {
        let mut forged = Forged::in_a_file();
        let request = forged.appointment(1, at_hour(BEGINNING), S::Pending);
        let request = forged.commit_event(
            E::Booked,
            None,
            request.with_image(Image {
                blocks,
                ..request.image.clone()
            }),
        );
        // The other appointment is moved to the same time by a forged event, so that only the
        // approval is judged.
        let other = forged.make(2, at_hour(BEGINNING + 24), S::Confirmed);
        let other = forged.commit_event(
            E::Updated,
            Some(&other),
            start_at(&other, at_hour(BEGINNING)),
        );
        let approved = Image {
            state: S::Confirmed,
            blocks: true,
            expire_time: None,
            ..request.image.clone()
        };
        let approved =
            forged.commit_event(E::Approved, Some(&request), request.with_image(approved));
        forged.commit_event(E::Cancelled, Some(&approved), called_off(&approved));
        forged.commit_event(E::Cancelled, Some(&other), called_off(&other));
        assert_eq!(
            forged.promises(),
            [&["R6"][..], expected].concat(),
            "takes time: {blocks}"
        );
    }
}

#[test]
fn buffers_and_seats_are_judged_at_the_revision_that_claims_them() {
    let mut forged = Forged::in_a_file();
    put_special(&mut forged.0);
    let start = at_hour(BEGINNING);
    let number = forged.0.state.calendars[&id("ada")]
        .types
        .find(&crate::stored::special_type().id)
        .unwrap()
        .number;
    let seat = |forged: &Forged, key: u128, start: Instant| {
        let it = forged.appointment(key, start, S::Confirmed);
        let (before, after, duration) = (minutes(5), minutes(10), minutes(45));
        let places = vec![Place {
            type_number: number,
            before,
            after,
            duration,
            ..it.places[0].clone()
        }];
        let (type_id, session) = (crate::stored::special_type().id, AppointmentKey(1));
        it.with_image(Image {
            type_id,
            duration,
            places,
            session,
            ..it.image.clone()
        })
    };
    for key in 1..=3 {
        let it = seat(&forged, key, start);
        forged.commit_event(E::Booked, None, it);
    }
    assert!(
        forged.promises().is_empty(),
        "three seats: {:?}",
        forged.found()
    );
    let fourth = seat(&forged, 4, start);
    let fourth = forged.commit_event(E::Booked, None, fourth);
    forged.commit_event(E::Cancelled, Some(&fourth), called_off(&fourth));
    assert_eq!(forged.promises(), ["R1"], "one too many, for a while");

    // A session takes 45 minutes, 10 after it and 5 before the next: an hour later is free, a
    // minute sooner is not.
    for (minutes_later, expected) in [(60, &[][..]), (59, &["R1"][..])] {
        let mut forged = Forged::in_a_file();
        put_special(&mut forged.0);
        let first = seat(&forged, 1, start);
        forged.commit_event(E::Booked, None, first);
        let next = seat(&forged, 2, start.plus(minutes_later * MINUTE));
        let next = forged.commit_event(E::Booked, None, next);
        forged.commit_event(E::Cancelled, Some(&next), called_off(&next));
        assert_eq!(forged.promises(), expected, "{minutes_later} minutes later");
    }
}

#[test]
fn a_log_that_goes_back_in_time_is_found_but_where_the_clock_was_reset() {
    for mut forged in [Forged::new(), Forged::in_a_file()] {
        forged.make(1, at_hour(BEGINNING), S::Confirmed);
        let second = forged.appointment(2, at_hour(BEGINNING + 1), S::Confirmed);
        let wrong = forged.0.now.plus(1_000 * DAY);
        let right = std::mem::replace(&mut forged.0.now, wrong);
        forged.commit_event(E::Booked, None, second);
        forged.0.reset_clock(right.plus(MINUTE));
        assert!(
            forged.promises().is_empty(),
            "at the end of the log: {:?}",
            forged.found()
        );
        forged.make(3, at_hour(BEGINNING + 2), S::Confirmed);
        assert!(forged.promises().is_empty(), "{:?}", forged.found());
        forged.0.now = right;
        forged.make(4, at_hour(BEGINNING + 3), S::Confirmed);
        assert_eq!(forged.promises(), ["R4"], "back behind the reset");
    }
}
