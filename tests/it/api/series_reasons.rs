//! The reasons for which a series is refused before any of its occurrences is judged: fields, names, bounds.
//!
//! Each request is wrong in one way, or in one way and in all later ones.

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::Bookd;
use crate::series::{book, lessons, made};
use crate::words::refused;

#[tokio::test]
async fn the_reasons_of_series_come_in_their_order() {
    let bookd = Bookd::with_ada().await;
    let nothing = pb::BookSeriesRequest {
        interval: Some(0),
        count: Some(367),
        until: "2027-3-1".into(),
        time_zone: "Mars/Olympus".into(),
        request_id: "x".repeat(65),
        ..Default::default()
    };
    let refusal = refused(book(&bookd, nothing).await);
    assert!(refusal.is(Code::InvalidArgument, "FIELD_INVALID"));
    let fields = [
        "request_id",
        "calendar_id",
        "time_zone",
        "start_time",
        "invitee.name",
        "frequency",
        "interval",
        "until",
    ];
    for field in fields {
        assert!(
            refusal.fields().contains(&field),
            "{field} is not among {:?}",
            refusal.fields()
        );
    }
    let metadata = |bytes: usize| [("k".to_owned(), "v".repeat(bytes - 1))].into();
    for (request, field) in [
        (
            pb::BookSeriesRequest {
                count: Some(0),
                ..lessons(1)
            },
            "count",
        ),
        (
            pb::BookSeriesRequest {
                count: Some(i32::MIN),
                ..lessons(1)
            },
            "count",
        ),
        (
            pb::BookSeriesRequest {
                count: None,
                ..lessons(1)
            },
            "count",
        ),
        (
            pb::BookSeriesRequest {
                interval: Some(-1),
                ..lessons(1)
            },
            "interval",
        ),
        (
            pb::BookSeriesRequest {
                frequency: 9,
                ..lessons(1)
            },
            "frequency",
        ),
        (
            pb::BookSeriesRequest {
                interval: Some(367),
                ..lessons(1)
            },
            "interval",
        ),
        (
            pb::BookSeriesRequest {
                count: None,
                until: "2027-02-30".into(),
                ..lessons(1)
            },
            "until",
        ),
        (
            pb::BookSeriesRequest {
                count: None,
                until: "2027-03-07".into(),
                ..lessons(1)
            },
            "until",
        ),
        (
            pb::BookSeriesRequest {
                count: None,
                until: "2050-01-01".into(),
                ..lessons(1)
            },
            "until",
        ),
        (
            pb::BookSeriesRequest {
                local_start: "2027-03-28T02:30".into(),
                ..lessons(1)
            },
            "local_start",
        ),
        (
            pb::BookSeriesRequest {
                local_start: "2027-10-31T02:30".into(),
                ..lessons(1)
            },
            "local_start",
        ),
        (
            pb::BookSeriesRequest {
                note: "n".repeat(3_000),
                ..lessons(366)
            },
            "note",
        ),
        (
            pb::BookSeriesRequest {
                metadata: metadata(1_000),
                note: "n".repeat(2_000),
                ..lessons(366)
            },
            "note",
        ),
        (
            pb::BookSeriesRequest {
                calendar_id: "nobody/".into(),
                count: Some(0),
                ..lessons(1)
            },
            "count",
        ),
    ] {
        let refusal = refused(book(&bookd, request).await);
        assert!(
            refusal.is(Code::InvalidArgument, "FIELD_INVALID"),
            "{field}: {refusal:?}"
        );
        assert_eq!(refusal.fields(), [field]);
    }
    let nobody = pb::BookSeriesRequest {
        calendar_id: "nobody".into(),
        ..lessons(2)
    };
    assert!(refused(book(&bookd, nobody).await).is(Code::NotFound, "CALENDAR_NOT_FOUND"));
    let untyped = pb::BookSeriesRequest {
        appointment_type_id: "nothing".into(),
        local_start: "2027-10-31T02:30".into(),
        ..lessons(2)
    };
    assert!(refused(book(&bookd, untyped).await).is(Code::NotFound, "APPOINTMENT_TYPE_NOT_FOUND"));
    bookd.stop().await;
}

#[tokio::test]
async fn a_series_is_bounded_in_calendars_and_by_the_end_of_time() {
    let bookd = Bookd::with_ada().await;
    let names: Vec<String> = (0..28).map(|n| format!("room-{n}")).collect();
    for name in &names {
        bookd.hours(name, "UTC", &[("00:00", "24:00")]).await;
    }
    let of = |count: usize, occurrences: i32| pb::BookSeriesRequest {
        calendar_id: String::new(),
        calendar_ids: names[..count].to_vec(),
        assignment: pb::Assignment::All.into(),
        frequency: pb::Frequency::Daily.into(),
        ignore_rules: vec![pb::IgnorableRule::Horizon.into()],
        validate_only: true,
        ..lessons(occurrences)
    };
    let refusal = refused(
        book(
            &bookd,
            pb::BookSeriesRequest {
                note: "n".repeat(3_000),
                ..of(28, 366)
            },
        )
        .await,
    );
    assert_eq!(
        (refusal.reason.as_str(), refusal.fields()),
        ("FIELD_INVALID", vec!["calendar_ids", "note"])
    );
    assert_eq!(made(&book(&bookd, of(28, 357)).await.unwrap()).len(), 357);
    assert_eq!(made(&book(&bookd, of(27, 366)).await.unwrap()).len(), 366);
    let last = pb::BookSeriesRequest {
        local_start: "5999-12-30T12:00".into(),
        ..of(1, 2)
    };
    assert_eq!(made(&book(&bookd, last.clone()).await.unwrap()).len(), 2);
    for ending in [(Some(3), ""), (None, "9999-12-31")] {
        let (count, until) = (ending.0, ending.1.to_owned());
        let refusal = refused(
            book(
                &bookd,
                pb::BookSeriesRequest {
                    count,
                    until,
                    ..last.clone()
                },
            )
            .await,
        );
        assert_eq!(refusal.reason, "FIELD_INVALID", "{refusal:?}");
    }
    bookd.stop().await;
}
