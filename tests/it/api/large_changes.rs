//! Changes with many events: each reader gets the events that its request asks for, each once.
//!
//! Lists give them page by page, a watch in parts of one change.

use std::collections::BTreeSet;

use crate::harness::Bookd;
use crate::watch::{Stream, of_calendar, watch};
use crate::words::{booking, grace};
use bookd::proto::v1 as pb;
use bookd::proto::v1::watch_appointments_response::Message;

/// Books 360 days in a row at this hour.
async fn book_a_year(bookd: &Bookd, calendar: &str, hour: usize) -> Vec<pb::Appointment> {
    let request = pb::BookSeriesRequest {
        calendar_id: calendar.to_owned(),
        local_start: format!("2027-01-05T{hour:02}:00"),
        invitee: grace(),
        frequency: pb::Frequency::Daily.into(),
        count: Some(360),
        ..Default::default()
    };
    let booked = bookd
        .booking()
        .book_series(request)
        .await
        .unwrap()
        .into_inner();
    booked
        .occurrences
        .into_iter()
        .map(|it| it.appointment.unwrap())
        .collect()
}

/// Deletes a calendar with 1,442 appointments, of which two are on another calendar too.
async fn delete_a_full_calendar(bookd: &Bookd) -> Vec<pb::Appointment> {
    for calendar in ["full", "other"] {
        bookd.open(calendar, "00:00", "24:00").await;
    }
    let mut booked = Vec::new();
    for hour in 0..4 {
        booked.extend(book_a_year(bookd, "full", hour).await);
    }
    for start in ["2027-01-06T12:00", "2027-02-06T12:00"] {
        let request = pb::BookAppointmentRequest {
            calendar_id: String::new(),
            calendar_ids: vec!["full".to_owned(), "other".to_owned()],
            assignment: pb::Assignment::All.into(),
            ..booking("", start)
        };
        booked.push(bookd.book(request).await.unwrap());
    }
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "full".to_owned(),
        force: true,
        ..Default::default()
    };
    bookd.calendars().delete_calendar(delete).await.unwrap();
    booked
}

async fn changes(bookd: &Bookd, request: &pb::ListChangesRequest) -> pb::ListChangesResponse {
    bookd
        .lists()
        .list_changes(request.clone())
        .await
        .unwrap()
        .into_inner()
}

