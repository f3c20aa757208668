//! Many clients compete for one calendar: no time is booked twice, and none that fits is left over.
//!
//! Every client that loses gets SLOT_TAKEN with the reason.

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::{Bookd, at, minutes, reason, violations};

/// 64 clients book an hour each, at one of 25 starts that are 10 minutes apart.
#[tokio::test]
async fn of_64_racing_for_overlapping_times_the_winners_are_disjoint_and_maximal() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "14:00").await;
    let grid = pb::AppointmentType {
        appointment_type_id: "visit".to_owned(),
        slot_step: Some(minutes(10)),
        ..Default::default()
    };
    bookd.put_type("ada", grid).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..64_u32 {
        let start = 9 * 60 + client * 7 % 25 * 10;
        let clock = format!("{:02}:{:02}", start / 60, start % 60);
        let mut booking = bookd.booking();
        let request = pb::BookAppointmentRequest {
            appointment_type_id: "visit".to_owned(),
            ..at("ada", &clock)
        };
        clients.spawn(async move { (i64::from(start), booking.book_appointment(request).await) });
    }
    let (mut won, mut lost) = (Vec::new(), 0);
    for (start, answer) in clients.join_all().await {
        match answer {
            Ok(_) => won.push(start),
            Err(status) => {
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::Aborted, "SLOT_TAKEN"),
                    "{status:?}"
                );
                assert_eq!(violations(&status), ["BUSY_BOOKING"]);
                lost += 1;
            }
        }
    }
    won.sort_unstable();
    assert_eq!(won.len() + lost, 64);
    assert!(
        won.windows(2).all(|pair| pair[1] - pair[0] >= 60),
        "{won:?}"
    );
    let is_free = |start: &i64| won.iter().all(|other| (other - start).abs() >= 60);
    let asked_for = (0..25).map(|step| 9 * 60 + step * 10);
    assert_eq!(
        asked_for.filter(is_free).count(),
        0,
        "another client could have won: {won:?}"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn of_50_racing_for_5_seats_exactly_5_get_one() {
    let bookd = Bookd::start().await;
    bookd.open("yoga", "09:00", "17:00").await;
    let group = pb::AppointmentType {
        appointment_type_id: "class".to_owned(),
        capacity: Some(5),
        ..Default::default()
    };
    bookd.put_type("yoga", group).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut booking = bookd.booking();
        let request = pb::BookAppointmentRequest {
            appointment_type_id: "class".to_owned(),
            ..at("yoga", "10:00")
        };
        clients.spawn(async move { booking.book_appointment(request).await });
    }
    let answers = clients.join_all().await;
    let lost: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .collect();
    assert_eq!(lost.len(), 45);
    assert!(
        lost.iter()
            .all(|status| reason(status) == "SLOT_TAKEN" && violations(status) == ["CAPACITY"])
    );
    bookd.stop().await;
}

#[tokio::test]
async fn one_request_id_sent_64_times_at_once_makes_one_appointment() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let mut booking = bookd.booking();
        let request = pb::BookAppointmentRequest {
            request_id: "once".to_owned(),
            ..at("ada", "10:00")
        };
        clients.spawn(async move {
            booking
                .book_appointment(request)
                .await
                .unwrap()
                .into_inner()
        });
    }
    let mut answers = clients.join_all().await;
    answers.dedup_by_key(|answer| {
        (
            answer.appointment.as_ref().unwrap().appointment_id.clone(),
            answer.revision,
        )
    });
    assert_eq!(answers.len(), 1);
    bookd.stop().await;
}
