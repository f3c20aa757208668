//! The judges of the proofs find every field of an appointment that is shown otherwise than the log
//! has it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bookd::api::Routes;
use bookd::api::stack::{self, GrpcStack};
use bookd::clock::ManualClock;
use bookd::proto::v1 as pb;
use bookd::store::memory::Memory;
use bookd_core::time::Instant;
use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, ReflectMessage, Value};
use prost_types::{Duration, Timestamp};

use bookd_kit::calls::Call;
use bookd_kit::fuzzed::{NOW, service_on};
use bookd_kit::log::{Log, PERSONAL};
use bookd_kit::readable::dynamic;

const CALENDAR: &str = "ada";

fn minutes(minutes: i64) -> Option<Duration> {
    Some(Duration {
        seconds: 60 * minutes,
        nanos: 0,
    })
}

fn calendar() -> [Call; 2] {
    let rule = pb::AvailabilityRule {
        start_time: "09:00".into(),
        end_time: "17:00".into(),
        ..Default::default()
    };
    let hours = pb::SetAvailabilityRequest {
        calendar_id: CALENDAR.to_owned(),
        time_zone: "Europe/Paris".to_owned(),
        rules: vec![rule],
        ..Default::default()
    };
    let appointment_type = pb::AppointmentType {
        appointment_type_id: "visit".to_owned(),
        buffer_before: minutes(5),
        buffer_after: minutes(10),
        ..Default::default()
    };
    let visit = pb::PutAppointmentTypeRequest {
        calendar_id: CALENDAR.to_owned(),
        appointment_type: Some(appointment_type),
        ..Default::default()
    };
    [
        Call::SetAvailability(hours),
        Call::PutAppointmentType(visit),
    ]
}

/// A request for a series with every field set and every rule overridden.
fn series() -> Call {
    let invitee = pb::Invitee {
        name: "Grace Hopper".into(),
        email: "grace@example.com".into(),
        ..Default::default()
    };
    Call::BookSeries(pb::BookSeriesRequest {
        calendar_ids: vec![CALENDAR.to_owned()],
        appointment_type_id: "visit".to_owned(),
        start_time: Some(Timestamp {
            seconds: NOW + 86_400,
            nanos: 0,
        }),
        invitee: Some(invitee),
        note: "a note".to_owned(),
        metadata: [("key".to_owned(), "value".to_owned())].into(),
        location: "a room".to_owned(),
        ignore_rules: (1..=5).collect(),
        frequency: pb::Frequency::Daily.into(),
        count: Some(2),
        ..Default::default()
    })
}

fn hold() -> Call {
    Call::HoldAppointment(pb::HoldAppointmentRequest {
        calendar_ids: vec![CALENDAR.to_owned()],
        appointment_type_id: "visit".to_owned(),
        start_time: Some(Timestamp {
            seconds: NOW + 3_600,
            nanos: 0,
        }),
        ..Default::default()
    })
}

async fn call(service: &GrpcStack<Routes>, call: Call) -> Vec<pb::Appointment> {
    call.send(service).await.unwrap().appointments
}

/// A cancelled occurrence and a hold, which together have every field of an appointment set.
async fn shown() -> (Log, Vec<pb::Appointment>) {
    let mut store = Memory::new(7);
    let clock = Arc::new(ManualClock::new(Instant::from_seconds(NOW)));
    let (_engine, routes) = service_on(store.clone(), clock).await;
    let service = stack::alone(routes);
    for it in calendar() {
        call(&service, it).await;
    }
    let occurrence = call(&service, series()).await.remove(0);
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: occurrence.appointment_id,
        reason: "a reason".to_owned(),
        ..Default::default()
    };
    let cancelled = call(&service, Call::CancelAppointment(cancel))
        .await
        .remove(0);
    let held = call(&service, hold()).await.remove(0);
    (Log::read(&mut store, &[]), vec![cancelled, held])
}

