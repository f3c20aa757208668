//! The client that opens the calendars and checks everything after all calls: R8 holds, and a
//! restart changes nothing that answers show.

use std::rc::Rc;
use std::time::Duration;

use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use prost_types::Timestamp;
use tokio::time::sleep;
use tonic::Status;

use crate::clients::send;
use crate::read_back;
use crate::server::connect;
use crate::world::{Phase, World};
use bookd_kit::caller::{ALL_STATES, CALENDARS, Caller, TYPES};
use bookd_kit::calls::Outcome;
use bookd_kit::chance::Chance;
use bookd_kit::slot_probe::{ProbedSlots, probe};
use bookd_kit::watch_record::from_the_beginning;

const DAY: i64 = 86_400;
/// One listed slot in so many is probed, and one in so many of the other times.
const SAMPLE: usize = 7;

pub async fn opens_and_verifies(world: Rc<World>, chance: Chance) -> turmoil::Result {
    let mut caller = Caller::new("owner", chance);
    let mut channel = connect();
    for call in caller.opening() {
        let op = world.begin("owner", call.clone());
        let outcome = send(&mut channel, &call).await;
        if !matches!(outcome, Outcome::Done(_)) {
            world.find(format!("a calendar cannot be opened: {outcome:?}"));
        }
        world.note(op, outcome);
    }
    world.phase.set(Phase::Faults);
    while world.busy.get() > 0 || !world.is_steady_for_all() {
        sleep(Duration::from_millis(200)).await;
    }
    world.phase.set(Phase::Settled);
    let before = look(&world).await?;
    read_back::calendars_have_what_was_last_set(&world).await?;
    world.phase.set(Phase::Restarted);
    sleep(Duration::from_secs(2)).await;
    let after = look(&world).await?;
    if before != after {
        let only = |some: &[String], others: &[String]| -> Vec<String> {
            some.iter()
                .filter(|it| !others.contains(it))
                .cloned()
                .collect()
        };
        let (gone, new) = (only(&before, &after), only(&after, &before));
        world.find(format!(
            "R9 a restart changes what shows: gone is {gone:#?}, new is {new:#?}"
        ));
    }
    world.phase.set(Phase::Over);
    Ok(())
}

/// Everything that answers show; probes slots on the way.
async fn look(world: &World) -> Result<Vec<String>, Status> {
    let channel = connect();
    // A command makes the writer look at the clock, and record what has expired.
    let nobody = pb::ReleaseHoldRequest {
        appointment_id: uuid::Uuid::from_u128(7).to_string(),
        ..Default::default()
    };
    let _not_found = BookingServiceClient::new(channel.clone())
        .release_hold(nobody)
        .await;
    let mut shown = Vec::new();
    for calendar in CALENDARS {
        match booked(world, calendar).await {
            Ok(booked) => shown.extend(booked),
            // The calendar was never created.
            Err(status) if status.code() == tonic::Code::NotFound => continue,
            Err(status) => return Err(status),
        }
        match settings(calendar, world.now()).await {
            Ok(settings) => shown.extend(settings),
            // The calendar was deleted; its appointments are still listed.
            Err(status) if status.code() == tonic::Code::NotFound => continue,
            Err(status) => return Err(status),
        }
        for of_type in TYPES {
            shown.extend(slots(world, calendar, of_type).await?);
        }
    }
    shown.extend(appointments(world).await?);
    // What watches read from the store is judged beside what was sent live.
    let watched = from_the_beginning(&channel, world.last.get()).await;
    shown.extend(
        watched
            .iter()
            .flat_map(|it| &it.seen)
            .map(|change| format!("{change:?}")),
    );
    world.watched.borrow_mut().extend(watched);
    Ok(shown)
}

