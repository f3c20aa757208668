//! The steps after the decisions of a batch: durable, visible, answered, in this order.
//!
//! A commit that certainly did not happen is undone in memory; one whose outcome is not known stops
//! the writer.

use std::cmp::Reverse;
use std::time::Duration;

use tokio::time::Instant as Deadline;

use crate::failpoints::Failpoint;
use crate::store::{self, CommitError, StoreError};
use bookd_core::calendar::Calendar;
use bookd_core::change::Event;
use bookd_core::ids::{AppointmentId, CalendarId};
use bookd_core::time::Instant;

use super::actor::Actor;
use super::batch::{Batch, Draft, PendingAnswer, refuse};
use super::damage::DamagedBatch;
use super::stop::goes_on_without;
use super::{Answer, CommitFigures, Failure, REQUEST_MEMORY, reply};

/// A commit that takes longer is logged.
const SLOW_COMMIT: Duration = Duration::from_millis(500);
/// Old request ids are removed after this many new ones, and at least this many at a time.
const FORGOTTEN_LEAST: usize = 256;

impl Actor {
    /// Commits, publishes, answers. Returns false when the outcome of the commit is not known.
    pub(super) fn finish(
        &mut self,
        mut batch: Batch,
        due: Vec<(Instant, AppointmentId)>,
    ) -> Result<bool, StoreError> {
        self.commits.begin();
        Failpoint::BeforeCommit.reached();
        let committed = self.commit(&batch);
        Failpoint::AfterCommit.reached();
        self.is_refused = committed.is_err();
        self.remembered += batch.requests.len();
        match committed {
            Ok(took) => {
                let answers = std::mem::take(&mut batch.answers);
                let commit = (!batch.changes.is_empty()).then_some(CommitFigures {
                    commands: answers.len(),
                    took,
                });
                if !batch.changes.is_empty() {
                    self.store_log.took();
                }
                self.publish(&mut batch);
                self.commits.end();
                self.publisher
                    .publish(std::mem::take(&mut batch.changes), self.state.revision);
                Failpoint::BeforeAnswer.reached();
                self.answer(answers, batch.now, commit);
                if self.run_after_commit() {
                    self.forget(batch.now)
                } else {
                    Ok(self.must_stop.is_some())
                }
            }
            Err(CommitError::Unknown(error)) => {
                refuse(batch.into_envelopes(), &Failure::CommitUnknown);
                if error.is_fatal() {
                    return Err(error);
                }
                tracing::error!(%error, "the commit failed, and whether it happened is not known");
                Ok(false)
            }
            Err(refused) => {
                let error = refused.into_store_error();
                self.store_refused(batch.changes.len(), &error);
                let touched: Vec<CalendarId> = batch.before.keys().cloned().collect();
                batch.undo(&mut self.state);
                self.commits.end();
                if error.is_damage() {
                    let now = batch.now;
                    return self.decide_separately(
                        now,
                        DamagedBatch {
                            envelopes: batch.into_envelopes(),
                            due,
                            touched,
                            error,
                        },
                    );
                }
                self.put_back_expiries(due);
                refuse(
                    batch.into_envelopes(),
                    &Failure::StoreUnavailable(error.to_string()),
                );
                Err(error)
            }
        }
    }

    /// Runs the store's work after a commit, such as the checkpoint. Returns false when the writer
    /// must stop; `must_stop` holds the reason where it is known.
    pub(super) fn run_after_commit(&mut self) -> bool {
        match self.store.after_commit() {
            Ok(()) => true,
            Err(CommitError::Unknown(error)) => {
                tracing::error!(%error, "the WAL could not be copied, and the disk failed");
                false
            }
            // The pages that could not be copied exist nowhere else.
            Err(damage) => {
                self.must_stop = Some(damage.into_store_error());
                false
            }
        }
    }

    /// Notes that the store refused these changes.
    pub(super) fn store_refused(&mut self, changes: usize, error: &StoreError) {
        self.is_refused = true;
        self.store_log.refused(changes, error);
        self.metrics.note_refused(error, Deadline::now());
    }

