//! Holds and seats under many concurrent clients, and the limits of a hold.
//!
//! In any order of arrival one client gets a time, and a hold ends exactly once.

use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{Bookd, invalid_fields, minutes, reason};
use crate::words::{appointment_type, booking, grace, holding, refused};

#[tokio::test]
async fn of_two_holds_and_a_booking_for_one_time_exactly_one_comes_through_each_time() {
    let bookd = Bookd::with_ada().await;
    for round in 0..16 {
        let start = format!("2027-03-{:02}T{:02}:00", 2 + round / 8, 9 + round % 8);
        let mut clients = tokio::task::JoinSet::new();
        for client_index in 0..3 {
            let (mut client, start) = (bookd.booking(), start.clone());
            clients.spawn(async move {
                let answer = match client_index {
                    0 => client
                        .book_appointment(booking("ada", &start))
                        .await
                        .map(|it| it.into_inner().appointment),
                    _ => client
                        .hold_appointment(holding("ada", &start))
                        .await
                        .map(|it| it.into_inner().appointment),
                };
                (client_index, answer.map(Option::unwrap))
            });
        }
        let answers = clients.join_all().await;
        let won: Vec<_> = answers
            .iter()
            .filter_map(|(_, answer)| answer.as_ref().ok())
            .collect();
        assert_eq!(won.len(), 1, "{start}");
        let by = if won[0].state() == pb::AppointmentState::Held {
            "BUSY_HOLD"
        } else {
            "BUSY_BOOKING"
        };
        for (_, lost) in answers.iter().filter(|(_, answer)| answer.is_err()) {
            let lost = refused(lost.clone());
            assert!(lost.is(Code::Aborted, "SLOT_TAKEN"), "{lost:?}");
            assert_eq!(lost.codes(), [by]);
        }
    }
    bookd.stop().await;
}

/// Confirms, releases or extends a hold, by the number of the client modulo 3.
async fn settle(
    mut client: BookingServiceClient<Channel>,
    client_index: usize,
    appointment_id: String,
) -> Result<Option<pb::Appointment>, Status> {
    match client_index % 3 {
        0 => {
            let invitee = grace();
            let request = pb::ConfirmAppointmentRequest {
                appointment_id,
                invitee,
                ..Default::default()
            };
            client
                .confirm_appointment(request)
                .await
                .map(|it| it.into_inner().appointment)
        }
        1 => {
            let request = pb::ReleaseHoldRequest {
                appointment_id,
                ..Default::default()
            };
            client
                .release_hold(request)
                .await
                .map(|it| it.into_inner().appointment)
        }
        _ => {
            let request = pb::ExtendHoldRequest {
                appointment_id,
                ..Default::default()
            };
            client
                .extend_hold(request)
                .await
                .map(|it| it.into_inner().appointment)
        }
    }
}

#[tokio::test]
async fn a_hold_that_many_confirm_release_and_extend_at_once_ends_exactly_once() {
    let bookd = Bookd::with_ada().await;
    for hour in 9..17 {
        let hold = bookd.hold("ada", &format!("2027-03-02T{hour:02}:00")).await;
        let mut clients = tokio::task::JoinSet::new();
        for client_index in 0..12 {
            clients.spawn(settle(
                bookd.booking(),
                client_index,
                hold.appointment_id.clone(),
            ));
        }
        for answer in clients.join_all().await.into_iter().filter(Result::is_err) {
            assert!(refused(answer).is(Code::FailedPrecondition, "APPOINTMENT_STATE"));
        }
        let request = pb::ListChangesRequest {
            appointment_id: hold.appointment_id.clone(),
            ..Default::default()
        };
        let changes = bookd
            .lists()
            .list_changes(request)
            .await
            .unwrap()
            .into_inner()
            .changes;
        let ends = changes.iter().flat_map(|it| &it.events).filter(|event| {
            matches!(
                event.kind(),
                pb::ChangeKind::Confirmed | pb::ChangeKind::Released | pb::ChangeKind::Expired
            )
        });
        assert_eq!(ends.count(), 1);
        let state = bookd.appointment(&hold.appointment_id).await.state();
        assert!(matches!(
            state,
            pb::AppointmentState::Confirmed | pb::AppointmentState::Cancelled
        ));
    }
    bookd.stop().await;
}