/// The upcoming appointments of a calendar, all its appointments, and its history.
async fn booked(world: &World, calendar: &str) -> Result<Vec<String>, Status> {
    let mut lists = ListServiceClient::new(connect());
    let upcoming = pb::ListAppointmentsRequest {
        calendar_id: calendar.into(),
        page_size: 1_000,
        ..Default::default()
    };
    let states = ALL_STATES.map(i32::from).to_vec();
    let ever = pb::ListAppointmentsRequest {
        states,
        start_time: Some(Timestamp::default()),
        ..upcoming.clone()
    };
    let mut shown = Vec::new();
    for request in [upcoming, ever] {
        let answer = lists.list_appointments(request).await?.into_inner();
        world.last.set(answer.revision);
        shown.extend(answer.appointments.iter().map(|it| format!("{it:?}")));
    }
    let request = pb::ListChangesRequest {
        calendar_id: calendar.into(),
        page_size: 1_000,
        ..Default::default()
    };
    let changes = lists.list_changes(request).await?.into_inner().changes;
    shown.extend(changes.iter().map(|it| format!("{it:?}")));
    Ok(shown)
}

/// Every appointment that an answer has named, and its history.
async fn appointments(world: &World) -> Result<Vec<String>, Status> {
    let mut lists = ListServiceClient::new(connect());
    let (mut shown, known) = (Vec::new(), world.known.borrow().clone());
    for appointment_id in known {
        let request = pb::GetAppointmentRequest {
            appointment_id: appointment_id.clone(),
        };
        let found = lists
            .get_appointment(request)
            .await?
            .into_inner()
            .appointment;
        let request = pb::ListChangesRequest {
            appointment_id,
            page_size: 1_000,
            ..Default::default()
        };
        let changes = lists.list_changes(request).await?.into_inner().changes;
        shown.push(format!("{found:?}: {changes:?}"));
    }
    Ok(shown)
}

/// The profile, types, hours and busy periods of a calendar.
async fn settings(calendar: &str, now: i64) -> Result<Vec<String>, Status> {
    let (channel, calendar_id) = (connect(), calendar.to_owned());
    let mut calendars = CalendarServiceClient::new(channel.clone());
    let mut availability = AvailabilityServiceClient::new(channel);
    let request = pb::GetCalendarRequest {
        calendar_id: calendar_id.clone(),
    };
    let found = match calendars.get_calendar(request).await {
        Ok(found) => found.into_inner().calendar,
        // The calendar was deleted and not created again; its appointments are still listed.
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(Vec::new()),
        Err(status) => return Err(status),
    };
    let request = pb::ListAppointmentTypesRequest {
        calendar_id: calendar_id.clone(),
        ..Default::default()
    };
    let types = calendars
        .list_appointment_types(request)
        .await?
        .into_inner()
        .appointment_types;
    let request = pb::GetAvailabilityRequest {
        calendar_id: calendar_id.clone(),
    };
    let hours = availability
        .get_availability(request)
        .await?
        .into_inner()
        .availability;
    let at = |days: i64| {
        Some(Timestamp {
            seconds: now + days * DAY,
            nanos: 0,
        })
    };
    let (start_time, end_time) = (at(-30), at(30));
    let request = pb::ListBusyRequest {
        calendar_id,
        start_time,
        end_time,
        page_size: 1_000,
        ..Default::default()
    };
    let busy = availability.list_busy(request).await?.into_inner().periods;
    let types = types.iter().map(|it| format!("{it:?}"));
    let busy = busy.iter().map(|it| format!("{it:?}"));
    Ok([format!("{found:?}"), format!("{hours:?}")]
        .into_iter()
        .chain(types)
        .chain(busy)
        .collect())
}

/// The slots of three days, of which some are probed, and some of the other quarters of an hour.
async fn slots(world: &World, calendar: &str, of_type: &str) -> Result<Vec<String>, Status> {
    let wanted = ProbedSlots {
        calendar,
        of_type,
        now: world.now(),
        days: 3,
    };
    let (slots, found) = match probe(&connect(), wanted, SAMPLE).await {
        Ok(probed) => probed,
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(Vec::new()),
        Err(status) => return Err(status),
    };
    for it in found {
        world.find(it);
    }
    Ok(slots
        .iter()
        .map(|slot| format!("{of_type} of {calendar}: {slot:?}"))
        .collect())
}
