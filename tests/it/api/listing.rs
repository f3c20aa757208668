//! Lists: pages, page tokens, filters, expired holds, busy time; dry runs, health and server info.
//!
//! All pages of a list show the state at the revision of the first.

use bookd::proto::v1 as pb;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Bookd, at, minutes, reason, timestamp};

fn half_hours() -> pb::AppointmentType {
    pb::AppointmentType {
        appointment_type_id: "short".to_owned(),
        duration: Some(minutes(30)),
        ..Default::default()
    }
}

async fn page(
    bookd: &Bookd,
    request: &pb::ListAppointmentsRequest,
) -> pb::ListAppointmentsResponse {
    bookd
        .lists()
        .list_appointments(request.clone())
        .await
        .unwrap()
        .into_inner()
}

async fn move_to(bookd: &Bookd, appointment: &pb::Appointment, start: &str) {
    let request = pb::RescheduleAppointmentRequest {
        appointment_id: appointment.appointment_id.clone(),
        start_time: Some(timestamp(start)),
        ..Default::default()
    };
    bookd
        .booking()
        .reschedule_appointment(request)
        .await
        .unwrap();
}

#[tokio::test]
async fn pages_show_one_moment_whatever_is_moved_cancelled_and_booked_between_them() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    bookd.put_type("ada", half_hours()).await;
    for half_hour in 0..12 {
        let clock = format!("{:02}:{:02}", 9 + half_hour / 2, half_hour % 2 * 30);
        let request = pb::BookAppointmentRequest {
            appointment_type_id: "short".to_owned(),
            ..at("ada", &clock)
        };
        bookd.book(request).await.unwrap();
    }
    for order_by in ["start_time", "start_time desc"] {
        let mut request = pb::ListAppointmentsRequest {
            calendar_id: "ada".to_owned(),
            order_by: order_by.to_owned(),
            page_size: 5,
            ..Default::default()
        };
        let expected = page(
            &bookd,
            &pb::ListAppointmentsRequest {
                page_size: 100,
                ..request.clone()
            },
        )
        .await;
        let mut seen = Vec::new();
        for round in 0.. {
            let answer = page(&bookd, &request).await;
            assert_eq!(answer.revision, expected.revision);
            seen.extend(answer.appointments);
            request.page_token = answer.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
            // An appointment that was listed moves behind the rest; one of the rest is cancelled.
            let minute = if order_by == "start_time" { "00" } else { "30" };
            let to = format!("2027-01-0{}T16:{minute}:00Z", 5 + round);
            move_to(&bookd, &seen[round], &to).await;
            let unseen = (5 * (round + 1) + 1).min(expected.appointments.len() - 1);
            bookd
                .cancel(&expected.appointments[unseen].appointment_id)
                .await;
        }
        let key = |it: &pb::Appointment| (it.appointment_id.clone(), it.start_time, it.state);
        assert!(
            seen.iter()
                .map(key)
                .eq(expected.appointments.iter().map(key)),
            "{order_by}"
        );
        // A new list shows the current state.
        let now = page(
            &bookd,
            &pb::ListAppointmentsRequest {
                page_token: String::new(),
                page_size: 100,
                ..request
            },
        )
        .await;
        assert!(now.appointments.len() < expected.appointments.len());
    }
    bookd.stop().await;
}

#[tokio::test]
async fn a_page_token_belongs_to_its_list() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    bookd.book(at("ada", "10:00")).await.unwrap();
    bookd.book(at("ada", "11:00")).await.unwrap();
    let request = pb::ListAppointmentsRequest {
        calendar_id: "ada".to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let token = page(&bookd, &request).await.next_page_token;
    let other = pb::ListAppointmentsRequest {
        calendar_id: "bob".to_owned(),
        page_token: token,
        ..Default::default()
    };
    let status = bookd.lists().list_appointments(other).await.unwrap_err();
    assert_eq!(reason(&status), "FIELD_INVALID");
    bookd.stop().await;
}

