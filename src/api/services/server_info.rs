//! ServerInfoService: version, zone release, features and limits of this server.
//!
//! Each limit is the constant that the code obeys.

use std::collections::BTreeMap;

use crate::auth::Scopes;
use crate::engine;
use crate::log;
use crate::proto::v1 as pb;
use bookd_core::appointment::{self, person, recurrence};
use bookd_core::calendar::{self, appointment_type, availability};
use bookd_core::decide::{
    HOLD_LIFE_MAX, HOLD_SECONDS_MAX, SERIES_CLAIMS_MAX, SERIES_TEXT_BYTES_MAX,
};
use bookd_core::token::TOKENS_MAX;

use crate::api::context::{Answered, Api, Call};
use crate::api::convert::parse;
use crate::api::convert::parse_time;
use crate::api::convert::render;
use crate::api::services::availability::BUSY_RANGE_DAYS_MAX;
use crate::api::services::booking;
use crate::api::services::watch_slots;

fn limits() -> BTreeMap<String, i64> {
    let size = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let limits = [
        (
            "request_bytes",
            size(bookd_transport::grpc::REQUEST_BYTES_MAX),
        ),
        ("query_range_days", parse_time::RANGE_DAYS_MAX),
        ("page_size", size(parse::PAGE_SIZE_MAX)),
        (
            "request_id_characters",
            size(parse::REQUEST_ID_CHARACTERS_MAX),
        ),
        ("name_characters", size(person::NAME_CHARACTERS_MAX)),
        ("note_characters", size(person::NOTE_CHARACTERS_MAX)),
        ("location_characters", size(person::LOCATION_CHARACTERS_MAX)),
        ("metadata_keys", size(person::METADATA_KEYS_MAX)),
        ("calendars_per_request", size(appointment::CALENDARS_MAX)),
        ("bookings_per_batch", size(booking::BATCH_MAX)),
        ("occurrences_per_series", size(recurrence::OCCURRENCES_MAX)),
        ("claims_per_series", size(SERIES_CLAIMS_MAX)),
        ("series_text_bytes", size(SERIES_TEXT_BYTES_MAX)),
        ("rules_per_calendar", size(availability::CALENDAR_RULES_MAX)),
        ("rules_per_type", size(availability::TYPE_RULES_MAX)),
        ("overrides_per_calendar", size(availability::OVERRIDES_MAX)),
        ("types_per_calendar", size(appointment_type::TYPES_MAX)),
        ("capacity", i64::from(appointment_type::CAPACITY_MAX)),
        (
            "horizon_days",
            i64::from(appointment_type::HORIZON_DAYS_MAX),
        ),
        ("busy_periods_per_put", size(calendar::BUSY_PERIODS_MAX)),
        (
            "busy_periods_per_calendar",
            size(calendar::BUSY_PERIODS_CALENDAR_MAX),
        ),
        ("busy_range_days", BUSY_RANGE_DAYS_MAX),
        ("hold_seconds", HOLD_SECONDS_MAX),
        ("hold_life_seconds", HOLD_LIFE_MAX),
        ("queued_commands", size(engine::MAILBOX_MAX)),
        ("watches", size(log::WATCHES_MAX)),
        (
            "watch_progress_seconds",
            i64::try_from(log::PROGRESS.as_secs()).unwrap_or(i64::MAX),
        ),
        (
            "watch_lag_changes",
            i64::try_from(log::LAG_CHANGES_MAX).unwrap_or(i64::MAX),
        ),
        ("watched_slots", size(watch_slots::SLOTS_WATCHED_MAX)),
        ("tokens", size(TOKENS_MAX)),
    ];
    limits
        .into_iter()
        .map(|(name, limit)| (name.to_owned(), limit))
        .collect()
}

pub(crate) async fn get_server_info(
    api: &Api,
    call: Call<pb::GetServerInfoRequest>,
) -> Answered<pb::GetServerInfoResponse> {
    // Everybody may ask what the server can do; how much happens on it is for callers with rights.
    let is_known = call.context.principal.rights.scopes() != Scopes::default();
    Ok(pb::GetServerInfoResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time_zone_release: api.zones.release().to_owned(),
        time_zone_source: api.zones.source().to_string(),
        limits: limits(),
        features: [
            "holds",
            "sessions",
            "approval",
            "several_calendars",
            "series",
            "watches",
        ]
        .map(str::to_owned)
        .to_vec(),
        revision: if is_known {
            render::revision(api.engine.revision())
        } else {
            0
        },
        time: is_known.then(|| render::timestamp(api.engine.now())),
    })
}