/// Values of a field that differ from this one.
fn others(value: &Value, field: &FieldDescriptor) -> Vec<Value> {
    match value {
        Value::Bool(it) => vec![Value::Bool(!it)],
        Value::I32(it) => vec![Value::I32(it + 1)],
        Value::I64(it) => vec![Value::I64(it + 1)],
        Value::EnumNumber(it) => vec![Value::EnumNumber(it + 1)],
        Value::String(it) => vec![Value::String(format!("{it}x"))],
        Value::Message(it) => tampered(it)
            .into_iter()
            .map(|(_, it)| Value::Message(it))
            .collect(),
        Value::List(items) => {
            let more = items
                .iter()
                .cloned()
                .chain([Value::default_value(&field.kind())]);
            let changed = |at: usize| {
                let with = move |other: Value| {
                    let mut items = items.clone();
                    items[at] = other;
                    Value::List(items)
                };
                others(&items[at], field).into_iter().map(with)
            };
            [Value::List(more.collect())]
                .into_iter()
                .chain((0..items.len()).flat_map(changed))
                .collect()
        }
        Value::Map(entries) => {
            let mut more = entries.clone();
            more.insert(
                MapKey::String("other".to_owned()),
                Value::String(String::new()),
            );
            vec![Value::Map(more)]
        }
        other => panic!(
            "no field of an appointment is like {} so far: {other:?}",
            field.full_name()
        ),
    }
}

/// For every field of a message, the message with that field cleared or changed.
fn tampered(message: &DynamicMessage) -> Vec<(FieldDescriptor, DynamicMessage)> {
    let mut all = Vec::new();
    for field in message.descriptor().fields() {
        for other in others(&message.get_field(&field), &field) {
            let mut changed = message.clone();
            changed.set_field(&field, other);
            all.push((field.clone(), changed));
        }
        if message.has_field(&field) {
            let mut cleared = message.clone();
            cleared.clear_field(&field);
            all.push((field, cleared));
        }
    }
    all
}

#[tokio::test]
async fn whichever_field_of_an_appointment_is_shown_wrong_is_noticed_but_for_those_that_are_personal()
 {
    let (log, shown) = shown().await;
    let (mut noticed, mut unnoticed, mut bare) =
        (BTreeSet::new(), BTreeSet::new(), None::<BTreeSet<String>>);
    for it in &shown {
        let (_, image) = log.latest(&it.appointment_id, it.revision).unwrap();
        assert!(log.is_as(image, it, false), "{it:?} was {image:?}");
        let message = dynamic(it);
        let descriptor = message.descriptor();
        let absent = descriptor
            .fields()
            .filter(|field| !message.has_field(field));
        let absent: BTreeSet<String> = absent.map(|field| field.name().to_owned()).collect();
        bare = Some(bare.map_or_else(
            || absent.clone(),
            |bare| bare.intersection(&absent).cloned().collect(),
        ));
        for (field, wrong) in tampered(&message) {
            let wrong: pb::Appointment = wrong.transcode_to().unwrap();
            assert_ne!(wrong, *it, "{}", field.name());
            for may_have_run_out in [false, true] {
                let is_noticed = !log.is_as(image, &wrong, may_have_run_out);
                if is_noticed {
                    &mut noticed
                } else {
                    &mut unnoticed
                }
                .insert(field.name().to_owned());
            }
        }
    }
    assert_eq!(
        bare,
        Some(BTreeSet::new()),
        "each field is set in one of the appointments"
    );
    assert_eq!(unnoticed, PERSONAL.map(str::to_owned).into());
    assert!(unnoticed.is_disjoint(&noticed), "{noticed:?}");
    let all: BTreeSet<String> = dynamic(&shown[0])
        .descriptor()
        .fields()
        .map(|it| it.name().to_owned())
        .collect();
    assert_eq!(
        noticed.union(&unnoticed).cloned().collect::<BTreeSet<_>>(),
        all
    );
}