#[tokio::test]
async fn appointments_are_found_by_address_code_and_state_and_after_a_restart() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    let invitee = pb::Invitee {
        name: "Grace".to_owned(),
        email: "Grace@Example.com".to_owned(),
        ..Default::default()
    };
    let booked = bookd
        .book(pb::BookAppointmentRequest {
            invitee: Some(invitee),
            ..at("ada", "10:00")
        })
        .await
        .unwrap();
    bookd.book(at("ada", "11:00")).await.unwrap();
    let bookd = bookd.restart().await;
    let by_address = pb::ListAppointmentsRequest {
        invitee_email: "grace@example.COM".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        page(&bookd, &by_address).await.appointments,
        std::slice::from_ref(&booked)
    );
    let code = booked.confirmation_code.to_lowercase().replace('-', "");
    let by_code = pb::ListAppointmentsRequest {
        confirmation_code: code,
        ..Default::default()
    };
    assert_eq!(
        page(&bookd, &by_code).await.appointments,
        std::slice::from_ref(&booked)
    );
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: booked.appointment_id.clone(),
        ..Default::default()
    };
    bookd.booking().cancel_appointment(cancel).await.unwrap();
    assert!(page(&bookd, &by_address).await.appointments.is_empty());
    let cancelled = pb::ListAppointmentsRequest {
        states: vec![pb::AppointmentState::Cancelled.into()],
        ..by_address
    };
    assert_eq!(page(&bookd, &cancelled).await.appointments.len(), 1);
    let changes = pb::ListChangesRequest {
        appointment_id: booked.appointment_id,
        ..Default::default()
    };
    let changes = bookd
        .lists()
        .list_changes(changes)
        .await
        .unwrap()
        .into_inner()
        .changes;
    let commands: Vec<&str> = changes.iter().map(|it| it.command.as_str()).collect();
    assert_eq!(commands, ["CancelAppointment", "BookAppointment"]);
    bookd.stop().await;
}

#[tokio::test]
async fn a_dry_run_answers_and_changes_nothing() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    let before = bookd.revision().await;
    let dry = pb::BookAppointmentRequest {
        validate_only: true,
        request_id: "dry".to_owned(),
        ..at("ada", "10:00")
    };
    assert_eq!(
        bookd.book(dry.clone()).await.unwrap().state(),
        pb::AppointmentState::Confirmed
    );
    assert_eq!(bookd.revision().await, before);
    let real = pb::BookAppointmentRequest {
        validate_only: false,
        ..dry.clone()
    };
    bookd.book(real).await.unwrap();
    assert_eq!(
        reason(&bookd.book(dry).await.unwrap_err()),
        "SLOT_TAKEN",
        "a dry run ignores its request_id"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn expired_holds_are_recorded_once_and_their_time_is_free_at_that_very_second() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "11:00").await;
    let hold = pb::HoldAppointmentRequest {
        calendar_id: "ada".to_owned(),
        start_time: at("ada", "10:00").start_time,
        ..Default::default()
    };
    let held = bookd
        .booking()
        .hold_appointment(hold)
        .await
        .unwrap()
        .into_inner();
    bookd
        .clock
        .set(crate::harness::instant("2027-01-04T08:04:59Z"));
    assert_eq!(bookd.offered("ada", "2027-01-04").await.unwrap(), ["09:00"]);
    bookd
        .clock
        .set(crate::harness::instant("2027-01-04T08:05:00Z"));
    assert_eq!(
        bookd.offered("ada", "2027-01-04").await.unwrap(),
        ["09:00", "10:00"],
        "free by arithmetic"
    );
    bookd.set_clock("2027-01-04T08:05:00Z").await;
    bookd.set_clock("2027-01-04T08:06:00Z").await;
    assert_eq!(
        bookd.revision().await,
        held.revision + 1,
        "recorded exactly once"
    );
    let id = held.appointment.unwrap().appointment_id;
    let shown = bookd
        .lists()
        .get_appointment(pb::GetAppointmentRequest { appointment_id: id })
        .await
        .unwrap();
    assert_eq!(
        shown.into_inner().appointment.unwrap().state(),
        pb::AppointmentState::Expired
    );
    bookd.stop().await;
}

