//! SlotsService: what can be booked now, and why a time cannot.

use std::ops::ControlFlow;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::engine::{ListQuery, View, Wait};
use crate::proto::v1 as pb;
use crate::proto::v1::slots_service_server::SlotsService;
use bookd_core::appointment::{Appointment, AppointmentState, Assignment, IgnoredRules, Place};
use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::decide::resolve;
use bookd_core::ids::{AppointmentId, CalendarId, TypeId};
use bookd_core::refusal::Refusal;
use bookd_core::slots::free_busy;
use bookd_core::slots::multi_calendar::{self, SharedSlot};
use bookd_core::slots::nearest_days;
use bookd_core::slots::rules::{seats_remaining, violations};
use bookd_core::slots::search::Search;
use bookd_core::slots::violation::Violation;
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::Zone;
use bookd_core::time::{DAY, Instant, LocalDate, MINUTE, Minutes};

use crate::api::context::{Api, Weight, wait};
use crate::api::convert::page_token::{PageToken, fingerprint};
use crate::api::convert::parse::{Fields, RANGE_DAYS_MAX};
use crate::api::convert::render;
use crate::api::convert::status;
use crate::api::pulled::Pulled;
use crate::api::services::watch_slots::{self, Offers};

/// The most periods of one QueryFreeBusy, all calendars together.
pub const PERIODS_MAX: usize = 20_000;

/// The longest buffer, in seconds: seven days.
const BUFFER_MAX: i64 = 7 * DAY;

/// See the header.
pub struct Slots(pub Api);

/// Which slots.
pub(crate) struct Question {
    pub(crate) calendars: Vec<CalendarId>,
    assignment: Assignment,
    type_id: TypeId,
    range: Range,
    duration: Option<Minutes>,
    /// In which local times are shown.
    pub(crate) zone: Option<Arc<Zone>>,
    ignored: Option<AppointmentId>,
}

/// What slots are asked of: calendars with their types, at one moment.
pub(crate) struct Asked {
    pub(crate) view: View,
    pub(crate) types: Vec<Arc<AppointmentType>>,
    durations: Vec<Minutes>,
    pub(crate) assignment: Assignment,
    ignored: Option<Appointment>,
}

impl Asked {
    /// The searches, one per calendar, over this range.
    pub(crate) fn searches(&self, range: Interval) -> Vec<Search<'_>> {
        let calendars = self.view.calendars.iter().zip(&self.types).zip(&self.durations);
        calendars
            .map(|((calendar, appointment_type), duration)| Search {
                calendar,
                appointment_type,
                duration: *duration,
                range,
                now: self.view.now,
                ignore: self.ignored.as_ref().map(|it| it.key),
                present_duration: self.ignored.as_ref().map(|it| it.duration),
                ignored_rules: IgnoredRules::default(),
            })
            .collect()
    }

    /// How much work there is in going over these ranges.
    pub(crate) fn weight(&self, ranges: &[Interval]) -> Weight {
        let days: i64 = ranges.iter().map(|it| it.end.since(it.start).max(0) / DAY + 1).sum();
        Weight::of_days(self.view.calendars.len(), usize::try_from(days).unwrap_or(usize::MAX))
    }

    /// The slots of a range, at most so many, and where the next one begins.
    fn list(&self, range: Interval, limit: usize, shown: Option<&Zone>) -> (Vec<pb::Slot>, Option<Instant>) {
        let searches = self.searches(range);
        let mut slots = Vec::new();
        let mut next = None;
        multi_calendar::visit(&searches, self.assignment, &mut |SharedSlot { slot, calendars }| {
            if slots.len() == limit {
                next = Some(slot.start);
                return ControlFlow::Break(());
            }
            let ids = calendars.iter().map(|index| searches[index].calendar.id.as_str().to_owned()).collect();
            slots.push(render::slot(slot.interval(), slot.seats_remaining, ids, shown));
            ControlFlow::Continue(())
        });
        (slots, next)
    }

    /// The slots of several ranges as one list, from an instant on.
    fn list_all(
        &self,
        ranges: &[Interval],
        from: Option<Instant>,
        limit: usize,
        shown: Option<&Zone>,
    ) -> (Vec<pb::Slot>, Option<Instant>) {
        let (mut slots, mut next) = (Vec::new(), None);
        for range in ranges {
            let start = range.start.max(from.unwrap_or(range.start));
            let room = limit - slots.len();
            if next.is_none() && start < range.end {
                let (found, more) = self.list(Interval::new(start, range.end), room, shown);
                slots.extend(found);
                next = more;
            }
        }
        (slots, next)
    }
}