#[tokio::test]
async fn a_hold_can_be_extended_for_two_hours_and_not_a_second_longer() {
    let bookd = Bookd::with_ada().await;
    let hold = bookd.hold("ada", "2027-03-02T09:00").await;
    let extend = |ttl: i64| pb::ExtendHoldRequest {
        appointment_id: hold.appointment_id.clone(),
        ttl: Some(minutes(ttl)),
        ..Default::default()
    };
    let mut client = bookd.booking();
    for _ in 0..5 {
        client.extend_hold(extend(30)).await.unwrap();
        bookd.advance(29 * 60).await;
    }
    let last = bookd.appointment(&hold.appointment_id).await;
    assert_eq!(last.state(), pb::AppointmentState::Expired);
    let create = hold.create_time.unwrap().seconds;
    assert_eq!(last.expire_time.unwrap().seconds, create + 2 * 60 * 60);
    assert!(
        refused(client.extend_hold(extend(1)).await).is(Code::FailedPrecondition, "HOLD_EXPIRED")
    );
    bookd.booked("ada", "2027-03-02T09:00").await;
    bookd.stop().await;
}

#[tokio::test]
async fn a_cancelled_seat_can_be_had_again_and_another_type_has_none_of_the_session() {
    let bookd = Bookd::with_ada().await;
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                capacity: Some(3),
                ..appointment_type("class", 60)
            },
        )
        .await;
    let seat = || pb::BookAppointmentRequest {
        appointment_type_id: "class".into(),
        ..booking("ada", "2027-03-02T10:00")
    };
    let mut seats = Vec::new();
    for _ in 0..3 {
        seats.push(bookd.book(seat()).await.unwrap());
    }
    assert_eq!(refused(bookd.book(seat()).await).codes(), ["CAPACITY"]);
    assert_eq!(
        refused(bookd.book(booking("ada", "2027-03-02T10:00")).await).codes(),
        ["BUSY_BOOKING"]
    );
    bookd.cancel(&seats[1].appointment_id).await;
    bookd.book(seat()).await.unwrap();
    assert_eq!(refused(bookd.book(seat()).await).codes(), ["CAPACITY"]);
    bookd.stop().await;
}

#[tokio::test]
async fn more_holds_than_one_batch_records_run_out_at_once_and_their_time_is_free() {
    const HOLDS: i64 = 1_100;
    let bookd = Bookd::with_ada().await;
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                capacity: Some(2_000),
                ..appointment_type("hall", 60)
            },
        )
        .await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..HOLDS {
        let mut client = bookd.booking();
        let seat = pb::HoldAppointmentRequest {
            appointment_type_id: "hall".into(),
            ..holding("ada", "2027-03-02T10:00")
        };
        clients.spawn(async move { client.hold_appointment(seat).await.is_ok() });
    }
    assert!(clients.join_all().await.into_iter().all(|is_held| is_held));
    let revision = bookd.revision().await;
    // The writer is not woken: no expiry is recorded yet when the booking arrives, which must not
    // conflict with the expired holds.
    bookd.clock.advance(301);
    bookd.booked("ada", "2027-03-02T10:00").await;
    assert_eq!(
        bookd.revision().await,
        revision + HOLDS + 1,
        "each expiry is one change"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_hold_and_its_confirmation_have_no_more_keys_together_than_one_appointment() {
    let bookd = Bookd::with_ada().await;
    let keys = |from: usize, to: usize| {
        (from..to)
            .map(|n| (format!("key-{n}"), "value".to_owned()))
            .collect()
    };
    let hold = pb::HoldAppointmentRequest {
        calendar_id: "ada".into(),
        local_start: "2027-03-02T09:00".into(),
        metadata: keys(0, 30),
        ..Default::default()
    };
    let hold = bookd
        .booking()
        .hold_appointment(hold)
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    let confirm = |to: usize| pb::BookAppointmentRequest {
        hold_id: hold.appointment_id.clone(),
        invitee: Some(pb::Invitee {
            name: "Grace".into(),
            ..Default::default()
        }),
        metadata: keys(10, to),
        ..Default::default()
    };
    let refused = bookd.book(confirm(51)).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), invalid_fields(&refused)),
        ("FIELD_INVALID", vec!["metadata".to_owned()])
    );
    assert_eq!(
        bookd.appointment(&hold.appointment_id).await.state(),
        pb::AppointmentState::Held
    );
    assert_eq!(bookd.book(confirm(50)).await.unwrap().metadata.len(), 50);
    bookd.stop().await;
}
