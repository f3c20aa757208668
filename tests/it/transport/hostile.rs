//! Extreme instants, lengths and numbers: every call gets a documented answer in time.
//!
//! INTERNAL or UNKNOWN is a bug of the server, and so is a call without an answer, or an answer
//! without a JSON form.

use std::fmt::Debug;
use std::time::Duration as Patience;

use bookd::proto::v1 as pb;
use prost::Message;
use prost_types::{Duration, Timestamp};
use tonic::{Code, Response, Status};

use crate::harness::{Bookd, minutes, timestamp};
use crate::http2::PATIENCE;
use crate::people;
use crate::words::{appointment_type, booking, grace};
use bookd_kit::readable::assert_readable;

const SECONDS: [i64; 14] = [
    i64::MIN,
    i64::MIN + 1,
    -62_135_596_801,
    -62_135_596_800,
    -60,
    0,
    60,
    1_803_974_400,
    127_143_475_200,
    127_143_561_600,
    253_402_300_740,
    253_402_300_799,
    253_402_300_800,
    i64::MAX,
];
const NUMBERS: [i32; 5] = [i32::MIN, -1, 0, 1, i32::MAX];

/// The answer of a call; asserts that it comes in time, has a JSON form, and has no code that means
/// a bug of the server.
pub async fn answered<T: Message>(
    what: &dyn Debug,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    let answer = tokio::time::timeout(PATIENCE, call)
        .await
        .unwrap_or_else(|_| panic!("no answer: {what:?}"));
    match &answer {
        Ok(answer) => assert_readable(answer.get_ref()),
        Err(status) => {
            let slips = [
                Code::Internal,
                Code::Unknown,
                Code::Cancelled,
                Code::DeadlineExceeded,
                Code::Unavailable,
            ];
            assert!(!slips.contains(&status.code()), "{what:?}: {status:?}");
        }
    }
    answer
}

fn at(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos })
}

#[tokio::test]
async fn no_instant_is_too_early_or_too_late_to_be_answered() {
    let bookd = Bookd::with_ada().await;
    let mut client = bookd.booking();
    for seconds in SECONDS {
        for nanos in [0, -1, 999_999_999, i32::MIN] {
            let request = pb::BookAppointmentRequest {
                local_start: String::new(),
                start_time: at(seconds, nanos),
                ignore_rules: (1..=5).collect(),
                ..booking("ada", "")
            };
            let _ = answered(&request, client.book_appointment(request.clone())).await;
            let explain = pb::ExplainSlotRequest {
                calendar_id: "ada".into(),
                start_time: at(seconds, nanos),
                ..Default::default()
            };
            let _ = answered(&explain, bookd.slots().explain_slot(explain.clone())).await;
        }
        for other in SECONDS {
            let list = pb::ListSlotsRequest {
                calendar_id: "ada".into(),
                start_time: at(seconds, 0),
                end_time: at(other, 999_999_999),
                ..Default::default()
            };
            let _ = answered(&list, bookd.slots().list_slots(list.clone())).await;
            let list = pb::ListAppointmentsRequest {
                calendar_id: "ada".into(),
                start_time: at(seconds, 1),
                end_time: at(other, 0),
                ..Default::default()
            };
            let _ = answered(&list, bookd.lists().list_appointments(list.clone())).await;
            for start in [i64::MIN, seconds] {
                let busy = pb::PutBusyRequest {
                    calendar_id: "ada".into(),
                    source: "s".into(),
                    start_time: at(seconds, 0),
                    end_time: at(other, 999_999_999),
                    periods: vec![pb::Period {
                        start_time: at(start, 0),
                        end_time: at(other, 1),
                    }],
                    ..Default::default()
                };
                let _ = answered(&busy, bookd.availability().put_busy(busy.clone())).await;
            }
            let (start_time, end_time) = (at(seconds, 0), at(other, 999_999_999));
            let calendar_id = "ada".to_owned();
            let list = pb::ListBusyRequest {
                calendar_id,
                start_time,
                end_time,
                ..Default::default()
            };
            let _ = answered(&list, bookd.availability().list_busy(list.clone())).await;
            let query = pb::QueryFreeBusyRequest {
                calendar_ids: vec!["ada".into()],
                start_time,
                end_time,
            };
            let _ = answered(&query, bookd.slots().query_free_busy(query.clone())).await;
        }
    }
    bookd.stop().await;
}

