//! Callers who may read and book for one customer alone, whose address a claim of their token has.

use bookd::auth::{Access, Grant};
use bookd::proto::v1 as pb;
use bookd::proto::v1::access_service_client::AccessServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use bookd::proto::v1::watch_appointments_response::Message;
use serde_json::json;
use tempfile::TempDir;
use tonic::Status;

use crate::auth_guarded::{Guarded, connected_with, open};
use crate::auth_jwt::{ISSUER, grants_of, token_of};
use crate::harness::{Bookd, reason};
use crate::words::{booking, holding};

fn grant(role: &str, scopes: &[&str], own: Option<&str>) -> Grant {
    Grant {
        claim: Some("role".to_owned()),
        value: Some(role.to_owned()),
        scopes: scopes.iter().map(|it| (*it).to_owned()).collect(),
        own: own.map(str::to_owned),
        ..Grant::default()
    }
}

/// A server with a desk and a customer, Eve, and an appointment of each of Eve and Grace.
struct World {
    bookd: Bookd,
    desk: Guarded,
    eve: Guarded,
    of_grace: pb::Appointment,
    of_eve: pb::Appointment,
}

async fn book(
    caller: &Guarded,
    request: pb::BookAppointmentRequest,
) -> Result<pb::Appointment, Status> {
    let answer = BookingServiceClient::new(caller.clone())
        .book_appointment(request)
        .await?;
    Ok(answer.into_inner().appointment.unwrap())
}

/// A booking for somebody with this name and address.
fn for_person(name: &str, email: &str, local_start: &str) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        invitee: Some(pb::Invitee {
            name: name.to_owned(),
            email: email.to_owned(),
            ..Default::default()
        }),
        ..booking("ada", local_start)
    }
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let grants = vec![
            grant("desk", &["admin"], None),
            grant("customer", &["slots", "read", "book"], Some("email")),
        ];
        let access = Access::granted(grants_of(folder.path(), grants));
        let bookd = Bookd::start_guarded(access).await;
        let desk = token_of("desk", &[("role", json!("desk"))]);
        let desk = connected_with(&bookd, &desk).await;
        let eve = token_of(
            "eve",
            &[
                ("role", json!("customer")),
                ("email", json!("Eve@Example.com")),
                ("email_verified", json!(true)),
            ],
        );
        let eve = connected_with(&bookd, &eve).await;
        open(&desk, "ada", "").await.unwrap();
        let of_grace = book(&desk, booking("ada", "2027-01-05T09:00")).await;
        let of_eve = book(&eve, for_person("Eve", "", "2027-01-05T10:00")).await;
        Self {
            bookd,
            desk,
            eve,
            of_grace: of_grace.unwrap(),
            of_eve: of_eve.unwrap(),
        }
    }

    async fn stop(self) {
        drop((self.desk, self.eve));
        self.bookd.stop().await;
    }
}

