//! The entry and the exit of every method: the context of a call, and its answer or failure as a
//! response.
//!
//! A handler is a function of the [`Api`] and a `Call`; it knows no HTTP, no metadata and no
//! status.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use bookd_transport::{CallPermit, Deadline, Peer, TraceNote, TraceNotes};
use prost::Message;
use tonic::{Request, Response, Status};

use crate::auth::{Access, AuthError, MethodScopes, Principal};
use crate::engine::{
    Answer, CommitFigures, Engine, QueuePermit, RequestId, SubmitOptions, View, Wait,
};
use crate::ids::Ids;
use crate::proto::v1 as pb;
use crate::proto::v1::Scope;
use crate::zones::Zones;
use bookd_core::appointment::{Appointment, Person};
use bookd_core::calendar::Calendar;
use bookd_core::command::Command;
use bookd_core::ids::{CalendarId, Caller};
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;
use bookd_core::refusal::Refusal;
use bookd_core::time::Instant;
use bookd_core::time::zone::Zone;

use crate::api::convert::page_token;
use crate::api::convert::parse::Fields;
use crate::api::convert::render;
use crate::api::convert::status;
use crate::api::no_answer::NoAnswer;
use crate::api::own::narrow;

/// The answer of a method, or why there is none.
pub(crate) type Answered<T> = Result<T, NoAnswer>;

/// What is known of a call besides its message.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The method's name, such as `BookAppointment`. Repeated requests are compared by it as well.
    pub(crate) method: &'static str,
    /// Who calls: the owner of commands and request ids.
    pub(crate) principal: Principal,
    /// What they reach by the method.
    pub(crate) reach: Reach,
    /// The peer of the connection; none for a call from this process.
    pub(crate) sender: Option<SocketAddr>,
    /// How long the call waits, and the permit that it holds until its command is decided.
    pub(crate) wait: Wait,
    /// Where the figures of the call go; none where it is not traced.
    pub(crate) notes: Option<Arc<TraceNotes>>,
}

/// A call as a handler sees it.
pub(crate) struct Call<M> {
    pub(crate) context: Context,
    pub(crate) message: M,
}

impl Context {
    /// Refuses a call that names calendars on which the caller may not call the method, whether
    /// they exist or not.
    pub(crate) fn expect_all<'a>(
        &self,
        named: impl IntoIterator<Item = &'a CalendarId>,
    ) -> Result<(), AuthError> {
        expect_all(&self.reach.calendars, named)
    }

    /// The error of a call about calendars on which the caller may not call the method.
    pub(crate) fn out_of_reach(&self) -> AuthError {
        out_of_reach(&self.reach.calendars)
    }

    /// Refuses a caller who may see its own appointments alone.
    pub(crate) fn expect_everybody(&self) -> Result<(), AuthError> {
        match self.reach.customer {
            Some(_) => Err(AuthError::OwnOnly),
            None => Ok(()),
        }
    }

    /// How the caller sees appointments.
    pub(crate) fn viewer(&self) -> Viewer {
        Viewer {
            reach: self.reach.clone(),
            persons: self.principal.rights.reach_of(Scope::Read),
        }
    }
}

fn expect_all<'a>(
    prefixes: &Prefixes,
    named: impl IntoIterator<Item = &'a CalendarId>,
) -> Result<(), AuthError> {
    if prefixes.is_all() || named.into_iter().all(|it| prefixes.has(it.as_str())) {
        return Ok(());
    }
    Err(out_of_reach(prefixes))
}

fn out_of_reach(prefixes: &Prefixes) -> AuthError {
    let prefixes = prefixes.clone();
    AuthError::OutOfReach { prefixes }
}

/// What a caller sees of appointments.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    /// The appointments that they see; places on other calendars are left out.
    pub(crate) reach: Reach,
    /// The appointments whose persons they see.
    persons: Reach,
}

