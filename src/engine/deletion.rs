//! The deletion of a calendar with thousands of appointments, so that nobody else waits for it.
//!
//! It is one change, made by a commit as small as others, for most of its work is done before and after it. While it is
//! prepared nobody changes the calendar: commands that would wait for the end of it. What is cancelled is read beside the
//! writer, and staged by it, slice by slice; the rows are written after the change, slice by slice again.
//!
//! Whoever asked for it may go away before the end: then it did not happen, and what was staged is removed.

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
use bookd_core::deletion::{STAMPS, Staged, cancelled_with_calendar, is_staged};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Etag};
use bookd_core::log::{LogEvent, LoggedAppointment, Touched, What};
use bookd_core::refusal::Refusal;
use bookd_core::time::Instant;

use super::actor::Actor;
use super::batch::{Envelope, refuse};
use super::closed_calendar::{Asking, Begun, Closing, DeletionStep, Reply};
use super::stop::goes_on_after;
use super::{BATCH_MAX, Engine, Failure, Mail, Terms, WAIT_MAX, Wait};

/// How many appointments the change itself cancels at most; a deletion with more of those is made at once.
const OTHERS_MAX: usize = 2_000;
/// A step that takes longer makes the next slice larger: twice, and so many times at most.
const SLOW_STEP: Duration = Duration::from_millis(20);
const SLOW_SLICES: usize = 8;

/// When to try again what a store refused.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// How calendars with many appointments are deleted.
#[derive(Clone, Copy, Debug)]
pub struct Slices {
    /// A calendar with at most so many upcoming appointments is deleted at once.
    pub at_once: usize,
    /// How many appointments are read, staged or settled at a time.
    pub size: usize,
}

impl Default for Slices {
    fn default() -> Self {
        Self {
            at_once: 1_000,
            size: 250,
        }
    }
}

/// What a slice of appointments comes to.
#[derive(Default)]
struct Slice {
    events: Vec<LogEvent>,
    others: Vec<(AppointmentKey, AppointmentId)>,
}

