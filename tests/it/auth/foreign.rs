//! Every field that names a calendar, an appointment or a series, filled with one of another tenant:
//! the exact codes, which are the same whether there is such a thing or not.
//!
//! The fields are read from the descriptors, so that no new one is left out.

use std::collections::BTreeSet;

use bookd::auth::Access;
use bookd::proto::FILE_DESCRIPTOR_SET;
use bookd::proto::v1 as pb;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;

use crate::auth_guarded::{grants_on, token};
use crate::auth_matrix::{call, guarded};
use crate::harness::reason;

/// A method with a valid request. `$calendar`, `$appointment` and `$prefix` stand for things of
/// another tenant, `$ours` for our own appointment.
const CALLS: &[(&str, &str)] = &[
    ("CreateCalendar", r#"{"calendar_id": "$calendar"}"#),
    (
        "CreateCalendar",
        r#"{"calendar": {"calendar_id": "$calendar"}}"#,
    ),
    ("GetCalendar", r#"{"calendar_id": "$calendar"}"#),
    (
        "UpdateCalendar",
        r#"{"calendar_id": "$calendar", "calendar": {"display_name": "x"}}"#,
    ),
    (
        "UpdateCalendar",
        r#"{"calendar": {"calendar_id": "$calendar", "display_name": "x"}}"#,
    ),
    ("DeleteCalendar", r#"{"calendar_id": "$calendar"}"#),
    (
        "DeleteCalendar",
        r#"{"calendar_id": "$calendar", "force": true}"#,
    ),
    ("ListCalendars", r#"{"id_prefix": "$prefix"}"#),
    (
        "PutAppointmentType",
        r#"{"calendar_id": "$calendar", "appointment_type": {"appointment_type_id": "x", "duration": "3600s"}}"#,
    ),
    (
        "GetAppointmentType",
        r#"{"calendar_id": "$calendar", "appointment_type_id": "default"}"#,
    ),
    (
        "DeleteAppointmentType",
        r#"{"calendar_id": "$calendar", "appointment_type_id": "x"}"#,
    ),
    ("ListAppointmentTypes", r#"{"calendar_id": "$calendar"}"#),
    ("SetAvailability", r#"{"calendar_id": "$calendar"}"#),
    ("GetAvailability", r#"{"calendar_id": "$calendar"}"#),
    (
        "PutOverrides",
        r#"{"calendar_id": "$calendar", "overrides": [{"date": "2027-01-05"}]}"#,
    ),
    (
        "DeleteOverrides",
        r#"{"calendar_id": "$calendar", "dates": ["2027-01-05"]}"#,
    ),
    (
        "PutBusy",
        r#"{"calendar_id": "$calendar", "source": "x", "start_time": "2027-01-05T00:00:00Z", "end_time": "2027-01-06T00:00:00Z"}"#,
    ),
    (
        "ListBusy",
        r#"{"calendar_id": "$calendar", "start_time": "2027-01-05T00:00:00Z", "end_time": "2027-01-06T00:00:00Z"}"#,
    ),
    (
        "ListSlots",
        r#"{"calendar_id": "$calendar", "date": "2027-01-05"}"#,
    ),
    (
        "ListSlots",
        r#"{"calendar_ids": ["acme/ada", "$calendar"], "assignment": "ASSIGNMENT_ANY", "date": "2027-01-05"}"#,
    ),
    (
        "ListSlots",
        r#"{"calendar_id": "acme/ada", "date": "2027-01-05", "ignore_appointment_id": "$appointment"}"#,
    ),
    (
        "ExplainSlot",
        r#"{"calendar_id": "$calendar", "start_time": "2027-01-05T09:00:00Z"}"#,
    ),
    (
        "ExplainSlot",
        r#"{"calendar_ids": ["$calendar", "acme/ada"], "assignment": "ASSIGNMENT_ALL", "start_time": "2027-01-05T09:00:00Z"}"#,
    ),
    (
        "ExplainSlot",
        r#"{"calendar_id": "acme/ada", "start_time": "2027-01-05T09:00:00Z", "ignore_appointment_id": "$appointment"}"#,
    ),
    (
        "QueryFreeBusy",
        r#"{"calendar_ids": ["acme/ada", "$calendar"], "start_time": "2027-01-05T00:00:00Z", "end_time": "2027-01-06T00:00:00Z"}"#,
    ),
    (
        "WatchSlots",
        r#"{"calendar_id": "$calendar", "date": "2027-01-05"}"#,
    ),
    (
        "WatchSlots",
        r#"{"calendar_ids": ["acme/ada", "$calendar"], "assignment": "ASSIGNMENT_ANY", "date": "2027-01-05"}"#,
    ),
    (
        "BookAppointment",
        r#"{"calendar_id": "$calendar", "local_start": "2027-01-05T09:00", "invitee": {"name": "Eve"}}"#,
    ),
    (
        "BookAppointment",
        r#"{"calendar_ids": ["acme/ada", "$calendar"], "assignment": "ASSIGNMENT_ANY", "local_start": "2027-01-05T09:00", "invitee": {"name": "Eve"}}"#,
    ),
    (
        "BookAppointment",
        r#"{"hold_id": "$appointment", "invitee": {"name": "Eve"}}"#,
    ),
    (
        "HoldAppointment",
        r#"{"calendar_id": "$calendar", "local_start": "2027-01-05T09:00"}"#,
    ),
    (
        "HoldAppointment",
        r#"{"calendar_ids": ["acme/ada", "$calendar"], "assignment": "ASSIGNMENT_ALL", "local_start": "2027-01-05T09:00"}"#,
    ),
    (
        "BatchBook",
        r#"{"requests": [{"calendar_id": "acme/ada", "local_start": "2027-01-05T09:00", "invitee": {"name": "Eve"}}, {"calendar_id": "$calendar", "local_start": "2027-01-05T09:00", "invitee": {"name": "Eve"}}]}"#,
    ),
    (
        "BatchBook",
        r#"{"requests": [{"calendar_ids": ["$calendar"], "assignment": "ASSIGNMENT_ALL", "local_start": "2027-01-05T09:00", "invitee": {"name": "Eve"}}]}"#,
    ),
    (
        "BatchBook",
        r#"{"requests": [{"hold_id": "$appointment", "invitee": {"name": "Eve"}}]}"#,
    ),
    (
        "BookSeries",
        r#"{"calendar_id": "$calendar", "local_start": "2027-01-05T09:00", "invitee": {"name": "Eve"}, "frequency": "FREQUENCY_DAILY", "count": 2}"#,
    ),
    (
        "BookSeries",
        r#"{"calendar_ids": ["acme/ada", "$calendar"], "assignment": "ASSIGNMENT_ALL", "local_start": "2027-01-05T09:00", "invitee": {"name": "Eve"}, "frequency": "FREQUENCY_DAILY", "count": 2}"#,
    ),
    (
        "RescheduleAppointment",
        r#"{"appointment_id": "$appointment", "local_start": "2027-01-06T09:00"}"#,
    ),
    (
        "RescheduleAppointment",
        r#"{"appointment_id": "$ours", "calendar_ids": ["$calendar"], "assignment": "ASSIGNMENT_ALL"}"#,
    ),
    ("ExtendHold", r#"{"appointment_id": "$appointment"}"#),
    ("ReleaseHold", r#"{"appointment_id": "$appointment"}"#),
    (
        "ConfirmAppointment",
        r#"{"appointment_id": "$appointment", "invitee": {"name": "Eve"}}"#,
    ),
    (
        "ApproveAppointment",
        r#"{"appointment_id": "$appointment"}"#,
    ),
    (
        "DeclineAppointment",
        r#"{"appointment_id": "$appointment"}"#,
    ),
    ("CancelAppointment", r#"{"appointment_id": "$appointment"}"#),
    (
        "CancelAppointment",
        r#"{"appointment_id": "$appointment", "etag": "0123456789abcdef"}"#,
    ),
    (
        "UpdateAppointment",
        r#"{"appointment_id": "$appointment", "note": "x"}"#,
    ),
    ("MarkNoShow", r#"{"appointment_id": "$appointment"}"#),
    (
        "CompleteAppointment",
        r#"{"appointment_id": "$appointment"}"#,
    ),
    (
        "CancelSeries",
        r#"{"appointment_id": "$appointment", "scope": "SERIES_SCOPE_ALL"}"#,
    ),
    (
        "CancelSeries",
        r#"{"appointment_id": "$appointment", "scope": "SERIES_SCOPE_ONE"}"#,
    ),
    (
        "CancelSeries",
        r#"{"series_id": "$appointment", "scope": "SERIES_SCOPE_ALL"}"#,
    ),
    ("RedactInvitee", r#"{"appointment_id": "$appointment"}"#),
    ("GetAppointment", r#"{"appointment_id": "$appointment"}"#),
    ("ListAppointments", r#"{"calendar_id": "$calendar"}"#),
    (
        "ListAppointments",
        r#"{"calendar_id": "$calendar", "invitee_email": "eve@example.com"}"#,
    ),
    ("ListAppointments", r#"{"series_id": "$appointment"}"#),
    ("ListChanges", r#"{"calendar_id": "$calendar"}"#),
    ("ListChanges", r#"{"appointment_id": "$appointment"}"#),
    ("ListZoneDrift", r#"{"calendar_id": "$calendar"}"#),
    ("ListZoneDrift", "{}"),
    ("WatchAppointments", r#"{"calendar_id": "$calendar"}"#),
    ("WatchAppointments", r#"{"id_prefix": "$prefix"}"#),
];

/// The fields that name something of a tenant.
const NAMING: [&str; 7] = [
    "calendar_id",
    "calendar_ids",
    "appointment_id",
    "hold_id",
    "series_id",
    "ignore_appointment_id",
    "id_prefix",
];
/// Ids that a client gives to a new appointment. That a UUID which somebody knows is in use is no
/// secret.
const NEW_IDS: [(&str, &str); 3] = [
    ("BookAppointment", "appointment_id"),
    ("HoldAppointment", "appointment_id"),
    ("BatchBook", "requests.appointment_id"),
];

fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    let ours = pool.services().filter(|it| it.package_name() == "bookd.v1");
    ours.flat_map(|it| it.methods().collect::<Vec<_>>())
        .collect()
}

/// The naming fields of a message, those of inner messages with their path.
fn naming(message: &MessageDescriptor, before: &str, found: &mut BTreeSet<String>) {
    for field in message.fields() {
        let path = format!("{before}{}", field.name());
        if NAMING.contains(&field.name()) {
            found.insert(path);
        } else if let Kind::Message(inner) = field.kind()
            && inner.package_name() == "bookd.v1"
        {
            naming(&inner, &format!("{path}."), found);
        }
    }
}

/// The paths of the fields of a request that have a thing of another tenant.
fn foreign(request: &Value, path: &str, found: &mut BTreeSet<String>) {
    match request {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                foreign(value, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|it| foreign(it, path, found)),
        Value::String(text) if text.starts_with('$') && text != "$ours" => {
            found.insert(path.to_owned());
        }
        _ => {}
    }
}

#[test]
fn every_field_that_names_something_is_tried() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    for method in methods(&pool) {
        let mut wanted = BTreeSet::new();
        naming(&method.input(), "", &mut wanted);
        wanted.retain(|path| !NEW_IDS.contains(&(method.name(), path)));
        let mut tried = BTreeSet::new();
        for (_, request) in CALLS.iter().filter(|(name, _)| *name == method.name()) {
            foreign(&serde_json::from_str(request).unwrap(), "", &mut tried);
        }
        assert_eq!(tried, wanted, "{}", method.name());
    }
}

/// Sends a request of this JSON, and answers its code with the reason of an error.
async fn send(
    routes: &bookd::api::Routes,
    method: &MethodDescriptor,
    who: &str,
    request: &str,
) -> (Code, String, String, DynamicMessage) {
    let mut json = serde_json::Deserializer::from_str(request);
    let message = DynamicMessage::deserialize(method.input(), &mut json).unwrap();
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let bearer = format!("Bearer {}", token(who));
    let (code, status, answer) =
        call(routes, &path, &[bearer.as_str()], &message.encode_to_vec()).await;
    let answer = DynamicMessage::decode(method.output(), answer).unwrap();
    match status {
        Some(status) => (code, reason(&status), status.message().to_owned(), answer),
        None => (code, String::new(), String::new(), answer),
    }
}

/// Opens a calendar of a tenant and books a series on it. Answers the ids of its first appointment
/// and of the series.
async fn begin(
    routes: &bookd::api::Routes,
    of: &impl Fn(&str) -> MethodDescriptor,
    who: &str,
) -> (String, String) {
    let open = format!(
        r#"{{"calendar_id": "{who}/ada", "rules": [{{"start_time": "09:00", "end_time": "17:00"}}]}}"#
    );
    let opened = send(routes, &of("SetAvailability"), who, &open).await;
    assert_eq!(opened.0, Code::Ok, "{opened:?}");
    let series = format!(
        r#"{{"calendar_id": "{who}/ada", "local_start": "2027-01-05T10:00", "invitee": {{"name": "Eve", "email": "eve@example.com"}}, "frequency": "FREQUENCY_DAILY", "count": 3}}"#
    );
    let (code, why, _, answer) = send(routes, &of("BookSeries"), who, &series).await;
    assert_eq!(code, Code::Ok, "{why}");
    let answer: pb::BookSeriesResponse = answer.transcode_to().unwrap();
    let first = answer.occurrences[0].appointment.clone().unwrap();
    (first.appointment_id, answer.series_id)
}

#[tokio::test(start_paused = true)]
async fn things_of_another_tenant_are_refused_as_things_that_there_are_not() {
    let folder = TempDir::new().unwrap();
    let admin: &[&str] = &["admin"];
    let callers = [("acme", admin, "acme/"), ("beta", admin, "beta/")];
    let (_engine, routes) = guarded(Access::granted(grants_on(folder.path(), &callers)));
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let of = |name: &str| {
        methods(&pool)
            .into_iter()
            .find(|it| it.name() == name)
            .unwrap()
    };
    let booked = [
        begin(&routes, &of, "acme").await,
        begin(&routes, &of, "beta").await,
    ];
    let [(ours, _), (theirs, series)] = &booked;
    let nothing = "0190163d-8694-739b-aea5-966c26f8ad91";
    for (name, request) in CALLS {
        let theirs = if request.contains(r#""series_id""#) {
            series
        } else {
            theirs
        };
        let filled = |calendar: &str, appointment: &str, prefix: &str| {
            request
                .replace("$calendar", calendar)
                .replace("$appointment", appointment)
                .replace("$prefix", prefix)
                .replace("$ours", ours)
        };
        let there = filled("beta/ada", theirs, "beta/");
        let not_there = filled("beta/nobody", nothing, "gamma/");
        let method = of(name);
        let (code, why, message, answer) = send(&routes, &method, "acme", &there).await;
        let (code_2, why_2, message_2, answer_2) = send(&routes, &method, "acme", &not_there).await;
        assert_eq!((code, &why), (code_2, &why_2), "{name} {request}");
        let same = |text: &str| {
            let text = text.replace("beta/nobody", "beta/ada");
            text.replace(nothing, theirs).replace("gamma/", "beta/")
        };
        assert_eq!(message, same(&message_2), "{name} {request}");
        let expected = if request.contains("$appointment") {
            match *name {
                // An empty list tells of nothing.
                "ListAppointments" => (Code::Ok, ""),
                _ => (Code::NotFound, "APPOINTMENT_NOT_FOUND"),
            }
        } else {
            (Code::PermissionDenied, "PERMISSION_DENIED")
        };
        assert_eq!(
            (code, why.as_str()),
            expected,
            "{name} {request}: {message}"
        );
        if code == Code::Ok {
            assert_eq!(answer, answer_2);
            assert!(!answer.has_field_by_name("appointments"), "{answer}");
        }
        // What is refused changes nothing, and whose it is may do it or is told more.
        if !request.contains("acme/") && !request.contains("$ours") && *name != "ListZoneDrift" {
            let (_, why, ..) = send(&routes, &method, "beta", &validated(&there, &method)).await;
            assert!(
                why != "PERMISSION_DENIED" && why != "APPOINTMENT_NOT_FOUND",
                "{name} {request}: {why}"
            );
        }
    }
}

/// The same request as a trial, where the method has trials.
fn validated(request: &str, method: &MethodDescriptor) -> String {
    if method.input().get_field_by_name("validate_only").is_none() {
        return request.to_owned();
    }
    let mut json: Value = serde_json::from_str(request).unwrap();
    json["validate_only"] = Value::Bool(true);
    json.to_string()
}