impl Slots {
    /// What a request to list or to watch slots asks.
    pub(crate) fn question(&self, message: &pb::ListSlotsRequest, fields: &mut Fields) -> Option<Question> {
        let calendars = fields.calendars(&message.calendar_id, &message.calendar_ids, message.assignment);
        let type_id = type_or_default(&message.appointment_type_id, fields);
        let range = range(message, fields);
        let duration = fields.minutes("duration", message.duration.as_ref(), 1);
        let zone = fields.optional_zone(&self.0.zones, "time_zone", &message.time_zone);
        let ignored = fields.optional_appointment_id("ignore_appointment_id", &message.ignore_appointment_id);
        let (calendars, assignment) = calendars?;
        let (type_id, range, duration, zone, ignored) = (type_id?, range?, duration?, zone?, ignored?);
        Some(Question { calendars, assignment, type_id, range, duration, zone, ignored })
    }

    /// The stretches of time that a question is about, and the zone in which its date is read.
    pub(crate) fn ranges(&self, question: &Question, asked: &Asked) -> (Arc<Zone>, Vec<Interval>) {
        let first = asked.view.calendars.first().map(|it| Arc::clone(&it.profile.zone));
        let read_in = question.zone.clone().or(first).unwrap_or_else(|| Arc::clone(&self.0.utc));
        let ranges = match question.range {
            Range::Between(range) => vec![range],
            Range::Date(date) => read_in.day(date).collect(),
        };
        (read_in, ranges)
    }

    pub(crate) async fn asked(&self, question: &Question, wait: &Wait) -> Result<Asked, Status> {
        let Question { assignment, duration, ignored, .. } = *question;
        self.about(&question.calendars, assignment, &question.type_id, duration, ignored, wait).await
    }

    async fn about(
        &self,
        calendars: &[CalendarId],
        assignment: Assignment,
        type_id: &TypeId,
        duration: Option<Minutes>,
        ignored: Option<AppointmentId>,
        wait: &Wait,
    ) -> Result<Asked, Status> {
        let failed = |failure| status::failed(&failure);
        let view = self.0.engine.view(calendars, wait).await.map_err(failed)?;
        let moved = match ignored {
            None => None,
            Some(id) => {
                let read = self.0.engine.read(wait.deadline, move |reader| reader.appointments(&[id]));
                read.await.map_err(failed)?.0.pop()
            }
        };
        let find = |calendar: &Arc<Calendar>| {
            let not_found = || status::refused(&Refusal::AppointmentTypeNotFound(calendar.id.clone(), type_id.clone()));
            let moved = moved.as_ref().filter(|it| it.type_id == *type_id);
            calendar.type_to_book(type_id, moved.map(|it| &it.image)).cloned().ok_or_else(not_found)
        };
        let types = view.calendars.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let ignored = match (ignored, moved) {
            (Some(id), None) => return Err(status::refused(&Refusal::AppointmentNotFound(id))),
            (_, moved) => moved,
        };
        let present = ignored.as_ref().map(|it| it.duration);
        let durations: Vec<Minutes> = types.iter().map(|it| duration.or(present).unwrap_or(it.duration)).collect();
        if assignment == Assignment::All && durations.windows(2).any(|pair| pair[0] != pair[1]) {
            let mut fields = Fields::default();
            let wrong =
                fields.wrong("duration", "is required, because the default durations of these calendars differ");
            return fields.finish(wrong);
        }
        Ok(Asked { view, types, durations, assignment, ignored })
    }
}

