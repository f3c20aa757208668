//! The question for slots: calendars, an appointment type and a time range, answered on one view.
//!
//! Listing, watching and explaining slots ask by the same view, types and durations.

use std::ops::ControlFlow;
use std::sync::Arc;

use bookd_core::appointment::{Appointment, Assignment, IgnoredRules};
use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::ids::{AppointmentId, CalendarId, TypeId};
use bookd_core::refusal::Refusal;
use bookd_core::slots::multi_calendar::{self, SharedSlot};
use bookd_core::slots::search::Search;
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::Zone;
use bookd_core::time::{DAY, Instant, LocalDate, Minutes};

use crate::api::context::{Answered, Api, Context, Weight};
use crate::api::convert::parse::Fields;
use crate::api::convert::parse_time::RANGE_DAYS_MAX;
use crate::api::convert::render;
use crate::engine::View;
use crate::proto::v1 as pb;
use crate::proto::v1::Scope;

/// A request for slots, read.
pub(crate) struct Question {
    pub(crate) calendars: Vec<CalendarId>,
    assignment: Assignment,
    type_id: TypeId,
    range: Range,
    duration: Option<Minutes>,
    /// The zone in which local times are shown.
    pub(crate) zone: Option<Arc<Zone>>,
    ignored: Option<AppointmentId>,
}

/// The calendars of a question with their types and durations, on one view.
pub(crate) struct Asked {
    pub(crate) view: View,
    pub(crate) types: Vec<Arc<AppointmentType>>,
    pub(crate) durations: Vec<Minutes>,
    pub(crate) assignment: Assignment,
    ignored: Option<Appointment>,
}

impl Asked {
    /// The searches over this range, one for each calendar.
    pub(crate) fn searches(&self, range: Interval) -> Vec<Search<'_>> {
        let calendars = self
            .view
            .calendars
            .iter()
            .zip(&self.types)
            .zip(&self.durations);
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

    /// The weight of a search over these ranges.
    pub(crate) fn weight(&self, ranges: &[Interval]) -> Weight {
        let days: i64 = ranges
            .iter()
            .map(|it| it.end.since(it.start).max(0) / DAY + 1)
            .sum();
        Weight::of_days(
            self.view.calendars.len(),
            usize::try_from(days).unwrap_or(usize::MAX),
        )
    }

    /// Offers the first `limit` slots of a range, all in one message that is used again. Returns how
    /// many there were, and the start of the next one.
    fn offer(
        &self,
        range: Interval,
        limit: usize,
        shown: Option<&Zone>,
        offer: &mut impl FnMut(&pb::Slot),
    ) -> (usize, Option<Instant>) {
        let searches = self.searches(range);
        let (mut count, mut next) = (0, None);
        let mut offered = pb::Slot::default();
        multi_calendar::visit(
            &searches,
            self.assignment,
            &mut |SharedSlot { slot, calendars }| {
                if count == limit {
                    next = Some(slot.start);
                    return ControlFlow::Break(());
                }
                count += 1;
                let ids = calendars
                    .iter()
                    .map(|index| searches[index].calendar.id.as_str());
                write_texts(&mut offered.calendar_ids, ids);
                render::set_slot(&mut offered, slot.interval(), slot.seats_remaining, shown);
                offer(&offered);
                ControlFlow::Continue(())
            },
        );
        (count, next)
    }

    /// The first slot of a range.
    pub(crate) fn first(&self, range: Interval, shown: Option<&Zone>) -> Option<pb::Slot> {
        let mut first = None;
        self.offer(range, 1, shown, &mut |slot| first = Some(slot.clone()));
        first
    }

    /// Offers the slots of several ranges as one list, from the instant `from` on, at most `limit`.
    /// Returns the start of the next one.
    pub(crate) fn offer_all(
        &self,
        ranges: &[Interval],
        from: Option<Instant>,
        limit: usize,
        shown: Option<&Zone>,
        offer: &mut impl FnMut(&pb::Slot),
    ) -> Option<Instant> {
        let (mut remaining, mut next) = (limit, None);
        for range in ranges {
            let start = range.start.max(from.unwrap_or(range.start));
            if next.is_none() && start < range.end {
                let range = Interval::new(start, range.end);
                let (offered, more) = self.offer(range, remaining, shown, offer);
                remaining -= offered;
                next = more;
            }
        }
        next
    }
}

