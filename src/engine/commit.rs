//! What follows on a decision: durable, visible, answered, in this order; and what comes with a commit.

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
use super::batch::{Batch, Draft, Drafted, refuse};
use super::damage::Met;
use super::stop::goes_on_without;
use super::{Answer, Failure, REQUEST_MEMORY};

/// A commit slower than this is logged.
const SLOW_COMMIT: Duration = Duration::from_millis(500);
/// Old request ids are looked for after so many new ones, and so many at least are forgotten at a time.
const FORGOTTEN_LEAST: usize = 256;

impl Actor {
    /// Commits, publishes, answers. False when the outcome of the commit is not known.
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
            Ok(()) => {
                let answers = std::mem::take(&mut batch.answers);
                if !batch.changes.is_empty() {
                    self.store_log.took();
                }
                self.publish(&mut batch);
                self.commits.end();
                self.publisher
                    .publish(std::mem::take(&mut batch.changes), self.state.revision);
                Failpoint::BeforeAnswer.reached();
                self.answer(answers, batch.now);
                if self.copy_on() {
                    self.forget(batch.now)
                } else {
                    Ok(self.must_stop.is_some())
                }
            }
            Err(CommitError::Unknown(error)) => {
                refuse(batch.undecided(), &Failure::CommitUnknown);
                if error.is_fatal() {
                    return Err(error);
                }
                tracing::error!(%error, "the commit failed, and whether it happened is not known");
                Ok(false)
            }
            Err(refused) => {
                let error = refused.into_store_error();
                self.store_log.refused(batch.changes.len(), &error);
                let touched: Vec<CalendarId> = batch.before.keys().cloned().collect();
                batch.undo(&mut self.state);
                self.commits.end();
                if error.is_damage() {
                    let now = batch.now;
                    return self.apart(
                        now,
                        Met {
                            envelopes: batch.undecided(),
                            due,
                            touched,
                            error,
                        },
                    );
                }
                self.put_off(due);
                refuse(
                    batch.undecided(),
                    &Failure::StoreUnavailable(error.to_string()),
                );
                Err(error)
            }
        }
    }

    /// Does what comes with a commit. False when the writer must not go on; `must_stop` says why, where that is known.
    pub(super) fn copy_on(&mut self) -> bool {
        match self.store.after_commit() {
            Ok(()) => true,
            Err(CommitError::Unknown(error)) => {
                tracing::error!(%error, "the WAL could not be copied, and the disk failed");
                false
            }
            // What was to be copied is nowhere else.
            Err(damage) => {
                self.must_stop = Some(damage.into_store_error());
                false
            }
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        if batch.changes.is_empty() {
            return Ok(());
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
        // What went into a file that nobody finds again is acknowledged to nobody.
        let committed = committed.and_then(|()| self.look().map_err(CommitError::Unknown));
        let took = started.elapsed();
        if took > SLOW_COMMIT {
            tracing::warn!(
                milliseconds = took.as_millis(),
                changes = batch.changes.len(),
                "a commit was slow"
            );
        }
        committed
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
        for id in batch.short.drain(..) {
            if !self.reach_back(&id, batch.now) {
                // It is no longer shown: the next to ask loads it.
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
        if !batch.changes.is_empty() {
            self.published
                .publish(self.state.revision, self.state.last_time, shown);
        }
        self.batches += 1;
        if self.batches.is_multiple_of(64) {
            let idle = self.published.drop_idle(self.calendars_in_memory_max);
            self.store.let_go(&idle);
            idle.iter()
                .for_each(|id| drop(self.state.calendars.remove(id)));
        }
    }

    fn answer(&mut self, answers: Vec<Drafted>, now: Instant) {
        for (reply, draft) in answers {
            let answer = draft.map(
                |Draft {
                     revision,
                     outcome,
                     calendar,
                 }| Answer {
                    revision,
                    outcome,
                    calendar,
                    outside: Vec::new(),
                    time: now,
                },
            );
            // Nobody may be waiting any more; then the answer is found by the request id.
            drop(reply.send(answer));
        }
    }

    /// Forgets requests that are old enough, a few at a time. False when nobody knows what is on disk.
    fn forget(&mut self, now: Instant) -> Result<bool, StoreError> {
        if !self.batches.is_multiple_of(64) && self.remembered < FORGOTTEN_LEAST {
            return Ok(true);
        }
        // Twice what came in, so that forgetting always wins.
        let limit = (2 * std::mem::take(&mut self.remembered)).max(FORGOTTEN_LEAST);
        match self.store.forget_requests(now.plus(-REQUEST_MEMORY), limit) {
            Ok(_) => Ok(true),
            Err(error) => goes_on_without(error, "old request ids could not be removed"),
        }
    }
}
