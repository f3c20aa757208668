//! The whole model: random calendars and commands in every zone, held against the reference at every step.
//!
//! Each claim is asked for in four ways, and listed ⇔ explained bookable ⇔ held ⇔ booked ⇔ what the reference says.
//! Runs are the same every time; `BOOKD_MODEL_SEED=n` tries others.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bookd_core::appointment::AppointmentState as S;
use bookd_core::appointment::{Appointment, Assignment, IgnoredRules, Invitee, PersonDetails};
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::calendar::{Busy, Calendar};
use bookd_core::command::{Booking, Command, Move, NewId, ProfilePatch, Redacted, Start};
use bookd_core::decide::{decide, expire};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Caller, TypeId};
use bookd_core::refusal::Refusal;
use bookd_core::slots::multi_calendar;
use bookd_core::slots::rules;
use bookd_core::slots::search::Search;
use bookd_core::state::State;
use bookd_core::time::interval::Interval;
use bookd_core::time::{DAY, HOUR, Instant, MINUTE, Seconds};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use crate::reference::{Outcome, Reference, Refused, Wish};
use crate::steps::{Step, some_calendar, step, with_terms};
use crate::world::{instant, zone, zone_names};

/// How many commands are tried in all, spread over the zones.
const COMMANDS: usize = 100_000;
const CALENDARS: [&str; 3] = ["ada", "bob", "room"];

/// The writer's state and the reference, fed the same commands.
#[derive(Clone)]
pub(crate) struct Pair {
    /// What became of each command, by its name.
    tally: BTreeMap<(&'static str, Outcome), u32>,
    state: State,
    pub(crate) reference: Reference,
    next_id: u128,
}

impl Pair {
    pub(crate) fn new(calendars: Vec<Calendar>, now: Instant) -> Self {
        let next_key = AppointmentKey(1);
        let named = |it: Calendar| (it.id.clone(), it);
        let state = State {
            next_key,
            calendars: calendars
                .iter()
                .map(|it| (it.id.clone(), Arc::new(it.clone())))
                .collect(),
            ..State::default()
        };
        let calendars = calendars.into_iter().map(named).collect();
        let reference = Reference {
            calendars,
            kept: BTreeMap::new(),
            next_key,
            now,
        };
        Self {
            tally: BTreeMap::new(),
            state,
            reference,
            next_id: 1,
        }
    }

    pub(crate) fn tick(&mut self, seconds: i64) {
        let now = self.reference.now.plus(seconds);
        self.reference.now = now;
        let mut due: Vec<_> = self
            .state
            .appointments
            .values()
            .map(|it| (it.key, it.id))
            .collect();
        due.sort_unstable();
        for (_, id) in due {
            if let Some(change) = expire(&self.state, id, now)
                .and_then(|it| it.change(&self.state, now, Caller::default()))
            {
                self.state.apply(&change);
                assert!(
                    expire(&self.state, id, now).is_none(),
                    "an expiry is recorded once"
                );
            }
        }
        self.reference.expire();
    }

    /// Mostly one of the newest appointments, for the old ones are over; rarely one that was never there.
    fn pick(&self, step: &Step) -> u128 {
        let (count, number) = (self.reference.kept.len(), usize::from(step.id / 16));
        let nth = match step.id % 16 {
            0 => return self.next_id + 1,
            1..=4 => number % count.max(1),
            _ => count.saturating_sub(1 + number % 6),
        };
        self.reference
            .kept
            .keys()
            .nth(nth)
            .copied()
            .unwrap_or(self.next_id)
    }

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
        let of_type = self.state.calendars[&calendars[0]]
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

