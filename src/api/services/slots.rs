//! SlotsService: the slots that can be booked now, and why a time cannot be booked.
//!
//! Explaining a time asks the same rules that booking it would ask.

use std::sync::Arc;

use prost::encoding::message;

use bookd_core::appointment::Assignment;
use bookd_core::command::Start;
use bookd_core::decide::resolve;
use bookd_core::ids::{AppointmentId, CalendarId, TypeId};
use bookd_core::slots::rules::{seats_remaining, violations};
use bookd_core::slots::violation::Violation;
use bookd_core::slots::{multi_calendar, nearest_days};
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::Zone;
use bookd_core::time::{Instant, MINUTE, Minutes};

use crate::api::context::{Answered, Api, Call, Weight};
use crate::api::convert::page_token::{Page, PageToken};
use crate::api::convert::parse::Fields;
use crate::api::convert::render;
use crate::api::encoded::Encoded;
use crate::api::services::slot_question::{Asked, Question, type_or_default};
use crate::proto::v1 as pb;
use crate::proto::v1::Scope;

/// The number of the field `slots` in `ListSlotsResponse`.
const SLOTS_FIELD: u32 = 1;
/// The slots for which a list has memory at once, and the bytes of one of a calendar with a name of
/// ten characters: a day of half hours. A longer list grows.
const SLOTS_USUAL: usize = 20;
const SLOT_BYTES: usize = 36;

/// Each slot is encoded as soon as it is found: a list of messages would cost more than the search.
pub(crate) async fn list_slots(
    api: &Api,
    call: Call<pb::ListSlotsRequest>,
) -> Answered<Encoded<pb::ListSlotsResponse>> {
    let Call { context, message } = call;
    let mut fields = Fields::default();
    let question = Question::read(api, &message, &mut fields);
    let page = fields.page(&message, &context.principal.name);
    let (question, Page { limit, token }) = fields.finish(question.zip(page))?;
    let from = token.map(|it| Instant::from_seconds(it.start));
    let asked = question.ask(api, &context).await?;
    let (read_in, ranges) = question.ranges(api, &asked);
    let (revision, now) = (asked.view.revision, asked.view.now);
    let weight = asked.weight(&ranges);
    let list = move || {
        let mut slots = Vec::with_capacity(SLOT_BYTES * SLOTS_USUAL);
        let next = asked.offer_all(
            &ranges,
            from,
            limit,
            question.zone.as_deref(),
            &mut |slot| message::encode(SLOTS_FIELD, slot, &mut slots),
        );
        (slots, next)
    };
    let (slots, next) = api.compute(weight, context.wait.deadline, list).await?;
    let next = next.map(|start| PageToken {
        start: start.seconds(),
        ..PageToken::default()
    });
    let others = pb::ListSlotsResponse {
        slots: Vec::new(),
        next_page_token: Page::next(&message, &context.principal.name, next),
        revision: render::revision(revision),
        read_time: Some(render::timestamp(now)),
        time_zone: read_in.name().to_owned(),
    };
    Ok(Encoded::of_parts(slots, &others))
}

pub(crate) async fn explain_slot(
    api: &Api,
    call: Call<pb::ExplainSlotRequest>,
) -> Answered<pb::ExplainSlotResponse> {
    let Call { context, message } = call;
    let mut fields = Fields::default();
    let question = TimeQuestion::read(api, &message, &mut fields);
    let TimeQuestion {
        calendars: (calendars, assignment),
        type_id,
        start,
        shown,
        duration,
        ignored,
    } = fields.finish(question)?;
    let asked = Asked::about(
        api, &calendars, assignment, &type_id, duration, ignored, &context,
    )
    .await?;
    let zone = asked
        .view
        .calendars
        .first()
        .map_or(&api.utc, |calendar| &calendar.profile.zone);
    let start = resolve(&start, zone)?;
    let explained = Explained {
        start,
        shown,
        names_appointments: {
            let read = context.principal.rights.reach_of(Scope::Read);
            let mut calendars = calendars.iter();
            read.customer.is_none() && calendars.all(|it| read.calendars.has(it.as_str()))
        },
    };
    explain(api, asked, explained, context.wait.deadline).await
}

