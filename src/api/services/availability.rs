//! AvailabilityService: weekly rules, overrides and busy time of a calendar.
//!
//! An answer shows the hours that its own command left, even if other commands came after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::Answer;
use crate::proto::v1 as pb;
use bookd_core::calendar::BUSY_PERIODS_MAX;
use bookd_core::calendar::availability::{CALENDAR_RULES_MAX, OVERRIDES_MAX};
use bookd_core::command::Command;
use bookd_core::ids::Caller;
use bookd_core::time::interval::Interval;
use bookd_core::time::{Instant, LocalDate};

use crate::api::context::{Answered, Api, Call};
use crate::api::convert::page_token::{Page, PageToken};
use crate::api::convert::parse::Fields;
use crate::api::convert::parse_calendar::put_override;
use crate::api::convert::parse_time::RANGE_DAYS_MAX;
use crate::api::convert::render;

/// The longest range of `PutBusy`, in days: ten years.
pub const BUSY_RANGE_DAYS_MAX: i64 = 3_660;

fn set(api: &Api, message: &pb::SetAvailabilityRequest, fields: &mut Fields) -> Option<Command> {
    let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
    let zone = fields.optional_zone(&api.zones, "time_zone", &message.time_zone);
    let rules = fields.rules("rules", &message.rules, CALENDAR_RULES_MAX);
    let etag = fields.etag("etag", &message.etag);
    let utc = Arc::clone(&api.utc);
    Some(Command::SetAvailability {
        calendar: calendar?,
        zone: zone?,
        utc,
        rules: rules?,
        etag: etag?,
    })
}

fn read_put_overrides(message: &pb::PutOverridesRequest, fields: &mut Fields) -> Option<Command> {
    let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
    let etag = fields.etag("etag", &message.etag);
    if message.overrides.is_empty() {
        return fields.wrong("overrides", "must name at least one date");
    }
    let mut overrides = BTreeMap::new();
    let mut is_valid = true;
    for (n, hours) in message.overrides.iter().enumerate() {
        let path = format!("overrides[{n}]");
        is_valid &= put_override(&path, hours, &mut overrides, fields).is_some();
    }
    is_valid.then_some(())?;
    Some(Command::PutOverrides {
        calendar: calendar?,
        overrides,
        etag: etag?,
    })
}

fn read_delete_overrides(
    message: &pb::DeleteOverridesRequest,
    fields: &mut Fields,
) -> Option<Command> {
    let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
    let etag = fields.etag("etag", &message.etag);
    if message.dates.is_empty() || message.dates.len() > OVERRIDES_MAX {
        return fields.wrong("dates", format!("must be 1 to {OVERRIDES_MAX} dates"));
    }
    let dates: Vec<_> = message
        .dates
        .iter()
        .enumerate()
        .map(|(n, date)| fields.date(&format!("dates[{n}]"), date))
        .collect();
    let dates: Option<BTreeSet<LocalDate>> = dates.into_iter().collect();
    Some(Command::DeleteOverrides {
        calendar: calendar?,
        dates: dates?,
        etag: etag?,
    })
}

fn read_put_busy(message: &pb::PutBusyRequest, fields: &mut Fields) -> Option<Command> {
    let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
    let source = fields
        .calendar_id("source", &message.source)
        .map(|it| it.to_string());
    let bounds = pb::Period {
        start_time: message.start_time,
        end_time: message.end_time,
    };
    let range = busy_range(&bounds, fields);
    if message.periods.len() > BUSY_PERIODS_MAX {
        return fields.wrong("periods", format!("at most {BUSY_PERIODS_MAX} periods"));
    }
    let periods: Vec<_> = message
        .periods
        .iter()
        .enumerate()
        .map(|(n, period)| fields.period(&format!("periods[{n}]"), period))
        .collect();
    let periods = periods.into_iter().collect::<Option<Vec<Interval>>>();
    Some(Command::PutBusy {
        calendar: calendar?,
        source: source?,
        range: range?,
        periods: periods?,
    })
}

fn busy_range(bounds: &pb::Period, fields: &mut Fields) -> Option<Interval> {
    fields.range(
        bounds.start_time.as_ref(),
        bounds.end_time.as_ref(),
        BUSY_RANGE_DAYS_MAX,
    )
}

/// The most periods of the page, and the start and the source after which it begins; none for the
/// first page.
fn busy_after(
    request: &pb::ListBusyRequest,
    caller: &Caller,
    fields: &mut Fields,
) -> Option<(usize, Option<(Instant, String)>)> {
    let Page { limit, token } = fields.page(request, caller)?;
    let Some(token) = token else {
        return Some((limit, None));
    };
    match String::from_utf8(token.id) {
        Ok(source) => Some((limit, Some((Instant::from_seconds(token.start), source)))),
        Err(_) => fields.wrong_token(),
    }
}