    /// Mostly a time that is offered, or one that was booked, or any minute about now.
    fn start(&self, step: &Step, wish: &Wish) -> Instant {
        let now = self.reference.now;
        let minute = now.plus((-now.seconds()).rem_euclid(MINUTE));
        let range = Interval::new(minute, minute.plus(3 * DAY));
        let mut searches = self.searches(wish, range);
        // What would be free if nobody had come first: a race to lose.
        if step.start.is_multiple_of(2) {
            searches
                .iter_mut()
                .for_each(|it| it.calendar = &self.reference.calendars[&it.calendar.id]);
        }
        let offered = multi_calendar::first(&searches, wish.assignment, 40);
        let pick = usize::from(step.start) / 20;
        match step.start % 20 {
            0..=15 if !offered.is_empty() => offered[pick % offered.len()].slot.start,
            0..=17 if !self.reference.kept.is_empty() => {
                self.reference
                    .kept
                    .values()
                    .nth(pick % self.reference.kept.len())
                    .unwrap()
                    .start
            }
            18 => minute.plus(i64::from(step.minute) / 120 * 15 * MINUTE),
            _ => minute.plus(i64::from(step.minute) / 8 * MINUTE),
        }
    }

    fn searches(&self, wish: &Wish, range: Interval) -> Vec<Search<'_>> {
        let search = |id: &CalendarId| {
            let calendar = &self.state.calendars[id];
            let appointment_type = calendar.types.find(&wish.type_id).unwrap();
            Search {
                calendar,
                appointment_type,
                duration: wish.duration.unwrap_or(appointment_type.duration),
                range,
                now: self.reference.now,
                ignore: None,
                present_duration: None,
                ignored_rules: wish.ignored,
            }
        };
        wish.calendars.iter().map(search).collect()
    }

    /// Whether the list shows it; none where a list shows nothing of the kind.
    pub(crate) fn is_listed(&self, wish: &Wish) -> Option<bool> {
        let shows_every_minute = wish.ignored.outside_availability || wish.ignored.misaligned;
        let searches = self.searches(wish, Interval::new(wish.start, wish.start.plus(MINUTE)));
        let is_one = searches
            .iter()
            .all(|it| it.duration == searches[0].duration);
        let is_askable = !shows_every_minute && (is_one || wish.assignment == Assignment::Any);
        is_askable.then(|| !multi_calendar::first(&searches, wish.assignment, 1).is_empty())
    }

    pub(crate) fn is_explained_bookable(&self, wish: &Wish) -> bool {
        let searches = self.searches(wish, Interval::new(wish.start, wish.start));
        let is_any = wish.assignment == Assignment::Any;
        let asks = multi_calendar::asks(searches.iter().copied(), wish.assignment, wish.start);
        let mut answers = asks.iter().map(|ask| rules::violations(ask).is_empty());
        if is_any {
            answers.any(|it| it)
        } else {
            answers.all(|it| it)
        }
    }

    pub(crate) fn submit(&mut self, command: &Command) -> Outcome {
        let outcome = self.decide(command);
        *self.tally.entry((name(command), outcome)).or_default() += 1;
        outcome
    }

    fn decide(&mut self, command: &Command) -> Outcome {
        let now = self.reference.now;
        let decision = decide(&self.state, command, now).map_err(|refusal| kind(&refusal))?;
        let change = decision.change(&self.state, now, Caller::default());
        if let Some(change) = &change {
            self.state.apply(change);
        }
        Ok(change.is_some())
    }

