//! CalendarService: settings and appointment types.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::proto::v1 as pb;
use crate::proto::v1::calendar_service_server::CalendarService;
use crate::zones::Zones;
use bookd_core::appointment::person::NAME_CHARACTERS_MAX;
use bookd_core::calendar::appointment_type::{
    AppointmentType, CAPACITY_MAX, DURATION_OPTIONS_MAX, HORIZON_DAYS_MAX, Stamps,
};
use bookd_core::calendar::availability::{Availability, TYPE_RULES_MAX};
use bookd_core::calendar::{Calendar, Owner, Profile};
use bookd_core::command::{Command, ProfilePatch};
use bookd_core::ids::{CalendarId, ID_CHARACTERS_MAX};
use bookd_core::refusal::Refusal;
use bookd_core::time::Seconds;
use bookd_core::time::zone::Zone;

use crate::api::context::{Api, deadline};
use crate::api::convert::page_token::{PageToken, fingerprint};
use crate::api::convert::parse::Fields;
use crate::api::convert::render;
use crate::api::convert::status;

/// See the header.
pub struct Calendars(pub Api);

const MASKABLE: [&str; 6] = ["display_name", "owner", "time_zone", "paused", "limits", "metadata"];

/// The settings that a message sets, each as read.
fn patch(api: &Api, it: &pb::Calendar, mask: &[&str], fields: &mut Fields) -> Option<ProfilePatch> {
    let has = |name: &str| mask.contains(&name);
    let whole = patch_of(&api.zones, &api.utc, it, fields)?;
    Some(ProfilePatch {
        display_name: whole.display_name.filter(|_| has("display_name")),
        owner: whole.owner.filter(|_| has("owner")),
        zone: whole.zone.filter(|_| has("time_zone")),
        paused: whole.paused.filter(|_| has("paused")),
        limits: whole.limits.filter(|_| has("limits")),
        metadata: whole.metadata.filter(|_| has("metadata")),
    })
}

/// All settings of a message, each as read.
pub(crate) fn patch_of(zones: &Zones, utc: &Arc<Zone>, it: &pb::Calendar, fields: &mut Fields) -> Option<ProfilePatch> {
    let display_name = fields.text("calendar.display_name", &it.display_name, NAME_CHARACTERS_MAX);
    let owner = it.owner.clone().unwrap_or_default();
    let owner_name = fields.text("calendar.owner.name", &owner.name, NAME_CHARACTERS_MAX);
    let owner_email = fields.address("calendar.owner.email", &owner.email);
    let zone: Option<Arc<Zone>> = match it.time_zone.as_str() {
        "" => Some(Arc::clone(utc)),
        name => fields.zone(zones, "calendar.time_zone", name),
    };
    let limits = fields.limits("calendar.limits", it.limits.as_ref());
    let metadata = fields.metadata("calendar.metadata", &it.metadata);
    Some(ProfilePatch {
        display_name: Some(display_name?),
        owner: Some(Owner { name: owner_name?, email: owner_email? }),
        zone: Some(zone?),
        paused: Some(it.paused),
        limits: Some(limits?),
        metadata: Some(metadata?),
    })
}

/// The calendar's name, in the request or in the resource.
fn named(name: &str, it: &pb::Calendar, fields: &mut Fields) -> Option<CalendarId> {
    match (name, it.calendar_id.as_str()) {
        ("", within) => fields.calendar_id("calendar.calendar_id", within),
        (name, "") => fields.calendar_id("calendar_id", name),
        (name, within) if name == within => fields.calendar_id("calendar_id", name),
        _ => fields.wrong("calendar_id", "differs from calendar.calendar_id; give one of them"),
    }
}

fn create(api: &Api, message: &pb::CreateCalendarRequest, fields: &mut Fields) -> Option<Command> {
    let empty = pb::Calendar::default();
    let it = match &message.calendar {
        None if message.calendar_id.is_empty() => return fields.wrong("calendar", "is required, or calendar_id"),
        given => given.as_ref().unwrap_or(&empty),
    };
    let calendar = named(&message.calendar_id, it, fields);
    let patch = patch(api, it, &MASKABLE, fields)?;
    let profile = Profile {
        display_name: patch.display_name?,
        owner: patch.owner?,
        zone: patch.zone?,
        paused: patch.paused?,
        limits: patch.limits?,
        metadata: patch.metadata?,
        availability: Availability::default(),
    };
    Some(Command::CreateCalendar { calendar: calendar?, profile })
}

