//! One batch: what its commands see, what they change, and what each of them is answered.
//!
//! Commands of a batch see each other's changes; nobody outside sees any of them until all are on disk.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::store::RequestRecord;
use bookd_core::appointment::series::SeriesReport;
use bookd_core::calendar::Calendar;
use bookd_core::change::{Change, Event};
use bookd_core::command::Command;
use bookd_core::decide::{Decision, Outcome, decide};
use bookd_core::ids::{AppointmentKey, CalendarId, Revision};
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::Instant;

use super::{Answer, Failure, Terms};

/// A command with how to take it and whom to answer.
pub(super) struct Envelope {
    pub(super) command: Command,
    pub(super) terms: Terms,
    pub(super) reply: oneshot::Sender<Result<Answer, Failure>>,
}

/// An answer to be, and whom to give it to once it is durable.
pub(super) type Drafted = (
    oneshot::Sender<Result<Answer, Failure>>,
    Result<Draft, Failure>,
);

/// What a batch has made of the state so far.
pub(super) struct Batch {
    pub(super) now: Instant,
    pub(super) changes: Vec<Change>,
    pub(super) requests: Vec<RequestRecord>,
    /// The calendars that were touched, as they were before; to go back to when the commit fails.
    pub(super) before: HashMap<CalendarId, Option<Arc<Calendar>>>,
    pub(super) answers: Vec<Drafted>,
    /// What each of these was asked, should it have to be decided again.
    asked: Vec<(Command, Terms)>,
    /// Calendars of which a limit now counts further back than memory reaches.
    pub(super) short: Vec<CalendarId>,
    first: (Revision, Instant, AppointmentKey),
}

/// An answer, but for the appointments that it names by key.
pub(super) struct Draft {
    pub(super) revision: Revision,
    pub(super) outcome: Outcome,
    pub(super) calendar: Option<Arc<Calendar>>,
}

impl Batch {
    pub(super) fn new(state: &State, now: Instant) -> Self {
        Self {
            now,
            changes: Vec::new(),
            requests: Vec::new(),
            before: HashMap::new(),
            answers: Vec::new(),
            asked: Vec::new(),
            short: Vec::new(),
            first: (state.revision, state.last_time, state.next_key),
        }
    }

    /// Decides one command on what the ones before it left, and notes its answer.
    pub(super) fn take(
        &mut self,
        state: &mut State,
        envelope: Envelope,
        seen: &HashMap<[u8; 16], RequestRecord>,
    ) {
        let Envelope {
            command,
            terms,
            reply,
        } = envelope;
        let answer = self.answer(state, &command, &terms, seen);
        self.answers.push((reply, answer));
        // What was held for it until it is decided is let go.
        self.asked.push((
            command,
            Terms {
                held: None,
                ..terms
            },
        ));
    }

    /// Its commands as they were before they were decided.
    pub(super) fn undecided(self) -> Vec<Envelope> {
        let asked = self.asked.into_iter().zip(self.answers);
        asked
            .map(|((command, terms), (reply, _))| Envelope {
                command,
                terms,
                reply,
            })
            .collect()
    }

    fn answer(
        &mut self,
        state: &mut State,
        command: &Command,
        terms: &Terms,
        seen: &HashMap<[u8; 16], RequestRecord>,
    ) -> Result<Draft, Failure> {
        if let Some(request) = terms.request.filter(|_| !terms.is_dry_run) {
            let earlier = self
                .requests
                .iter()
                .find(|it| it.hash == request.hash)
                .or_else(|| seen.get(&request.hash));
            if let Some(earlier) = earlier {
                if earlier.fingerprint != request.fingerprint {
                    return Err(Refusal::RequestIdReused.into());
                }
                return Ok(replayed(state, command, earlier));
            }
        }
        let decision = decide(state, command, self.now)?;
        if terms.is_dry_run {
            return Ok(dry_run(state, decision, self.now));
        }
        let change = decision.change(state, self.now, terms.caller.clone());
        if let Some(change) = change {
            if let Some(request) = terms.request {
                self.requests.push(RequestRecord {
                    hash: request.hash,
                    fingerprint: request.fingerprint,
                    revision: change.revision,
                    time: self.now,
                    appointments: decision.outcome.remembered(),
                    calendar: decision.outcome.calendar.clone(),
                    type_id: decision.outcome.type_id.clone(),
                });
            }
            self.apply(state, change);
        }
        let calendar = decision
            .outcome
            .calendar
            .as_ref()
            .and_then(|id| state.calendars.get(id))
            .cloned();
        Ok(Draft {
            revision: state.revision,
            outcome: decision.outcome,
            calendar,
        })
    }

