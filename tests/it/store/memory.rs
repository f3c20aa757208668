//! Past appointments leave memory, and are read from the store where they are needed.

use bookd::engine::Wait;
use bookd::proto::v1 as pb;
use bookd_core::ids::CalendarId;

use crate::harness::{Bookd, minutes, timestamp};
use crate::words::{appointment_type, booking};

impl Bookd {
    /// The number of claims of a calendar in memory.
    async fn claims(&self, calendar: &str) -> usize {
        let view = self
            .engine()
            .view(&[CalendarId::parse(calendar).unwrap()], &Wait::default())
            .await
            .unwrap();
        view.calendars[0].claims.iter().count()
    }

    async fn busy(&self, calendar: &str, from: &str, to: &str) -> Vec<pb::Period> {
        let query = pb::QueryFreeBusyRequest {
            calendar_ids: vec![calendar.into()],
            start_time: Some(timestamp(from)),
            end_time: Some(timestamp(to)),
        };
        let mut answer = self
            .slots()
            .query_free_busy(query)
            .await
            .unwrap()
            .into_inner();
        answer.calendars.remove(0).busy
    }
}

#[tokio::test]
async fn what_is_over_leaves_memory_within_days_and_free_busy_still_shows_it() {
    let bookd = Bookd::with_ada().await;
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                buffer_after: Some(minutes(30)),
                ..appointment_type("visit", 60)
            },
        )
        .await;
    for day in 2..12 {
        let visit = booking("ada", &format!("2027-03-{day:02}T10:00"));
        bookd
            .book(pb::BookAppointmentRequest {
                appointment_type_id: "visit".into(),
                ..visit
            })
            .await
            .unwrap();
    }
    assert_eq!(bookd.claims("ada").await, 10);
    let (from, to) = ("2027-03-01T00:00:00Z", "2027-03-20T00:00:00Z");
    let before = bookd.busy("ada", from, to).await;
    assert_eq!(before.len(), 10);
    bookd.set_clock("2027-03-10T12:00:00Z").await;
    bookd.booked("ada", "2027-03-15T10:00").await;
    let kept = bookd.claims("ada").await;
    assert!(kept < 6, "{kept} are kept");
    let after = bookd.busy("ada", from, to).await;
    assert_eq!(after[..10], before[..], "the past is read from the store");
    assert_eq!(after.len(), 11);
    let part = bookd
        .busy("ada", "2027-03-03T09:45:00Z", "2027-03-04T09:15:00Z")
        .await;
    let clocks = |it: &pb::Period| (it.start_time.unwrap().seconds, it.end_time.unwrap().seconds);
    let at = |text: &str| timestamp(text).seconds;
    let expected = [
        (at("2027-03-03T09:45:00Z"), at("2027-03-03T10:30:00Z")),
        (at("2027-03-04T09:00:00Z"), at("2027-03-04T09:15:00Z")),
    ];
    assert_eq!(
        part.iter().map(clocks).collect::<Vec<_>>(),
        expected,
        "cut to the range, buffers included"
    );
    let bookd = bookd.restart().await;
    assert_eq!(bookd.busy("ada", from, to).await, after);
    bookd.stop().await;
}

#[tokio::test]
async fn a_yearly_limit_counts_what_is_long_over() {
    let bookd = Bookd::with_ada().await;
    let limits = pb::Limits {
        per_year: Some(2),
        ..Default::default()
    };
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                limits: Some(limits),
                ..appointment_type("few", 60)
            },
        )
        .await;
    let few = |start: &str| pb::BookAppointmentRequest {
        appointment_type_id: "few".into(),
        ..booking("ada", start)
    };
    bookd.book(few("2027-03-02T10:00")).await.unwrap();
    bookd.book(few("2027-03-03T10:00")).await.unwrap();
    bookd.set_clock("2027-11-10T12:00:00Z").await;
    bookd.booked("ada", "2027-11-15T10:00").await;
    let third = crate::words::refused(bookd.book(few("2027-11-16T10:00")).await);
    assert_eq!(third.codes(), ["LIMIT"]);
    bookd.stop().await;
}

#[tokio::test]
async fn the_limit_of_a_deleted_type_counts_what_is_long_over() {
    let mut bookd = Bookd::with_ada().await;
    let few = |start: &str| pb::BookAppointmentRequest {
        appointment_type_id: "few".into(),
        ..booking("ada", start)
    };
    bookd.put_type("ada", appointment_type("few", 60)).await;
    bookd.book(few("2027-03-02T10:00")).await.unwrap();
    bookd.book(few("2027-03-03T10:00")).await.unwrap();
    let third = bookd.book(few("2027-06-15T10:00")).await.unwrap();
    let limits = pb::Limits {
        per_year: Some(2),
        ..Default::default()
    };
    bookd
        .put_type(
            "ada",
            pb::AppointmentType {
                limits: Some(limits),
                ..appointment_type("few", 60)
            },
        )
        .await;
    let delete = pb::DeleteAppointmentTypeRequest {
        calendar_id: "ada".into(),
        appointment_type_id: "few".into(),
        ..Default::default()
    };
    bookd
        .calendars()
        .delete_appointment_type(delete)
        .await
        .unwrap();
    for (now, other) in [
        ("2027-03-04", "2027-05-20"),
        ("2027-04-10", "2027-05-21"),
        ("2027-05-10", "2027-05-24"),
    ] {
        bookd.set_clock(&format!("{now}T12:00:00Z")).await;
        bookd.booked("ada", &format!("{other}T10:00")).await;
        let to = pb::RescheduleAppointmentRequest {
            appointment_id: third.appointment_id.clone(),
            local_start: "2027-06-16T10:00".into(),
            ..Default::default()
        };
        let moved = bookd
            .booking()
            .reschedule_appointment(to)
            .await
            .map(|it| it.into_inner().appointment.unwrap());
        assert_eq!(crate::words::refused(moved).codes(), ["LIMIT"], "{now}");
        bookd = bookd.restart().await;
    }
    bookd.stop().await;
}