fn update(api: &Api, message: &pb::UpdateCalendarRequest, fields: &mut Fields) -> Option<Command> {
    let Some(it) = &message.calendar else { return fields.wrong("calendar", "is required") };
    let calendar = named(&message.calendar_id, it, fields);
    let etag = fields.etag("calendar.etag", &it.etag);
    let mask = mask(message.update_mask.as_ref(), it, fields);
    let patch = patch(api, it, &mask.unwrap_or_default(), fields);
    Some(Command::UpdateCalendar { calendar: calendar?, patch: patch?, etag: etag? })
}

/// The fields to change: those named, all for `*`, those that are set when there is no mask.
fn mask(mask: Option<&prost_types::FieldMask>, it: &pb::Calendar, fields: &mut Fields) -> Option<Vec<&'static str>> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        let is_set = |name: &&str| match *name {
            "display_name" => !it.display_name.is_empty(),
            "owner" => it.owner.is_some(),
            "time_zone" => !it.time_zone.is_empty(),
            "paused" => it.paused,
            "limits" => it.limits.is_some(),
            _ => !it.metadata.is_empty(),
        };
        return Some(MASKABLE.into_iter().filter(is_set).collect());
    };
    crate::api::convert::parse::fields_of_mask(mask, &MASKABLE, fields)
}

fn put_type(message: &pb::PutAppointmentTypeRequest, fields: &mut Fields) -> Option<Command> {
    let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
    let Some(it) = &message.appointment_type else { return fields.wrong("appointment_type", "is required") };
    let etag = fields.etag("appointment_type.etag", &it.etag);
    let appointment_type = appointment_type(it, fields);
    Some(Command::PutAppointmentType { calendar: calendar?, appointment_type: appointment_type?, etag: etag? })
}

pub(crate) fn appointment_type(it: &pb::AppointmentType, fields: &mut Fields) -> Option<AppointmentType> {
    let path = |name: &str| format!("appointment_type.{name}");
    let base = AppointmentType::default_type(Stamps::default());
    let id = fields.type_id(&path("appointment_type_id"), &it.appointment_type_id);
    let display_name = fields.text(&path("display_name"), &it.display_name, NAME_CHARACTERS_MAX);
    let duration = fields.minutes(&path("duration"), it.duration.as_ref(), 1);
    if it.duration_options.len() > DURATION_OPTIONS_MAX {
        return fields.wrong(&path("duration_options"), format!("at most {DURATION_OPTIONS_MAX} options"));
    }
    let options = it.duration_options.iter().enumerate();
    let options: Vec<_> =
        options.map(|(n, it)| fields.minutes(&path(&format!("duration_options[{n}]")), Some(it), 1)).collect();
    let slot_step = fields.minutes(&path("slot_step"), it.slot_step.as_ref(), 1);
    let buffer_before = fields.minutes(&path("buffer_before"), it.buffer_before.as_ref(), 0);
    let buffer_after = fields.minutes(&path("buffer_after"), it.buffer_after.as_ref(), 0);
    let min_notice = fields.seconds(&path("min_notice"), it.min_notice.as_ref(), Seconds::MAX);
    let cancel_notice = fields.seconds(&path("cancel_notice"), it.cancel_notice.as_ref(), Seconds::MAX);
    let reschedule_notice = fields.seconds(&path("reschedule_notice"), it.reschedule_notice.as_ref(), Seconds::MAX);
    let mut number =
        |name: &str, value: Option<i32>, least: u32, most: u32, default: u32| match value.map(u32::try_from) {
            None => Some(default),
            Some(Ok(value)) if (least..=most).contains(&value) => Some(value),
            Some(_) => fields.wrong(&path(name), format!("must be from {least} to {most}")),
        };
    let horizon_days = number("horizon_days", it.horizon_days, 0, HORIZON_DAYS_MAX, base.horizon_days);
    let capacity = number("capacity", it.capacity, 1, CAPACITY_MAX, base.capacity);
    let limits = fields.limits(&path("limits"), it.limits.as_ref());
    let rules = fields.rules(&path("rules"), &it.rules, TYPE_RULES_MAX);
    Some(AppointmentType {
        id: id?,
        display_name: display_name?,
        duration: duration?.unwrap_or(base.duration),
        duration_options: options.into_iter().map(Option::flatten).collect::<Option<_>>()?,
        slot_step: slot_step?,
        buffer_before: buffer_before?.unwrap_or_default(),
        buffer_after: buffer_after?.unwrap_or_default(),
        min_notice: min_notice?.unwrap_or_default(),
        horizon_days: horizon_days?,
        capacity: capacity?,
        limits: limits?,
        requires_approval: it.requires_approval,
        pending_blocks: it.pending_blocks.unwrap_or(true),
        cancel_notice: cancel_notice?,
        reschedule_notice: reschedule_notice?,
        rules: rules?,
        ..base
    })
}