    /// Makes a change part of the batch, and state.
    pub(super) fn apply(&mut self, state: &mut State, change: Change) {
        for event in &change.events {
            for id in event.calendars() {
                if !self.before.contains_key(id) {
                    self.before
                        .insert(id.clone(), state.calendars.get(id).cloned());
                }
            }
        }
        state.apply(&change);
        for event in &change.events {
            if let Event::ProfileChanged { calendar, .. } | Event::TypePut { calendar, .. } = event
                && !reaches_back(&state.calendars[calendar], self.now)
            {
                self.short.push(calendar.clone());
            }
        }
        self.changes.push(change);
    }

    /// Whether the next command must wait for another batch, in which memory reaches back as far as it must.
    pub(super) fn must_end(&self) -> bool {
        !self.short.is_empty()
    }

    /// Makes the state what it was before the batch.
    pub(super) fn undo(&mut self, state: &mut State) {
        (state.revision, state.last_time, state.next_key) = self.first;
        for (id, calendar) in self.before.drain() {
            match calendar {
                Some(calendar) => drop(state.calendars.insert(id, calendar)),
                None => drop(state.calendars.remove(&id)),
            }
        }
    }
}

/// Answers all of these with one failure.
pub(super) fn refuse(envelopes: Vec<Envelope>, failure: &Failure) {
    envelopes
        .into_iter()
        .for_each(|envelope| drop(envelope.reply.send(Err(failure.clone()))));
}

/// Whether memory holds every claim that the calendar's limits count.
fn reaches_back(calendar: &Calendar, now: Instant) -> bool {
    calendar.kept_from <= calendar.keep_from(now)
}

/// The answer to a repeated request: the same ids and revision, and what it shows besides as it is now.
fn replayed(state: &State, command: &Command, earlier: &RequestRecord) -> Draft {
    let find = |id: &_| state.appointments.get(id);
    let is_series = matches!(command, Command::BookSeries(_));
    let series = is_series
        .then(|| SeriesReport::of_booked(&earlier.appointments, find))
        .flatten();
    let appointments = earlier
        .appointments
        .iter()
        .filter_map(find)
        .cloned()
        .collect();
    let calendar = earlier
        .calendar
        .as_ref()
        .and_then(|id| state.calendars.get(id))
        .cloned();
    let outcome = Outcome {
        appointments,
        calendar: earlier.calendar.clone(),
        type_id: earlier.type_id.clone(),
        candidates: Vec::new(),
        series,
    };
    Draft {
        revision: earlier.revision,
        outcome,
        calendar,
    }
}

/// What the answer would be; the state stays as it is.
pub(super) fn dry_run(state: &State, decision: Decision, now: Instant) -> Draft {
    let calendar = decision.outcome.calendar.as_ref().and_then(|id| {
        let mut scratch = state.scratch(
            decision
                .events
                .iter()
                .flat_map(Event::calendars)
                .chain([id]),
        );
        if let Some(change) = decision.change(&scratch, now, Default::default()) {
            scratch.apply(&change);
        }
        scratch.calendars.remove(id)
    });
    Draft {
        revision: state.revision,
        outcome: decision.outcome,
        calendar,
    }
}