impl Question {
    /// Reads a request to list or to watch slots.
    pub(crate) fn read(
        api: &Api,
        message: &pb::ListSlotsRequest,
        fields: &mut Fields,
    ) -> Option<Self> {
        let calendars = fields.calendars(
            &message.calendar_id,
            &message.calendar_ids,
            message.assignment,
        );
        let type_id = type_or_default(&message.appointment_type_id, fields);
        let range = range(message, fields);
        let duration = fields.minutes("duration", message.duration.as_ref(), 1);
        let zone = fields.optional_zone(&api.zones, "time_zone", &message.time_zone);
        let ignored =
            fields.optional_appointment_id("ignore_appointment_id", &message.ignore_appointment_id);
        let (calendars, assignment) = calendars?;
        let (type_id, range, duration, zone, ignored) =
            (type_id?, range?, duration?, zone?, ignored?);
        Some(Self {
            calendars,
            assignment,
            type_id,
            range,
            duration,
            zone,
            ignored,
        })
    }

    /// The zone in which the question's date is read, and the time ranges of the question.
    pub(crate) fn ranges(&self, api: &Api, asked: &Asked) -> (Arc<Zone>, Vec<Interval>) {
        let first = asked
            .view
            .calendars
            .first()
            .map(|it| Arc::clone(&it.profile.zone));
        let read_in = self
            .zone
            .clone()
            .or(first)
            .unwrap_or_else(|| Arc::clone(&api.utc));
        let ranges = match self.range {
            Range::Between(range) => vec![range],
            Range::Date(date) => read_in.day(date).collect(),
        };
        (read_in, ranges)
    }

    pub(crate) async fn ask(&self, api: &Api, context: &Context) -> Answered<Asked> {
        let Self {
            assignment,
            duration,
            ignored,
            ..
        } = *self;
        Asked::about(
            api,
            &self.calendars,
            assignment,
            &self.type_id,
            duration,
            ignored,
            context,
        )
        .await
    }
}

impl Asked {
    /// The calendars as they are now, with this appointment type of each.
    pub(crate) async fn about(
        api: &Api,
        calendars: &[CalendarId],
        assignment: Assignment,
        type_id: &TypeId,
        duration: Option<Minutes>,
        ignored: Option<AppointmentId>,
        context: &Context,
    ) -> Answered<Self> {
        context.expect_all(calendars)?;
        let wait = &context.wait;
        let view = api.engine.view(calendars, wait).await?;
        let moved = match ignored {
            None => None,
            Some(id) => {
                let read = api
                    .engine
                    .query(wait.deadline, move |store| store.appointments(&[id]));
                let found = read.await?.0.pop();
                // Whose time it is must be the caller's to read or to move.
                let rights = &context.principal.rights;
                let may = [Scope::Read, Scope::Book].map(|scope| rights.reach_of(scope));
                found.filter(|it| may.iter().any(|reach| reach.has_some_of(it)))
            }
        };
        let find = |calendar: &Arc<Calendar>| {
            let not_found =
                || Refusal::AppointmentTypeNotFound(calendar.id.clone(), type_id.clone());
            let moved = moved.as_ref().filter(|it| it.type_id == *type_id);
            calendar
                .type_to_book(type_id, moved.map(|it| &it.image))
                .cloned()
                .ok_or_else(not_found)
        };
        let types = view
            .calendars
            .iter()
            .map(find)
            .collect::<Result<Vec<_>, _>>()?;
        let ignored = match (ignored, moved) {
            (Some(id), None) => return Err(Refusal::AppointmentNotFound(id).into()),
            (_, moved) => moved,
        };
        let present = ignored.as_ref().map(|it| it.duration);
        let durations: Vec<Minutes> = types
            .iter()
            .map(|it| duration.or(present).unwrap_or(it.duration))
            .collect();
        if assignment == Assignment::All && durations.windows(2).any(|pair| pair[0] != pair[1]) {
            let wrong = "is required, because the default durations of these calendars differ";
            return Err(Fields::wrong_only("duration", wrong).into());
        }
        Ok(Self {
            view,
            types,
            durations,
            assignment,
            ignored,
        })
    }
}

/// Makes `texts` these, in the memory of those that were there before.
fn write_texts<'a>(texts: &mut Vec<String>, new: impl Iterator<Item = &'a str>) {
    let mut count = 0;
    for new in new {
        match texts.get_mut(count) {
            Some(text) => {
                text.clear();
                text.push_str(new);
            }
            None => texts.push(new.to_owned()),
        }
        count += 1;
    }
    texts.truncate(count);
}

/// The time of a question: a date, or a range of instants.
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
            let range = fields.range(
                message.start_time.as_ref(),
                message.end_time.as_ref(),
                RANGE_DAYS_MAX,
            );
            range.map(Range::Between)
        }
        (_, true) => fields.wrong("date", "cannot stand beside start_time and end_time"),
        (date, false) => fields.date("date", date).map(Range::Date),
    }
}

/// The type of this id; `default` for an empty one.
pub(crate) fn type_or_default(text: &str, fields: &mut Fields) -> Option<TypeId> {
    if text.is_empty() {
        Some(TypeId::default_type())
    } else {
        fields.type_id("appointment_type_id", text)
    }
}