fn find_type(calendar: &Calendar, id: &bookd_core::ids::TypeId) -> Result<Arc<AppointmentType>, Status> {
    let not_found = || status::refused(&Refusal::AppointmentTypeNotFound(calendar.id.clone(), id.clone()));
    calendar.types.find(id).cloned().ok_or_else(not_found)
}

#[tonic::async_trait]
impl CalendarService for Calendars {
    async fn create_calendar(
        &self,
        request: Request<pb::CreateCalendarRequest>,
    ) -> Result<Response<pb::CreateCalendarResponse>, Status> {
        let answer = self.0.mutate(request, |message, fields| create(&self.0, message, fields)).await?;
        let calendar = answer.calendar.as_deref().map(render::calendar);
        Ok(Response::new(pb::CreateCalendarResponse { calendar, revision: render::revision(answer.revision) }))
    }

    async fn get_calendar(
        &self,
        request: Request<pb::GetCalendarRequest>,
    ) -> Result<Response<pb::GetCalendarResponse>, Status> {
        let (view, calendar) = self.0.calendar(request, |message| &message.calendar_id).await?;
        let calendar = Some(render::calendar(&calendar));
        Ok(Response::new(pb::GetCalendarResponse { calendar, revision: render::revision(view.revision) }))
    }

    async fn update_calendar(
        &self,
        request: Request<pb::UpdateCalendarRequest>,
    ) -> Result<Response<pb::UpdateCalendarResponse>, Status> {
        let answer = self.0.mutate(request, |message, fields| update(&self.0, message, fields)).await?;
        let calendar = answer.calendar.as_deref().map(render::calendar);
        Ok(Response::new(pb::UpdateCalendarResponse {
            calendar,
            revision: render::revision(answer.revision),
            appointments_outside: self.0.outside(&answer),
        }))
    }

    async fn delete_calendar(
        &self,
        request: Request<pb::DeleteCalendarRequest>,
    ) -> Result<Response<pb::DeleteCalendarResponse>, Status> {
        let parse = |message: &pb::DeleteCalendarRequest, fields: &mut Fields| {
            let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
            let etag = fields.etag("etag", &message.etag);
            Some(Command::DeleteCalendar { calendar: calendar?, force: message.force, etag: etag?, beforehand: None })
        };
        let answer = self.0.mutate(request, parse).await?;
        Ok(Response::new(pb::DeleteCalendarResponse { revision: render::revision(answer.revision) }))
    }

    async fn list_calendars(
        &self,
        request: Request<pb::ListCalendarsRequest>,
    ) -> Result<Response<pb::ListCalendarsResponse>, Status> {
        let deadline = deadline(request.extensions());
        let message = request.into_inner();
        let bound =
            fingerprint(&pb::ListCalendarsRequest { page_token: String::new(), page_size: 0, ..message.clone() });
        let mut fields = Fields::default();
        let prefix = fields.text("id_prefix", &message.id_prefix, ID_CHARACTERS_MAX);
        let limit = fields.page_size(message.page_size);
        let after = page_after(&message.page_token, bound, &mut fields);
        let (prefix, limit, after) = fields.finish((|| Some((prefix?, limit?, after?)))())?;
        let read =
            self.0.engine.read(deadline, move |reader| reader.list_calendars(&prefix, after.as_ref(), limit + 1));
        let (mut rows, revision) = read.await.map_err(|failure| status::failed(&failure))?;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(|last| PageToken {
            fingerprint: bound,
            id: last.id.as_str().as_bytes().to_vec(),
            ..PageToken::default()
        });
        Ok(Response::new(pb::ListCalendarsResponse {
            calendars: rows.iter().map(|row| render::profile(&row.id, &row.profile, row.stamps)).collect(),
            next_page_token: next.map(|token| token.write()).unwrap_or_default(),
            revision: render::revision(revision),
        }))
    }

