//! Ends and refusals of a watch: each has a reason, and the revision from which to go on.

use std::time::{Duration, Instant};

use bookd::engine::{Failure, Settings, Watched};
use bookd::log::WatchSettings;
use bookd::proto::v1 as pb;
use bookd::proto::v1::watch_appointments_response::Message;
use bookd::store::WatchFilter;
use bookd_core::ids::Revision;
use bookd_core::time::DAY;
use bookd_transport::Ended;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::harness::{Bookd, at};
use crate::watch::{
    Writers, change, changes_up_to, next_message, of_calendar, open_quarters, revisions, settings,
    start, watch,
};
use crate::words::{Refused, refused};

/// Days for which these tests keep changes.
const KEPT: i64 = 2;

async fn start_keeping() -> Bookd {
    let settings = Settings {
        keep_changes: Some(KEPT * DAY),
        ..settings()
    };
    Bookd::start_with("2027-01-04T08:00:00Z", settings).await
}

#[tokio::test]
async fn history_that_is_gone_is_refused_with_the_oldest_that_is_left_and_the_same_after_a_restart()
{
    let mut bookd = start_keeping().await;
    bookd.open("ada", "09:00", "17:00").await;
    let old = bookd.book(at("ada", "10:00")).await.unwrap();
    bookd.book(at("ada", "11:00")).await.unwrap();
    bookd.advance(DAY).await;
    let tuesday = |clock: &str| {
        let start_time = at("ada", clock)
            .start_time
            .map(|it| prost_types::Timestamp {
                seconds: it.seconds + 3 * DAY,
                ..it
            });
        pb::BookAppointmentRequest {
            start_time,
            ..at("ada", clock)
        }
    };
    let kept = bookd.book(tuesday("10:00")).await.unwrap();
    // Every change is kept for two days, to the second.
    bookd.advance(DAY).await;
    let mut all = watch(&bookd, of_calendar("", 1)).await.unwrap();
    assert_eq!(revisions(&changes_up_to(&mut all, 4).await), [1, 2, 3, 4]);
    drop(all);
    bookd.advance(61).await;
    for _ in 0..2 {
        for start in [1, 2, 3] {
            let refusal = refused(watch(&bookd, of_calendar("", start)).await);
            assert!(
                refusal.is(Code::OutOfRange, "REVISION_COMPACTED"),
                "{start}: {refusal:?}"
            );
            assert_eq!(refusal.metadata["oldest_revision"], "4");
        }
        let mut rest = watch(&bookd, of_calendar("", 4)).await.unwrap();
        assert_eq!(revisions(&changes_up_to(&mut rest, 4).await), [4]);
        drop(rest);
        let of = |appointment_id: &str| pb::ListChangesRequest {
            appointment_id: appointment_id.to_owned(),
            ..Default::default()
        };
        let changes = bookd
            .lists()
            .list_changes(of(&old.appointment_id))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (changes.changes.len(), changes.next_page_token.as_str()),
            (0, ""),
            "the chain ends"
        );
        let changes = bookd
            .lists()
            .list_changes(of(&kept.appointment_id))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(changes.changes.len(), 1);
        bookd = bookd.restart().await;
    }
    // The last change is never removed, because the next one needs its number.
    bookd.advance(400 * DAY).await;
    let bookd = bookd.restart().await;
    assert_eq!(bookd.revision().await, 4);
    bookd.stop().await;
}

