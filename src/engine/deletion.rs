//! The deletion of a calendar with thousands of appointments, during which other commands go on.
//!
//! The deletion is one change, whose commit is as small as others, because most of the work is done
//! before and after it. While it is prepared the calendar is closed: commands that would change it
//! wait for the end. The cancelled appointments are read off the writer's thread and staged by the
//! writer, slice by slice. Their rows are written after the change, slice by slice again.
//!
//! The caller may go away before the end: then the deletion did not happen, and the staged events
//! are removed.

use std::cmp::Reverse;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::{Instant as Deadline, timeout_at};

use crate::store::{CommitError, Reader, StoreError};
use bookd_core::appointment::Appointment;
use bookd_core::calendar::Calendar;
use bookd_core::change::AppointmentEvent;
use bookd_core::command::{Beforehand, Command};
use bookd_core::decide::expect_etag;
use bookd_core::deletion::{
    STAMPS, Staged, cancelled_with_calendar, is_cancelled_with_calendar, is_staged,
};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Etag};
use bookd_core::log::{LogEvent, LoggedAppointment, Touched, What};
use bookd_core::reach::Reach;
use bookd_core::refusal::Refusal;
use bookd_core::time::Instant;

use super::actor::Actor;
use super::batch::{Envelope, refuse};
use super::closed_calendar::{
    BegunDeletion, DeletionLock, DeletionStep, OngoingDeletion, StepReply,
};
use super::stop::goes_on_after;
use super::{BATCH_MAX, Engine, Failure, Mail, SubmitOptions, WAIT_MAX, Wait};

/// The largest number of appointments that cannot be staged and are cancelled by the change itself.
/// A deletion with more of them is one large command.
const OTHERS_MAX: usize = 2_000;
/// A step that takes longer doubles the size of the next slice.
const SLOW_STEP: Duration = Duration::from_millis(20);
/// The largest slice after slow steps, as a multiple of `slice_size`.
const SLOW_SLICES: usize = 8;

/// The pause before settling that the store refused is tried again.
const SETTLE_RETRY: Duration = Duration::from_secs(1);

/// When and in which slices the calendars with many appointments are deleted.
#[derive(Clone, Copy, Debug)]
pub struct DeletionSettings {
    /// A calendar with at most this many upcoming appointments is deleted by one command, without
    /// slices.
    pub direct_max: usize,
    /// The number of appointments that are read, staged or settled at a time.
    pub slice_size: usize,
}

impl Default for DeletionSettings {
    fn default() -> Self {
        Self {
            direct_max: 1_000,
            slice_size: 250,
        }
    }
}

/// A slice of the appointments of a calendar under deletion.
#[derive(Default)]
struct Slice {
    events: Vec<LogEvent>,
    others: Vec<(AppointmentKey, AppointmentId)>,
    /// One that the deletion would cancel and that the caller may not change.
    beyond: Option<AppointmentId>,
}

impl Slice {
    fn read(
        reader: &mut dyn Reader,
        keys: &[AppointmentKey],
        begun: &BegunDeletion,
        reach: &Reach,
    ) -> Result<Self, StoreError> {
        let (mut slice, found) = (Self::default(), reader.appointments_by_key(keys)?.0);
        if found.len() != keys.len() {
            return Err(StoreError::Damaged(format!(
                "an appointment of calendar {} is not there",
                begun.calendar.id
            )));
        }
        for it in found {
            if is_cancelled_with_calendar(it.state) && !reach.has_all_of(&it) {
                slice.beyond = slice.beyond.or(Some(it.id));
            }
            if is_staged(&it, begun.now) {
                slice.events.push(cancelled(&it, &begun.calendar.id));
            } else {
                slice.others.push((it.key, it.id));
            }
        }
        Ok(slice)
    }
}

fn cancelled(before: &Appointment, calendar: &CalendarId) -> LogEvent {
    let logged = LoggedAppointment {
        kind: AppointmentEvent::Cancelled,
        id: before.id,
        key: before.key,
        previous: before.revision,
        before: Some(before.image.clone()),
        after: cancelled_with_calendar(before, STAMPS).image,
    };
    let touched = Touched {
        calendar: calendar.clone(),
        previous: STAMPS.1,
    };
    LogEvent {
        calendars: vec![touched],
        what: What::Appointment(Box::new(logged)),
    }
}

