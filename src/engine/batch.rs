//! One batch of commands: the changes that they make to the state, and their answers.
//!
//! The commands of a batch see each other's changes; nobody else sees any of them until all are on
//! disk.

use std::collections::HashMap;
use std::sync::Arc;

use crate::store::RequestRecord;
use bookd_core::appointment::series::SeriesReport;
use bookd_core::calendar::Calendar;
use bookd_core::change::{Change, Event};
use bookd_core::command::Command;
use bookd_core::decide::{Decision, Outcome, decide_within};
use bookd_core::ids::{AppointmentKey, CalendarId, Revision};
use bookd_core::quota::{QuotaStep, Steps};
use bookd_core::reach::Reach;
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::Instant;
use bookd_core::token::Tokens;

use super::reply::{self, Reply};
use super::tenant_quotas::{TenantQuotas, steps_of};
use super::{Failure, SubmitOptions};

/// A command with its options and the channel of its answer.
pub(super) struct Envelope {
    pub(super) command: Command,
    pub(super) options: SubmitOptions,
    pub(super) reply: Reply,
}

/// An answer that waits until the batch is durable, with its channel.
pub(super) type PendingAnswer = (Reply, Result<Draft, Failure>);

/// The changes and answers of a batch so far.
pub(super) struct Batch {
    pub(super) now: Instant,
    pub(super) changes: Vec<Change>,
    pub(super) requests: Vec<RequestRecord>,
    /// The touched calendars as they were before the batch, to be restored when the commit fails.
    pub(super) before: HashMap<CalendarId, Option<Arc<Calendar>>>,
    pub(super) answers: Vec<PendingAnswer>,
    /// The command of each answer, in case the batch has to be decided again.
    commands: Vec<(Command, SubmitOptions)>,
    /// The calendars of which a limit now counts appointments that are not in memory.
    pub(super) lacking_past: Vec<CalendarId>,
    /// What the changes add to what tenants have.
    pub(super) steps: Option<Steps>,
    quotas: TenantQuotas,
    /// Revision, time, next key and tokens before the batch.
    state_before: (Revision, Instant, AppointmentKey, Tokens),
}

/// An answer without the writer's `now`, which all answers of a batch share.
pub(super) struct Draft {
    pub(super) revision: Revision,
    pub(super) outcome: Outcome,
    pub(super) calendar: Option<Arc<Calendar>>,
}

impl Batch {
    pub(super) fn new(state: &State, now: Instant, quotas: &TenantQuotas) -> Self {
        Self {
            now,
            changes: Vec::new(),
            requests: Vec::new(),
            before: HashMap::new(),
            answers: Vec::new(),
            commands: Vec::new(),
            lacking_past: Vec::new(),
            steps: quotas.batch(now),
            quotas: quotas.clone(),
            state_before: (
                state.revision,
                state.last_time,
                state.next_key,
                state.tokens.clone(),
            ),
        }
    }

    /// Decides one command on the state that the ones before it left, and keeps its answer.
    pub(super) fn decide_command(
        &mut self,
        state: &mut State,
        envelope: Envelope,
        seen: &HashMap<[u8; 16], RequestRecord>,
    ) {
        let Envelope {
            command,
            options,
            reply,
        } = envelope;
        let answer = self.answer(state, &command, &options, seen);
        self.answers.push((reply, answer));
        // The permit of a command is held until it is decided, and no longer.
        self.commands.push((
            command,
            SubmitOptions {
                permit: None,
                ..options
            },
        ));
    }

    /// Gives back the commands as they were before they were decided.
    pub(super) fn into_envelopes(self) -> Vec<Envelope> {
        let commands = self.commands.into_iter().zip(self.answers);
        commands
            .map(|((command, options), (reply, _))| Envelope {
                command,
                options,
                reply,
            })
            .collect()
    }