/// What is listed: a date, or a range.
#[derive(Clone, Copy)]
enum Range {
    Date(LocalDate),
    Between(Interval),
}

fn range(message: &pb::ListSlotsRequest, fields: &mut Fields) -> Option<Range> {
    let has_range = message.start_time.is_some() || message.end_time.is_some();
    match (message.date.as_str(), has_range) {
        ("", false) => fields.wrong("date", "is required, or start_time and end_time"),
        ("", true) => {
            let range = fields.range(message.start_time.as_ref(), message.end_time.as_ref(), RANGE_DAYS_MAX);
            range.map(Range::Between)
        }
        (_, true) => fields.wrong("date", "cannot stand beside start_time and end_time"),
        (date, false) => fields.date("date", date).map(Range::Date),
    }
}

#[tonic::async_trait]
impl SlotsService for Slots {
    async fn list_slots(
        &self,
        request: Request<pb::ListSlotsRequest>,
    ) -> Result<Response<pb::ListSlotsResponse>, Status> {
        let wait = wait(request.extensions());
        let message = request.into_inner();
        // Only for a page that follows one or is followed by one: most days have neither.
        let bound =
            || fingerprint(&pb::ListSlotsRequest { page_token: String::new(), page_size: 0, ..message.clone() });
        let mut fields = Fields::default();
        let question = self.question(&message, &mut fields);
        let limit = fields.page_size(message.page_size);
        let from = page_start(&message.page_token, bound, &mut fields);
        let (question, limit, from) = fields.finish((|| Some((question?, limit?, from?)))())?;
        let asked = self.asked(&question, &wait).await?;
        let (read_in, ranges) = self.ranges(&question, &asked);
        let (revision, now) = (asked.view.revision, asked.view.now);
        let weight = asked.weight(&ranges);
        let list = move || asked.list_all(&ranges, from, limit, question.zone.as_deref());
        let (slots, next) = self.0.compute(weight, wait.deadline, list).await?;
        let next = next.map(|start| PageToken { fingerprint: bound(), start: start.seconds(), ..PageToken::default() });
        Ok(Response::new(pb::ListSlotsResponse {
            slots,
            next_page_token: next.map(|token| token.write()).unwrap_or_default(),
            revision: render::revision(revision),
            read_time: Some(render::timestamp(now)),
            time_zone: read_in.name().to_owned(),
        }))
    }

    async fn explain_slot(
        &self,
        request: Request<pb::ExplainSlotRequest>,
    ) -> Result<Response<pb::ExplainSlotResponse>, Status> {
        let wait = wait(request.extensions());
        let message = request.into_inner();
        let mut fields = Fields::default();
        let calendars = fields.calendars(&message.calendar_id, &message.calendar_ids, message.assignment);
        let type_id = type_or_default(&message.appointment_type_id, &mut fields);
        let start = fields.start(&self.0.zones, message.start_time.as_ref(), &message.local_start, &message.time_zone);
        let shown = fields.optional_zone(&self.0.zones, "time_zone", &message.time_zone);
        let duration = fields.minutes("duration", message.duration.as_ref(), 1);
        let ignored = fields.optional_appointment_id("ignore_appointment_id", &message.ignore_appointment_id);
        let parsed = (|| Some((calendars?, type_id?, start?, shown?, duration?, ignored?)))();
        let ((calendars, assignment), type_id, start, shown, duration, ignored) = fields.finish(parsed)?;
        let asked = self.about(&calendars, assignment, &type_id, duration, ignored, &wait).await?;
        let zone = asked.view.calendars.first().map_or(&self.0.utc, |it| &it.profile.zone);
        let start = resolve(&start, zone).map_err(|refusal| status::refused(&refusal))?;
        let explained = self.explain(asked, start, shown, wait.deadline).await?;
        Ok(Response::new(explained))
    }