impl Viewer {
    /// The appointment as they see it; none when it is on none of their calendars.
    pub(crate) fn see<'a>(&self, appointment: &'a Appointment) -> Option<Cow<'a, Appointment>> {
        let is_person_shown = self.persons.has_all_of(appointment);
        if is_person_shown && self.reach.has_all_of(appointment) {
            return Some(Cow::Borrowed(appointment));
        }
        let mut seen = self.reach.show(appointment)?;
        if !is_person_shown {
            seen.person = Person::default();
        }
        Some(Cow::Owned(seen))
    }

    /// Takes out of an answer what they do not see.
    fn reduce(&self, answer: &mut Answer) {
        if self.reach.is_all() && self.persons.is_all() {
            return;
        }
        answer.outcome.appointments.retain_mut(|it| {
            let seen = match self.see(it) {
                None => return false,
                Some(Cow::Borrowed(_)) => return true,
                Some(Cow::Owned(seen)) => seen,
            };
            *it = Arc::new(seen);
            true
        });
        let outside = std::mem::take(&mut answer.outside);
        answer.outside = outside
            .iter()
            .filter_map(|it| self.see(it).map(Cow::into_owned))
            .collect();
    }
}

impl<M> Call<M> {
    /// Takes the context of a call by this principal from the extensions of its request.
    pub(crate) fn enter(
        (method, wanted): (&'static str, MethodScopes),
        principal: Principal,
        request: Request<M>,
    ) -> Self {
        let extensions = request.extensions();
        let deadline = extensions.get::<Deadline>().map(|deadline| deadline.0);
        let permit = extensions
            .get::<Arc<CallPermit>>()
            .map(|permit| Arc::clone(permit) as QueuePermit);
        let sender = extensions.get::<Peer>().and_then(|peer| peer.address);
        let notes = extensions.get::<Arc<TraceNotes>>().cloned();
        let context = Context {
            method,
            reach: principal.rights.reach_for(wanted),
            principal,
            sender,
            wait: Wait { deadline, permit },
            notes,
        };
        Self {
            context,
            message: request.into_inner(),
        }
    }
}

/// Renders an answer, or why there is none, as a response.
pub(crate) fn leave<T>(answered: Answered<T>) -> Result<Response<T>, Status> {
    answered
        .map(Response::new)
        .map_err(|why| status::no_answer(&why))
}

/// What every handler works with.
#[derive(Clone)]
pub struct Api {
    /// Takes commands, and gives snapshots and views.
    pub engine: Engine,
    /// The time zones in use.
    pub zones: Arc<Zones>,
    /// UTC, the zone of calendars that are created without one.
    pub utc: Arc<Zone>,
    /// The source of new ids.
    pub ids: Arc<Ids>,
    /// Who may call.
    pub access: Access,
}

impl Api {
    /// An API on this engine, with the zones that its calendars are in, which lets everybody do
    /// everything.
    pub fn new(engine: Engine, zones: Arc<Zones>) -> Self {
        Self {
            engine,
            zones,
            utc: Arc::new(Zone::utc()),
            ids: Arc::default(),
            access: Access::open(),
        }
    }

