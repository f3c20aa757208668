//! CalendarService: calendars with their settings, and appointment types.
//!
//! An update changes the fields of its mask and no others.

use std::sync::Arc;

use crate::proto::v1 as pb;
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::calendar::availability::Availability;
use bookd_core::calendar::{Calendar, Profile};
use bookd_core::command::{Command, ProfilePatch};
use bookd_core::ids::{CalendarId, ID_CHARACTERS_MAX};
use bookd_core::prefixes::Prefixes;
use bookd_core::refusal::Refusal;

use crate::api::context::{Answered, Api, Call};
use crate::api::convert::page_token::{Page, PageToken};
use crate::api::convert::parse::{Fields, fields_of_mask};
use crate::api::convert::parse_calendar::{appointment_type, patch_of};
use crate::api::convert::render;

/// The fields that an update may change.
const MASKABLE: [&str; 6] = [
    "display_name",
    "owner",
    "time_zone",
    "paused",
    "limits",
    "metadata",
];

/// The settings of a message that the mask names.
fn patch(
    api: &Api,
    message: &pb::Calendar,
    mask: &[&str],
    fields: &mut Fields,
) -> Option<ProfilePatch> {
    let has = |name: &str| mask.contains(&name);
    let whole = patch_of(&api.zones, &api.utc, message, fields)?;
    Some(ProfilePatch {
        display_name: whole.display_name.filter(|_| has("display_name")),
        owner: whole.owner.filter(|_| has("owner")),
        zone: whole.zone.filter(|_| has("time_zone")),
        paused: whole.paused.filter(|_| has("paused")),
        limits: whole.limits.filter(|_| has("limits")),
        metadata: whole.metadata.filter(|_| has("metadata")),
    })
}

/// The calendar's id, from the request or from the resource.
fn named(name: &str, message: &pb::Calendar, fields: &mut Fields) -> Option<CalendarId> {
    match (name, message.calendar_id.as_str()) {
        ("", within) => fields.calendar_id("calendar.calendar_id", within),
        (name, "") => fields.calendar_id("calendar_id", name),
        (name, within) if name == within => fields.calendar_id("calendar_id", name),
        _ => fields.wrong(
            "calendar_id",
            "differs from calendar.calendar_id; give one of them",
        ),
    }
}

fn create(api: &Api, message: &pb::CreateCalendarRequest, fields: &mut Fields) -> Option<Command> {
    let empty = pb::Calendar::default();
    let resource = match &message.calendar {
        None if message.calendar_id.is_empty() => {
            return fields.wrong("calendar", "is required, or calendar_id");
        }
        given => given.as_ref().unwrap_or(&empty),
    };
    let calendar = named(&message.calendar_id, resource, fields);
    let patch = patch(api, resource, &MASKABLE, fields)?;
    let profile = Profile {
        display_name: patch.display_name?,
        owner: patch.owner?,
        zone: patch.zone?,
        paused: patch.paused?,
        limits: patch.limits?,
        metadata: patch.metadata?,
        availability: Availability::default(),
    };
    Some(Command::CreateCalendar {
        calendar: calendar?,
        profile,
    })
}

fn update(api: &Api, message: &pb::UpdateCalendarRequest, fields: &mut Fields) -> Option<Command> {
    let Some(resource) = &message.calendar else {
        return fields.wrong("calendar", "is required");
    };
    let calendar = named(&message.calendar_id, resource, fields);
    let etag = fields.etag("calendar.etag", &resource.etag);
    let mask = mask(message.update_mask.as_ref(), resource, fields);
    let patch = patch(api, resource, &mask.unwrap_or_default(), fields);
    Some(Command::UpdateCalendar {
        calendar: calendar?,
        patch: patch?,
        etag: etag?,
    })
}

/// The fields to change: those that the mask names, all for `*`, and without a mask those that are
/// set.
fn mask(
    mask: Option<&prost_types::FieldMask>,
    message: &pb::Calendar,
    fields: &mut Fields,
) -> Option<Vec<&'static str>> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        let is_set = |name: &&str| match *name {
            "display_name" => !message.display_name.is_empty(),
            "owner" => message.owner.is_some(),
            "time_zone" => !message.time_zone.is_empty(),
            "paused" => message.paused,
            "limits" => message.limits.is_some(),
            _ => !message.metadata.is_empty(),
        };
        return Some(MASKABLE.into_iter().filter(is_set).collect());
    };
    fields_of_mask(mask, &MASKABLE, fields)
}

