//! BookSeries and CancelSeries: appointments that recur.
//!
//! An answer names every occurrence, booked or not.

use crate::engine::Answer;
use crate::proto::v1 as pb;
use bookd_core::appointment::recurrence::{
    Ending, Frequency, INTERVAL_MAX, OCCURRENCES_MAX, Recurrence,
};
use bookd_core::appointment::series::{Occurrence, SeriesReport};
use bookd_core::command::{Command, Otherwise, SeriesBooking, SeriesName, SeriesScope};
use bookd_core::time::Instant;

use crate::api::context::{Answered, Api, Call};
use crate::api::convert::parse::Fields;
use crate::api::convert::render;
use crate::api::services::booking_fields::booking_fields;

/// The most violations that an answer names for one occurrence.
const VIOLATIONS_MAX: usize = 10;

fn frequency(number: i32, fields: &mut Fields) -> Option<Frequency> {
    match pb::Frequency::try_from(number) {
        Ok(pb::Frequency::Daily) => Some(Frequency::Daily),
        Ok(pb::Frequency::Weekly) => Some(Frequency::Weekly),
        Ok(pb::Frequency::Monthly) => Some(Frequency::Monthly),
        _ => fields.wrong(
            "frequency",
            "must be FREQUENCY_DAILY, FREQUENCY_WEEKLY or FREQUENCY_MONTHLY",
        ),
    }
}

fn one_to(most: u16, field: &str, number: i32, fields: &mut Fields) -> Option<u16> {
    let number = u16::try_from(number)
        .ok()
        .filter(|number| (1..=most).contains(number));
    number.or_else(|| fields.wrong(field, format!("must be 1 to {most}")))
}

fn ending(message: &pb::BookSeriesRequest, fields: &mut Fields) -> Option<Ending> {
    let most = u16::try_from(OCCURRENCES_MAX).unwrap_or(u16::MAX);
    match (message.count, message.until.as_str()) {
        (None, "") => fields.wrong("count", "is required, or until"),
        (Some(_), until) if !until.is_empty() => fields.wrong("until", "cannot stand beside count"),
        (Some(count), _) => one_to(most, "count", count, fields).map(Ending::Count),
        (None, until) => fields.date("until", until).map(Ending::Until),
    }
}

fn booking(api: &Api, message: &pb::BookSeriesRequest, fields: &mut Fields) -> Option<Command> {
    let booking = booking_fields!(message, "", "", true).read(api, fields);
    let frequency = frequency(message.frequency, fields);
    let interval = one_to(
        INTERVAL_MAX,
        "interval",
        message.interval.unwrap_or(1),
        fields,
    );
    let ending = ending(message, fields);
    let ids_max = match ending? {
        Ending::Count(count) => usize::from(count),
        Ending::Until(_) => OCCURRENCES_MAX,
    };
    Some(Command::BookSeries(Box::new(SeriesBooking {
        series: api.ids.series_id(),
        ids: std::iter::repeat_with(|| api.ids.appointment_id())
            .take(ids_max)
            .collect(),
        booking: booking?,
        rule: Recurrence {
            frequency: frequency?,
            interval: interval?,
            ending: ending?,
        },
        otherwise: if message.allow_partial {
            Otherwise::TheOthers
        } else {
            Otherwise::Nothing
        },
        is_report: message.validate_only,
    })))
}