impl Slice {
    fn read(
        reader: &mut dyn Reader,
        keys: &[AppointmentKey],
        begun: &Begun,
    ) -> Result<Self, StoreError> {
        let (mut slice, found) = (Self::default(), reader.appointments_by_key(keys)?.0);
        if found.len() != keys.len() {
            return Err(StoreError::Damaged(format!(
                "an appointment of calendar {} is not there",
                begun.calendar.id
            )));
        }
        for it in found {
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
    /// What of a deletion by force can be done before it is decided; none where it is made at once. The calendar stays as it
    /// is, and no other is deleted in slices, for as long as the second part is held.
    pub(super) async fn before_deletion(
        &self,
        (calendar, etag): (&CalendarId, Option<Etag>),
        terms: &Terms,
    ) -> Result<Option<(Box<Beforehand>, Asking)>, Failure> {
        let deadline = terms.deadline.unwrap_or_else(|| Deadline::now() + WAIT_MAX);
        let missing = self.published.missing(std::slice::from_ref(calendar));
        if !missing.is_empty() {
            self.bring(
                missing,
                &Wait {
                    deadline: Some(deadline),
                    held: terms.held.clone(),
                },
            )
            .await?;
        }
        let is_large = |it: Arc<Calendar>| it.upcoming(self.now()).count() > self.slices.at_once;
        if !self.published.calendar(calendar).is_some_and(is_large) {
            return Ok(None);
        }
        // The others' commands pass between the slices of one deletion, and not of several.
        let turn = timeout_at(deadline, Arc::clone(&self.deletions).lock_owned());
        let asking = Asking::new(turn.await.map_err(|_| Failure::ExpiredInQueue)?);
        let prepared = timeout_at(
            deadline,
            self.prepare_deletion((calendar, etag), &asking, deadline),
        );
        match prepared.await.map_err(|_| Failure::ExpiredInQueue)?? {
            Prepared::Whole(beforehand) => Ok(Some((Box::new(beforehand), asking))),
            Prepared::Refused(refusal) if terms.request.is_none() => Err(refusal.into()),
            // A repeated request is answered as it was.
            Prepared::Refused(_) | Prepared::NotWorthIt => Ok(None),
        }
    }

    async fn prepare_deletion(
        &self,
        (calendar, etag): (&CalendarId, Option<Etag>),
        asking: &Asking,
        deadline: Deadline,
    ) -> Result<Prepared, Failure> {
        let (calendar, asking) = (calendar.clone(), Arc::downgrade(asking));
        let Some(begun) = self
            .step(|reply| DeletionStep::Begin {
                calendar,
                asking,
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
        let (mut others, mut events, mut size) = (Vec::new(), 0, self.slices.size);
        let mut left = &keys[..];
        while !left.is_empty() {
            let started = Deadline::now();
            let (slice, rest) = left.split_at(size.min(left.len()));
            let (keys, of) = (slice.to_vec(), Arc::clone(&begun));
            let read = move |reader: &mut dyn Reader| Slice::read(reader, &keys, &of);
            let slice = self.read_by(&self.deciders, Some(deadline), read).await?;
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
            // Where the disk takes its time or others' commits pass between, fewer steps come to their end.
            if started.elapsed() > SLOW_STEP {
                size = (2 * size).min(SLOW_SLICES * self.slices.size);
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

    async fn step<T>(&self, step: impl FnOnce(Reply<T>) -> DeletionStep) -> Result<T, Failure> {
        let (reply, done) = oneshot::channel();
        // A full mailbox is waited for: one refusal would be the end of all that was prepared.
        self.mailbox
            .send(Mail::Deletion(step(reply)))
            .await
            .map_err(|_| Failure::ShuttingDown)?;
        done.await.unwrap_or(Err(Failure::ShuttingDown))
    }
}

enum Prepared {
    Whole(Beforehand),
    Refused(Refusal),
    NotWorthIt,
}

impl Actor {
    /// Does a step of a deletion. False when the outcome of a commit is not known.
    pub(super) fn step(&mut self, step: DeletionStep) -> Result<bool, StoreError> {
        match step {
            DeletionStep::Begin {
                calendar,
                asking,
                reply,
            } => {
                let begun = self.begin_deletion(&calendar, asking);
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
        reply: Reply<T>,
    ) -> Result<bool, StoreError> {
        match done {
            Ok(done) => {
                drop(reply.send(Ok(done)));
                Ok(self.copy_on() || self.must_stop.is_some())
            }
            Err(error) => {
                // Nothing of the deletion itself has happened.
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
        asking: Weak<OwnedMutexGuard<()>>,
    ) -> Result<Option<Begun>, CommitError> {
        let Ok(now) = self.writer_clock.look(self.state.last_time) else {
            return Ok(None);
        };
        let is_in_the_way = self.closing.is_some() || self.refusal(id).is_some();
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
        self.closing = Some(Closing {
            number,
            calendar: calendar_id,
            asking,
            waiting,
            expired,
        });
        Ok(Some(Begun {
            number,
            calendar,
            now,
        }))
    }

    /// Ends the deletion when nobody waits for it any more, and refuses what has waited too long for its end.
    pub(super) fn look_after_deletion(&mut self, steady: Deadline) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        let is_late = |it: &Envelope| it.terms.deadline.is_some_and(|deadline| deadline <= steady);
        let late = closing.waiting.extract_if(.., |it| is_late(it)).collect();
        let is_over = closing.asking.strong_count() == 0;
        refuse(late, &Failure::ExpiredInQueue);
        if is_over {
            self.end_deletion();
        }
    }

    /// Goes on without the deletion, whether it was made or not.
    pub(super) fn end_deletion(&mut self) {
        let Some(Closing {
            waiting, expired, ..
        }) = self.closing.take()
        else {
            return;
        };
        self.settles = Some(Deadline::now());
        self.expiries.extend(expired.into_iter().map(Reverse));
        waiting.into_iter().for_each(|it| self.queue.push(it));
    }

    /// Whether the command is the end of the deletion under way.
    pub(super) fn is_end_of_deletion(&self, command: &Command) -> bool {
        let Command::DeleteCalendar {
            calendar,
            beforehand: Some(beforehand),
            ..
        } = command
        else {
            return false;
        };
        let is_it =
            |it: &Closing| it.number == beforehand.staged.number && it.calendar == *calendar;
        self.closing.as_ref().is_some_and(is_it)
    }

    /// Takes those commands out that name the calendar under deletion: they wait for the end of that, and whatever they look
    /// at need not be loaded before.
    pub(super) fn put_named_aside(&mut self, envelopes: &mut Vec<Envelope>) {
        let Some(closing) = &self.closing else { return };
        let is_named = |it: &Envelope| it.command.needs().calendars.contains(&closing.calendar);
        let named: Vec<_> = envelopes
            .extract_if(.., |it| {
                is_named(it) && !self.is_end_of_deletion(&it.command)
            })
            .collect();
        named.into_iter().for_each(|it| self.wait_for_deletion(it));
    }

    /// Takes a command that would change the calendar under deletion, if it would. Else it is given back.
    pub(super) fn put_aside(&mut self, envelope: Envelope) -> Option<Envelope> {
        let Some(closing) = self
            .closing
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
        let is_touched = needs.calendars.contains(&closing.calendar)
            || named.any(|it| closing.holds(it))
            || ((series.is_some() || email.is_some())
                && self
                    .state
                    .appointments
                    .values()
                    .any(|it| is_of(it) && closing.holds(it)));
        if !is_touched {
            return Some(envelope);
        }
        self.wait_for_deletion(envelope);
        None
    }

    fn wait_for_deletion(&mut self, envelope: Envelope) {
        match &mut self.closing {
            Some(closing) if closing.waiting.len() < BATCH_MAX => closing.waiting.push(envelope),
            _ => refuse(vec![envelope], &Failure::Overloaded),
        }
    }

    /// Keeps back what has run out of the calendar under deletion alone: nobody decides on that meanwhile.
    pub(super) fn keep_back(&mut self, due: &mut Vec<(Instant, AppointmentId)>) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        let appointments = &self.state.appointments;
        let is_kept = |(_, id): &(Instant, AppointmentId)| {
            appointments
                .get(id)
                .is_some_and(|it| it.places.len() == 1 && closing.holds(it))
        };
        let kept: Vec<_> = due.extract_if(.., |it| is_kept(it)).collect();
        closing.expired.extend(kept);
    }

    /// Goes on with what deletions left behind. False when the outcome of a commit is not known.
    pub(super) fn settle(&mut self) -> Result<bool, StoreError> {
        let now = Deadline::now();
        if self.settles.is_none_or(|due| due > now) {
            return Ok(true);
        }
        let under_way = self.closing.as_ref().map(|it| it.number);
        match self.store.settle(self.slices.size, under_way) {
            Ok(is_more) => {
                self.settles = is_more.then_some(now);
                Ok(self.copy_on() || self.must_stop.is_some())
            }
            Err(error) => {
                self.note_refused(&error);
                // What is damaged is left as it is until a restart.
                let is_damage = matches!(&error, CommitError::Refused(error) if error.is_damage());
                self.settles = (!is_damage).then(|| now + SETTLE_AGAIN);
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
