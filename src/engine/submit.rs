//! The ways of a command to its answer: a fast reject on the published snapshot, a decision on a
//! snapshot of the store, or the writer.

use std::sync::Arc;

use tokio::time::Instant as Deadline;

use crate::store::Reader;
use bookd_core::appointment::Appointment;
use bookd_core::calendar::Calendar;
use bookd_core::command::{Command, Redacted};
use bookd_core::decide::{Hours, REDACTED_MAX};
use bookd_core::time::Instant;

use super::reply::Reply;
use super::{Answer, Engine, Failure, Mail, SubmitOptions, Wait, fast_reject, snapshot_decision};

fn not_shown(failure: Failure) -> Vec<Appointment> {
    tracing::warn!(%failure, "appointments outside of the hours cannot be shown");
    Vec::new()
}

impl Engine {
    /// Decides a command, makes it durable and visible, and returns the answer.
    pub fn submit(
        &self,
        command: Command,
        options: SubmitOptions,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send + '_ {
        // Boxed before the first await: a future has memory for the command at each step of its way
        // otherwise, which is copied whenever the future is moved.
        self.submit_boxed(Box::new(command), options)
    }

    async fn submit_boxed(
        &self,
        command: Box<Command>,
        options: SubmitOptions,
    ) -> Result<Answer, Failure> {
        let (hours, deadline, is_dry_run) =
            (Hours::of(&command), options.deadline, options.is_dry_run);
        let mut answer = self.decided(command, options).await?;
        if let (Some(hours), Some(calendar)) = (hours, answer.calendar.clone()) {
            let outside = self.outside(hours, calendar, answer.time, deadline).await;
            // The change is durable: a failure to show these appointments must not make it look
            // undone.
            answer.outside = if is_dry_run {
                outside?
            } else {
                outside.unwrap_or_else(not_shown)
            };
        }
        Ok(answer)
    }

    /// The appointments that a command left outside of the hours. They are found off the writer's
    /// thread: a calendar may have many.
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
                // Show the appointments that can be read.
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

    /// The answer of the cheapest of the three ways that can give it.
    async fn decided(
        &self,
        mut command: Box<Command>,
        options: SubmitOptions,
    ) -> Result<Answer, Failure> {
        if let Some(refusal) =
            fast_reject::refusal(&self.snapshots, &command, &options, self.clock.now())
        {
            return Err(refusal.into());
        }
        if let Command::DeleteCalendar {
            calendar,
            force: true,
            etag,
            beforehand,
        } = &mut *command
            && !options.is_dry_run
            && let Some((prepared, deletion_lock)) =
                self.before_deletion((calendar, *etag), &options).await?
        {
            *beforehand = Some(prepared);
            return self
                .ask_writer(
                    command,
                    SubmitOptions {
                        deletion_lock: Some(deletion_lock),
                        ..options
                    },
                )
                .await;
        }
        if let Command::Redact(redacted) = &mut *command {
            self.find_redacted(redacted, &options).await?;
        }
        if self.is_decided_on_snapshot(&command, &options) {
            let shared = Arc::from(command);
            if let Some(answer) = self
                .decide_on_snapshot(Arc::clone(&shared), &options)
                .await?
            {
                return answer;
            }
            command = Box::new(Arc::unwrap_or_clone(shared));
        } else if let missing = self.snapshots.missing(command.calendars())
            && !missing.is_empty()
            && self.readers.is_free()
        {
            let wait = Wait {
                deadline: options.deadline,
                permit: options.permit.clone(),
            };
            self.load_missing(missing, &wait).await?;
        }
        self.ask_writer(command, options).await
    }

    /// Finds the appointments of an address, beside the writer, for a caller who reaches only a part
    /// of them: the others may be many.
    async fn find_redacted(
        &self,
        redacted: &mut Redacted,
        options: &SubmitOptions,
    ) -> Result<(), Failure> {
        let Redacted::Email(email) = redacted else {
            return Ok(());
        };
        if options.reach.is_all() {
            return Ok(());
        }
        let (of, reach) = (email.clone(), options.reach.clone());
        let find = move |reader: &mut dyn Reader| {
            let mut ids = Vec::new();
            reader.at_once(&mut |moment| {
                let keys = moment.keys_of_email(&of, &reach, REDACTED_MAX)?;
                let found = moment.appointments_by_key(&keys)?;
                ids = found.into_iter().map(|it| it.id).collect();
                Ok(())
            })?;
            Ok(ids)
        };
        let found = self.read_by(&self.deciders, options.deadline, find).await?;
        *redacted = Redacted::Found(email.clone(), found);
        Ok(())
    }

    /// Has the writer decide a command.
    pub(super) async fn ask_writer(
        &self,
        command: Box<Command>,
        options: SubmitOptions,
    ) -> Result<Answer, Failure> {
        let (reply, answer) = Reply::new(self.bell.clone());
        self.post(Mail::Command {
            command,
            options,
            reply,
        })?;
        // The reply channel is dropped without an answer only when the writer ended within the
        // batch.
        answer.await.unwrap_or(Err(Failure::CommitUnknown))
    }

    /// Whether a command is decided on a snapshot of the store first: every dry run, and a command
    /// that may change something where this saves the writer work and costs the caller no wait. It
    /// would wait behind dry runs when no connection is free. While the clock is in doubt the
    /// writer decides, and reports the doubt. A command with a request id goes to the writer: the
    /// first request with the id may be under way.
    pub(super) fn is_decided_on_snapshot(
        &self,
        command: &Command,
        options: &SubmitOptions,
    ) -> bool {
        let is_spared =
            || options.request.is_none() && command.is_refused_dearly() && self.deciders.is_free();
        self.decides_on_snapshots
            && !self.clock.is_in_doubt()
            && (options.is_dry_run || is_spared())
    }

    /// The answer of a decision on a snapshot (`snapshot_decision`); none when the writer must
    /// decide.
    async fn decide_on_snapshot(
        &self,
        command: Arc<Command>,
        options: &SubmitOptions,
    ) -> Result<Option<Result<Answer, Failure>>, Failure> {
        let (snapshots, clock) = (Arc::clone(&self.snapshots), Arc::clone(&self.clock));
        let (options, quotas) = (options.clone(), self.quotas.clone());
        let deadline = options.deadline;
        let ask = move |reader: &mut dyn Reader| {
            let shared = (&*snapshots, &quotas);
            snapshot_decision::answer(reader, shared, &command, &options, clock.now())
        };
        match self.read_by(&self.deciders, deadline, ask).await {
            Ok(answer) => Ok(answer),
            Err(Failure::StoreUnavailable(_) | Failure::Damaged) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