    async fn query_free_busy(
        &self,
        request: Request<pb::QueryFreeBusyRequest>,
    ) -> Result<Response<pb::QueryFreeBusyResponse>, Status> {
        let wait = wait(request.extensions());
        let message = request.into_inner();
        let mut fields = Fields::default();
        if message.calendar_ids.is_empty() {
            fields.wrong::<()>("calendar_ids", "must name at least one calendar");
        }
        let calendars = fields.several("calendar_ids", &message.calendar_ids, pb::Assignment::All.into());
        let range = fields.range(message.start_time.as_ref(), message.end_time.as_ref(), RANGE_DAYS_MAX);
        let ((calendars, _), range) = fields.finish((|| Some((calendars?, range?)))())?;
        let view = self.0.engine.view(&calendars, &wait).await.map_err(|failure| status::failed(&failure))?;
        let mut pasts = Vec::with_capacity(calendars.len());
        for calendar in &view.calendars {
            pasts.push(self.past(calendar, range, &view, wait.deadline).await?);
        }
        let days = usize::try_from(range.end.since(range.start) / DAY + 1).unwrap_or(usize::MAX);
        let weight = Weight::of_days(calendars.len(), days);
        let revision = render::revision(view.revision);
        let answer = self.0.compute(weight, wait.deadline, move || free_and_busy(&view, range, &pasts)).await?;
        let calendars = answer.ok_or_else(too_many_periods)?;
        Ok(Response::new(pb::QueryFreeBusyResponse { calendars, revision }))
    }

    type WatchSlotsStream = Pulled<Offers>;

    async fn watch_slots(
        &self,
        request: Request<pb::WatchSlotsRequest>,
    ) -> Result<Response<Self::WatchSlotsStream>, Status> {
        watch_slots::open(self, request).await
    }
}

/// What is open and what is taken on each calendar, with what was taken of each in the past; none when that is too much.
fn free_and_busy(view: &View, range: Interval, pasts: &[Vec<Interval>]) -> Option<Vec<pb::CalendarFreeBusy>> {
    let mut answer = Vec::with_capacity(pasts.len());
    let mut count = 0;
    for (calendar, past) in view.calendars.iter().zip(pasts) {
        let (open, busy) = (free_busy::open(calendar, range), free_busy::busy(calendar, range, view.now, past));
        count += open.len() + busy.len();
        if count > PERIODS_MAX {
            return None;
        }
        answer.push(pb::CalendarFreeBusy {
            calendar_id: calendar.id.to_string(),
            open: open.into_iter().map(render::period).collect(),
            busy: busy.into_iter().map(render::period).collect(),
        });
    }
    Some(answer)
}

fn too_many_periods() -> Status {
    Fields::default().wrong_only("end_time", format!("more than {PERIODS_MAX} periods; ask for a shorter range"))
}