impl Engine {
    /// Prepares a forced deletion of a calendar with many appointments; none where one command
    /// deletes it at once. The calendar does not change, and no other is deleted in slices, while
    /// the returned lock is held.
    pub(super) async fn before_deletion(
        &self,
        (calendar, etag): (&CalendarId, Option<Etag>),
        options: &SubmitOptions,
    ) -> Result<Option<(Box<Beforehand>, DeletionLock)>, Failure> {
        let deadline = options
            .deadline
            .unwrap_or_else(|| Deadline::now() + WAIT_MAX);
        let missing = self.snapshots.missing(std::slice::from_ref(calendar));
        if !missing.is_empty() {
            self.load_missing(
                missing,
                &Wait {
                    deadline: Some(deadline),
                    permit: options.permit.clone(),
                },
            )
            .await?;
        }
        let is_large =
            |it: Arc<Calendar>| it.upcoming(self.now()).count() > self.deletion_settings.direct_max;
        if !self.snapshots.calendar(calendar).is_some_and(is_large) {
            return Ok(None);
        }
        // Other commands are decided between the slices of one deletion. With several at a time
        // they would wait longer.
        let guard = timeout_at(deadline, Arc::clone(&self.deletions).lock_owned());
        let deletion_lock = DeletionLock::new(guard.await.map_err(|_| Failure::ExpiredInQueue)?);
        let prepared = timeout_at(
            deadline,
            self.prepare_deletion((calendar, etag), &deletion_lock, (deadline, &options.reach)),
        );
        match prepared.await.map_err(|_| Failure::ExpiredInQueue)?? {
            Prepared::Whole(beforehand) => Ok(Some((Box::new(beforehand), deletion_lock))),
            Prepared::Refused(refusal) if options.request.is_none() => Err(refusal.into()),
            // The writer gives a repeated request its first answer.
            Prepared::Refused(_) | Prepared::NotWorthIt => Ok(None),
        }
    }

    async fn prepare_deletion(
        &self,
        (calendar, etag): (&CalendarId, Option<Etag>),
        deletion_lock: &DeletionLock,
        (deadline, reach): (Deadline, &Reach),
    ) -> Result<Prepared, Failure> {
        let (calendar, deletion_lock) = (calendar.clone(), Arc::downgrade(deletion_lock));
        let Some(begun) = self
            .step(|reply| DeletionStep::Begin {
                calendar,
                deletion_lock,
                reply,
            })
            .await?
        else {
            return Ok(Prepared::NotWorthIt);
        };
        let resource = || format!("calendar {}", begun.calendar.id);
        if let Err(refusal) = expect_etag(etag, begun.calendar.etag(), resource) {
            return Ok(Prepared::Refused(refusal));
        }
        let begun = Arc::new(begun);
        let mut keys: Vec<AppointmentKey> = begun.calendar.upcoming(begun.now).collect();
        keys.sort_unstable();
        let (mut others, mut events, mut size) = (Vec::new(), 0, self.deletion_settings.slice_size);
        let mut left = &keys[..];
        while !left.is_empty() {
            let started = Deadline::now();
            let (slice, rest) = left.split_at(size.min(left.len()));
            let (keys, of, reach) = (slice.to_vec(), Arc::clone(&begun), reach.clone());
            let read = move |reader: &mut dyn Reader| Slice::read(reader, &keys, &of, &reach);
            let slice = self.read_by(&self.deciders, Some(deadline), read).await?;
            if let Some(beyond) = slice.beyond {
                return Ok(Prepared::Refused(Refusal::OutOfReach(beyond)));
            }
            others.extend(slice.others);
            if others.len() > OTHERS_MAX {
                return Ok(Prepared::NotWorthIt);
            }
            let (number, before, staged) = (begun.number, events, slice.events.len() as u64);
            if staged > 0 {
                self.step(|reply| DeletionStep::Stage {
                    number,
                    before,
                    events: slice.events,
                    reply,
                })
                .await?;
            }
            (events, left) = (events + staged, rest);
            // With a slow disk or many other commits, fewer and larger steps finish sooner.
            if started.elapsed() > SLOW_STEP {
                size = (2 * size).min(SLOW_SLICES * self.deletion_settings.slice_size);
            }
        }
        if events == 0 {
            return Ok(Prepared::NotWorthIt);
        }
        others.sort_unstable();
        let others = others.into_iter().map(|(_, id)| id).collect();
        Ok(Prepared::Whole(Beforehand {
            staged: Staged {
                number: begun.number,
                events,
                began: begun.now,
            },
            others,
        }))
    }