    /// Parses a mutation and submits its command; every field is read before the engine is asked.
    pub(crate) async fn mutate<M: Mutation>(
        &self,
        call: Call<M>,
        parse: impl FnOnce(&M, &mut Fields) -> Option<Command>,
    ) -> Answered<Answer> {
        let Call {
            context:
                Context {
                    method,
                    principal,
                    mut reach,
                    sender,
                    wait: Wait { deadline, permit },
                    notes,
                },
            message,
        } = call;
        let mut fields = Fields::default();
        let is_named = fields.request_id(message.request_id());
        let command = parse(&message, &mut fields);
        let is_for_staff = fields.is_for_staff();
        let mut command = fields.finish(is_named.and(command))?;
        if is_for_staff {
            if !principal.has(Scope::Staff) || reach.customer.is_some() {
                return Err(AuthError::StaffOnly.into());
            }
            reach = reach.and(&principal.rights.reach_of(Scope::Staff));
        }
        if !reach.calendars.is_all() {
            expect_all(&reach.calendars, &command.needs().calendars)?;
        }
        if let Some(customer) = &reach.customer {
            narrow(&mut command, customer)?;
        }
        let viewer = Viewer {
            persons: if brings_person(&command) {
                reach.clone()
            } else {
                principal.rights.reach_of(Scope::Read)
            },
            reach: reach.clone(),
        };
        let caller = principal.recorded_name(&reach);
        let is_dry_run = message.validate_only();
        let request = identify(method, message, &principal.name);
        let terms = SubmitOptions {
            caller,
            reach,
            sender,
            method,
            request,
            is_dry_run,
            deadline,
            permit,
            deletion_lock: None,
        };
        let mut answer = self.engine.submit(command, terms).await?;
        note_commit(notes.as_deref(), answer.commit);
        viewer.reduce(&mut answer);
        Ok(answer)
    }

    /// The calendar that a request names, as it is now.
    pub(crate) async fn calendar(
        &self,
        name: &str,
        context: &Context,
    ) -> Answered<(View, Arc<Calendar>)> {
        let mut fields = Fields::default();
        let id = fields.calendar_id("calendar_id", name);
        let id = fields.finish(id)?;
        context.expect_all([&id])?;
        let view = self
            .engine
            .view(std::slice::from_ref(&id), &context.wait)
            .await?;
        let calendar = view
            .calendars
            .first()
            .cloned()
            .ok_or(Refusal::CalendarNotFound(id))?;
        Ok((view, calendar))
    }

    /// Runs `work`: light work at once, other work off the worker threads. A worker serves many
    /// calls and must not compute for longer than about a millisecond at a time.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        weight: Weight,
        deadline: Option<tokio::time::Instant>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Answered<T> {
        if weight.is_light() {
            return Ok(work());
        }
        Ok(self.engine.compute(deadline, work).await?)
    }

    /// The hours of a calendar. Where the work cannot be moved off the worker it is done here: the
    /// change whose answer it is has happened, and must not be answered by an error.
    pub(crate) async fn availability(&self, calendar: Arc<Calendar>) -> pb::Availability {
        let overrides = calendar.profile.availability.overrides.values();
        let windows = overrides.map(|hours| 1 + hours.windows.len()).sum();
        let weight = Weight::of_windows(windows);
        let shown = Arc::clone(&calendar);
        let computed = self
            .compute(weight, None, move || render::availability(&shown))
            .await;
        computed.unwrap_or_else(|_| render::availability(&calendar))
    }

    /// The message of an appointment as this viewer sees it at `now`; none when they do not.
    pub(crate) fn seen(
        &self,
        viewer: &Viewer,
        it: &Appointment,
        now: Instant,
    ) -> Option<pb::Appointment> {
        viewer.see(it).map(|it| self.appointment(&it, now))
    }

    /// The message of an appointment of an answer to a mutation, which has no more than the caller
    /// may see, as it is at `now`.
    pub(crate) fn appointment(&self, it: &Appointment, now: Instant) -> pb::Appointment {
        render::appointment(it, now, self.engine.code_key())
    }

    /// The only appointment of an answer, and the answer's revision.
    pub(crate) fn answered(&self, answer: &Answer) -> (Option<pb::Appointment>, i64) {
        let appointment = answer
            .outcome
            .appointments
            .first()
            .map(|it| self.appointment(it, answer.time));
        (appointment, render::revision(answer.revision))
    }

