//! A small world whole: up to three appointments, four slots, and every order in which anything can happen to them.
//!
//! From each situation that can be come to, every command is tried; a situation that was seen before is not gone into
//! again. So no order of commands, of any length, leads to anything that is not looked at here.

use std::collections::{BTreeSet, VecDeque};

use bookd_core::appointment::{Assignment, IgnoredRules, PersonDetails};
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::calendar::availability::{Availability, Weekdays};
use bookd_core::command::{Booking, Command};
use bookd_core::ids::{AppointmentId, CalendarId, TypeId};
use bookd_core::time::{Instant, MINUTE, Seconds};

use crate::pair::{Action, Pair, booking, move_to};
use crate::reference::{Outcome, Wish};
use crate::world::{calendar, instant, minutes, rule, zone};

const APPOINTMENTS: u128 = 3;
const SLOTS: i64 = 4;
const TTL: i64 = 10 * MINUTE;

/// What can be tried.
#[derive(Clone, Copy, Debug)]
enum Try {
    Book(i64),
    Hold(i64),
    Confirm(u128),
    Release(u128),
    Approve(u128),
    Decline(u128),
    Cancel(u128),
    Move(u128, i64),
    /// Every hold that there is runs out. Once: later nothing new would come of it.
    Wait,
}

/// Everything that can be tried while there are so many appointments.
fn tries(count: u128, has_waited: bool) -> Vec<Try> {
    let mut tries = Vec::new();
    if count < APPOINTMENTS {
        tries.extend((0..SLOTS).flat_map(|slot| [Try::Book(slot), Try::Hold(slot)]));
    }
    for id in 1..=count {
        tries.extend([
            Try::Confirm(id),
            Try::Release(id),
            Try::Approve(id),
            Try::Decline(id),
            Try::Cancel(id),
        ]);
        tries.extend((0..SLOTS).map(|slot| Try::Move(id, slot)));
    }
    tries.extend((!has_waited).then_some(Try::Wait));
    tries
}

fn start(slot: i64) -> Instant {
    instant("2027-03-01T09:00:00Z").plus(slot * 30 * MINUTE)
}

fn wish(slot: i64) -> Wish {
    Wish {
        calendars: vec![CalendarId::parse("ada").unwrap()],
        assignment: Assignment::All,
        type_id: TypeId::parse("a").unwrap(),
        start: start(slot),
        duration: None,
        ignored: IgnoredRules::default(),
    }
}

/// Tries it on both sides, and sees to it that they agree.
fn try_it(pair: &mut Pair, what: Try) -> Outcome {
    let new = pair.reference.kept.len() as u128 + 1;
    let ttl = Seconds::new(TTL).unwrap();
    let (command, expected) = match what {
        Try::Book(slot) => (
            Command::Book(booking(new, &wish(slot))),
            pair.reference.claim(new, &wish(slot), None),
        ),
        Try::Hold(slot) => {
            let booking = Booking {
                person: PersonDetails::default(),
                ..booking(new, &wish(slot))
            };
            (
                Command::Hold { booking, ttl },
                pair.reference.claim(new, &wish(slot), Some(ttl)),
            )
        }
        Try::Confirm(id) => pair.act(id, Action::Confirm { brings_name: true }),
        Try::Release(id) => pair.act(id, Action::Release),
        Try::Approve(id) => pair.act(id, Action::Approve),
        Try::Decline(id) => pair.act(id, Action::Decline),
        Try::Cancel(id) => pair.act(id, Action::Cancel),
        Try::Move(id, slot) => {
            let to = Wish {
                calendars: Vec::new(),
                ..wish(slot)
            };
            let appointment = AppointmentId(uuid::Uuid::from_u128(id));
            (
                Command::Reschedule(move_to(appointment, &to)),
                pair.reference.reschedule(id, &to),
            )
        }
        Try::Wait => {
            pair.tick(TTL + 1);
            return Ok(true);
        }
    };
    let outcome = pair.submit(&command);
    assert_eq!(
        outcome, expected,
        "{command:?} after {:?}",
        pair.reference.kept
    );
    outcome
}

/// Nothing tells two situations apart that look the same here: row numbers and when a hold was made decide nothing.
fn seen_as(pair: &Pair) -> String {
    let of = |it: &crate::reference::Kept| {
        format!(
            "{:?}",
            (it.start, it.state, it.blocks, it.expiry, it.is_named)
        )
    };
    format!(
        "{:?} {:?}",
        pair.reference.now,
        pair.reference.kept.values().map(of).collect::<Vec<_>>()
    )
}

/// Every slot is listed if and only if it is explained as bookable and booked by the reference.
fn look_at_slots(pair: &Pair) {
    for slot in 0..SLOTS {
        let wish = wish(slot);
        let is_booked = pair.reference.clone().claim(u128::MAX, &wish, None).is_ok();
        assert_eq!(
            pair.is_listed(&wish),
            Some(is_booked),
            "slot {slot} of {:?}",
            pair.reference.kept
        );
        assert_eq!(
            pair.is_explained_bookable(&wish),
            is_booked,
            "slot {slot} of {:?}",
            pair.reference.kept
        );
    }
}

/// Goes into every situation of this type; answers how many there are, and how many commands were tried.
fn explore(of_type: AppointmentType) -> (usize, usize) {
    let hours = Availability {
        rules: vec![rule(Weekdays::ALL, "09:00", "11:00")],
        overrides: Default::default(),
    };
    let ada = calendar(zone("UTC"), hours, [of_type], Vec::new(), Vec::new());
    let begin = instant("2027-03-01T06:00:00Z");
    let mut waiting = VecDeque::from([Pair::new(vec![ada], begin)]);
    let mut seen: BTreeSet<String> = waiting.iter().map(seen_as).collect();
    let mut tried = 0;
    while let Some(pair) = waiting.pop_front() {
        look_at_slots(&pair);
        let has_waited = pair.reference.now > begin;
        for what in tries(pair.reference.kept.len() as u128, has_waited) {
            let mut next = pair.clone();
            let outcome = try_it(&mut next, what);
            next.compare();
            tried += 1;
            if outcome == Ok(true) && seen.insert(seen_as(&next)) {
                waiting.push_back(next);
            }
        }
    }
    (seen.len(), tried)
}

fn half_hours() -> AppointmentType {
    let id = TypeId::parse("a").unwrap();
    AppointmentType {
        id,
        duration: minutes(30),
        ..AppointmentType::default_type(Default::default())
    }
}

#[test]
fn whatever_happens_in_a_small_world_is_what_the_reference_says() {
    let plain = half_hours();
    let types = [
        ("plain", plain.clone()),
        (
            "with a buffer",
            AppointmentType {
                buffer_after: minutes(15),
                ..plain.clone()
            },
        ),
        (
            "two seats",
            AppointmentType {
                capacity: 2,
                ..plain.clone()
            },
        ),
        (
            "on approval",
            AppointmentType {
                requires_approval: true,
                ..plain.clone()
            },
        ),
        (
            "on approval, taken by whoever comes first",
            AppointmentType {
                requires_approval: true,
                pending_blocks: false,
                ..plain
            },
        ),
    ];
    for (name, of_type) in types {
        let (situations, tried) = explore(of_type);
        assert!(
            situations > 1_000 && tried > 10 * situations,
            "{name}: {situations} situations, {tried} commands"
        );
        eprintln!("{name}: {situations} situations, {tried} commands");
    }
}
