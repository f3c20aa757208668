//! Calendars have what was last set: their name, hours, dates, types and busy times.

use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use prost_types::Duration;
use tonic::{Code, Status};

use crate::server::connect;
use crate::world::World;
use bookd_kit::caller::{CALENDARS, TYPES};
use bookd_kit::calls::Call;
use bookd_kit::history::Op;

/// Reports every calendar that does not show what was last acknowledged of it; time stands still,
/// and nothing is under way.
pub async fn calendars_have_what_was_last_set(world: &World) -> Result<(), Status> {
    let ops = world.ops.borrow().clone();
    for calendar in CALENDARS {
        let request = pb::GetCalendarRequest {
            calendar_id: calendar.to_owned(),
        };
        match CalendarServiceClient::new(connect())
            .get_calendar(request)
            .await
        {
            Ok(answer) => {
                let found = answer.into_inner().calendar.unwrap_or_default();
                name(world, &ops, calendar, &found);
                hours(world, &ops, calendar).await?;
                types(world, &ops, calendar).await?;
                busy(world, &ops, calendar).await?;
            }
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

/// The last acknowledged of the calls that concern something; none if another one may have been
/// applied after it.
fn last<'a>(ops: &'a [Op], calendar: &str, concerns: impl Fn(&Call) -> bool) -> Option<&'a Call> {
    let begins_or_ends = |call: &Call| match call {
        Call::CreateCalendar(it) => it.calendar_id == calendar,
        Call::DeleteCalendar(it) => it.calendar_id == calendar,
        _ => false,
    };
    let mut concerned: Vec<&Op> = ops
        .iter()
        .filter(|op| begins_or_ends(&op.call) || concerns(&op.call))
        .collect();
    if concerned.iter().any(|op| !op.is_settled()) {
        return None;
    }
    let revision = |op: &&Op| op.answers().map(|(_, _, answered)| answered.revision).max();
    concerned.retain(|op| revision(op).is_some());
    concerned
        .into_iter()
        .max_by_key(revision)
        .map(|op| &op.call)
}

fn differ(world: &World, calendar: &str, set: &Call, says: &dyn std::fmt::Debug) {
    world.find(format!(
        "R2 calendar {calendar} was last set by {set:?}, and says {says:?}"
    ));
}

fn name(world: &World, ops: &[Op], calendar: &str, says: &pb::Calendar) {
    let set = last(
        ops,
        calendar,
        |call| matches!(call, Call::UpdateCalendar(it) if it.calendar_id == calendar),
    );
    if let Some(set @ Call::UpdateCalendar(it)) = set
        && it.calendar.as_ref().map(|it| &it.display_name) != Some(&says.display_name)
    {
        differ(world, calendar, set, says);
    }
}

async fn hours(world: &World, ops: &[Op], calendar: &str) -> Result<(), Status> {
    let request = pb::GetAvailabilityRequest {
        calendar_id: calendar.to_owned(),
    };
    let answer = AvailabilityServiceClient::new(connect())
        .get_availability(request)
        .await?
        .into_inner();
    let says = answer.availability.unwrap_or_default();
    let set = last(
        ops,
        calendar,
        |call| matches!(call, Call::SetAvailability(it) if it.calendar_id == calendar),
    );
    if let Some(set @ Call::SetAvailability(it)) = set
        && (it.time_zone != says.time_zone || it.rules != says.rules)
    {
        differ(world, calendar, set, &says);
    }
    let dates = ops.iter().filter_map(|op| match &op.call {
        Call::PutOverrides(it) if it.calendar_id == calendar => it.overrides.first(),
        _ => None,
    });
    for date in dates.map(|it| &it.date) {
        let set = last(ops, calendar, |call| match call {
            Call::PutOverrides(it) => {
                it.calendar_id == calendar && it.overrides.iter().any(|it| it.date == *date)
            }
            Call::DeleteOverrides(it) => it.calendar_id == calendar && it.dates.contains(date),
            _ => false,
        });
        let is_closed = says
            .overrides
            .iter()
            .any(|it| it.date == *date && it.windows.is_empty());
        if let Some(set) = set
            && is_closed != matches!(set, Call::PutOverrides(_))
        {
            differ(world, calendar, set, &says);
        }
    }
    Ok(())
}

async fn types(world: &World, ops: &[Op], calendar: &str) -> Result<(), Status> {
    let request = pb::ListAppointmentTypesRequest {
        calendar_id: calendar.to_owned(),
        ..Default::default()
    };
    let says = CalendarServiceClient::new(connect())
        .list_appointment_types(request)
        .await?
        .into_inner();
    for of_type in TYPES {
        let set = last(ops, calendar, |call| match call {
            Call::PutAppointmentType(it) => {
                it.calendar_id == calendar
                    && it
                        .appointment_type
                        .as_ref()
                        .is_some_and(|it| it.appointment_type_id == of_type)
            }
            Call::DeleteAppointmentType(it) => {
                it.calendar_id == calendar && it.appointment_type_id == of_type
            }
            _ => false,
        });
        let found = says
            .appointment_types
            .iter()
            .find(|it| it.appointment_type_id == of_type);
        let is_so = match set {
            Some(Call::PutAppointmentType(it)) => it
                .appointment_type
                .as_ref()
                .zip(found)
                .is_some_and(|(set, says)| is_alike(set, says)),
            Some(Call::DeleteAppointmentType(_)) => found.is_none(),
            _ => true,
        };
        if let Some(set) = set.filter(|_| !is_so) {
            differ(world, calendar, set, &found);
        }
    }
    Ok(())
}

fn is_alike(set: &pb::AppointmentType, says: &pb::AppointmentType) -> bool {
    let seconds = |it: &Option<Duration>| it.as_ref().map_or(0, |it| it.seconds);
    let all = |it: &pb::AppointmentType| {
        let times = [
            &it.duration,
            &it.slot_step,
            &it.buffer_before,
            &it.buffer_after,
        ]
        .map(seconds);
        let per_day = it.limits.as_ref().and_then(|it| it.per_day);
        (
            times,
            it.capacity,
            it.requires_approval,
            it.pending_blocks,
            per_day,
        )
    };
    all(set) == all(says)
}

async fn busy(world: &World, ops: &[Op], calendar: &str) -> Result<(), Status> {
    let sources: std::collections::BTreeSet<&str> = ops
        .iter()
        .filter_map(|op| match &op.call {
            Call::PutBusy(it) if it.calendar_id == calendar => Some(it.source.as_str()),
            _ => None,
        })
        .collect();
    for source in sources {
        let of_source = |call: &Call| matches!(call, Call::PutBusy(it) if it.calendar_id == calendar && it.source == source);
        let Some(set @ Call::PutBusy(it)) = last(ops, calendar, of_source) else {
            continue;
        };
        let request = pb::ListBusyRequest {
            calendar_id: calendar.to_owned(),
            source: source.to_owned(),
            start_time: it.start_time,
            end_time: it.end_time,
            page_size: 1_000,
            ..Default::default()
        };
        let says = AvailabilityServiceClient::new(connect())
            .list_busy(request)
            .await?
            .into_inner()
            .periods;
        if !says
            .iter()
            .filter_map(|it| it.period.as_ref())
            .eq(&it.periods)
        {
            differ(world, calendar, set, &says);
        }
    }
    Ok(())
}