impl Slots {
    /// What was taken in the part of the range that the calendar no longer holds in memory.
    async fn past(
        &self,
        calendar: &Calendar,
        range: Interval,
        view: &View,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<Vec<Interval>, Status> {
        use AppointmentState as S;
        let mut taken = Vec::new();
        if range.start >= calendar.kept_from {
            return Ok(taken);
        }
        let mut query = ListQuery {
            calendar: Some(calendar.id.clone()),
            email: None,
            key: None,
            series: None,
            type_id: None,
            states: vec![S::Pending, S::Confirmed, S::NoShow, S::Completed],
            // Buffers reach beyond start and end.
            from: range.start.plus(-BUFFER_MAX),
            to: Some(range.end.min(calendar.kept_from).plus(BUFFER_MAX)),
            is_descending: false,
            after: None,
            limit: PERIODS_MAX,
            scanned_max: ListQuery::SCANNED_MAX,
            at: Some(view.revision),
            now: view.now,
        };
        loop {
            let asked = query.clone();
            let page = self.0.engine.read(deadline, move |reader| reader.list_appointments(&asked)).await;
            let page = page.map_err(|failure| status::failed(&failure))?;
            for it in page.appointments.iter().filter(|it| it.blocks) {
                // A calendar that had the id before is another.
                let is_of = |place: &&Place| place.calendar == calendar.id && place.since == calendar.since;
                let places = it.places.iter().filter(is_of);
                taken.extend(places.map(Place::padded).filter(|period| period.overlaps(range)));
            }
            if taken.len() > PERIODS_MAX {
                return Err(too_many_periods());
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(taken),
            }
        }
    }

    async fn explain(
        &self,
        asked: Asked,
        start: Instant,
        shown: Option<Arc<Zone>>,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<pb::ExplainSlotResponse, Status> {
        let calendars = asked.view.calendars.len();
        let days = usize::try_from(2 * nearest_days(calendars)).unwrap_or(usize::MAX);
        let weight = Weight::of_days(calendars, days);
        let (answers, explained) =
            self.0.compute(weight, deadline, move || asked.explain(start, shown.as_deref())).await?;
        let keys: Vec<_> = answers.iter().flatten().flat_map(|it| it.conflicts.iter().copied()).collect();
        let named = match explained.bookable || keys.is_empty() {
            true => Vec::new(),
            false => {
                let read = self.0.engine.read(deadline, move |reader| reader.appointments_by_key(&keys));
                read.await.map_err(|failure| status::failed(&failure))?.0
            }
        };
        let name = |violation: &Violation| {
            let of = named.iter().filter(|it| violation.conflicts.contains(&it.key));
            render::violation(violation, of.map(|it| it.id.to_string()).collect())
        };
        let violations = if explained.bookable { Vec::new() } else { answers.iter().flatten().map(name).collect() };
        Ok(pb::ExplainSlotResponse { violations, ..explained })
    }
}

impl Asked {
    /// Why a time can be booked or not: what stands in the way on each calendar, and the answer but for that.
    fn explain(&self, start: Instant, shown: Option<&Zone>) -> (Vec<Vec<Violation>>, pb::ExplainSlotResponse) {
        let searches = self.searches(Interval::new(start, start));
        let is_any = self.assignment == Assignment::Any;
        let asks = multi_calendar::asks(searches.iter().copied(), self.assignment, start);
        let answers: Vec<Vec<Violation>> = asks.iter().map(violations).collect();
        let is_free = |violations: &Vec<Violation>| violations.is_empty();
        let bookable = if is_any { answers.iter().any(is_free) } else { answers.iter().all(is_free) };
        let (before, after) = multi_calendar::nearest(&searches, self.assignment, start);
        // An offered slot as the list shows it: with those who can take it, and their seats.
        let offered = |at: Instant| self.list(Interval::new(at, at.plus(MINUTE)), 1, shown).0.pop();
        let refused = || {
            let duration = self.durations.first().copied().unwrap_or_default();
            let ids = searches.iter().map(|it| it.calendar.id.to_string()).collect();
            let seats = asks.iter().map(seats_remaining);
            let seats = if is_any { seats.max() } else { seats.min() };
            render::slot(Interval::new(start, start.plus(duration.seconds())), seats.unwrap_or_default(), ids, shown)
        };
        let explained = pb::ExplainSlotResponse {
            bookable,
            violations: Vec::new(),
            slot: Some(if bookable { offered(start) } else { None }.unwrap_or_else(refused)),
            previous_slot: before.and_then(|it| offered(it.start)),
            next_slot: after.and_then(|it| offered(it.start)),
            revision: render::revision(self.view.revision),
            read_time: Some(render::timestamp(self.view.now)),
        };
        (answers, explained)
    }
}

/// The type of that name, or `default`.
pub(crate) fn type_or_default(text: &str, fields: &mut Fields) -> Option<TypeId> {
    if text.is_empty() { Some(TypeId::default_type()) } else { fields.type_id("appointment_type_id", text) }
}

/// The start from which a page goes on; none inside on the first page.
fn page_start(token: &str, bound: impl FnOnce() -> u64, fields: &mut Fields) -> Option<Option<Instant>> {
    if token.is_empty() {
        return Some(None);
    }
    fields.page_token(token, bound()).map(|token| token.map(|it| Instant::from_seconds(it.start)))
}