fn scope(message: &pb::CancelSeriesRequest, fields: &mut Fields) -> Option<SeriesScope> {
    let series = fields.optional_appointment_id("series_id", &message.series_id);
    let appointment = fields.optional_appointment_id("appointment_id", &message.appointment_id);
    if !message.series_id.is_empty() && !message.appointment_id.is_empty() {
        fields.wrong::<()>("series_id", "cannot stand beside appointment_id");
    }
    let scope = match pb::SeriesScope::try_from(message.scope) {
        Ok(pb::SeriesScope::Unspecified) | Err(_) => fields.wrong(
            "scope",
            "must be SERIES_SCOPE_ONE, SERIES_SCOPE_FOLLOWING or SERIES_SCOPE_ALL",
        ),
        Ok(scope) => Some(scope),
    };
    match (scope?, appointment?, series?) {
        (pb::SeriesScope::One, Some(id), _) => Some(SeriesScope::One(id)),
        (pb::SeriesScope::Following, Some(id), _) => Some(SeriesScope::Following(id)),
        (pb::SeriesScope::All, Some(id), _) => Some(SeriesScope::All(SeriesName::Of(id))),
        (pb::SeriesScope::All, None, Some(id)) => Some(SeriesScope::All(SeriesName::Id(
            bookd_core::ids::SeriesId(id.0),
        ))),
        (pb::SeriesScope::All, None, None) => {
            fields.wrong("series_id", "is required, or appointment_id")
        }
        _ => fields.wrong(
            "appointment_id",
            "is required with SERIES_SCOPE_ONE and SERIES_SCOPE_FOLLOWING",
        ),
    }
}

fn occurrence(
    api: &Api,
    occurrence: &Occurrence,
    ids: &[String],
    now: Instant,
) -> pb::SeriesOccurrence {
    let near = |interval| render::slot(interval, 1, ids.to_vec(), None);
    let refusal = occurrence.refusal.as_ref();
    let violations = refusal
        .iter()
        .flat_map(|refusal| &refusal.violations)
        .take(VIOLATIONS_MAX);
    pb::SeriesOccurrence {
        index: i32::try_from(occurrence.index).unwrap_or(i32::MAX),
        local_start: occurrence.moment.local_start.to_string(),
        start_time: Some(render::timestamp(occurrence.moment.start)),
        bookable: refusal.is_none(),
        appointment: occurrence
            .appointment
            .as_ref()
            .map(|appointment| api.appointment(appointment, now)),
        violations: violations
            .map(|violation| render::violation(violation, Vec::new()))
            .collect(),
        previous_slot: refusal.and_then(|refusal| refusal.nearest_before).map(near),
        next_slot: refusal.and_then(|refusal| refusal.nearest_after).map(near),
    }
}

/// The only calendar of a request; empty for several, because the nearest slots do not say which of
/// several calendars could take them.
fn only_calendar(message: &pb::BookSeriesRequest) -> Vec<String> {
    match message.calendar_ids.as_slice() {
        [] => vec![message.calendar_id.clone()],
        [only] => vec![only.clone()],
        _ => Vec::new(),
    }
}

fn booked(api: &Api, answer: &Answer, ids: &[String]) -> pb::BookSeriesResponse {
    let report = answer.outcome.series.as_ref();
    let occurrences = report
        .iter()
        .flat_map(|SeriesReport { occurrences, .. }| occurrences);
    pb::BookSeriesResponse {
        series_id: report
            .map(|report| report.series.0.to_string())
            .unwrap_or_default(),
        occurrences: occurrences
            .map(|booked| occurrence(api, booked, ids, answer.time))
            .collect(),
        revision: render::revision(answer.revision),
    }
}

pub(crate) async fn book_series(
    api: &Api,
    call: Call<pb::BookSeriesRequest>,
) -> Answered<pb::BookSeriesResponse> {
    let ids = only_calendar(&call.message);
    let answer = api
        .mutate(call, |message, fields| booking(api, message, fields))
        .await?;
    Ok(booked(api, &answer, &ids))
}

pub(crate) async fn cancel_series(
    api: &Api,
    call: Call<pb::CancelSeriesRequest>,
) -> Answered<pb::CancelSeriesResponse> {
    let parse = |message: &pb::CancelSeriesRequest, fields: &mut Fields| {
        let scope = scope(message, fields);
        let reason = fields.reason(&message.reason);
        Some(Command::CancelSeries {
            scope: scope?,
            reason: reason?,
        })
    };
    let answer = api.mutate(call, parse).await?;
    let appointments = answer
        .outcome
        .appointments
        .iter()
        .map(|it| api.appointment(it, answer.time))
        .collect();
    Ok(pb::CancelSeriesResponse {
        appointments,
        revision: render::revision(answer.revision),
    })
}