#[tokio::test]
async fn a_page_of_a_moment_whose_changes_are_gone_is_refused() {
    let bookd = start_keeping().await;
    bookd.open("ada", "09:00", "17:00").await;
    for clock in ["10:00", "11:00", "12:00"] {
        bookd.book(at("ada", clock)).await.unwrap();
    }
    let mut list = pb::ListAppointmentsRequest {
        calendar_id: "ada".to_owned(),
        page_size: 1,
        ..Default::default()
    };
    list.page_token = bookd
        .lists()
        .list_appointments(list.clone())
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    bookd.book(at("ada", "13:00")).await.unwrap();
    bookd.book(at("ada", "14:00")).await.unwrap();
    assert!(bookd.lists().list_appointments(list.clone()).await.is_ok());
    bookd.advance(KEPT * DAY + 1).await;
    let refusal = refused(bookd.lists().list_appointments(list).await);
    assert!(
        refusal.is(Code::OutOfRange, "REVISION_COMPACTED"),
        "{refusal:?}"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn the_next_revision_is_waited_for_and_the_one_after_it_refused() {
    let bookd = Bookd::start().await;
    let empty = refused(watch(&bookd, of_calendar("", 2)).await);
    assert!(empty.is(Code::OutOfRange, "REVISION_IN_FUTURE"));
    let mut first = watch(&bookd, of_calendar("", 1)).await.unwrap();
    bookd.open("ada", "09:00", "17:00").await;
    assert_eq!(change(&mut first).await.revision, 1);
    let mut next = watch(&bookd, of_calendar("", 2)).await.unwrap();
    let refusal = refused(watch(&bookd, of_calendar("", 3)).await);
    assert!(refusal.is(Code::OutOfRange, "REVISION_IN_FUTURE"));
    assert_eq!(
        (
            refusal.metadata["newest_revision"].as_str(),
            refusal.metadata["oldest_revision"].as_str()
        ),
        ("1", "1")
    );
    assert!(
        refused(watch(&bookd, of_calendar("", i64::MAX)).await)
            .is(Code::OutOfRange, "REVISION_IN_FUTURE")
    );
    let mut now = watch(&bookd, of_calendar("", 0)).await.unwrap();
    bookd.book(at("ada", "10:00")).await.unwrap();
    assert_eq!(
        [
            change(&mut next).await.revision,
            change(&mut now).await.revision
        ],
        [2, 2]
    );
    drop((first, next, now));
    bookd.stop().await;
}

#[tokio::test]
async fn a_watcher_that_falls_too_far_behind_is_cut_with_what_it_was_told_last() {
    let bookd = start(WatchSettings {
        lag_changes_max: 50,
        ..WatchSettings::default()
    })
    .await;
    open_quarters(&bookd, "ada").await;
    let mut slow = bookd
        .engine()
        .watch(WatchFilter::ALL, Revision(1), None)
        .await
        .unwrap();
    // The watcher is up to date once; one that is catching up may lag by any number.
    let mut last = Revision(0);
    loop {
        match slow.next().await.unwrap() {
            Watched::Change { change, .. } => last = change.entry.revision,
            Watched::Whole(_) => panic!("what was before the watch is read from the store"),
            Watched::Progress(revision) => break assert_eq!(revision, last),
        }
    }
    let writers = Writers::start(&bookd, &["ada"]);
    let mut quick = watch(&bookd, of_calendar("", 0)).await.unwrap();
    while change(&mut quick).await.revision <= i64::try_from(last.0).unwrap() + 60 {}
    writers.stop().await;
    assert_eq!(
        slow.next().await.err(),
        Some(Failure::Lagged {
            last,
            oldest: Revision(1)
        })
    );
    drop((slow, quick));
    let mut late = watch(&bookd, of_calendar("", 1)).await.unwrap();
    let newest = bookd.revision().await;
    assert_eq!(
        revisions(&changes_up_to(&mut late, newest).await),
        (1..=newest).collect::<Vec<_>>()
    );
    drop(late);
    bookd.stop().await;
}

/// A booking of `ada` so many quarters of an hour after noon.
fn quarter(number: i64, note: &str) -> pb::BookAppointmentRequest {
    let noon = at("ada", "12:00");
    pb::BookAppointmentRequest {
        start_time: noon.start_time.map(|start| prost_types::Timestamp {
            seconds: start.seconds + number * 900,
            ..start
        }),
        note: note.to_owned(),
        appointment_type_id: "quarter".to_owned(),
        ..noon
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_nobody_and_is_cut_with_what_it_was_sent_last() {
    let stall_max = Duration::from_millis(20);
    let bookd = start(WatchSettings {
        stall_max,
        ..WatchSettings::default()
    })
    .await;
    open_quarters(&bookd, "ada").await;
    // The changes are more than the windows of the connection hold.
    let long = "x".repeat(4_000);
    for number in 0..300 {
        bookd.book(quarter(number, &long)).await.unwrap();
    }
    let newest = bookd.revision().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", bookd.address())).unwrap();
    let channel = endpoint
        .initial_stream_window_size(65_535)
        .connect()
        .await
        .unwrap();
    let mut client = pb::list_service_client::ListServiceClient::new(channel);
    let mut stalled = client
        .watch_appointments(of_calendar("", 1))
        .await
        .unwrap()
        .into_inner();
    let mut reader = watch(&bookd, of_calendar("", newest + 1)).await.unwrap();
    // Others write and read for longer than the watcher may stall.
    let (begun, mut number) = (Instant::now(), 0);
    while begun.elapsed() < stall_max * 10 || number < 20 {
        bookd.book(quarter(300 + number, "")).await.unwrap();
        number += 1;
        assert_eq!(change(&mut reader).await.revision, newest + number);
    }
    let mut last = 0;
    let cut = loop {
        match next_message(&mut stalled).await {
            Ok(Message::Change(change)) => {
                assert_eq!(change.revision, last + 1, "cut, but never skipped");
                last = change.revision;
            }
            Ok(Message::Progress(progress)) => assert_eq!(progress.revision, last),
            Err(status) => break Refused::of(&status),
        }
    };
    assert!(cut.is(Code::OutOfRange, "WATCH_LAGGED"), "{cut:?}");
    assert_eq!(
        (
            cut.metadata["last_revision"].as_str(),
            cut.metadata["oldest_revision"].as_str()
        ),
        (&*last.to_string(), "1")
    );
    assert!(
        last < newest,
        "the watcher was served although it did not read"
    );
    drop((stalled, reader, client));
    bookd.stop().await;
}

#[tokio::test]
async fn watches_are_bounded_and_a_place_is_free_again_when_its_stream_is_dropped() {
    let bookd = start(WatchSettings {
        watches_max: 2,
        ..WatchSettings::default()
    })
    .await;
    bookd.open("ada", "09:00", "17:00").await;
    let engine = bookd.engine();
    let one = engine
        .watch(WatchFilter::ALL, Revision(0), None)
        .await
        .unwrap();
    let two = engine.touches(vec![]).unwrap();
    let refusal = refused(watch(&bookd, of_calendar("", 0)).await);
    assert!(refusal.is(Code::Unavailable, "OVERLOADED"), "{refusal:?}");
    assert!(refusal.details.retry_info().is_some());
    drop(one);
    let three = watch(&bookd, of_calendar("", 0)).await.unwrap();
    drop((two, three, engine));
    bookd.stop().await;
}

#[tokio::test]
async fn whoever_does_not_read_makes_room_for_who_does() {
    let (watches_max, stall_max) = (1, Duration::from_millis(1));
    let bookd = start(WatchSettings {
        watches_max,
        stall_max,
        ..WatchSettings::default()
    })
    .await;
    bookd.open("ada", "09:00", "17:00").await;
    let mut resting = bookd
        .engine()
        .watch(WatchFilter::ALL, Revision(1), None)
        .await
        .unwrap();
    resting.next().await.unwrap();
    let begun = Instant::now();
    let mut minute = 0;
    while begun.elapsed() < stall_max * 10 {
        let hold = pb::HoldAppointmentRequest {
            calendar_id: "ada".to_owned(),
            start_time: at("ada", &format!("{:02}:00", 9 + minute % 8)).start_time,
            validate_only: true,
            ..Default::default()
        };
        bookd.booking().hold_appointment(hold).await.unwrap();
        minute += 1;
    }
    let mut reader = watch(&bookd, of_calendar("", 1)).await.unwrap();
    assert_eq!(change(&mut reader).await.revision, 1);
    assert_eq!(
        resting.next().await.err(),
        Some(Failure::Lagged {
            last: Revision(1),
            oldest: Revision(1)
        })
    );
    drop((resting, reader));
    bookd.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_every_watch_with_its_last_revision_and_waits_for_none() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    bookd.book(at("ada", "10:00")).await.unwrap();
    let mut changes = watch(&bookd, of_calendar("", 0)).await.unwrap();
    let mut filtered = watch(&bookd, of_calendar("nobody", 1)).await.unwrap();
    let slots = pb::WatchSlotsRequest {
        calendar_id: "ada".to_owned(),
        date: "2027-01-04".to_owned(),
        ..Default::default()
    };
    let mut offers = bookd.slots().watch_slots(slots).await.unwrap().into_inner();
    for stream in [&mut changes, &mut filtered] {
        assert!(changes_up_to(stream, 2).await.is_empty());
    }
    assert_eq!(offers.message().await.unwrap().unwrap().added.len(), 7);
    let stopped = tokio::spawn(bookd.stop_beside_streams());
    for stream in [&mut changes, &mut filtered] {
        let Message::Progress(progress) = next_message(stream).await.unwrap() else {
            panic!("nothing changed")
        };
        assert_eq!(progress.revision, 2);
        let end = Refused::of(&next_message(stream).await.unwrap_err());
        assert!(end.is(Code::Unavailable, "SHUTTING_DOWN"), "{end:?}");
    }
    let last = offers.message().await.unwrap().unwrap();
    assert_eq!(
        (last.added.len(), last.removed.len(), last.revision),
        (0, 0, 2)
    );
    assert!(
        Refused::of(&offers.message().await.unwrap_err()).is(Code::Unavailable, "SHUTTING_DOWN")
    );
    drop((changes, filtered, offers));
    assert_eq!(stopped.await.unwrap(), Ended::InOrder);
}