fn put_type(message: &pb::PutAppointmentTypeRequest, fields: &mut Fields) -> Option<Command> {
    let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
    let Some(resource) = &message.appointment_type else {
        return fields.wrong("appointment_type", "is required");
    };
    let etag = fields.etag("appointment_type.etag", &resource.etag);
    let appointment_type = appointment_type(resource, fields);
    Some(Command::PutAppointmentType {
        calendar: calendar?,
        appointment_type: appointment_type?,
        etag: etag?,
    })
}

fn find_type(
    calendar: &Calendar,
    id: &bookd_core::ids::TypeId,
) -> Result<Arc<AppointmentType>, Refusal> {
    let not_found = || Refusal::AppointmentTypeNotFound(calendar.id.clone(), id.clone());
    calendar.types.find(id).cloned().ok_or_else(not_found)
}

pub(crate) async fn create_calendar(
    api: &Api,
    call: Call<pb::CreateCalendarRequest>,
) -> Answered<pb::CreateCalendarResponse> {
    let answer = api
        .mutate(call, |message, fields| create(api, message, fields))
        .await?;
    let calendar = answer.calendar.as_deref().map(render::calendar);
    Ok(pb::CreateCalendarResponse {
        calendar,
        revision: render::revision(answer.revision),
    })
}

pub(crate) async fn get_calendar(
    api: &Api,
    call: Call<pb::GetCalendarRequest>,
) -> Answered<pb::GetCalendarResponse> {
    let (view, calendar) = api
        .calendar(&call.message.calendar_id, &call.context)
        .await?;
    let calendar = Some(render::calendar(&calendar));
    Ok(pb::GetCalendarResponse {
        calendar,
        revision: render::revision(view.revision),
    })
}

pub(crate) async fn update_calendar(
    api: &Api,
    call: Call<pb::UpdateCalendarRequest>,
) -> Answered<pb::UpdateCalendarResponse> {
    let answer = api
        .mutate(call, |message, fields| update(api, message, fields))
        .await?;
    let calendar = answer.calendar.as_deref().map(render::calendar);
    Ok(pb::UpdateCalendarResponse {
        calendar,
        revision: render::revision(answer.revision),
        appointments_outside: api.outside(&answer),
    })
}

pub(crate) async fn delete_calendar(
    api: &Api,
    call: Call<pb::DeleteCalendarRequest>,
) -> Answered<pb::DeleteCalendarResponse> {
    let parse = |message: &pb::DeleteCalendarRequest, fields: &mut Fields| {
        let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
        let etag = fields.etag("etag", &message.etag);
        Some(Command::DeleteCalendar {
            calendar: calendar?,
            force: message.force,
            etag: etag?,
            beforehand: None,
        })
    };
    let answer = api.mutate(call, parse).await?;
    Ok(pb::DeleteCalendarResponse {
        revision: render::revision(answer.revision),
    })
}

pub(crate) async fn list_calendars(
    api: &Api,
    call: Call<pb::ListCalendarsRequest>,
) -> Answered<pb::ListCalendarsResponse> {
    let Call { context, message } = call;
    let mut fields = Fields::default();
    let prefix = fields.text("id_prefix", &message.id_prefix, ID_CHARACTERS_MAX);
    let page = fields.page_after(&message, &context.principal.name, calendar_id);
    let (prefix, (limit, after)) = fields.finish(prefix.zip(page))?;
    let prefixes = Prefixes::beginning_with(&prefix).and(&context.reach.calendars);
    if prefixes.is_nothing() {
        return Err(context.out_of_reach().into());
    }
    let read = api.engine.query(context.wait.deadline, move |store| {
        store.list_calendars(&prefixes, after.as_ref(), limit + 1)
    });
    let (mut rows, revision) = read.await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).map(|last| PageToken {
        id: last.id.as_str().as_bytes().to_vec(),
        ..PageToken::default()
    });
    Ok(pb::ListCalendarsResponse {
        calendars: rows
            .iter()
            .map(|row| render::profile(&row.id, &row.profile, row.stamps))
            .collect(),
        next_page_token: Page::next(&message, &context.principal.name, next),
        revision: render::revision(revision),
    })
}