#[tokio::test]
async fn a_customer_books_for_itself_alone() {
    let world = World::new().await;
    let invitee = world.of_eve.invitee.clone().unwrap();
    assert_eq!(
        (invitee.name.as_str(), invitee.email.as_str()),
        ("Eve", "eve@example.com")
    );
    let written = for_person("Eve", "EVE@example.COM", "2027-01-05T11:00");
    book(&world.eve, written).await.unwrap();
    let for_another = for_person("Grace", "grace@example.com", "2027-01-05T12:00");
    let refused = book(&world.eve, for_another.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    let early = pb::BookAppointmentRequest {
        ignore_rules: vec![pb::IgnorableRule::OutsideAvailability.into()],
        ..for_person("Eve", "", "2027-01-05T06:00")
    };
    let refused = book(&world.eve, early).await.unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");

    let mut bookings = BookingServiceClient::new(world.eve.clone());
    let batch = pb::BatchBookRequest {
        requests: vec![for_person("Eve", "", "2027-01-05T13:00"), for_another],
        ..Default::default()
    };
    let refused = bookings.batch_book(batch).await.unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    world.stop().await;
}

#[tokio::test]
async fn the_name_of_a_customer_is_nowhere_in_the_file_and_request_ids_are_its_own() {
    let world = World::new().await;
    let customer = |subject: &str, email: &str| {
        let claims = [
            ("role", json!("customer")),
            ("email", json!(email)),
            ("email_verified", json!(true)),
        ];
        token_of(subject, &claims)
    };
    let named = customer("subject-4711", "mary@example.com");
    let (mary, ann) = (
        connected_with(&world.bookd, &named).await,
        connected_with(&world.bookd, &customer("ann", "ann@example.com")).await,
    );
    let request = |local_start: &str| pb::BookAppointmentRequest {
        request_id: "once".to_owned(),
        ..for_person("M", "", local_start)
    };
    let first = book(&mary, request("2027-01-05T11:00")).await.unwrap();
    let again = book(&mary, request("2027-01-05T11:00")).await.unwrap();
    assert_eq!(first.appointment_id, again.appointment_id);
    book(&ann, request("2027-01-05T12:00")).await.unwrap();
    let changes = ListServiceClient::new(world.desk.clone())
        .list_changes(pb::ListChangesRequest {
            appointment_id: first.appointment_id,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
        .changes;
    assert_eq!(changes[0].caller, format!("{ISSUER} (a customer)"));
    drop((mary, ann, world.desk, world.eve));
    let folder = world.bookd.stop_and_keep().await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let is_there = bytes.windows(12).any(|it| it == b"subject-4711");
        assert!(!is_there);
    }
}

#[tokio::test]
async fn a_hold_is_the_customers_from_the_beginning_and_another_ones_is_not_there() {
    let world = World::new().await;
    let mut bookings = BookingServiceClient::new(world.eve.clone());
    let hold = bookings
        .hold_appointment(holding("ada", "2027-01-05T14:00"))
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    assert_eq!(hold.invitee.unwrap().email, "eve@example.com");
    let nameless = pb::ConfirmAppointmentRequest {
        appointment_id: hold.appointment_id.clone(),
        ..Default::default()
    };
    let refused = bookings.confirm_appointment(nameless).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    let confirm = |name: &str, email: &str| pb::ConfirmAppointmentRequest {
        appointment_id: hold.appointment_id.clone(),
        invitee: for_person(name, email, "").invitee,
        ..Default::default()
    };
    let refused = bookings
        .confirm_appointment(confirm("Grace", "grace@example.com"))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    bookings
        .confirm_appointment(confirm("Eve", ""))
        .await
        .unwrap();
    let of_desk = BookingServiceClient::new(world.desk.clone())
        .hold_appointment(holding("ada", "2027-01-05T15:00"))
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    let stolen = pb::BookAppointmentRequest {
        hold_id: of_desk.appointment_id,
        invitee: for_person("Eve", "", "").invitee,
        ..Default::default()
    };
    let refused = book(&world.eve, stolen).await.unwrap_err();
    assert_eq!(reason(&refused), "APPOINTMENT_NOT_FOUND");
    world.stop().await;
}

#[tokio::test]
async fn a_customer_changes_its_own_appointments_alone() {
    let world = World::new().await;
    let mut bookings = BookingServiceClient::new(world.eve.clone());
    let cancel = |it: &pb::Appointment| pb::CancelAppointmentRequest {
        appointment_id: it.appointment_id.clone(),
        ..Default::default()
    };
    let refused = bookings
        .cancel_appointment(cancel(&world.of_grace))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "APPOINTMENT_NOT_FOUND");
    let give_away = pb::UpdateAppointmentRequest {
        appointment_id: world.of_eve.appointment_id.clone(),
        invitee: for_person("Grace", "grace@example.com", "").invitee,
        ..Default::default()
    };
    let refused = bookings.update_appointment(give_away).await.unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    let moved = pb::RescheduleAppointmentRequest {
        appointment_id: world.of_eve.appointment_id.clone(),
        local_start: "2027-01-05T11:00".to_owned(),
        ..Default::default()
    };
    bookings.reschedule_appointment(moved).await.unwrap();
    let cancelled = bookings
        .cancel_appointment(cancel(&world.of_eve))
        .await
        .unwrap();
    let cancelled = cancelled.into_inner().appointment.unwrap();
    assert_eq!(cancelled.invitee, world.of_eve.invitee);
    world.stop().await;
}

#[tokio::test]
async fn a_customer_sees_its_own_appointments_alone() {
    let world = World::new().await;
    let mut lists = ListServiceClient::new(world.eve.clone());
    let get = |it: &pb::Appointment| pb::GetAppointmentRequest {
        appointment_id: it.appointment_id.clone(),
    };
    lists.get_appointment(get(&world.of_eve)).await.unwrap();
    let missing = lists.get_appointment(get(&world.of_grace)).await;
    assert_eq!(reason(&missing.unwrap_err()), "APPOINTMENT_NOT_FOUND");
    let of_eve = std::slice::from_ref(&world.of_eve);
    let code = world.of_grace.confirmation_code.clone();
    for (calendar_id, invitee_email, confirmation_code, expected) in [
        ("", "", "", of_eve),
        ("ada", "", "", of_eve),
        ("", "eve@example.com", "", of_eve),
        ("", "", code.as_str(), &[]),
    ] {
        let request = pb::ListAppointmentsRequest {
            calendar_id: calendar_id.to_owned(),
            invitee_email: invitee_email.to_owned(),
            confirmation_code: confirmation_code.to_owned(),
            ..Default::default()
        };
        let page = lists.list_appointments(request).await.unwrap().into_inner();
        assert_eq!(page.appointments, expected);
    }
    let of_grace = pb::ListAppointmentsRequest {
        invitee_email: "grace@example.com".to_owned(),
        ..Default::default()
    };
    let refused = lists.list_appointments(of_grace).await.unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    let of_calendar = pb::ListChangesRequest {
        calendar_id: "ada".to_owned(),
        ..Default::default()
    };
    let refused = lists.list_changes(of_calendar).await.unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    for (of, is_seen) in [(&world.of_eve, true), (&world.of_grace, false)] {
        let request = pb::ListChangesRequest {
            appointment_id: of.appointment_id.clone(),
            ..Default::default()
        };
        assert_eq!(lists.list_changes(request).await.is_ok(), is_seen);
    }
    let drift = pb::ListZoneDriftRequest {
        calendar_id: "ada".to_owned(),
        ..Default::default()
    };
    let refused = lists.list_zone_drift(drift).await.unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    let explained = pb::ExplainSlotRequest {
        calendar_id: "ada".to_owned(),
        local_start: "2027-01-05T09:00".to_owned(),
        ..Default::default()
    };
    let explained = SlotsServiceClient::new(world.eve.clone())
        .explain_slot(explained)
        .await
        .unwrap()
        .into_inner();
    assert!(!explained.violations.is_empty());
    assert!(
        explained
            .violations
            .iter()
            .all(|it| it.appointment_ids.is_empty())
    );
    world.stop().await;
}

#[tokio::test]
async fn a_customer_watches_its_own_appointments_alone() {
    let world = World::new().await;
    let request = pb::WatchAppointmentsRequest {
        start_revision: 1,
        ..Default::default()
    };
    let mut stream = ListServiceClient::new(world.eve.clone())
        .watch_appointments(request)
        .await
        .unwrap()
        .into_inner();
    let mut shown = Vec::new();
    while let Some(Message::Change(change)) = stream.message().await.unwrap().unwrap().message {
        shown.extend(change.events);
    }
    let ids: Vec<_> = shown.iter().map(|it| it.appointment_id.as_str()).collect();
    assert_eq!(ids, [world.of_eve.appointment_id.as_str()]);
    // What comes while it watches, as well.
    book(&world.desk, booking("ada", "2027-01-05T12:00"))
        .await
        .unwrap();
    let own = book(&world.eve, for_person("Eve", "", "2027-01-05T13:00"));
    let own = own.await.unwrap();
    let next = loop {
        if let Some(Message::Change(change)) = stream.message().await.unwrap().unwrap().message {
            break change;
        }
    };
    assert_eq!(next.events[0].appointment_id, own.appointment_id);
    drop(stream);
    world.stop().await;
}

#[tokio::test]
async fn an_address_that_is_not_verified_is_nobodys() {
    let world = World::new().await;
    for (verified, customer) in [
        (json!(false), None),
        (json!("true"), None),
        (json!(null), None),
        (json!(true), Some("mallory@example.com")),
    ] {
        let claims = [
            ("role", json!("customer")),
            ("email", json!("Mallory@example.com")),
            ("email_verified", verified),
        ];
        let token = token_of("mallory", &claims);
        let mallory = connected_with(&world.bookd, &token).await;
        let who = AccessServiceClient::new(mallory)
            .get_principal(pb::GetPrincipalRequest {})
            .await
            .unwrap();
        let who = who.into_inner().principal.unwrap();
        let named = who.grants.first().map(|it| it.customer.as_str());
        assert_eq!(named, customer);
        assert_eq!(who.scopes.is_empty(), customer.is_none());
    }
    // A mailbox that is looked up as `sam@example.com`, which may be another's; and no address.
    for address in ["\u{17f}am@example.com", "eve", "eve@ example.com", ""] {
        let claims = [
            ("role", json!("customer")),
            ("email", json!(address)),
            ("email_verified", json!(true)),
        ];
        let other = connected_with(&world.bookd, &token_of("other", &claims)).await;
        let refused = book(&other, for_person("Eve", "", "2027-01-05T13:00")).await;
        assert_eq!(reason(&refused.unwrap_err()), "PERMISSION_DENIED");
    }
    world.stop().await;
}
