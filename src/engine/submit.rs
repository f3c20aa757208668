//! How a command comes to its answer: foreseen in what is published, decided beside the writer, or by the writer.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant as Deadline;

use crate::store::Reader;
use bookd_core::appointment::Appointment;
use bookd_core::calendar::Calendar;
use bookd_core::command::Command;
use bookd_core::decide::Hours;
use bookd_core::time::Instant;

use super::{Answer, Engine, Failure, Mail, Terms, Wait, fast_reject, snapshot_decision};

fn not_shown(failure: Failure) -> Vec<Appointment> {
    tracing::warn!(%failure, "appointments outside of the hours cannot be shown");
    Vec::new()
}

impl Engine {
    /// Decides a command, makes it durable and visible, and answers.
    pub async fn submit(&self, command: Command, terms: Terms) -> Result<Answer, Failure> {
        let (hours, deadline, is_dry_run) = (Hours::of(&command), terms.deadline, terms.is_dry_run);
        let mut answer = self.decided(command, terms).await?;
        if let (Some(hours), Some(calendar)) = (hours, answer.calendar.clone()) {
            let outside = self.outside(hours, calendar, answer.time, deadline).await;
            // The change is made: that these cannot be shown must not make it look undone.
            answer.outside = if is_dry_run {
                outside?
            } else {
                outside.unwrap_or_else(not_shown)
            };
        }
        Ok(answer)
    }

    /// What a command left outside of the hours; of a calendar with many appointments that is more than the writer has
    /// time for.
    async fn outside(
        &self,
        hours: Hours,
        calendar: Arc<Calendar>,
        now: Instant,
        deadline: Option<Deadline>,
    ) -> Result<Vec<Appointment>, Failure> {
        let ask = move |reader: &mut dyn Reader| {
            let keys = hours.outside(&calendar, now);
            match reader.appointments_by_key(&keys) {
                // Those that can be read are shown.
                Err(error) if error.is_damage() => {
                    tracing::error!(calendar = %calendar.id, %error, "not all appointments outside of the hours are shown");
                    let one = |key| {
                        reader
                            .appointments_by_key(&[key])
                            .ok()
                            .and_then(|(mut found, _)| found.pop())
                    };
                    Ok(keys.into_iter().filter_map(one).collect())
                }
                read => read.map(|(found, _)| found),
            }
        };
        self.read(deadline, ask).await
    }

    async fn decided(&self, command: Command, terms: Terms) -> Result<Answer, Failure> {
        if let Some(refusal) =
            fast_reject::refusal(&self.published, &command, &terms, self.clock.now())
        {
            return Err(refusal.into());
        }
        let mut command = command;
        if let Command::DeleteCalendar {
            calendar,
            force: true,
            etag,
            beforehand,
        } = &mut command
            && !terms.is_dry_run
            && let Some((prepared, asking)) =
                self.before_deletion((calendar, *etag), &terms).await?
        {
            *beforehand = Some(prepared);
            return self
                .ask_writer(
                    command,
                    Terms {
                        asking: Some(asking),
                        ..terms
                    },
                )
                .await;
        }
        if self.is_decided_beside(&command, &terms) {
            let shared = Arc::new(command);
            if let Some(answer) = self.decide_beside(Arc::clone(&shared), &terms).await? {
                return answer;
            }
            command = Arc::unwrap_or_clone(shared);
        } else if let missing = self.published.missing(command.calendars())
            && !missing.is_empty()
            && self.readers.is_free()
        {
            let wait = Wait {
                deadline: terms.deadline,
                held: terms.held.clone(),
            };
            self.bring(missing, &wait).await?;
        }
        self.ask_writer(command, terms).await
    }

    pub(super) async fn ask_writer(
        &self,
        command: Command,
        terms: Terms,
    ) -> Result<Answer, Failure> {
        let (reply, answer) = oneshot::channel();
        self.post(Mail::Command {
            command: Box::new(command),
            terms,
            reply,
        })?;
        // A reply that is dropped means that the writer broke off in the middle of the batch.
        answer.await.unwrap_or(Err(Failure::CommitUnknown))
    }

    /// Whether a command is looked at beside the writer first. Of one that may change something that spares the writer
    /// work and nobody waits for it: not behind dry runs, and not while the clock is in doubt, of which the writer tells.
    /// A repeated request is the writer's: its first one may be on its way.
    pub(super) fn is_decided_beside(&self, command: &Command, terms: &Terms) -> bool {
        let is_spared =
            || terms.request.is_none() && command.is_refused_dearly() && self.deciders.is_free();
        self.decides_beside && !self.clock.is_in_doubt() && (terms.is_dry_run || is_spared())
    }

    /// The answer of a command that needs no writer, see `snapshot_decision`; none when the writer must be asked.
    async fn decide_beside(
        &self,
        command: Arc<Command>,
        terms: &Terms,
    ) -> Result<Option<Result<Answer, Failure>>, Failure> {
        let (published, clock, terms) = (
            Arc::clone(&self.published),
            Arc::clone(&self.clock),
            terms.clone(),
        );
        let deadline = terms.deadline;
        let ask = move |reader: &mut dyn Reader| {
            snapshot_decision::answer(reader, &published, &command, &terms, clock.now())
        };
        match self.read_by(&self.deciders, deadline, ask).await {
            Ok(answer) => Ok(answer),
            Err(Failure::StoreUnavailable(_) | Failure::Damaged) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