    async fn step<T>(&self, step: impl FnOnce(StepReply<T>) -> DeletionStep) -> Result<T, Failure> {
        let (reply, done) = oneshot::channel();
        // A full mailbox is waited for: a refusal would waste everything that was prepared.
        self.mailbox
            .send(Mail::Deletion(step(reply)))
            .await
            .map_err(|_| Failure::ShuttingDown)?;
        done.await.unwrap_or(Err(Failure::ShuttingDown))
    }
}

/// The result of preparing a deletion.
enum Prepared {
    /// Everything is staged.
    Whole(Beforehand),
    /// The deletion would be refused.
    Refused(Refusal),
    /// One command must delete the calendar at once.
    NotWorthIt,
}

impl Actor {
    /// Makes a step of a deletion. Returns false when the outcome of a commit is not known.
    pub(super) fn step(&mut self, step: DeletionStep) -> Result<bool, StoreError> {
        match step {
            DeletionStep::Begin {
                calendar,
                deletion_lock,
                reply,
            } => {
                let begun = self.begin_deletion(&calendar, deletion_lock);
                self.answer_step(begun, reply)
            }
            DeletionStep::Stage {
                number,
                before,
                events,
                reply,
            } => {
                let staged = self.store.stage(number, before, &events);
                self.answer_step(staged, reply)
            }
        }
    }

    fn answer_step<T>(
        &mut self,
        done: Result<T, CommitError>,
        reply: StepReply<T>,
    ) -> Result<bool, StoreError> {
        match done {
            Ok(done) => {
                drop(reply.send(Ok(done)));
                Ok(self.run_after_commit() || self.must_stop.is_some())
            }
            Err(error) => {
                // The deletion itself has not happened, whatever the outcome of this step.
                let failure = match &error {
                    CommitError::Unknown(_) => Failure::ShuttingDown,
                    CommitError::Refused(error) => Failure::from(error.clone()),
                };
                self.note_refused(&error);
                drop(reply.send(Err(failure)));
                goes_on_after(error, "a deletion could not be prepared")
            }
        }
    }

    fn begin_deletion(
        &mut self,
        id: &CalendarId,
        deletion_lock: Weak<OwnedMutexGuard<()>>,
    ) -> Result<Option<BegunDeletion>, CommitError> {
        let Ok(now) = self.writer_clock.look(self.state.last_time) else {
            return Ok(None);
        };
        let is_in_the_way = self.deletion.is_some() || self.refusal(id).is_some();
        let Some(calendar) = self
            .state
            .calendars
            .get(id)
            .cloned()
            .filter(|_| !is_in_the_way)
        else {
            return Ok(None);
        };
        let Some(number) = self.store.begin_deletion(id, now)? else {
            return Ok(None);
        };
        let (waiting, expired, calendar_id) = (Vec::new(), Vec::new(), id.clone());
        self.deletion = Some(OngoingDeletion {
            number,
            calendar: calendar_id,
            deletion_lock,
            waiting,
            expired,
        });
        Ok(Some(BegunDeletion {
            number,
            calendar,
            now,
        }))
    }

    /// Ends the deletion when its caller has gone away, and refuses commands that have waited for
    /// its end until their deadline.
    pub(super) fn check_deletion(&mut self, steady: Deadline) {
        let Some(deletion) = &mut self.deletion else {
            return;
        };
        let is_late = |envelope: &mut Envelope| {
            envelope
                .options
                .deadline
                .is_some_and(|deadline| deadline <= steady)
        };
        let late = deletion.waiting.extract_if(.., is_late).collect();
        let is_over = deletion.deletion_lock.strong_count() == 0;
        refuse(late, &Failure::ExpiredInQueue);
        if is_over {
            self.end_deletion();
        }
    }

    /// Ends the deletion, whether it was made or not: the commands that waited for its end are
    /// queued again.
    pub(super) fn end_deletion(&mut self) {
        let Some(OngoingDeletion {
            waiting, expired, ..
        }) = self.deletion.take()
        else {
            return;
        };
        self.settle_due = Some(Deadline::now());
        self.expiries.extend(expired.into_iter().map(Reverse));
        waiting.into_iter().for_each(|it| self.queue.push(it));
    }