    /// All the ways to ask for a time say the same; then it is booked, or held for `ttl`.
    fn claim(&mut self, step: &Step, ttl: Option<Seconds>) {
        let wish = self.wish(step);
        // Now and then an id that is taken.
        let id = if step.id.is_multiple_of(64) {
            1
        } else {
            self.next_id
        };
        let is_new = !self.reference.kept.contains_key(&id);
        let hold = Command::Hold {
            booking: booking(id, &wish),
            ttl: Seconds::new(600).unwrap(),
        };
        let held = decide(&self.state, &hold, self.reference.now)
            .map(drop)
            .map_err(|it| kind(&it));
        let booked = decide(
            &self.state,
            &Command::Book(booking(id, &wish)),
            self.reference.now,
        );
        let booked = booked.map(drop).map_err(|it| kind(&it));
        assert_eq!(held, booked, "held ⇔ booked");
        let is_fit = is_new && held != Err(Refused::Invalid);
        if is_fit {
            assert_eq!(
                self.is_explained_bookable(&wish),
                booked.is_ok(),
                "explained ⇔ booked: {wish:?}"
            );
            assert!(
                self.is_listed(&wish).is_none_or(|it| it == booked.is_ok()),
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
        let expected = self.reference.claim(id, &wish, ttl);
        assert_eq!(self.submit(&command), expected, "{wish:?}");
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
        let expected = self.reference.batch(&wishes);
        assert_eq!(
            self.submit(&Command::BatchBook(bookings)),
            expected,
            "{wishes:?}"
        );
        self.next_id += 3;
    }

    /// One step on both sides.
    fn take(&mut self, step: &Step) {
        self.tick(step.wait);
        let id = self.pick(step);
        let ttl = Seconds::new(60 + i64::from(step.start) % 1_700).unwrap();
        let appointment = AppointmentId(uuid::Uuid::from_u128(id));
        let etag = None;
        let (command, expected) = match step.kind {
            0..=9 => return self.claim(step, None),
            10..=16 => return self.claim(step, Some(ttl)),
            17 | 18 => return self.batch(step),
            19..=23 => {
                let brings_name = step.minute % 3 != 0;
                let invitee = brings_name.then(grace);
                (
                    Command::Confirm {
                        appointment,
                        invitee,
                        etag,
                    },
                    self.reference.confirm(id, brings_name),
                )
            }
            24 => (
                Command::ExtendHold {
                    appointment,
                    ttl,
                    etag,
                },
                self.reference.extend(id, ttl),
            ),
            25 => (
                Command::ReleaseHold { appointment, etag },
                self.reference.release(id),
            ),
            26..=28 => (
                Command::Approve { appointment, etag },
                self.reference.approve(id),
            ),
            29 => (
                Command::Decline {
                    appointment,
                    reason: String::new(),
                    etag,
                },
                self.reference.decline(id),
            ),
            30..=33 => (
                Command::Cancel {
                    appointment,
                    reason: String::new(),
                    etag,
                },
                self.reference.cancel(id),
            ),
            34..=37 => {
                let mut wish = self.wish(step);
                if step.id.is_multiple_of(2) {
                    wish.calendars.clear();
                }
                (
                    Command::Reschedule(move_to(appointment, &wish)),
                    self.reference.reschedule(id, &wish),
                )
            }
            38 | 39 => {
                let undo = step.minute % 2 == 0;
                (
                    Command::MarkNoShow {
                        appointment,
                        undo,
                        etag,
                    },
                    self.reference.attend(id, S::NoShow, undo),
                )
            }
            40 | 41 => {
                let undo = step.minute % 2 == 0;
                (
                    Command::Complete {
                        appointment,
                        undo,
                        etag,
                    },
                    self.reference.attend(id, S::Completed, undo),
                )
            }
            42 => {
                let found = self.reference.kept.get_mut(&id);
                let expected = found.map_or(Err(Refused::NotFound), |kept| {
                    Ok(std::mem::take(&mut kept.is_named))
                });
                (
                    Command::Redact(Redacted::Appointment(appointment)),
                    expected,
                )
            }
            _ => return self.settings(step),
        };
        assert_eq!(self.submit(&command), expected, "{command:?}");
    }

    /// A change of settings, and the same written into the reference by hand.
    fn settings(&mut self, step: &Step) {
        let id = CalendarId::parse(CALENDARS[usize::from(step.calendars) % 3]).unwrap();
        let mut calendar = self.reference.calendars[&id].clone();
        let profile = Arc::make_mut(&mut calendar.profile);
        let command = match step.kind {
            43 if !step.rules.is_empty() => {
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
                profile
                    .availability
                    .overrides
                    .extend(step.overrides.clone());
                Command::PutOverrides {
                    calendar: id.clone(),
                    overrides: step.overrides.clone(),
                    etag: None,
                }
            }
            45 => {
                let start = self.reference.now.plus(i64::from(step.minute) * 20);
                let busy = Interval::new(start, start.plus(i64::from(step.start) / 4 + 1));
                let range = Interval::new(start.plus(-HOUR), start.plus(6 * HOUR));
                // The newest range outranks the older ones, whose parts outside of it stay.
                let kept = calendar.busy.of_source("phone").iter().flat_map(|it| {
                    let before = Interval::new(it.start, it.end.min(range.start).max(it.start));
                    let after = Interval::new(it.start.max(range.end).min(it.end), it.end);
                    [before, after]
                });
                let periods: Vec<_> = kept
                    .filter(|it| it.start < it.end)
                    .chain([busy.intersection(range)])
                    .collect();
                calendar.busy = Arc::new(Busy::new([("phone".to_owned(), periods)]));
                Command::PutBusy {
                    calendar: id.clone(),
                    source: "phone".to_owned(),
                    range,
                    periods: vec![busy],
                }
            }
            46 => {
                let name =
                    TypeId::parse(if step.id.is_multiple_of(2) { "a" } else { "b" }).unwrap();
                let was = AppointmentType::clone(calendar.types.find(&name).unwrap());
                let capacity = u32::from(step.start % 4).max(1);
                let appointment_type = AppointmentType {
                    capacity,
                    ..with_terms(was, step.calendars)
                };
                Arc::make_mut(&mut calendar.types).put(Arc::new(appointment_type.clone()));
                Command::PutAppointmentType {
                    calendar: id.clone(),
                    appointment_type,
                    etag: None,
                }
            }
            _ => {
                // Rarely paused, and then not for long.
                profile.paused = step.id.is_multiple_of(8);
                let patch = ProfilePatch {
                    paused: Some(profile.paused),
                    ..ProfilePatch::default()
                };
                Command::UpdateCalendar {
                    calendar: id.clone(),
                    patch,
                    etag: None,
                }
            }
        };
        self.submit(&command).unwrap();
        self.reference.calendars.insert(id, calendar);
    }

    /// Both sides know the same of every appointment.
    pub(crate) fn compare(&self) {
        assert_eq!(self.state.appointments.len(), self.reference.kept.len());
        for (id, kept) in &self.reference.kept {
            let found: &Appointment =
                &self.state.appointments[&AppointmentId(uuid::Uuid::from_u128(*id))];
            let calendars: Vec<_> = found.calendars().cloned().collect();
            let buffers: Vec<_> = found
                .places
                .iter()
                .map(|it| (it.before, it.after))
                .collect();
            assert_eq!(
                (&calendars, &buffers),
                (&kept.calendars, &kept.buffers),
                "{kept:?}"
            );
            let of_found = (
                found.key,
                found.start,
                found.duration,
                found.state,
                found.blocks,
                found.expire_time,
            );
            assert_eq!(
                of_found,
                (
                    kept.key,
                    kept.start,
                    kept.duration,
                    kept.state,
                    kept.blocks,
                    kept.expiry
                )
            );
            assert_eq!(found.person.invitee.name.is_empty(), !kept.is_named);
        }
    }
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Book(_) => "book",
        Command::Hold { .. } => "hold",
        Command::BatchBook(_) => "batch",
        Command::Confirm { .. } => "confirm",
        Command::ExtendHold { .. } => "extend",
        Command::ReleaseHold { .. } => "release",
        Command::Approve { .. } => "approve",
        Command::Decline { .. } => "decline",
        Command::Cancel { .. } => "cancel",
        Command::Reschedule(_) => "move",
        Command::MarkNoShow { .. } => "no-show",
        Command::Complete { .. } => "complete",
        Command::Redact(_) => "redact",
        _ => "settings",
    }
}

pub(crate) fn grace() -> Invitee {
    Invitee {
        name: "Grace".to_owned(),
        ..Invitee::default()
    }
}

pub(crate) fn booking(id: u128, wish: &Wish) -> Booking {
    Booking {
        id: NewId::Brought(AppointmentId(uuid::Uuid::from_u128(id))),
        calendars: wish.calendars.clone(),
        assignment: wish.assignment,
        type_id: Some(wish.type_id.clone()),
        start: Some(Start::At(wish.start)),
        duration: wish.duration,
        person: PersonDetails {
            invitee: Some(grace()),
            ..PersonDetails::default()
        },
        hold: None,
        ignored_rules: wish.ignored,
        occurrence: None,
    }
}

pub(crate) fn move_to(appointment: AppointmentId, wish: &Wish) -> Move {
    Move {
        appointment,
        start: Some(Start::At(wish.start)),
        duration: wish.duration,
        calendars: wish.calendars.clone(),
        assignment: wish.assignment,
        ignored_rules: wish.ignored,
        etag: None,
    }
}

fn kind(refusal: &Refusal) -> Refused {
    match refusal {
        Refusal::CalendarNotFound(_)
        | Refusal::AppointmentTypeNotFound(..)
        | Refusal::AppointmentNotFound(_) => Refused::NotFound,
        Refusal::AppointmentExists(_) => Refused::Exists,
        Refusal::HoldExpired { .. } => Refused::HoldExpired,
        Refusal::AppointmentState { .. } => Refused::State,
        Refusal::TooLate { .. } => Refused::TooLate,
        Refusal::Slot(slot) if slot.is_rule_broken() => Refused::Rule,
        Refusal::Slot(_) => Refused::Race,
        Refusal::InBatch { refusal, .. } => kind(refusal),
        _ => Refused::Invalid,
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

#[test]
fn every_command_leads_to_what_the_reference_says_in_every_zone() {
    let seed: u64 = std::env::var("BOOKD_MODEL_SEED").map_or(1, |it| it.parse().unwrap());
    let names = zone_names();
    let length = COMMANDS.div_ceil(names.len());
    let mut tally: BTreeMap<(&'static str, Outcome), u32> = BTreeMap::new();
    for (number, name) in names.iter().enumerate() {
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
        let zones = [
            name.clone(),
            names[(number * 7 + 3) % names.len()].clone(),
            name.clone(),
        ];
        let [first, second, third] = zones;
        let calendars = (
            some_calendar(CALENDARS[0], first, around),
            some_calendar(CALENDARS[1], second, around),
            some_calendar(CALENDARS[2], third, around),
        );
        let steps = proptest::collection::vec(step(around), length);
        let tally_of_zone = RefCell::new(BTreeMap::new());
        let tried = runner.run(&(calendars, steps), |(calendars, steps)| {
            let mut pair = Pair::new(vec![calendars.0, calendars.1, calendars.2], around);
            for step in steps.iter().filter(|it| it.is_tried) {
                pair.take(step);
                pair.compare();
            }
            tally_of_zone.replace(pair.tally);
            Ok(())
        });
        for (key, count) in tally_of_zone.into_inner() {
            *tally.entry(key).or_default() += count;
        }
        if let Err(TestError::Fail(why, (_, steps))) = tried {
            let left: Vec<_> = steps.iter().filter(|it| it.is_tried).collect();
            panic!(
                "in {name}, BOOKD_MODEL_SEED={seed}: {why}
{left:#?}"
            );
        }
    }
    // A property holds vacuously of commands that are always refused.
    let count = |is_asked: &dyn Fn(&Outcome) -> bool, of: &str| -> u32 {
        tally
            .iter()
            .filter(|((name, outcome), _)| is_asked(outcome) && (*name == of || of.is_empty()))
            .map(|it| it.1)
            .sum()
    };
    for command in tally.keys().map(|(name, _)| *name) {
        assert!(
            count(&|it| *it == Ok(true), command) >= 30,
            "{command} hardly ever happens: {tally:?}"
        );
    }
    use Refused as R;
    for refused in [
        R::Invalid,
        R::NotFound,
        R::Exists,
        R::HoldExpired,
        R::State,
        R::TooLate,
        R::Rule,
        R::Race,
    ] {
        assert!(
            count(&|it| *it == Err(refused), "") >= 100,
            "{refused:?} hardly ever happens: {tally:?}"
        );
    }
}
