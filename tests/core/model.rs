//! The whole model: random calendars and commands in every zone, compared with the reference at
//! every step.
//!
//! Each claim is asked for in four ways, and listed ⇔ explained bookable ⇔ held ⇔ booked ⇔ what the
//! reference says. Every run has the same commands; `BOOKD_MODEL_SEED=n` makes others.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bookd_core::appointment::{Assignment, IgnoredRules, PersonDetails};
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::calendar::{Busy, Calendar};
use bookd_core::command::{Booking, Command, ProfilePatch, Redacted};
use bookd_core::decide::decide;
use bookd_core::ids::{AppointmentId, CalendarId, TypeId};
use bookd_core::slots::multi_calendar;
use bookd_core::time::interval::Interval;
use bookd_core::time::{DAY, HOUR, Instant, MINUTE, Seconds};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use crate::pair::{Action, Pair, booking, kind, move_to};
use crate::reference::{Outcome, Refused, Wish};
use crate::steps::{Step, some_calendar, step, with_terms};
use crate::world::{instant, zone, zone_names};

/// The number of commands of the whole run, spread over the zones.
const COMMANDS: usize = 100_000;
const CALENDARS: [&str; 3] = ["ada", "bob", "room"];

/// How often each command, by its name, had each outcome.
type Tally = BTreeMap<(&'static str, Outcome), u32>;

/// A run of steps on both sides.
struct Run {
    pair: Pair,
    /// The id of the next appointment.
    next_id: u128,
}

impl Run {
    fn new(calendars: Vec<Calendar>, now: Instant) -> Self {
        Self {
            pair: Pair::new(calendars, now),
            next_id: 1,
        }
    }

    /// Mostly one of the newest appointments, because old ones are over; rarely an id that does not
    /// exist.
    fn pick(&self, step: &Step) -> u128 {
        let (count, number) = (
            self.pair.reference.appointments.len(),
            usize::from(step.id / 16),
        );
        let nth = match step.id % 16 {
            0 => return self.next_id + 1,
            1..=4 => number % count.max(1),
            _ => count.saturating_sub(1 + number % 6),
        };
        self.pair
            .reference
            .appointments
            .keys()
            .nth(nth)
            .copied()
            .unwrap_or(self.next_id)
    }

    /// The wish of a step: calendars, type, duration and start by its numbers.
    fn wish(&self, step: &Step) -> Wish {
        let ids: Vec<CalendarId> = CALENDARS
            .iter()
            .map(|it| CalendarId::parse(it).unwrap())
            .collect();
        let chosen = match step.calendars % 8 {
            0..=2 => vec![0],
            3 => vec![1],
            4 => vec![0, 1],
            5 => vec![2, 0],
            6 => vec![1, 0, 2],
            _ => vec![1, 2],
        };
        let assignment = if step.calendars & 8 == 0 {
            Assignment::All
        } else {
            Assignment::Any
        };
        let type_id = TypeId::parse(if step.calendars & 16 == 0 { "a" } else { "b" }).unwrap();
        let calendars: Vec<CalendarId> = chosen.into_iter().map(|it| ids[it].clone()).collect();
        let of_type = self.pair.state.calendars[&calendars[0]]
            .types
            .find(&type_id)
            .unwrap()
            .clone();
        let durations: Vec<_> = [of_type.duration]
            .into_iter()
            .chain(of_type.duration_options.clone())
            .collect();
        let duration = match step.calendars >> 5 {
            0..=3 => None,
            4 | 5 => Some(of_type.duration),
            more => Some(durations[usize::from(more) % durations.len()]),
        };
        let bit = |n: u8| step.ignored >> n & 1 == 1;
        let ignored = IgnoredRules {
            outside_availability: bit(0),
            misaligned: bit(1),
            notice: bit(2),
            horizon: bit(3),
            limit: bit(4),
        };
        let start = Instant::from_seconds(0);
        let mut wish = Wish {
            calendars,
            assignment,
            type_id,
            start,
            duration,
            ignored,
        };
        wish.start = self.start(step, &wish);
        wish
    }

    /// Mostly the start of an offered slot, otherwise that of an appointment, or any minute about
    /// now.
    fn start(&self, step: &Step, wish: &Wish) -> Instant {
        let now = self.pair.reference.now;
        let minute = now.plus((-now.seconds()).rem_euclid(MINUTE));
        let range = Interval::new(minute, minute.plus(3 * DAY));
        let mut searches = self.pair.searches(wish, range);
        // Half of the steps search calendars without appointments, so that some of them lose a
        // race.
        if step.start.is_multiple_of(2) {
            searches
                .iter_mut()
                .for_each(|it| it.calendar = &self.pair.reference.calendars[&it.calendar.id]);
        }
        let offered = multi_calendar::first(&searches, wish.assignment, 40);
        let pick = usize::from(step.start) / 20;
        match step.start % 20 {
            0..=15 if !offered.is_empty() => offered[pick % offered.len()].slot.start,
            0..=17 if !self.pair.reference.appointments.is_empty() => {
                self.pair
                    .reference
                    .appointments
                    .values()
                    .nth(pick % self.pair.reference.appointments.len())
                    .unwrap()
                    .start
            }
            18 => minute.plus(i64::from(step.minute) / 120 * 15 * MINUTE),
            _ => minute.plus(i64::from(step.minute) / 8 * MINUTE),
        }
    }

    /// Checks that listing, explaining, holding and booking agree about a wish; then books it, or
    /// holds it for `ttl`.
    fn claim(&mut self, step: &Step, ttl: Option<Seconds>) {
        let wish = self.wish(step);
        // Now and then an id that is taken already.
        let id = if step.id.is_multiple_of(64) {
            1
        } else {
            self.next_id
        };
        let is_new = !self.pair.reference.appointments.contains_key(&id);
        let hold = Command::Hold {
            booking: booking(id, &wish),
            ttl: Seconds::new(600).unwrap(),
        };
        let held = decide(&self.pair.state, &hold, self.pair.reference.now)
            .map(drop)
            .map_err(|it| kind(&it));
        let booked = decide(
            &self.pair.state,
            &Command::Book(booking(id, &wish)),
            self.pair.reference.now,
        );
        let booked = booked.map(drop).map_err(|it| kind(&it));
        assert_eq!(held, booked, "held ⇔ booked");
        let is_fit = is_new && held != Err(Refused::Invalid);
        if is_fit {
            assert_eq!(
                self.pair.is_explained_bookable(&wish),
                booked.is_ok(),
                "explained ⇔ booked: {wish:?}"
            );
            assert!(
                self.pair
                    .is_listed(&wish)
                    .is_none_or(|it| it == booked.is_ok()),
                "listed ⇔ booked: {wish:?}"
            );
        }
        let command = match ttl {
            Some(ttl) => Command::Hold {
                booking: Booking {
                    person: PersonDetails::default(),
                    ..booking(id, &wish)
                },
                ttl,
            },
            None => Command::Book(booking(id, &wish)),
        };
        let expected = self.pair.reference.claim(id, &wish, ttl);
        assert_eq!(self.pair.submit(&command), expected, "{wish:?}");
        self.next_id += 1;
    }

    fn batch(&mut self, step: &Step) {
        let first = self.wish(step);
        let later = |minutes: i64| Wish {
            start: first.start.plus(minutes * MINUTE),
            ..first.clone()
        };
        let spread = i64::from(step.minute) % 12 * 15;
        let wishes = [
            (self.next_id, first.clone()),
            (self.next_id + 1, later(spread)),
            (self.next_id + 2, later(2 * spread)),
        ];
        let bookings = wishes.iter().map(|(id, wish)| booking(*id, wish)).collect();
        let expected = self.pair.reference.batch(&wishes);
        assert_eq!(
            self.pair.submit(&Command::BatchBook(bookings)),
            expected,
            "{wishes:?}"
        );
        self.next_id += 3;
    }

    /// One step on both sides.
    fn take(&mut self, step: &Step) {
        self.pair.tick(step.wait);
        let id = self.pick(step);
        let ttl = Seconds::new(60 + i64::from(step.start) % 1_700).unwrap();
        let brings_name = step.minute % 3 != 0;
        let undo = step.minute % 2 == 0;
        let (command, expected) = match step.kind {
            0..=9 => return self.claim(step, None),
            10..=16 => return self.claim(step, Some(ttl)),
            17 | 18 => return self.batch(step),
            19..=23 => self.pair.act(id, Action::Confirm { brings_name }),
            24 => self.pair.act(id, Action::Extend(ttl)),
            25 => self.pair.act(id, Action::Release),
            26..=28 => self.pair.act(id, Action::Approve),
            29 => self.pair.act(id, Action::Decline),
            30..=33 => self.pair.act(id, Action::Cancel),
            34..=37 => self.reschedule(step, id),
            38 | 39 => self.pair.act(id, Action::MarkNoShow { undo }),
            40 | 41 => self.pair.act(id, Action::Complete { undo }),
            42 => self.redact(id),
            _ => return self.settings(step),
        };
        assert_eq!(self.pair.submit(&command), expected, "{command:?}");
    }

    fn reschedule(&mut self, step: &Step, id: u128) -> (Command, Outcome) {
        let mut wish = self.wish(step);
        if step.id.is_multiple_of(2) {
            wish.calendars.clear();
        }
        let appointment = AppointmentId(uuid::Uuid::from_u128(id));
        (
            Command::Reschedule(move_to(appointment, &wish)),
            self.pair.reference.reschedule(id, &wish),
        )
    }

    fn redact(&mut self, id: u128) -> (Command, Outcome) {
        let found = self.pair.reference.appointments.get_mut(&id);
        let expected = found.map_or(Err(Refused::NotFound), |booked| {
            Ok(std::mem::take(&mut booked.is_named))
        });
        let appointment = AppointmentId(uuid::Uuid::from_u128(id));
        (
            Command::Redact(Redacted::Appointment(appointment)),
            expected,
        )
    }

    /// A change of settings, and the same change made to the reference by hand.
    fn settings(&mut self, step: &Step) {
        let id = CalendarId::parse(CALENDARS[usize::from(step.calendars) % 3]).unwrap();
        let mut calendar = self.pair.reference.calendars[&id].clone();
        let command = match step.kind {
            43 if !step.rules.is_empty() => {
                let profile = Arc::make_mut(&mut calendar.profile);
                profile.availability.rules = step.rules.clone();
                let utc = zone("UTC");
                Command::SetAvailability {
                    calendar: id.clone(),
                    zone: None,
                    utc,
                    rules: step.rules.clone(),
                    etag: None,
                }
            }
            44 if !step.overrides.is_empty() => {
                let overrides = &mut Arc::make_mut(&mut calendar.profile).availability.overrides;
                overrides.extend(step.overrides.clone());
                Command::PutOverrides {
                    calendar: id.clone(),
                    overrides: step.overrides.clone(),
                    etag: None,
                }
            }
            45 => put_busy(&mut calendar, step, self.pair.reference.now),
            46 => put_type(&mut calendar, step),
            _ => {
                // Rarely paused, and then not for long.
                let paused = step.id.is_multiple_of(8);
                Arc::make_mut(&mut calendar.profile).paused = paused;
                let patch = ProfilePatch {
                    paused: Some(paused),
                    ..ProfilePatch::default()
                };
                Command::UpdateCalendar {
                    calendar: id.clone(),
                    patch,
                    etag: None,
                }
            }
        };
        self.pair.submit(&command).unwrap();
        self.pair.reference.calendars.insert(id, calendar);
    }
}

/// Reports a busy period and the range around it that the report is about.
fn put_busy(calendar: &mut Calendar, step: &Step, now: Instant) -> Command {
    let start = now.plus(i64::from(step.minute) * 20);
    let busy = Interval::new(start, start.plus(i64::from(step.start) / 4 + 1));
    let range = Interval::new(start.plus(-HOUR), start.plus(6 * HOUR));
    // The newest range outranks the older ones, whose time outside of it stays.
    let kept = calendar.busy.of_source("phone").iter().flat_map(|period| {
        let before = Interval::new(period.start, period.end.min(range.start).max(period.start));
        let after = Interval::new(period.start.max(range.end).min(period.end), period.end);
        [before, after]
    });
    let periods: Vec<_> = kept
        .filter(|it| it.start < it.end)
        .chain([busy.intersection(range)])
        .collect();
    calendar.busy = Arc::new(Busy::new([("phone".to_owned(), periods)]));
    Command::PutBusy {
        calendar: calendar.id.clone(),
        source: "phone".to_owned(),
        range,
        periods: vec![busy],
    }
}

/// Gives a type other terms and another capacity.
fn put_type(calendar: &mut Calendar, step: &Step) -> Command {
    let name = TypeId::parse(if step.id.is_multiple_of(2) { "a" } else { "b" }).unwrap();
    let was = AppointmentType::clone(calendar.types.find(&name).unwrap());
    let capacity = u32::from(step.start % 4).max(1);
    let appointment_type = AppointmentType {
        capacity,
        ..with_terms(was, step.calendars)
    };
    Arc::make_mut(&mut calendar.types).put(Arc::new(appointment_type.clone()));
    Command::PutAppointmentType {
        calendar: calendar.id.clone(),
        appointment_type,
        etag: None,
    }
}

/// A day before the zone's next change of the clock, if it has one soon.
fn beginning(name: &str) -> Instant {
    let now = instant("2027-01-04T08:00:00Z");
    let change = Instant::from_seconds(zone(name).segment_at(now).end);
    if change < now.plus(400 * DAY) {
        change.plus(-DAY)
    } else {
        now
    }
}

/// Runs the commands of one zone, and panics with the fewest steps that fail.
fn run_in_zone(names: &[String], number: usize, seed: u64) -> Tally {
    let name = &names[number];
    let length = COMMANDS.div_ceil(names.len());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&(number as u64).to_le_bytes());
    let config = ProptestConfig {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 600,
        ..ProptestConfig::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let around = beginning(name);
    let other = names[(number * 7 + 3) % names.len()].clone();
    let calendars = (
        some_calendar(CALENDARS[0], name.clone(), around),
        some_calendar(CALENDARS[1], other, around),
        some_calendar(CALENDARS[2], name.clone(), around),
    );
    let steps = proptest::collection::vec(step(around), length);
    let tally = RefCell::new(Tally::new());
    let outcome = runner.run(&(calendars, steps), |(calendars, steps)| {
        let mut run = Run::new(vec![calendars.0, calendars.1, calendars.2], around);
        for step in steps.iter().filter(|it| it.is_run) {
            run.take(step);
            run.pair.compare();
        }
        tally.replace(run.pair.tally);
        Ok(())
    });
    if let Err(TestError::Fail(why, (_, steps))) = outcome {
        let left: Vec<_> = steps.iter().filter(|it| it.is_run).collect();
        panic!("in {name}, BOOKD_MODEL_SEED={seed}: {why}\n{left:#?}");
    }
    tally.into_inner()
}

/// A property holds vacuously of commands that are always refused: each command must succeed, and
/// each refusal occur, often enough.
fn expect_every_outcome(tally: &Tally) {
    let count = |is_counted: &dyn Fn(&Outcome) -> bool, of: &str| -> u32 {
        tally
            .iter()
            .filter(|((name, outcome), _)| is_counted(outcome) && (*name == of || of.is_empty()))
            .map(|it| it.1)
            .sum()
    };
    for command in tally.keys().map(|(name, _)| *name) {
        assert!(
            count(&|it| *it == Ok(true), command) >= 30,
            "{command} hardly ever happens: {tally:?}"
        );
    }
    for refused in [
        Refused::Invalid,
        Refused::NotFound,
        Refused::Exists,
        Refused::HoldExpired,
        Refused::State,
        Refused::TooLate,
        Refused::Rule,
        Refused::Race,
    ] {
        assert!(
            count(&|it| *it == Err(refused), "") >= 100,
            "{refused:?} hardly ever happens: {tally:?}"
        );
    }
}

#[test]
fn every_command_leads_to_what_the_reference_says_in_every_zone() {
    let seed: u64 = std::env::var("BOOKD_MODEL_SEED").map_or(1, |it| it.parse().unwrap());
    let names = zone_names();
    let mut tally = Tally::new();
    for number in 0..names.len() {
        for (key, count) in run_in_zone(&names, number, seed) {
            *tally.entry(key).or_default() += count;
        }
    }
    expect_every_outcome(&tally);
}