    /// Whether the command makes the deletion under way.
    pub(super) fn is_end_of_deletion(&self, command: &Command) -> bool {
        let Command::DeleteCalendar {
            calendar,
            beforehand: Some(beforehand),
            ..
        } = command
        else {
            return false;
        };
        self.deletion.as_ref().is_some_and(|deletion| {
            deletion.number == beforehand.staged.number && deletion.calendar == *calendar
        })
    }

    /// Takes out the commands that name the calendar under deletion. They wait for its end, so that
    /// nothing needs to be loaded for them before.
    pub(super) fn hold_back_named(&mut self, envelopes: &mut Vec<Envelope>) {
        let Some(deletion) = &self.deletion else {
            return;
        };
        let is_named = |it: &Envelope| it.command.needs().calendars.contains(&deletion.calendar);
        let named: Vec<_> = envelopes
            .extract_if(.., |it| {
                is_named(it) && !self.is_end_of_deletion(&it.command)
            })
            .collect();
        named.into_iter().for_each(|it| self.wait_for_deletion(it));
    }

    /// Lets a command that would change the calendar under deletion wait for its end; gives back
    /// any other command.
    pub(super) fn hold_back(&mut self, envelope: Envelope) -> Option<Envelope> {
        let Some(deletion) = self
            .deletion
            .as_ref()
            .filter(|_| !self.is_end_of_deletion(&envelope.command))
        else {
            return Some(envelope);
        };
        let needs = envelope.command.needs();
        let mut named = needs
            .appointments
            .iter()
            .filter_map(|id| self.state.appointments.get(id));
        let (series, email) = (needs.series_in(&self.state), &needs.email);
        let is_of = |it: &Appointment| {
            series.is_some_and(|series| it.series() == Some(series))
                || email
                    .as_ref()
                    .is_some_and(|email| it.person.invitee.email.key == *email)
        };
        let is_touched = needs.calendars.contains(&deletion.calendar)
            || named.any(|it| deletion.holds(it))
            || ((series.is_some() || email.is_some())
                && self
                    .state
                    .appointments
                    .values()
                    .any(|it| is_of(it) && deletion.holds(it)));
        if !is_touched {
            return Some(envelope);
        }
        self.wait_for_deletion(envelope);
        None
    }

    fn wait_for_deletion(&mut self, envelope: Envelope) {
        match &mut self.deletion {
            Some(deletion) if deletion.waiting.len() < BATCH_MAX => deletion.waiting.push(envelope),
            _ => refuse(vec![envelope], &Failure::Overloaded),
        }
    }

    /// Holds back the expiries of appointments of the calendar under deletion alone: no command is
    /// decided on that calendar meanwhile.
    pub(super) fn hold_back_expiries(&mut self, due: &mut Vec<(Instant, AppointmentId)>) {
        let Some(deletion) = &mut self.deletion else {
            return;
        };
        let appointments = &self.state.appointments;
        let is_kept = |(_, id): &(Instant, AppointmentId)| {
            appointments
                .get(id)
                .is_some_and(|it| it.places.len() == 1 && deletion.holds(it))
        };
        let kept: Vec<_> = due.extract_if(.., |it| is_kept(it)).collect();
        deletion.expired.extend(kept);
    }

    /// Goes on with the rows that deletions left behind. Returns false when the outcome of a commit
    /// is not known.
    pub(super) fn settle_deletions(&mut self) -> Result<bool, StoreError> {
        let now = Deadline::now();
        if self.settle_due.is_none_or(|due| due > now) {
            return Ok(true);
        }
        let under_way = self.deletion.as_ref().map(|it| it.number);
        match self
            .store
            .settle(self.deletion_settings.slice_size, under_way)
        {
            Ok(is_more) => {
                self.settle_due = is_more.then_some(now);
                Ok(self.run_after_commit() || self.must_stop.is_some())
            }
            Err(error) => {
                self.note_refused(&error);
                // Damaged rows are left as they are until a restart.
                let is_damage = matches!(&error, CommitError::Refused(error) if error.is_damage());
                self.settle_due = (!is_damage).then(|| now + SETTLE_RETRY);
                goes_on_after(error, "a deletion could not be settled")
            }
        }
    }

    fn note_refused(&mut self, error: &CommitError) {
        if let CommitError::Refused(error) = error {
            self.store_log.refused(1, error);
        }
    }
}