    async fn put_appointment_type(
        &self,
        request: Request<pb::PutAppointmentTypeRequest>,
    ) -> Result<Response<pb::PutAppointmentTypeResponse>, Status> {
        let answer = self.0.mutate(request, put_type).await?;
        let id = answer.outcome.type_id.as_ref();
        let found = answer.calendar.as_ref().zip(id).and_then(|(calendar, id)| calendar.types.find(id));
        let appointment_type = found.map(|it| render::appointment_type(it));
        Ok(Response::new(pb::PutAppointmentTypeResponse {
            appointment_type,
            revision: render::revision(answer.revision),
            appointments_outside: self.0.outside(&answer),
        }))
    }

    async fn get_appointment_type(
        &self,
        request: Request<pb::GetAppointmentTypeRequest>,
    ) -> Result<Response<pb::GetAppointmentTypeResponse>, Status> {
        let mut fields = Fields::default();
        let id = fields.type_id("appointment_type_id", &request.get_ref().appointment_type_id);
        let _ = fields.calendar_id("calendar_id", &request.get_ref().calendar_id);
        let id = fields.finish(id)?;
        let (view, calendar) = self.0.calendar(request, |message| &message.calendar_id).await?;
        let appointment_type = Some(render::appointment_type(&*find_type(&calendar, &id)?));
        let revision = render::revision(view.revision);
        Ok(Response::new(pb::GetAppointmentTypeResponse { appointment_type, revision }))
    }

    async fn delete_appointment_type(
        &self,
        request: Request<pb::DeleteAppointmentTypeRequest>,
    ) -> Result<Response<pb::DeleteAppointmentTypeResponse>, Status> {
        let parse = |message: &pb::DeleteAppointmentTypeRequest, fields: &mut Fields| {
            let calendar = fields.calendar_id("calendar_id", &message.calendar_id);
            let type_id = fields.type_id("appointment_type_id", &message.appointment_type_id);
            let etag = fields.etag("etag", &message.etag);
            Some(Command::DeleteAppointmentType { calendar: calendar?, type_id: type_id?, etag: etag? })
        };
        let answer = self.0.mutate(request, parse).await?;
        Ok(Response::new(pb::DeleteAppointmentTypeResponse { revision: render::revision(answer.revision) }))
    }

    async fn list_appointment_types(
        &self,
        request: Request<pb::ListAppointmentTypesRequest>,
    ) -> Result<Response<pb::ListAppointmentTypesResponse>, Status> {
        let message = request.get_ref().clone();
        let bound = fingerprint(&pb::ListAppointmentTypesRequest {
            page_token: String::new(),
            page_size: 0,
            ..message.clone()
        });
        let mut fields = Fields::default();
        let limit = fields.page_size(message.page_size);
        let after = page_after(&message.page_token, bound, &mut fields);
        let _ = fields.calendar_id("calendar_id", &message.calendar_id);
        let (limit, after) = fields.finish((|| Some((limit?, after?)))())?;
        let (view, calendar) = self.0.calendar(request, |message| &message.calendar_id).await?;
        let is_further =
            |it: &&Arc<AppointmentType>| after.as_ref().is_none_or(|after| it.id.as_str() > after.as_str());
        let mut types: Vec<_> = calendar.types.iter().filter(is_further).take(limit + 1).collect();
        let has_more = types.len() > limit;
        types.truncate(limit);
        let next = types.last().filter(|_| has_more).map(|last| PageToken {
            fingerprint: bound,
            id: last.id.as_str().as_bytes().to_vec(),
            ..PageToken::default()
        });
        Ok(Response::new(pb::ListAppointmentTypesResponse {
            appointment_types: types.into_iter().map(|it| render::appointment_type(it)).collect(),
            next_page_token: next.map(|token| token.write()).unwrap_or_default(),
            revision: render::revision(view.revision),
        }))
    }
}

/// The id after which a page begins; none inside on the first page.
fn page_after(token: &str, bound: u64, fields: &mut Fields) -> Option<Option<CalendarId>> {
    let Some(token) = fields.page_token(token, bound)? else { return Some(None) };
    let id = String::from_utf8(token.id).ok().and_then(|id| CalendarId::parse(&id).ok());
    id.map(Some).or_else(|| fields.wrong_token())
}