    /// Writes the changes of a batch; answers how long that took.
    fn commit(&mut self, batch: &Batch) -> Result<Duration, CommitError> {
        if batch.changes.is_empty() {
            return Ok(Duration::ZERO);
        }
        let expected: Vec<_> = batch
            .before
            .iter()
            .filter_map(|(id, calendar)| {
                calendar
                    .as_ref()
                    .map(|calendar| (id.clone(), calendar.version))
            })
            .collect();
        let started = Deadline::now();
        let commit = store::CommitBatch {
            changes: &batch.changes,
            requests: &batch.requests,
            expected: &expected,
        };
        let committed = self.store.commit(&commit);
        // A commit into a file that is no longer at its path must not be acknowledged.
        let committed = committed.and_then(|()| self.check_file().map_err(CommitError::Unknown));
        let took = started.elapsed();
        if committed.is_ok() {
            self.metrics.note_commit(took);
        }
        if took > SLOW_COMMIT {
            tracing::warn!(
                milliseconds = took.as_millis(),
                changes = batch.changes.len(),
                "a commit was slow"
            );
        }
        committed.map(|()| took)
    }

    fn publish(&mut self, batch: &mut Batch) {
        for change in &batch.changes {
            for event in &change.events {
                if let Event::Appointment { before, after, .. } = event
                    && let Some(due) = after.expire_time
                    && after.is_waiting()
                    && before
                        .as_ref()
                        .is_none_or(|it| !it.is_waiting() || it.expire_time != after.expire_time)
                {
                    self.expiries.push(Reverse((due, after.id)));
                }
            }
        }
        for id in batch.lacking_past.drain(..) {
            if !self.reach_back(&id, batch.now) {
                // The calendar is no longer published, and the next call that needs it loads it.
                self.state.calendars.remove(&id);
            }
        }
        for id in batch.before.keys() {
            if let Some(calendar) = self.state.calendars.get_mut(id) {
                Calendar::let_go(calendar, batch.now);
            }
        }
        let touched = batch.before.keys();
        let shown: Vec<_> = touched
            .map(|id| (id.clone(), self.state.calendars.get(id).cloned()))
            .collect();
        self.quotas.made(batch.steps.take(), self.state.revision);
        let events = batch.changes.iter().flat_map(|change| &change.events);
        if events.into_iter().any(|event| event.token().is_some()) {
            self.snapshots.publish_tokens(self.state.tokens.clone());
        }
        if !batch.changes.is_empty() {
            self.snapshots
                .publish(self.state.revision, self.state.last_time, shown);
        }
        self.batches += 1;
        if self.batches.is_multiple_of(64) {
            let idle = self.snapshots.drop_idle(self.calendars_in_memory_max);
            self.store.let_go(&idle);
            idle.iter()
                .for_each(|id| drop(self.state.calendars.remove(id)));
        }
    }

    fn answer(&mut self, answers: Vec<PendingAnswer>, now: Instant, commit: Option<CommitFigures>) {
        let answer = |draft: Draft| Answer {
            revision: draft.revision,
            outcome: draft.outcome,
            calendar: draft.calendar,
            outside: Vec::new(),
            time: now,
            commit,
        };
        reply::send_all(
            answers
                .into_iter()
                .map(|(reply, draft)| (reply, draft.map(answer))),
        );
    }

    /// Removes request ids that are old enough, a few at a time. Returns false when the outcome on
    /// disk is not known.
    fn forget(&mut self, now: Instant) -> Result<bool, StoreError> {
        if !self.batches.is_multiple_of(64) && self.remembered < FORGOTTEN_LEAST {
            return Ok(true);
        }
        // Twice the number of new ones, so that the table does not grow.
        let limit = (2 * std::mem::take(&mut self.remembered)).max(FORGOTTEN_LEAST);
        match self.store.forget_requests(now.plus(-REQUEST_MEMORY), limit) {
            Ok(_) => Ok(true),
            Err(error) => goes_on_without(error, "old request ids could not be removed"),
        }
    }
}