/// The time that is to be explained.
struct TimeQuestion {
    calendars: (Vec<CalendarId>, Assignment),
    type_id: TypeId,
    start: Start,
    /// The zone in which local times are shown.
    shown: Option<Arc<Zone>>,
    duration: Option<Minutes>,
    /// An appointment that is to be moved, which then does not stand in its own way.
    ignored: Option<AppointmentId>,
}

impl TimeQuestion {
    fn read(api: &Api, message: &pb::ExplainSlotRequest, fields: &mut Fields) -> Option<Self> {
        let calendars = fields.calendars(
            &message.calendar_id,
            &message.calendar_ids,
            message.assignment,
        );
        let type_id = type_or_default(&message.appointment_type_id, fields);
        let start = fields.start(
            &api.zones,
            message.start_time.as_ref(),
            &message.local_start,
            &message.time_zone,
        );
        let shown = fields.optional_zone(&api.zones, "time_zone", &message.time_zone);
        let duration = fields.minutes("duration", message.duration.as_ref(), 1);
        let ignored =
            fields.optional_appointment_id("ignore_appointment_id", &message.ignore_appointment_id);
        Some(Self {
            calendars: calendars?,
            type_id: type_id?,
            start: start?,
            shown: shown?,
            duration: duration?,
            ignored: ignored?,
        })
    }
}

/// What is explained, and how.
struct Explained {
    start: Instant,
    /// The zone in which local times are shown.
    shown: Option<Arc<Zone>>,
    /// Whether the caller may learn which appointments are in the way.
    names_appointments: bool,
}

async fn explain(
    api: &Api,
    asked: Asked,
    explained: Explained,
    deadline: Option<tokio::time::Instant>,
) -> Answered<pb::ExplainSlotResponse> {
    let Explained {
        start,
        shown,
        names_appointments,
    } = explained;
    let calendars = asked.view.calendars.len();
    let days = usize::try_from(2 * nearest_days(calendars)).unwrap_or(usize::MAX);
    let weight = Weight::of_days(calendars, days);
    let (answers, explained) = api
        .compute(weight, deadline, move || {
            asked.explain(start, shown.as_deref())
        })
        .await?;
    let keys: Vec<_> = answers
        .iter()
        .flatten()
        .flat_map(|violation| violation.conflicts.iter().copied())
        .collect();
    let named = if explained.bookable || keys.is_empty() || !names_appointments {
        Vec::new()
    } else {
        let read = api
            .engine
            .query(deadline, move |store| store.appointments_by_key(&keys));
        read.await?.0
    };
    let name = |violation: &Violation| {
        let of = named
            .iter()
            .filter(|it| violation.conflicts.contains(&it.key));
        render::violation(violation, of.map(|it| it.id.to_string()).collect())
    };
    let violations = if explained.bookable {
        Vec::new()
    } else {
        answers.iter().flatten().map(name).collect()
    };
    Ok(pb::ExplainSlotResponse {
        violations,
        ..explained
    })
}

impl Asked {
    /// Why a time can be booked or not: the violations on each calendar, and the answer without
    /// them.
    fn explain(
        &self,
        start: Instant,
        shown: Option<&Zone>,
    ) -> (Vec<Vec<Violation>>, pb::ExplainSlotResponse) {
        let searches = self.searches(Interval::new(start, start));
        let is_any = self.assignment == Assignment::Any;
        let asks = multi_calendar::asks(searches.iter().copied(), self.assignment, start);
        let answers: Vec<Vec<Violation>> = asks.iter().map(violations).collect();
        let is_free = |violations: &Vec<Violation>| violations.is_empty();
        let bookable = if is_any {
            answers.iter().any(is_free)
        } else {
            answers.iter().all(is_free)
        };
        let (before, after) = multi_calendar::nearest(&searches, self.assignment, start);
        // An offered slot as the list shows it, with the calendars that can take it and their
        // seats.
        let offered = |at: Instant| self.first(Interval::new(at, at.plus(MINUTE)), shown);
        let refused = || {
            let duration = self.durations.first().copied().unwrap_or_default();
            let ids = searches
                .iter()
                .map(|it| it.calendar.id.to_string())
                .collect();
            let seats = asks.iter().map(seats_remaining);
            let seats = if is_any { seats.max() } else { seats.min() };
            render::slot(
                Interval::new(start, start.plus(duration.seconds())),
                seats.unwrap_or_default(),
                ids,
                shown,
            )
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