/// In the east the first day, week, month and year that can be booked begin before the first
/// instant of a timestamp.
#[tokio::test]
async fn a_limit_is_explained_at_the_edges_of_time_wherever_the_calendar_is() {
    let bookd = Bookd::with_ada().await;
    let calendars = [
        ("east", "Pacific/Kiritimati"),
        ("west", "Pacific/Pago_Pago"),
    ];
    for (calendar, zone) in calendars {
        bookd.hours(calendar, zone, &[("00:00", "24:00")]).await;
        for kind in 0..4 {
            let mut limits = [None; 4];
            limits[kind] = Some(0);
            let [per_day, per_week, per_month, per_year] = limits;
            let limits = Some(pb::Limits {
                per_day,
                per_week,
                per_month,
                per_year,
            });
            bookd
                .put_type(
                    calendar,
                    pb::AppointmentType {
                        limits,
                        ..appointment_type("never", 60)
                    },
                )
                .await;
            for seconds in [-62_135_596_800, 127_174_492_740] {
                let explain = pb::ExplainSlotRequest {
                    calendar_id: calendar.into(),
                    appointment_type_id: "never".into(),
                    start_time: at(seconds, 0),
                    ..Default::default()
                };
                let answer = answered(&explain, bookd.slots().explain_slot(explain.clone()))
                    .await
                    .unwrap();
                let violations = answer.into_inner().violations;
                assert!(
                    violations
                        .iter()
                        .any(|it| it.code() == pb::ViolationCode::Limit),
                    "{violations:?}"
                );
            }
        }
    }
    bookd.stop().await;
}