pub(crate) async fn put_appointment_type(
    api: &Api,
    call: Call<pb::PutAppointmentTypeRequest>,
) -> Answered<pb::PutAppointmentTypeResponse> {
    let answer = api.mutate(call, put_type).await?;
    let id = answer.outcome.type_id.as_ref();
    let found = answer
        .calendar
        .as_ref()
        .zip(id)
        .and_then(|(calendar, id)| calendar.types.find(id));
    let appointment_type = found.map(|it| render::appointment_type(it));
    Ok(pb::PutAppointmentTypeResponse {
        appointment_type,
        revision: render::revision(answer.revision),
        appointments_outside: api.outside(&answer),
    })
}

pub(crate) async fn get_appointment_type(
    api: &Api,
    call: Call<pb::GetAppointmentTypeRequest>,
) -> Answered<pb::GetAppointmentTypeResponse> {
    let mut fields = Fields::default();
    let id = fields.type_id("appointment_type_id", &call.message.appointment_type_id);
    let _ = fields.calendar_id("calendar_id", &call.message.calendar_id);
    let id = fields.finish(id)?;
    let (view, calendar) = api
        .calendar(&call.message.calendar_id, &call.context)
        .await?;
    let appointment_type = Some(render::appointment_type(&*find_type(&calendar, &id)?));
    let revision = render::revision(view.revision);
    Ok(pb::GetAppointmentTypeResponse {
        appointment_type,
        revision,
    })
}

pub(crate) async fn delete_appointment_type(
    api: &Api,
    call: Call<pb::DeleteAppointmentTypeRequest>,
) -> Answered<pb::DeleteAppointmentTypeResponse> {
    let parse = |message: &pb::DeleteAppointmentTypeRequest, fields: &mut Fields| {
        let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
        let type_id = fields.type_id("appointment_type_id", &message.appointment_type_id);
        let etag = fields.etag("etag", &message.etag);
        Some(Command::DeleteAppointmentType {
            calendar: calendar?,
            type_id: type_id?,
            etag: etag?,
        })
    };
    let answer = api.mutate(call, parse).await?;
    Ok(pb::DeleteAppointmentTypeResponse {
        revision: render::revision(answer.revision),
    })
}

pub(crate) async fn list_appointment_types(
    api: &Api,
    call: Call<pb::ListAppointmentTypesRequest>,
) -> Answered<pb::ListAppointmentTypesResponse> {
    let Call { context, message } = call;
    let mut fields = Fields::default();
    let page = fields.page_after(&message, &context.principal.name, calendar_id);
    let _ = fields.calendar_id("calendar_id", &message.calendar_id);
    let (limit, after) = fields.finish(page)?;
    let (view, calendar) = api.calendar(&message.calendar_id, &context).await?;
    let is_further = |appointment_type: &&Arc<AppointmentType>| {
        after
            .as_ref()
            .is_none_or(|after| appointment_type.id.as_str() > after.as_str())
    };
    let mut types: Vec<_> = calendar
        .types
        .iter()
        .filter(is_further)
        .take(limit + 1)
        .collect();
    let has_more = types.len() > limit;
    types.truncate(limit);
    let next = types.last().filter(|_| has_more).map(|last| PageToken {
        id: last.id.as_str().as_bytes().to_vec(),
        ..PageToken::default()
    });
    Ok(pb::ListAppointmentTypesResponse {
        appointment_types: types
            .into_iter()
            .map(|it| render::appointment_type(it))
            .collect(),
        next_page_token: Page::next(&message, &context.principal.name, next),
        revision: render::revision(view.revision),
    })
}

/// Reads the id that ended the page before, of a calendar or, which is written alike, of a type.
fn calendar_id(text: &str) -> Option<CalendarId> {
    CalendarId::parse(text).ok()
}
