//! AvailabilityService: weekly rules, overrides, busy time.

use std::collections::{BTreeMap, BTreeSet};

use tonic::{Request, Response, Status};

use crate::engine::Answer;
use crate::proto::v1 as pb;
use crate::proto::v1::availability_service_server::AvailabilityService;
use bookd_core::appointment::person::NAME_CHARACTERS_MAX;
use bookd_core::calendar::BUSY_PERIODS_MAX;
use bookd_core::calendar::availability::{CALENDAR_RULES_MAX, OVERRIDE_WINDOWS_MAX, OVERRIDES_MAX, Override};
use bookd_core::command::Command;
use bookd_core::time::interval::Interval;
use bookd_core::time::{Instant, LocalDate};

use crate::api::context::Api;
use crate::api::convert::page_token::{PageToken, fingerprint};
use crate::api::convert::parse::{Fields, RANGE_DAYS_MAX};
use crate::api::convert::render;

/// The longest range of PutBusy, in days: ten years.
pub const BUSY_RANGE_DAYS_MAX: i64 = 3_660;

/// See the header.
pub struct Availabilities(pub Api);

fn set(api: &Api, message: &pb::SetAvailabilityRequest, fields: &mut Fields) -> Option<Command> {
    let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
    let zone = fields.optional_zone(&api.zones, "time_zone", &message.time_zone);
    let rules = fields.rules("rules", &message.rules, CALENDAR_RULES_MAX);
    let etag = fields.etag("etag", &message.etag);
    let utc = std::sync::Arc::clone(&api.utc);
    Some(Command::SetAvailability { calendar: calendar?, zone: zone?, utc, rules: rules?, etag: etag? })
}

fn put_overrides(message: &pb::PutOverridesRequest, fields: &mut Fields) -> Option<Command> {
    let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
    let etag = fields.etag("etag", &message.etag);
    if message.overrides.is_empty() {
        return fields.wrong("overrides", "must name at least one date");
    }
    let mut overrides = BTreeMap::new();
    let mut is_valid = true;
    for (n, it) in message.overrides.iter().enumerate() {
        is_valid &= put_override(&format!("overrides[{n}]"), it, &mut overrides, fields).is_some();
    }
    is_valid.then_some(())?;
    Some(Command::PutOverrides { calendar: calendar?, overrides, etag: etag? })
}

/// Adds the hours of each date of one override.
pub(crate) fn put_override(
    field: &str,
    it: &pb::AvailabilityOverride,
    overrides: &mut BTreeMap<LocalDate, Override>,
    fields: &mut Fields,
) -> Option<()> {
    let first = fields.date(&format!("{field}.date"), &it.date);
    let last = fields.optional_date(&format!("{field}.to_date"), &it.to_date);
    let note = fields.text(&format!("{field}.note"), &it.note, NAME_CHARACTERS_MAX);
    if it.windows.len() > OVERRIDE_WINDOWS_MAX {
        return fields.wrong(&format!("{field}.windows"), format!("at most {OVERRIDE_WINDOWS_MAX} windows"));
    }
    let windows = it.windows.iter().enumerate();
    let windows: Vec<_> =
        windows.map(|(n, it)| fields.window(&format!("{field}.windows[{n}]"), &it.start_time, &it.end_time)).collect();
    let hours = Override { windows: windows.into_iter().collect::<Option<_>>()?, note: note? };
    let first = first?;
    let last = last?.unwrap_or(first);
    if last < first {
        return fields.wrong(&format!("{field}.to_date"), "must not be before date");
    }
    if last.days() - first.days() >= i32::try_from(OVERRIDES_MAX).unwrap_or(i32::MAX) {
        return fields.wrong(&format!("{field}.to_date"), format!("a range has at most {OVERRIDES_MAX} dates"));
    }
    for days in 0..=last.days() - first.days() {
        let date = first.plus(days);
        if overrides.insert(date, hours.clone()).is_some() {
            return fields.wrong(&format!("{field}.date"), format!("{date} is named twice"));
        }
        if overrides.len() > OVERRIDES_MAX {
            return fields.wrong("overrides", format!("at most {OVERRIDES_MAX} dates"));
        }
    }
    Some(())
}

fn delete_overrides(message: &pb::DeleteOverridesRequest, fields: &mut Fields) -> Option<Command> {
    let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
    let etag = fields.etag("etag", &message.etag);
    if message.dates.is_empty() || message.dates.len() > OVERRIDES_MAX {
        return fields.wrong("dates", format!("must be 1 to {OVERRIDES_MAX} dates"));
    }
    let dates: Vec<_> =
        message.dates.iter().enumerate().map(|(n, it)| fields.date(&format!("dates[{n}]"), it)).collect();
    let dates: Option<BTreeSet<LocalDate>> = dates.into_iter().collect();
    Some(Command::DeleteOverrides { calendar: calendar?, dates: dates?, etag: etag? })
}

fn put_busy(message: &pb::PutBusyRequest, fields: &mut Fields) -> Option<Command> {
    let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
    let source = fields.calendar_id("source", &message.source).map(|it| it.to_string());
    let bounds = pb::Period { start_time: message.start_time, end_time: message.end_time };
    let range = busy_range(&bounds, fields);
    if message.periods.len() > BUSY_PERIODS_MAX {
        return fields.wrong("periods", format!("at most {BUSY_PERIODS_MAX} periods"));
    }
    let periods: Vec<_> =
        message.periods.iter().enumerate().map(|(n, it)| fields.period(&format!("periods[{n}]"), it)).collect();
    let periods = periods.into_iter().collect::<Option<Vec<Interval>>>();
    Some(Command::PutBusy { calendar: calendar?, source: source?, range: range?, periods: periods? })
}

