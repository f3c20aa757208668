//! The order of the reasons for which a series is refused before its occurrences are decided.
//!
//! Fields come first, then names; the bounds on occurrences, calendars and texts are fields.

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::Bookd;
use crate::series::{book, expect_field, lessons, made};
use crate::words::refused;

type Change = fn(&mut pb::BookSeriesRequest);

/// The field that the refusal names, and the change that makes a series of one lesson invalid.
const WRONG_FIELDS: [(&str, Change); 14] = [
    ("count", |series| series.count = Some(0)),
    ("count", |series| series.count = Some(i32::MIN)),
    ("count", |series| series.count = None),
    ("interval", |series| series.interval = Some(-1)),
    ("frequency", |series| series.frequency = 9),
    ("interval", |series| series.interval = Some(367)),
    ("until", |series| until(series, "2027-02-30")),
    ("until", |series| until(series, "2027-03-07")),
    ("until", |series| until(series, "2050-01-01")),
    ("local_start", |series| {
        series.local_start = "2027-03-28T02:30".into()
    }),
    ("local_start", |series| {
        series.local_start = "2027-10-31T02:30".into()
    }),
    ("note", |series| {
        series.count = Some(366);
        series.note = "n".repeat(3_000);
    }),
    ("note", |series| {
        series.count = Some(366);
        series.metadata = [("k".to_owned(), "v".repeat(999))].into();
        series.note = "n".repeat(2_000);
    }),
    ("count", |series| {
        series.calendar_id = "nobody/".into();
        series.count = Some(0);
    }),
];

/// Replaces the count by a last date.
fn until(series: &mut pb::BookSeriesRequest, last: &str) {
    series.count = None;
    series.until = last.into();
}

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
    for (field, spoil) in WRONG_FIELDS {
        let mut request = lessons(1);
        spoil(&mut request);
        expect_field(&refused(book(&bookd, request).await), field);
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