/// The hours that a command left.
async fn hours(api: &Api, answer: &Answer) -> Option<pb::Availability> {
    match answer.calendar.clone() {
        Some(calendar) => Some(api.availability(calendar).await),
        None => None,
    }
}

pub(crate) async fn set_availability(
    api: &Api,
    call: Call<pb::SetAvailabilityRequest>,
) -> Answered<pb::SetAvailabilityResponse> {
    let answer = api
        .mutate(call, |message, fields| set(api, message, fields))
        .await?;
    Ok(pb::SetAvailabilityResponse {
        availability: hours(api, &answer).await,
        appointments_outside: api.outside(&answer),
        revision: render::revision(answer.revision),
    })
}

pub(crate) async fn get_availability(
    api: &Api,
    call: Call<pb::GetAvailabilityRequest>,
) -> Answered<pb::GetAvailabilityResponse> {
    let (view, calendar) = api
        .calendar(&call.message.calendar_id, &call.context)
        .await?;
    let availability = Some(api.availability(calendar).await);
    Ok(pb::GetAvailabilityResponse {
        availability,
        revision: render::revision(view.revision),
    })
}

pub(crate) async fn put_overrides(
    api: &Api,
    call: Call<pb::PutOverridesRequest>,
) -> Answered<pb::PutOverridesResponse> {
    let answer = api.mutate(call, read_put_overrides).await?;
    Ok(pb::PutOverridesResponse {
        availability: hours(api, &answer).await,
        appointments_outside: api.outside(&answer),
        revision: render::revision(answer.revision),
    })
}

pub(crate) async fn delete_overrides(
    api: &Api,
    call: Call<pb::DeleteOverridesRequest>,
) -> Answered<pb::DeleteOverridesResponse> {
    let answer = api.mutate(call, read_delete_overrides).await?;
    Ok(pb::DeleteOverridesResponse {
        availability: hours(api, &answer).await,
        appointments_outside: api.outside(&answer),
        revision: render::revision(answer.revision),
    })
}

pub(crate) async fn put_busy(
    api: &Api,
    call: Call<pb::PutBusyRequest>,
) -> Answered<pb::PutBusyResponse> {
    let message = &call.message;
    let bounds = pb::Period {
        start_time: message.start_time,
        end_time: message.end_time,
    };
    let range = busy_range(&bounds, &mut Fields::default());
    let source = message.source.clone();
    let answer = api.mutate(call, read_put_busy).await?;
    let busy = answer
        .calendar
        .as_ref()
        .map(|calendar| calendar.busy.of_source(&source))
        .unwrap_or_default();
    let periods = busy
        .iter()
        .filter_map(|it| range.map(|range| it.intersection(range)));
    Ok(pb::PutBusyResponse {
        periods: periods
            .filter(|it| !it.is_empty())
            .map(render::period)
            .collect(),
        revision: render::revision(answer.revision),
    })
}

pub(crate) async fn list_busy(
    api: &Api,
    call: Call<pb::ListBusyRequest>,
) -> Answered<pb::ListBusyResponse> {
    let Call { context, message } = call;
    let mut fields = Fields::default();
    let range = fields.range(
        message.start_time.as_ref(),
        message.end_time.as_ref(),
        RANGE_DAYS_MAX,
    );
    let source = fields.optional_calendar_id("source", &message.source);
    let page = busy_after(&message, &context.principal.name, &mut fields);
    let _ = fields.calendar_id("calendar_id", &message.calendar_id);
    let ((range, source), (limit, after)) = fields.finish(range.zip(source).zip(page))?;
    let (view, calendar) = api.calendar(&message.calendar_id, &context).await?;
    let is_asked = |name: &str| source.as_ref().is_none_or(|source| source.as_str() == name);
    let mut found: Vec<(Interval, &str)> = calendar
        .busy
        .sources()
        .filter(|(name, _)| is_asked(name))
        .flat_map(|(name, periods)| periods.iter().map(move |period| (*period, name)))
        .filter(|(period, name)| {
            period.overlaps(range)
                && after
                    .as_ref()
                    .is_none_or(|(start, source)| (period.start, *name) > (*start, source.as_str()))
        })
        .collect();
    found.sort_unstable_by_key(|(period, name)| (period.start, *name));
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found
        .last()
        .filter(|_| has_more)
        .map(|(period, name)| PageToken {
            start: period.start.seconds(),
            id: name.as_bytes().to_vec(),
            ..PageToken::default()
        });
    let period = |(period, name): &(Interval, &str)| pb::BusyPeriod {
        source: (*name).to_owned(),
        period: Some(render::period(*period)),
    };
    Ok(pb::ListBusyResponse {
        periods: found.iter().map(period).collect(),
        next_page_token: Page::next(&message, &context.principal.name, next),
        revision: render::revision(view.revision),
    })
}