#[tokio::test]
async fn health_tells_of_each_service() {
    let bookd = Bookd::start().await;
    let mut health = HealthClient::new(bookd.channel.clone());
    for service in bookd::api::SERVICES.iter().copied().chain([""]) {
        let answer = health
            .check(HealthCheckRequest {
                service: service.to_owned(),
            })
            .await
            .unwrap();
        assert_eq!(
            answer.into_inner().status(),
            tonic_health::pb::health_check_response::ServingStatus::Serving
        );
    }
    let info = bookd
        .info()
        .get_server_info(pb::GetServerInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(info.limits["request_bytes"], 1_048_576);
    bookd.stop().await;
}

fn period(from: &str, to: &str) -> pb::Period {
    pb::Period {
        start_time: Some(timestamp(&format!("2027-01-04T{from}:00Z"))),
        end_time: Some(timestamp(&format!("2027-01-04T{to}:00Z"))),
    }
}

fn put_busy(from: &str, to: &str, periods: Vec<pb::Period>) -> pb::PutBusyRequest {
    pb::PutBusyRequest {
        calendar_id: "ada".to_owned(),
        source: "google:ada".to_owned(),
        start_time: period(from, to).start_time,
        end_time: period(from, to).end_time,
        periods,
        ..Default::default()
    }
}

async fn two_pages_of_busy_time(bookd: &Bookd, list: &pb::ListBusyRequest) -> Vec<pb::Period> {
    let first = bookd
        .availability()
        .list_busy(list.clone())
        .await
        .unwrap()
        .into_inner();
    let rest = pb::ListBusyRequest {
        page_token: first.next_page_token,
        ..list.clone()
    };
    let rest = bookd
        .availability()
        .list_busy(rest)
        .await
        .unwrap()
        .into_inner();
    first
        .periods
        .into_iter()
        .chain(rest.periods)
        .map(|it| it.period.unwrap())
        .collect()
}

#[tokio::test]
async fn busy_time_is_cut_listed_and_shown_without_anybody() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    bookd.book(at("ada", "10:00")).await.unwrap();
    let said = vec![
        period("07:00", "12:30"),
        period("13:00", "13:30"),
        period("15:00", "18:00"),
    ];
    let answer = bookd
        .availability()
        .put_busy(put_busy("12:00", "17:00", said))
        .await
        .unwrap()
        .into_inner();
    let cut = vec![
        period("12:00", "12:30"),
        period("13:00", "13:30"),
        period("15:00", "17:00"),
    ];
    assert_eq!(answer.periods, cut);
    bookd
        .availability()
        .put_busy(put_busy("13:00", "16:00", Vec::new()))
        .await
        .unwrap();
    assert_eq!(
        bookd.offered("ada", "2027-01-04").await.unwrap(),
        ["09:00", "11:00", "13:00", "14:00", "15:00"]
    );
    let list = pb::ListBusyRequest {
        calendar_id: "ada".to_owned(),
        start_time: period("00:00", "12:00").start_time,
        end_time: period("00:00", "23:00").end_time,
        page_size: 1,
        ..Default::default()
    };
    let shown = two_pages_of_busy_time(&bookd, &list).await;
    assert_eq!(shown, [period("12:00", "12:30"), period("16:00", "17:00")]);
    let query = pb::QueryFreeBusyRequest {
        calendar_ids: vec!["ada".to_owned()],
        start_time: list.start_time,
        end_time: list.end_time,
    };
    let answer = bookd
        .slots()
        .query_free_busy(query)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.calendars[0].open, [period("09:00", "17:00")]);
    let taken = [
        period("10:00", "11:00"),
        period("12:00", "12:30"),
        period("16:00", "17:00"),
    ];
    assert_eq!(answer.calendars[0].busy, taken);
    bookd.stop().await;
}
