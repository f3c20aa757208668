//! A small world, exhaustively: up to three appointments, four slots, and all orders of commands
//! about them.
//!
//! From each situation that can be reached every command is run, and each new situation is explored
//! in the same way. So no order of commands, of any length, leads to a situation that is not
//! checked here.

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

/// A command that a situation allows, or a wait.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    Book(i64),
    Hold(i64),
    Act(u128, Action),
    Move(u128, i64),
    /// Waits until every hold has expired. Only once, because a second wait leads to nothing new.
    Wait,
}

/// Every attempt while there are `count` appointments.
fn attempts(count: u128, has_waited: bool) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    if count < APPOINTMENTS {
        attempts.extend((0..SLOTS).flat_map(|slot| [Attempt::Book(slot), Attempt::Hold(slot)]));
    }
    for id in 1..=count {
        let actions = [
            Action::Confirm { brings_name: true },
            Action::Release,
            Action::Approve,
            Action::Decline,
            Action::Cancel,
        ];
        attempts.extend(actions.map(|action| Attempt::Act(id, action)));
        attempts.extend((0..SLOTS).map(|slot| Attempt::Move(id, slot)));
    }
    attempts.extend((!has_waited).then_some(Attempt::Wait));
    attempts
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

/// Runs the attempt on both sides, which must agree.
fn run(pair: &mut Pair, attempt: Attempt) -> Outcome {
    let new = pair.reference.appointments.len() as u128 + 1;
    let ttl = Seconds::new(TTL).unwrap();
    let (command, expected) = match attempt {
        Attempt::Book(slot) => (
            Command::Book(booking(new, &wish(slot))),
            pair.reference.claim(new, &wish(slot), None),
        ),
        Attempt::Hold(slot) => {
            let booking = Booking {
                person: PersonDetails::default(),
                ..booking(new, &wish(slot))
            };
            (
                Command::Hold { booking, ttl },
                pair.reference.claim(new, &wish(slot), Some(ttl)),
            )
        }
        Attempt::Act(id, action) => pair.act(id, action),
        Attempt::Move(id, slot) => {
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
        Attempt::Wait => {
            pair.tick(TTL + 1);
            return Ok(true);
        }
    };
    let outcome = pair.submit(&command);
    assert_eq!(
        outcome, expected,
        "{command:?} after {:?}",
        pair.reference.appointments
    );
    outcome
}

/// The text of a situation. Two situations with the same text lead to the same outcomes: neither
/// row numbers nor the time at which a hold was made matter.
fn seen_as(pair: &Pair) -> String {
    let of = |booked: &crate::reference::Booked| {
        format!(
            "{:?}",
            (
                booked.start,
                booked.state,
                booked.blocks,
                booked.expiry,
                booked.is_named
            )
        )
    };
    format!(
        "{:?} {:?}",
        pair.reference.now,
        pair.reference
            .appointments
            .values()
            .map(of)
            .collect::<Vec<_>>()
    )
}

/// Every slot is listed if and only if Explain calls it bookable and the reference books it.
fn check_slots(pair: &Pair) {
    for slot in 0..SLOTS {
        let wish = wish(slot);
        let is_booked = pair.reference.clone().claim(u128::MAX, &wish, None).is_ok();
        assert_eq!(
            pair.is_listed(&wish),
            Some(is_booked),
            "slot {slot} of {:?}",
            pair.reference.appointments
        );
        assert_eq!(
            pair.is_explained_bookable(&wish),
            is_booked,
            "slot {slot} of {:?}",
            pair.reference.appointments
        );
    }
}

/// Explores every situation with this type; returns the number of situations and of commands.
fn explore(of_type: AppointmentType) -> (usize, usize) {
    let hours = Availability {
        rules: vec![rule(Weekdays::ALL, "09:00", "11:00")],
        overrides: Default::default(),
    };
    let ada = calendar(zone("UTC"), hours, [of_type], Vec::new(), Vec::new());
    let begin = instant("2027-03-01T06:00:00Z");
    let mut waiting = VecDeque::from([Pair::new(vec![ada], begin)]);
    let mut seen: BTreeSet<String> = waiting.iter().map(seen_as).collect();
    let mut commands = 0;
    while let Some(pair) = waiting.pop_front() {
        check_slots(&pair);
        let has_waited = pair.reference.now > begin;
        for attempt in attempts(pair.reference.appointments.len() as u128, has_waited) {
            let mut next = pair.clone();
            let outcome = run(&mut next, attempt);
            next.compare();
            commands += 1;
            if outcome == Ok(true) && seen.insert(seen_as(&next)) {
                waiting.push_back(next);
            }
        }
    }
    (seen.len(), commands)
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
            "on approval, without blocking",
            AppointmentType {
                requires_approval: true,
                pending_blocks: false,
                ..plain
            },
        ),
    ];
    for (name, of_type) in types {
        let (situations, commands) = explore(of_type);
        assert!(
            situations > 1_000 && commands > 10 * situations,
            "{name}: {situations} situations, {commands} commands"
        );
        eprintln!("{name}: {situations} situations, {commands} commands");
    }
}
