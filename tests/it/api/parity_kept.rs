//! Behaviour of the five earlier systems, from B47 on: ids, lists, time and what is stored.
//!
//! `parity.rs` says what a row is.

use std::collections::BTreeSet;

use bookd::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use crate::harness::{Bookd, connect, timestamp};
use crate::words::{NOW, booking, clocks, listing, refused};
use bookd::proto::v1::slots_service_client::SlotsServiceClient;

const DAY: &str = "2027-03-02";
const PARIS: &str = "Europe/Paris";

fn upcoming(calendar_id: &str) -> pb::ListAppointmentsRequest {
    pb::ListAppointmentsRequest {
        calendar_id: calendar_id.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn b47_an_id_is_a_uuid_v7_that_is_stored_with_a_short_code_that_finds_it() {
    let bookd = Bookd::with_ada().await;
    let mut codes = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for hour in 9..17 {
        let booked = bookd
            .booked("ada", &format!("2027-03-02T{hour:02}:00"))
            .await;
        assert_eq!(
            Uuid::try_parse(&booked.appointment_id)
                .unwrap()
                .get_version_num(),
            7
        );
        assert_eq!(bookd.appointment(&booked.appointment_id).await, booked);
        let by_code = pb::ListAppointmentsRequest {
            confirmation_code: booked.confirmation_code.clone(),
            ..Default::default()
        };
        let found = bookd
            .lists()
            .list_appointments(by_code)
            .await
            .unwrap()
            .into_inner()
            .appointments;
        assert_eq!(found, std::slice::from_ref(&booked));
        assert!(codes.insert(booked.confirmation_code));
        assert!(ids.insert(booked.appointment_id));
    }
    bookd.stop().await;
}

#[tokio::test]
async fn b48_a_slot_withdrawn_after_the_search_is_refused() {
    let bookd = Bookd::with_ada().await;
    assert!(
        bookd
            .starts("ada", PARIS, DAY)
            .await
            .contains(&"09:00".to_owned())
    );
    bookd.put_override("ada", DAY, &[("14:00", "16:00")]).await;
    let answer = refused(bookd.book(booking("ada", "2027-03-02T09:00")).await);
    assert!(
        answer.is(Code::FailedPrecondition, "SLOT_UNAVAILABLE"),
        "{answer:?}"
    );
    assert_eq!(answer.codes(), ["OUTSIDE_AVAILABILITY"]);
    bookd.stop().await;
}

#[tokio::test]
async fn b49_b50_upcoming_appointments_are_sorted_filtered_and_paged_and_an_unknown_owner_is_not_found()
 {
    let bookd = Bookd::with_ada().await;
    for start in [
        "2027-03-03T15:00",
        "2027-03-02T10:00",
        "2027-03-04T09:00",
        "2027-03-02T09:00",
    ] {
        bookd.booked("ada", start).await;
    }
    let mut seen = Vec::new();
    let mut request = pb::ListAppointmentsRequest {
        page_size: 3,
        ..upcoming("ada")
    };
    loop {
        let page = bookd
            .lists()
            .list_appointments(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert!(page.appointments.len() <= 3);
        seen.extend(page.appointments.into_iter().map(|it| it.local_start));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(
        seen,
        [
            "2027-03-02T09:00",
            "2027-03-02T10:00",
            "2027-03-03T15:00",
            "2027-03-04T09:00"
        ]
    );

    let on_the_third = pb::ListAppointmentsRequest {
        start_time: Some(timestamp("2027-03-03T00:00:00Z")),
        end_time: Some(timestamp("2027-03-04T00:00:00Z")),
        ..upcoming("ada")
    };
    let found = bookd
        .lists()
        .list_appointments(on_the_third)
        .await
        .unwrap()
        .into_inner()
        .appointments;
    assert_eq!(found.len(), 1);
    // An appointment that is over is not upcoming.
    bookd.set_clock("2027-03-03T12:00:00Z").await;
    let left = bookd
        .lists()
        .list_appointments(upcoming("ada"))
        .await
        .unwrap()
        .into_inner()
        .appointments;
    assert_eq!(left.len(), 2);
    let unknown = refused(bookd.lists().list_appointments(upcoming("nobody")).await);
    assert!(
        unknown.is(Code::NotFound, "CALENDAR_NOT_FOUND"),
        "{unknown:?}"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn b51_hours_dates_and_local_starts_are_in_the_calendars_zone() {
    let bookd = Bookd::start_at(NOW).await;
    for (calendar, zone, start) in [
        ("tokyo", "Asia/Tokyo", "2027-03-02T00:00:00Z"),
        ("lima", "America/Lima", "2027-03-02T14:00:00Z"),
        ("kathmandu", "Asia/Kathmandu", "2027-03-02T03:15:00Z"),
    ] {
        bookd.hours(calendar, zone, &[("09:00", "10:00")]).await;
        let slots = bookd.list(listing(calendar, DAY)).await.unwrap();
        assert_eq!(
            slots.iter().map(|slot| slot.start_time).collect::<Vec<_>>(),
            [Some(timestamp(start))],
            "{calendar}"
        );
        let booked = bookd.booked(calendar, "2027-03-02T09:00").await;
        assert_eq!(
            (booked.start_time, booked.time_zone.as_str()),
            (Some(timestamp(start)), zone)
        );
        assert_eq!(booked.local_start, "2027-03-02T09:00");
    }
    // The hours stay the same wall time over the change to summer time.
    bookd.hours("ada", PARIS, &[("09:00", "10:00")]).await;
    for (date, start) in [
        ("2027-03-27", "2027-03-27T08:00:00Z"),
        ("2027-03-28", "2027-03-28T07:00:00Z"),
    ] {
        let slots = bookd.list(listing("ada", date)).await.unwrap();
        assert_eq!(slots[0].start_time, Some(timestamp(start)));
    }
    let skipped = refused(bookd.book(booking("ada", "2027-03-28T02:30")).await);
    assert_eq!(skipped.fields(), ["local_start"]);
    bookd.stop().await;
}

#[tokio::test]
async fn b53_what_happened_is_told_by_the_change_log_and_not_in_the_request() {
    let bookd = Bookd::with_ada().await;
    let booked = bookd.booked("ada", "2027-03-02T09:00").await;
    bookd.cancel(&booked.appointment_id).await;
    let request = pb::ListChangesRequest {
        appointment_id: booked.appointment_id.clone(),
        ..Default::default()
    };
    let changes = bookd
        .lists()
        .list_changes(request)
        .await
        .unwrap()
        .into_inner()
        .changes;
    let listed: Vec<_> = changes
        .iter()
        .map(|it| (it.command.as_str(), it.events[0].kind()))
        .collect();
    let expected = [
        ("CancelAppointment", pb::ChangeKind::Cancelled),
        ("BookAppointment", pb::ChangeKind::Booked),
    ];
    assert_eq!(listed, expected);
    bookd.stop().await;
}

#[tokio::test]
async fn b54_one_of_many_who_book_the_same_slot_at_once_gets_it() {
    let bookd = Bookd::with_ada().await;
    let attempts: Vec<_> = (0..16)
        .map(|_| {
            let mut bookings = bookd.booking();
            tokio::spawn(async move {
                bookings
                    .book_appointment(booking("ada", "2027-03-02T09:00"))
                    .await
            })
        })
        .collect();
    let mut winners = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => winners += 1,
            lost => assert!(refused(lost).is(Code::Aborted, "SLOT_TAKEN")),
        }
    }
    assert_eq!(winners, 1);
    bookd.stop().await;
}

#[tokio::test]
async fn b55_everything_is_there_after_a_restart() {
    let bookd = Bookd::with_ada().await;
    bookd
        .put_override("ada", "2027-03-03", &[("20:00", "22:00")])
        .await;
    let booked = bookd.booked("ada", "2027-03-02T09:00").await;
    let hold = bookd.hold("ada", "2027-03-02T11:00").await;
    let revision = bookd.revision().await;
    let bookd = bookd.restart().await;
    assert_eq!(bookd.revision().await, revision);
    assert_eq!(bookd.appointment(&booked.appointment_id).await, booked);
    assert_eq!(bookd.appointment(&hold.appointment_id).await, hold);
    assert_eq!(
        bookd.starts("ada", PARIS, DAY).await,
        clocks("10:00 12:00 13:00 14:00 15:00 16:00")
    );
    assert_eq!(
        bookd.starts("ada", PARIS, "2027-03-03").await,
        clocks("20:00 21:00")
    );
    bookd.advance(300).await;
    assert_eq!(
        bookd.appointment(&hold.appointment_id).await.state(),
        pb::AppointmentState::Expired
    );
    assert_eq!(bookd.revision().await, revision + 1);
    bookd.stop().await;
}

#[tokio::test]
async fn b56_a_list_shows_what_was_acknowledged_before_it_was_asked() {
    let bookd = Bookd::with_ada().await;
    for day in 2..12 {
        let date = format!("2027-03-{day:02}");
        let booked = bookd.booked("ada", &format!("{date}T09:00")).await;
        let mut other = SlotsServiceClient::new(connect(bookd.address()).await);
        let response = other
            .list_slots(listing("ada", &date))
            .await
            .unwrap()
            .into_inner();
        assert!(response.revision >= booked.revision);
        assert!(
            response
                .slots
                .iter()
                .all(|slot| slot.start_time != booked.start_time)
        );
        bookd.cancel(&booked.appointment_id).await;
        assert_eq!(bookd.starts("ada", PARIS, &date).await[0], "09:00");
    }
    bookd.stop().await;
}