/// `DateTime.MaxValue` of .NET, which calendars use as the end of time: the last second with a
/// fraction.
#[tokio::test]
async fn busy_time_that_lasts_to_the_end_of_time_is_listed_and_exported() {
    const LAST: i64 = 253_402_300_799;
    let bookd = Bookd::with_ada().await;
    let forever = pb::Period {
        start_time: at(LAST - 3_600, 0),
        end_time: at(LAST, 999_999_999),
    };
    let shown = pb::Period {
        end_time: at(LAST, 0),
        ..forever
    };
    let put = pb::PutBusyRequest {
        calendar_id: "ada".into(),
        source: "elsewhere".into(),
        start_time: forever.start_time,
        end_time: forever.end_time,
        periods: vec![forever],
        ..Default::default()
    };
    let answer = answered(&put, bookd.availability().put_busy(put.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.periods, [shown]);
    let (start_time, end_time) = (forever.start_time, forever.end_time);
    let list = pb::ListBusyRequest {
        calendar_id: "ada".into(),
        start_time,
        end_time,
        ..Default::default()
    };
    let answer = answered(&list, bookd.availability().list_busy(list.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        answer
            .periods
            .iter()
            .map(|it| it.period.unwrap())
            .collect::<Vec<_>>(),
        [shown]
    );
    let query = pb::QueryFreeBusyRequest {
        calendar_ids: vec!["ada".into()],
        start_time,
        end_time,
    };
    let answer = answered(&query, bookd.slots().query_free_busy(query.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.calendars[0].busy, [shown]);
    let folder = bookd.stop_and_keep().await;
    let well = |words: &[&str]| {
        let output = people::bookd("127.0.0.1:1", folder.path(), words);
        assert!(
            output.status.success(),
            "{words:?}: {}",
            people::said(&output)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let exported = well(&["export"]);
    assert!(exported.contains("9999-12-31T23:59:59Z"), "{exported}");
    std::fs::write(folder.path().join("exported.json"), &exported).unwrap();
    well(&["import", "exported.json", "--store", "sqlite:other.db"]);
    assert_eq!(well(&["export", "--store", "sqlite:other.db"]), exported);
}

#[tokio::test]
async fn no_number_or_length_is_too_small_or_too_large_to_be_answered() {
    let bookd = Bookd::with_ada().await;
    let mut client = bookd.calendars();
    for seconds in SECONDS
        .into_iter()
        .chain([30, 604_800, 604_860, 8_640_000_000, 8_640_000_001])
    {
        let one = Duration { seconds, nanos: 0 };
        let length = Some(one);
        for field in 0..8 {
            let mut kind = appointment_type("odd", 60);
            match field {
                0 => kind.duration = length,
                1 => kind.slot_step = length,
                2 => kind.buffer_before = length,
                3 => kind.buffer_after = length,
                4 => kind.min_notice = length,
                5 => kind.cancel_notice = length,
                6 => kind.reschedule_notice = length,
                _ => kind.duration_options = vec![one; 3],
            }
            let put = pb::PutAppointmentTypeRequest {
                calendar_id: "ada".into(),
                appointment_type: Some(kind),
                ..Default::default()
            };
            if answered(&put, client.put_appointment_type(put.clone()))
                .await
                .is_ok()
            {
                try_the_odd_type(&bookd).await;
            }
        }
    }
    for number in NUMBERS.into_iter().chain([100_000, 100_001]) {
        for field in 0..4 {
            let mut kind = appointment_type("odd", 60);
            match field {
                0 => kind.capacity = Some(number),
                1 => kind.horizon_days = Some(number),
                2 => {
                    kind.limits = Some(pb::Limits {
                        per_day: Some(number),
                        ..Default::default()
                    })
                }
                _ => {
                    kind.limits = Some(pb::Limits {
                        per_year: Some(number),
                        ..Default::default()
                    })
                }
            }
            let put = pb::PutAppointmentTypeRequest {
                calendar_id: "ada".into(),
                appointment_type: Some(kind),
                ..Default::default()
            };
            if answered(&put, client.put_appointment_type(put.clone()))
                .await
                .is_ok()
            {
                try_the_odd_type(&bookd).await;
            }
        }
    }
    bookd.stop().await;
}

/// Lists, explains, books, moves and cancels with the type as it is now.
async fn try_the_odd_type(bookd: &Bookd) {
    let mut client = bookd.booking();
    let appointment_type_id = "odd".to_owned();
    for date in ["0001-01-01", "2027-03-02", "9999-12-31"] {
        let list = pb::ListSlotsRequest {
            appointment_type_id: appointment_type_id.clone(),
            calendar_id: "ada".into(),
            date: date.into(),
            ..Default::default()
        };
        let _ = answered(&list, bookd.slots().list_slots(list.clone())).await;
    }
    let explain = pb::ExplainSlotRequest {
        calendar_id: "ada".into(),
        appointment_type_id: appointment_type_id.clone(),
        local_start: "2027-03-03T09:00".into(),
        ..Default::default()
    };
    let _ = answered(&explain, bookd.slots().explain_slot(explain.clone())).await;
    let book = pb::BookAppointmentRequest {
        appointment_type_id,
        ignore_rules: (1..=5).collect(),
        ..booking("ada", "2027-03-03T09:00")
    };
    let Ok(booked) = answered(&book, client.book_appointment(book.clone())).await else {
        return;
    };
    let appointment_id = booked.into_inner().appointment.unwrap().appointment_id;
    let moved = pb::RescheduleAppointmentRequest {
        appointment_id: appointment_id.clone(),
        local_start: "2027-03-04T09:00".into(),
        ..Default::default()
    };
    let _ = answered(&moved, client.reschedule_appointment(moved.clone())).await;
    let cancel = pb::CancelAppointmentRequest {
        appointment_id,
        ..Default::default()
    };
    let _ = answered(&cancel, client.cancel_appointment(cancel.clone())).await;
}

#[tokio::test]
async fn the_longest_query_at_the_finest_grid_is_answered_in_time_and_disturbs_nobody() {
    let bookd = Bookd::with_ada().await;
    bookd
        .hours("ada", "Europe/Paris", &[("00:00", "24:00")])
        .await;
    let week = Some(Duration {
        seconds: 7 * 86_400,
        nanos: 0,
    });
    let fine = pb::AppointmentType {
        slot_step: Some(minutes(1)),
        buffer_before: week,
        buffer_after: week,
        horizon_days: Some(100_000),
        duration: week,
        appointment_type_id: "fine".into(),
        ..Default::default()
    };
    bookd.put_type("ada", fine).await;
    for month in 4..12 {
        let book = pb::BookAppointmentRequest {
            appointment_type_id: "fine".into(),
            invitee: grace(),
            ..booking("ada", &format!("2027-{month:02}-02T00:00"))
        };
        bookd.book(book).await.unwrap();
    }
    let list = pb::ListSlotsRequest {
        calendar_id: "ada".into(),
        appointment_type_id: "fine".into(),
        start_time: Some(timestamp("2027-03-01T00:00:00Z")),
        end_time: Some(timestamp("2028-04-03T00:00:00Z")),
        page_size: i32::MAX,
        ..Default::default()
    };
    let slow = tokio::time::timeout(Patience::from_secs(5), bookd.slots().list_slots(list))
        .await
        .unwrap();
    assert_eq!(slow.unwrap().into_inner().slots.len(), 1_000);
    bookd.stop().await;
}