    /// The answer to a command: of an earlier request with its id, of a dry run, or of a decision
    /// that becomes part of the batch.
    fn answer(
        &mut self,
        state: &mut State,
        command: &Command,
        options: &SubmitOptions,
        seen: &HashMap<[u8; 16], RequestRecord>,
    ) -> Result<Draft, Failure> {
        if let Some(request) = options.request.filter(|_| !options.is_dry_run) {
            let earlier = self
                .requests
                .iter()
                .find(|it| it.hash == request.hash)
                .or_else(|| seen.get(&request.hash));
            if let Some(earlier) = earlier {
                if earlier.fingerprint != request.fingerprint {
                    return Err(Refusal::RequestIdReused.into());
                }
                return replayed(state, command, &options.reach, earlier);
            }
        }
        let decision = decide_within(&options.reach, state, command, self.now)?;
        let steps = steps_of(self.steps.as_ref(), state, &decision.events);
        let by = (decision.cause, &options.reach);
        self.quotas.expect(self.steps.as_ref(), &steps, by)?;
        if options.is_dry_run {
            return Ok(dry_run(state, decision, self.now));
        }
        let change = decision.change(state, self.now, options.caller.clone());
        if let Some(change) = change {
            if let Some(request) = options.request {
                self.requests.push(RequestRecord {
                    hash: request.hash,
                    fingerprint: request.fingerprint,
                    revision: change.revision,
                    time: self.now,
                    appointments: decision.outcome.remembered(),
                    calendar: decision.outcome.calendar.clone(),
                    type_id: decision.outcome.type_id.clone(),
                    token: decision.outcome.token.as_ref().map(|it| it.id.clone()),
                });
            }
            self.apply_counted(state, change, steps);
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

    /// Adds a change to the batch and applies it to the state.
    pub(super) fn apply(&mut self, state: &mut State, change: Change) {
        let steps = steps_of(self.steps.as_ref(), state, &change.events);
        self.apply_counted(state, change, steps);
    }

    fn apply_counted(&mut self, state: &mut State, change: Change, counted: Vec<QuotaStep>) {
        if let Some(steps) = &mut self.steps {
            steps.add(counted);
        }
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
                self.lacking_past.push(calendar.clone());
            }
        }
        self.changes.push(change);
    }

    /// Whether the next command must wait for another batch, before which the missing past is
    /// loaded.
    pub(super) fn must_end(&self) -> bool {
        !self.lacking_past.is_empty()
    }

    /// Restores the state from before the batch.
    pub(super) fn undo(&mut self, state: &mut State) {
        let (revision, last_time, next_key, tokens) = &self.state_before;
        (state.revision, state.last_time, state.next_key) = (*revision, *last_time, *next_key);
        state.tokens = tokens.clone();
        for (id, calendar) in self.before.drain() {
            match calendar {
                Some(calendar) => drop(state.calendars.insert(id, calendar)),
                None => drop(state.calendars.remove(&id)),
            }
        }
    }
}

/// Answers all of these commands with one failure.
pub(super) fn refuse(envelopes: Vec<Envelope>, failure: &Failure) {
    reply::send_all(
        envelopes
            .into_iter()
            .map(|envelope| (envelope.reply, Err(failure.clone()))),
    );
}

/// Whether memory holds every claim that the calendar's limits count.
fn reaches_back(calendar: &Calendar, now: Instant) -> bool {
    calendar.kept_from <= calendar.keep_from(now)
}

/// The answer to a repeated request: the ids and the revision of the first answer, with the
/// resources as they are now. Appointments that the caller no longer reaches are left out, and of
/// nothing else there is no answer.
fn replayed(
    state: &State,
    command: &Command,
    reach: &Reach,
    earlier: &RequestRecord,
) -> Result<Draft, Failure> {
    let find = |id: &_| {
        let found = state.appointments.get(id);
        found.filter(|it| reach.has_all_of(it))
    };
    let is_series = matches!(command, Command::BookSeries(_));
    let series = is_series
        .then(|| SeriesReport::of_booked(&earlier.appointments, find))
        .flatten();
    let appointments: Vec<_> = earlier
        .appointments
        .iter()
        .filter_map(find)
        .cloned()
        .collect();
    if let Some(id) = earlier.appointments.first()
        && appointments.is_empty()
        && !reach.is_all()
    {
        return Err(Refusal::AppointmentNotFound(*id).into());
    }
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
        token: earlier
            .token
            .as_ref()
            .and_then(|id| state.tokens.find(id))
            .cloned(),
    };
    Ok(Draft {
        revision: earlier.revision,
        outcome,
        calendar,
    })
}

/// The answer that the command would have. The state stays as it is.
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
