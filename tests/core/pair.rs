//! The core and the reference side by side: each command goes to both, and both must say the same.
//!
//! The model and the exhaustive test choose the commands; what is compared, and how, is here alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use bookd_core::appointment::AppointmentState as S;
use bookd_core::appointment::{Appointment, Assignment, Invitee, PersonDetails};
use bookd_core::calendar::Calendar;
use bookd_core::change::Change;
use bookd_core::command::{Booking, Command, Move, NewId, Start};
use bookd_core::decide::{decide, expire};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Caller};
use bookd_core::quota::{QuotaStep, Steps, Usage, steps};
use bookd_core::refusal::Refusal;
use bookd_core::slots::multi_calendar;
use bookd_core::slots::rules;
use bookd_core::slots::search::Search;
use bookd_core::state::State;
use bookd_core::time::interval::Interval;
use bookd_core::time::{Instant, MINUTE, Seconds};

use crate::reference::{Outcome, Reference, Refused, Wish};

/// A command about one appointment, in the terms of both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Confirm { brings_name: bool },
    Extend(Seconds),
    Release,
    Approve,
    Decline,
    Cancel,
    MarkNoShow { undo: bool },
    Complete { undo: bool },
}

/// The state of the core and that of the reference, which get the same commands.
#[derive(Clone)]
pub(crate) struct Pair {
    /// How often each command, by its name, had each outcome.
    pub(crate) tally: BTreeMap<(&'static str, Outcome), u32>,
    pub(crate) state: State,
    pub(crate) reference: Reference,
    /// What tenants have, counted change by change.
    usage: Usage,
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
            appointments: BTreeMap::new(),
            next_key,
            now,
        };
        Self {
            tally: BTreeMap::new(),
            usage: all_of(&state, now),
            state,
            reference,
        }
    }

    /// Counts and applies a change.
    fn apply(&mut self, change: &Change) {
        let mut counted = Steps::at(change.time);
        counted.add(steps(&self.state, &change.events));
        counted.make(&mut self.usage);
        self.state.apply(change);
    }

    /// Moves the clock on, and records the expiries on both sides.
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
                self.apply(&change);
                assert!(
                    expire(&self.state, id, now).is_none(),
                    "an expiry is recorded once"
                );
            }
        }
        self.reference.expire();
    }

    /// A command about one appointment, and what the reference makes of it.
    pub(crate) fn act(&mut self, id: u128, action: Action) -> (Command, Outcome) {
        let appointment = AppointmentId(uuid::Uuid::from_u128(id));
        let (etag, reason, reference) = (None, String::new(), &mut self.reference);
        match action {
            Action::Confirm { brings_name } => {
                let command = Command::Confirm {
                    appointment,
                    invitee: brings_name.then(grace),
                    etag,
                };
                (command, reference.confirm(id, brings_name))
            }
            Action::Extend(ttl) => {
                let command = Command::ExtendHold {
                    appointment,
                    ttl,
                    etag,
                };
                (command, reference.extend(id, ttl))
            }
            Action::Release => {
                let command = Command::ReleaseHold { appointment, etag };
                (command, reference.release(id))
            }
            Action::Approve => {
                let command = Command::Approve { appointment, etag };
                (command, reference.approve(id))
            }
            Action::Decline => {
                let command = Command::Decline {
                    appointment,
                    reason,
                    etag,
                };
                (command, reference.decline(id))
            }
            Action::Cancel => {
                let command = Command::Cancel {
                    appointment,
                    reason,
                    etag,
                };
                (command, reference.cancel(id))
            }
            Action::MarkNoShow { undo } => {
                let command = Command::MarkNoShow {
                    appointment,
                    undo,
                    etag,
                };
                (command, reference.attend(id, S::NoShow, undo))
            }
            Action::Complete { undo } => {
                let command = Command::Complete {
                    appointment,
                    undo,
                    etag,
                };
                (command, reference.attend(id, S::Completed, undo))
            }
        }
    }

    /// The searches for a wish, one for each of its calendars.
    pub(crate) fn searches(&self, wish: &Wish, range: Interval) -> Vec<Search<'_>> {
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

    /// Whether the slot list shows the wish; none for a wish that a list cannot ask for.
    pub(crate) fn is_listed(&self, wish: &Wish) -> Option<bool> {
        let shows_every_minute = wish.ignored.outside_availability || wish.ignored.misaligned;
        let searches = self.searches(wish, Interval::new(wish.start, wish.start.plus(MINUTE)));
        let is_one = searches
            .iter()
            .all(|it| it.duration == searches[0].duration);
        let is_askable = !shows_every_minute && (is_one || wish.assignment == Assignment::Any);
        is_askable.then(|| !multi_calendar::first(&searches, wish.assignment, 1).is_empty())
    }

    /// Whether Explain calls the wish bookable.
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

    /// The outcome of a command on the core.
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
            self.apply(change);
        }
        Ok(change.is_some())
    }

    /// Checks that both sides have the same appointments, and that they are counted right.
    pub(crate) fn compare(&self) {
        let now = self.reference.now;
        assert_eq!(
            self.usage.all(now),
            all_of(&self.state, now).all(now),
            "the count of tenants"
        );
        assert_eq!(
            self.state.appointments.len(),
            self.reference.appointments.len()
        );
        for (id, booked) in &self.reference.appointments {
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
                (&booked.calendars, &booked.buffers),
                "{booked:?}"
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
                    booked.key,
                    booked.start,
                    booked.duration,
                    booked.state,
                    booked.blocks,
                    booked.expiry
                )
            );
            assert_eq!(found.person.invitee.name.is_empty(), !booked.is_named);
        }
    }
}

/// What tenants have in a state.
fn all_of(state: &State, now: Instant) -> Usage {
    let mut usage = Usage::default();
    let appointments = state.appointments.values();
    let all = state.calendars.keys().map(QuotaStep::calendar);
    let all = all.chain(appointments.flat_map(|it| QuotaStep::appointment(it)));
    all.for_each(|step| usage.take(&step, now));
    usage
}

/// The name of a command in the tally.
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
        Command::UpdateAppointment { .. } => "update",
        Command::BookSeries(_) => "series",
        Command::CancelSeries { .. } => "cancel series",
        Command::Import(_) => "import",
        Command::CreateToken(_) | Command::RevokeToken(_) => "token",
        Command::CreateCalendar { .. }
        | Command::UpdateCalendar { .. }
        | Command::DeleteCalendar { .. }
        | Command::PutAppointmentType { .. }
        | Command::DeleteAppointmentType { .. }
        | Command::SetAvailability { .. }
        | Command::PutOverrides { .. }
        | Command::DeleteOverrides { .. }
        | Command::PutBusy { .. } => "settings",
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

/// The class of a refusal.
pub(crate) fn kind(refusal: &Refusal) -> Refused {
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
        Refusal::InBatch { refusal, .. } | Refusal::OfSeries { refusal, .. } => kind(refusal),
        Refusal::FieldInvalid(_) => Refused::Invalid,
        Refusal::OutOfReach(_)
        | Refusal::RequestIdReused
        | Refusal::SeriesNotFound(_)
        | Refusal::CalendarExists(_)
        | Refusal::EtagMismatch { .. }
        | Refusal::CalendarNotEmpty { .. }
        | Refusal::Series(_)
        | Refusal::TokenNotFound(_)
        | Refusal::CallerRevoked
        | Refusal::QuotaExceeded(_)
        | Refusal::TooManyTokens => {
            unreachable!("the model sends no command that is refused so: {refusal:?}")
        }
    }
}