fn history_of(calendar_id: &str) -> pb::ListChangesRequest {
    pb::ListChangesRequest {
        calendar_id: calendar_id.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn the_history_of_a_calendar_has_no_event_of_another() {
    let bookd = Bookd::start().await;
    for calendar in ["a", "b"] {
        bookd.open(calendar, "00:00", "24:00").await;
    }
    let requests = ["a", "b"]
        .map(|calendar| booking(calendar, "2027-03-02T09:00"))
        .to_vec();
    let batch = pb::BatchBookRequest {
        requests,
        ..Default::default()
    };
    let booked = bookd
        .booking()
        .batch_book(batch)
        .await
        .unwrap()
        .into_inner()
        .appointments;
    for (calendar, appointment) in ["a", "b"].into_iter().zip(&booked) {
        let of_calendar = changes(&bookd, &history_of(calendar)).await.changes;
        let of_appointment = pb::ListChangesRequest {
            appointment_id: appointment.appointment_id.clone(),
            ..Default::default()
        };
        for change in [
            &of_calendar[0],
            &changes(&bookd, &of_appointment).await.changes[0],
        ] {
            let ids: Vec<&str> = change
                .events
                .iter()
                .map(|it| it.appointment_id.as_str())
                .collect();
            assert_eq!(
                (change.command.as_str(), ids),
                ("BatchBook", vec![appointment.appointment_id.as_str()])
            );
        }
    }
    bookd.stop().await;
}

#[tokio::test]
async fn the_history_of_an_appointment_has_its_own_events_however_many_a_change_has() {
    let bookd = Bookd::start().await;
    let booked = delete_a_full_calendar(&bookd).await;
    for number in [0, 77, 359, 360, 1_000, 1_439, 1_441] {
        let id = &booked[number].appointment_id;
        let request = pb::ListChangesRequest {
            appointment_id: id.clone(),
            ..Default::default()
        };
        let page = changes(&bookd, &request).await;
        let commands: Vec<&str> = page.changes.iter().map(|it| it.command.as_str()).collect();
        let made = if number < 1_440 {
            "BookSeries"
        } else {
            "BookAppointment"
        };
        assert_eq!(commands, ["DeleteCalendar", made], "{number}");
        assert!(
            page.changes
                .iter()
                .all(|it| it.events.len() == 1 && it.events[0].appointment_id == *id)
        );
        assert!(page.next_page_token.is_empty());
    }
    let of_other: Vec<usize> = changes(&bookd, &history_of("other"))
        .await
        .changes
        .iter()
        .map(|it| it.events.len())
        .collect();
    assert_eq!(
        of_other,
        [2, 1, 1, 1],
        "the deletion has the two events of the appointments on both calendars"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_change_larger_than_a_page_goes_on_on_the_next_and_each_event_is_on_one_of_them() {
    let bookd = Bookd::start().await;
    let booked = delete_a_full_calendar(&bookd).await;
    let newest = bookd.revision().await;
    for page_size in [1, 3, 1_000] {
        let mut request = pb::ListChangesRequest {
            page_size,
            ..history_of("full")
        };
        let (mut listed, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = changes(&bookd, &request).await;
            sizes.push(page.changes.iter().map(|it| it.events.len()).sum::<usize>());
            assert!(page.changes.len() <= usize::try_from(page_size).unwrap());
            listed.extend(page.changes);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(sizes[0], 1_000, "{sizes:?}");
        assert!(sizes.iter().all(|it| (1..=1_000).contains(it)), "{sizes:?}");
        let mut revisions: Vec<i64> = listed.iter().map(|it| it.revision).collect();
        assert_eq!(
            revisions.iter().filter(|it| **it == newest).count(),
            2,
            "{revisions:?}"
        );
        revisions.dedup();
        assert!(
            revisions.is_sorted_by(|one, next| one > next),
            "{revisions:?}"
        );
        let deleted = listed
            .iter()
            .filter(|it| it.revision == newest)
            .flat_map(|it| &it.events);
        let cancelled: Vec<&str> = deleted
            .filter(|it| it.kind() == pb::ChangeKind::Cancelled)
            .map(|it| it.appointment_id.as_str())
            .collect();
        let once: BTreeSet<&str> = booked.iter().map(|it| it.appointment_id.as_str()).collect();
        assert_eq!(
            (cancelled.len(), cancelled.into_iter().collect()),
            (once.len(), once)
        );
    }
    bookd.stop().await;
}

#[tokio::test]
async fn a_token_that_stands_anywhere_in_a_change_is_harmless() {
    let bookd = Bookd::start().await;
    delete_a_full_calendar(&bookd).await;
    let mut request = pb::ListChangesRequest {
        page_size: 1,
        ..history_of("full")
    };
    let token = changes(&bookd, &request).await.next_page_token;
    // The last field of a token is the index of the event.
    let (rest, event) = token.rsplit_once("30").unwrap();
    assert!(event.len() <= 4, "{token}");
    for (event, events) in [
        ("01", 1_000),
        ("9f0b", 1),
        ("ff7f", 1),
        ("ffffffffffffffffff01", 1),
    ] {
        request.page_token = format!("{rest}30{event}");
        let page = changes(&bookd, &request).await;
        assert_eq!(
            page.changes
                .iter()
                .map(|it| it.events.len())
                .sum::<usize>()
                .min(events),
            events,
            "{event}"
        );
    }
    // A token from before tokens could point into a change starts at the beginning of the change.
    request.page_token = rest.to_owned();
    assert_eq!(
        changes(&bookd, &request).await.changes[0].events.len(),
        1_000
    );
    bookd.stop().await;
}

/// The parts of the next change; progress messages before it are skipped.
async fn parts(stream: &mut Stream) -> Vec<pb::Change> {
    let mut parts = Vec::new();
    loop {
        let message = stream.message().await.unwrap().unwrap();
        match message.message.unwrap() {
            Message::Change(change) => {
                parts.push(change);
                assert_eq!(usize::try_from(message.part).unwrap(), parts.len());
                if message.is_last {
                    return parts;
                }
            }
            Message::Progress(_) => assert_eq!((message.part, message.is_last), (0, false)),
        }
    }
}

fn sizes(parts: &[pb::Change]) -> Vec<usize> {
    assert!(parts.iter().all(|it| it.revision == parts[0].revision));
    parts.iter().map(|it| it.events.len()).collect()
}

#[tokio::test]
async fn a_watch_is_told_a_large_change_in_parts_live_and_later_alike() {
    let bookd = Bookd::start().await;
    let mut live = watch(&bookd, pb::WatchAppointmentsRequest::default())
        .await
        .unwrap();
    delete_a_full_calendar(&bookd).await;
    let last = bookd.revision().await;
    let whole = loop {
        let parts = parts(&mut live).await;
        if parts[0].revision == last {
            break parts;
        }
        assert_eq!(parts.len(), 1, "a booking has one part");
    };
    assert_eq!(sizes(&whole), [1_000, 443]);
    let again = pb::WatchAppointmentsRequest {
        start_revision: last,
        ..Default::default()
    };
    for _ in 0..2 {
        let mut later = watch(&bookd, again.clone()).await.unwrap();
        // A stream that ended within a change starts with that change again.
        let _first = later.message().await.unwrap().unwrap();
        drop(later);
        let mut later = watch(&bookd, again.clone()).await.unwrap();
        assert_eq!(parts(&mut later).await, whole);
    }
    let mut of_other = watch(&bookd, of_calendar("other", last)).await.unwrap();
    assert_eq!(
        sizes(&parts(&mut of_other).await),
        [2],
        "the size of a part counts the events that pass the filter alone"
    );
    let next = bookd
        .book(booking("other", "2027-05-06T12:00"))
        .await
        .unwrap();
    for stream in [&mut live, &mut of_other] {
        let parts = parts(stream).await;
        assert_eq!(
            (sizes(&parts), &parts[0].events[0].appointment_id),
            (vec![1], &next.appointment_id)
        );
    }
    drop((live, of_other));
    bookd.stop().await;
}

#[tokio::test]
async fn a_part_that_is_large_by_its_texts_has_fewer_events() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "00:00", "24:00").await;
    let mut live = watch(&bookd, of_calendar("ada", 0)).await.unwrap();
    let metadata = (0..50)
        .map(|number| (format!("key-{number}"), "x".repeat(450)))
        .collect::<Vec<_>>();
    let at = |number: usize| pb::BookAppointmentRequest {
        metadata: metadata.iter().cloned().collect(),
        note: "é".repeat(3_000),
        ..booking(
            "ada",
            &format!("2027-01-{:02}T{:02}:00", 5 + number / 24, number % 24),
        )
    };
    for batch in 0..5 {
        let requests = (30 * batch..30 * (batch + 1)).map(at).collect();
        let batch = pb::BatchBookRequest {
            requests,
            ..Default::default()
        };
        bookd.booking().batch_book(batch).await.unwrap();
        assert_eq!(sizes(&parts(&mut live).await), [30]);
    }
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "ada".to_owned(),
        force: true,
        ..Default::default()
    };
    bookd.calendars().delete_calendar(delete).await.unwrap();
    // The clients here take messages of 4 MiB at most, so each part is smaller than that.
    let first = parts(&mut live).await;
    assert_eq!(
        (first.len() > 1, sizes(&first).iter().sum::<usize>()),
        (true, 151),
        "{:?}",
        sizes(&first)
    );
    drop(live);
    let mut later = watch(&bookd, of_calendar("ada", bookd.revision().await))
        .await
        .unwrap();
    assert_eq!(parts(&mut later).await, first);
    drop(later);
    bookd.stop().await;
}