    /// The appointments of an answer that lie outside open time.
    pub(crate) fn outside(&self, answer: &Answer) -> Vec<pb::Appointment> {
        answer
            .outside
            .iter()
            .map(|it| self.appointment(it, answer.time))
            .collect()
    }
}

/// Whether the caller of a command brings the personal data of the appointments that its answer
/// shows.
fn brings_person(command: &Command) -> bool {
    matches!(
        command,
        Command::Book(_) | Command::Hold { .. } | Command::BatchBook(_) | Command::BookSeries(_)
    )
}

/// Adds the figures of a commit to a call that is traced.
fn note_commit(notes: Option<&TraceNotes>, commit: Option<CommitFigures>) {
    if let (Some(notes), Some(commit)) = (notes, commit) {
        let commands = u64::try_from(commit.commands).unwrap_or(u64::MAX);
        notes.add(vec![
            TraceNote::Count("bookd.batch.commands", commands),
            TraceNote::Seconds("bookd.commit.duration", commit.took),
        ]);
    }
}

/// An estimate of how long some work takes, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight(usize);

impl Weight {
    /// The heaviest work that is done at once.
    const LIGHT_MAX: usize = 500;

    /// The weight of a search over a number of days of a number of calendars.
    pub(crate) const fn of_days(calendars: usize, days: usize) -> Self {
        Self(calendars.saturating_mul(days).saturating_mul(2))
    }

    /// The weight of rendering a number of windows of time.
    pub(crate) const fn of_windows(windows: usize) -> Self {
        Self(windows / 4)
    }

    const fn is_light(self) -> bool {
        self.0 <= Self::LIGHT_MAX
    }
}

/// A request that may change something.
pub(crate) trait Mutation: Message + Default {
    fn request_id(&self) -> &str;
    fn validate_only(&self) -> bool;
    /// Takes the id out of the request; repeated requests are compared by the rest.
    fn take_request_id(&mut self) -> String;
}

/// The key under which a store remembers the request of a caller with this id.
pub fn request_hash(caller: &Caller, request_id: &str) -> [u8; 16] {
    page_token::hash(&[caller.0.as_bytes(), request_id.as_bytes()])
}

/// The idempotency key of a request as hashes; none without a `request_id`.
fn identify<M: Mutation>(method: &str, mut message: M, caller: &Caller) -> Option<RequestId> {
    let request_id = message.take_request_id();
    if request_id.is_empty() {
        return None;
    }
    Some(RequestId {
        hash: request_hash(caller, &request_id),
        fingerprint: page_token::hash(&[method.as_bytes(), &message.encode_to_vec()]),
    })
}

macro_rules! mutations {
    ($($request:ident)*) => {
        $(impl Mutation for pb::$request {
            fn request_id(&self) -> &str {
                &self.request_id
            }

            fn validate_only(&self) -> bool {
                self.validate_only
            }

            fn take_request_id(&mut self) -> String {
                std::mem::take(&mut self.request_id)
            }
        })*
    };
}

mutations! {
    CreateCalendarRequest
    UpdateCalendarRequest
    DeleteCalendarRequest
    PutAppointmentTypeRequest
    DeleteAppointmentTypeRequest
    SetAvailabilityRequest
    PutOverridesRequest
    DeleteOverridesRequest
    PutBusyRequest
    BookAppointmentRequest
    HoldAppointmentRequest
    ExtendHoldRequest
    ReleaseHoldRequest
    ConfirmAppointmentRequest
    ApproveAppointmentRequest
    DeclineAppointmentRequest
    RescheduleAppointmentRequest
    CancelAppointmentRequest
    UpdateAppointmentRequest
    MarkNoShowRequest
    CompleteAppointmentRequest
    BatchBookRequest
    RedactInviteeRequest
    BookSeriesRequest
    CancelSeriesRequest
    CreateTokenRequest
    RevokeTokenRequest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_of_a_calendar_is_searched_at_once_and_a_year_of_a_hundred_is_not() {
        assert!(Weight::of_days(1, 31).is_light() && Weight::of_days(5, 31).is_light());
        assert!(!Weight::of_days(1, 400).is_light() && !Weight::of_days(100, 31).is_light());
        assert!(Weight::of_windows(1_000).is_light() && !Weight::of_windows(20_000).is_light());
        assert!(!Weight::of_days(usize::MAX, usize::MAX).is_light());
    }
}