fn busy_range(bounds: &pb::Period, fields: &mut Fields) -> Option<Interval> {
    fields.range(bounds.start_time.as_ref(), bounds.end_time.as_ref(), BUSY_RANGE_DAYS_MAX)
}

/// The start and source after which a page begins; none inside on the first page.
fn busy_after(token: &str, bound: u64, fields: &mut Fields) -> Option<Option<(Instant, String)>> {
    let Some(token) = fields.page_token(token, bound)? else { return Some(None) };
    match String::from_utf8(token.id) {
        Ok(source) => Some(Some((Instant::from_seconds(token.start), source))),
        Err(_) => fields.wrong_token(),
    }
}

impl Availabilities {
    /// The hours that a command left.
    async fn hours(&self, answer: &Answer) -> Option<pb::Availability> {
        match answer.calendar.clone() {
            Some(calendar) => Some(self.0.availability(calendar).await),
            None => None,
        }
    }
}

#[tonic::async_trait]
impl AvailabilityService for Availabilities {
    async fn set_availability(
        &self,
        request: Request<pb::SetAvailabilityRequest>,
    ) -> Result<Response<pb::SetAvailabilityResponse>, Status> {
        let answer = self.0.mutate(request, |message, fields| set(&self.0, message, fields)).await?;
        Ok(Response::new(pb::SetAvailabilityResponse {
            availability: self.hours(&answer).await,
            appointments_outside: self.0.outside(&answer),
            revision: render::revision(answer.revision),
        }))
    }

    async fn get_availability(
        &self,
        request: Request<pb::GetAvailabilityRequest>,
    ) -> Result<Response<pb::GetAvailabilityResponse>, Status> {
        let (view, calendar) = self.0.calendar(request, |message| &message.calendar_id).await?;
        let availability = Some(self.0.availability(calendar).await);
        Ok(Response::new(pb::GetAvailabilityResponse { availability, revision: render::revision(view.revision) }))
    }

    async fn put_overrides(
        &self,
        request: Request<pb::PutOverridesRequest>,
    ) -> Result<Response<pb::PutOverridesResponse>, Status> {
        let answer = self.0.mutate(request, put_overrides).await?;
        Ok(Response::new(pb::PutOverridesResponse {
            availability: self.hours(&answer).await,
            appointments_outside: self.0.outside(&answer),
            revision: render::revision(answer.revision),
        }))
    }

    async fn delete_overrides(
        &self,
        request: Request<pb::DeleteOverridesRequest>,
    ) -> Result<Response<pb::DeleteOverridesResponse>, Status> {
        let answer = self.0.mutate(request, delete_overrides).await?;
        Ok(Response::new(pb::DeleteOverridesResponse {
            availability: self.hours(&answer).await,
            appointments_outside: self.0.outside(&answer),
            revision: render::revision(answer.revision),
        }))
    }

    async fn put_busy(&self, request: Request<pb::PutBusyRequest>) -> Result<Response<pb::PutBusyResponse>, Status> {
        let message = request.get_ref();
        let bounds = pb::Period { start_time: message.start_time, end_time: message.end_time };
        let range = busy_range(&bounds, &mut Fields::default());
        let source = message.source.clone();
        let answer = self.0.mutate(request, put_busy).await?;
        let busy = answer.calendar.as_ref().map(|calendar| calendar.busy.of_source(&source)).unwrap_or_default();
        let periods = busy.iter().filter_map(|it| range.map(|range| it.intersection(range)));
        Ok(Response::new(pb::PutBusyResponse {
            periods: periods.filter(|it| !it.is_empty()).map(render::period).collect(),
            revision: render::revision(answer.revision),
        }))
    }

    async fn list_busy(&self, request: Request<pb::ListBusyRequest>) -> Result<Response<pb::ListBusyResponse>, Status> {
        let message = request.get_ref().clone();
        let bound = fingerprint(&pb::ListBusyRequest { page_token: String::new(), page_size: 0, ..message.clone() });
        let mut fields = Fields::default();
        let range = fields.range(message.start_time.as_ref(), message.end_time.as_ref(), RANGE_DAYS_MAX);
        let limit = fields.page_size(message.page_size);
        let source = match message.source.as_str() {
            "" => Some(None),
            source => fields.calendar_id("source", source).map(Some),
        };
        let after = busy_after(&message.page_token, bound, &mut fields);
        let _ = fields.calendar_id("calendar_id", &message.calendar_id);
        let (range, limit, source, after) = fields.finish((|| Some((range?, limit?, source?, after?)))())?;
        let (view, calendar) = self.0.calendar(request, |message| &message.calendar_id).await?;
        let is_asked = |name: &str| source.as_ref().is_none_or(|source| source.as_str() == name);
        let mut found: Vec<(Interval, &str)> = calendar
            .busy
            .sources()
            .filter(|(name, _)| is_asked(name))
            .flat_map(|(name, periods)| periods.iter().map(move |period| (*period, name)))
            .filter(|(period, name)| {
                period.overlaps(range) && after.as_ref().is_none_or(|it| (period.start, *name) > (it.0, it.1.as_str()))
            })
            .collect();
        found.sort_unstable_by_key(|(period, name)| (period.start, *name));
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|(period, name)| PageToken {
            fingerprint: bound,
            start: period.start.seconds(),
            id: name.as_bytes().to_vec(),
            ..PageToken::default()
        });
        let period = |(period, name): &(Interval, &str)| pb::BusyPeriod {
            source: (*name).to_owned(),
            period: Some(render::period(*period)),
        };
        Ok(Response::new(pb::ListBusyResponse {
            periods: found.iter().map(period).collect(),
            next_page_token: next.map(|token| token.write()).unwrap_or_default(),
            revision: render::revision(view.revision),
        }))
    }
}
