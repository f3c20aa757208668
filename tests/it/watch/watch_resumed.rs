//! A watch that is resumed anywhere, or begun behind a list, misses and repeats nothing while
//! writers write.

use std::collections::BTreeMap;

use bookd::log::WatchSettings;
use bookd::proto::v1 as pb;
use bookd::proto::v1::watch_appointments_response::Message;
use prost_types::Timestamp;

use crate::harness::Bookd;
use crate::random::Chance;
use crate::watch::{
    PATIENCE, Writers, change, changes_up_to, next_message, of_calendar, open_quarters, revisions,
    start, watch,
};

#[tokio::test]
async fn a_watch_resumed_a_thousand_times_at_random_misses_and_repeats_nothing_while_writers_write()
{
    // With the small tail every watcher alternates between the tail and the store; the other size
    // is the usual one.
    for (tail_changes_max, seed) in [(16, 11), (WatchSettings::default().tail_changes_max, 12)] {
        resume(tail_changes_max, seed).await;
    }
}

async fn resume(tail_changes_max: usize, seed: u64) {
    let bookd = start(WatchSettings {
        tail_changes_max,
        ..WatchSettings::default()
    })
    .await;
    let calendars = ["ada", "bob", "cem"];
    for calendar in calendars {
        open_quarters(&bookd, calendar).await;
    }
    let writers = Writers::start(&bookd, &calendars);
    let (mut chance, mut last) = (Chance(seed), 0);
    for resumed in 0..1_000 {
        let mut stream = watch(&bookd, of_calendar("", last + 1)).await.unwrap();
        for _ in 0..chance.below(12) {
            match next_message(&mut stream).await.unwrap() {
                Message::Change(change) => {
                    assert_eq!(change.revision, last + 1, "resumed {resumed} times");
                    last = change.revision;
                }
                Message::Progress(progress) => {
                    assert_eq!(progress.revision, last, "resumed {resumed} times")
                }
            }
        }
    }
    writers.stop().await;
    let newest = bookd.revision().await;
    let mut stream = watch(&bookd, of_calendar("", last + 1)).await.unwrap();
    let rest = changes_up_to(&mut stream, newest).await;
    assert_eq!(revisions(&rest), (last + 1..=newest).collect::<Vec<_>>());
    assert!(last > 1_000, "only {last} were read in pieces");
    drop(stream);
    bookd.stop().await;
}

/// The appointments of a calendar by a list and the changes after it.
type Model = BTreeMap<String, (Option<Timestamp>, Option<Timestamp>, i32, Vec<String>)>;

fn note(model: &mut Model, calendar: &str, it: &pb::Appointment) {
    let shown = (
        it.start_time,
        it.end_time,
        it.state,
        it.calendar_ids.clone(),
    );
    if it.calendar_ids.iter().any(|id| id == calendar) {
        model.insert(it.appointment_id.clone(), shown);
    } else {
        model.remove(&it.appointment_id);
    }
}

async fn listed(bookd: &Bookd, calendar: &str, page_size: i32) -> (Model, i64) {
    let mut request = pb::ListAppointmentsRequest {
        calendar_id: calendar.to_owned(),
        states: (1..=8).collect(),
        start_time: Some(Timestamp {
            seconds: 0,
            nanos: 0,
        }),
        page_size,
        ..Default::default()
    };
    let mut model = Model::new();
    loop {
        let page = bookd
            .lists()
            .list_appointments(request.clone())
            .await
            .unwrap()
            .into_inner();
        page.appointments
            .iter()
            .for_each(|it| note(&mut model, calendar, it));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return (model, page.revision);
        }
    }
}

#[tokio::test]
async fn a_list_at_a_revision_and_a_watch_behind_it_are_exact_while_writers_write() {
    let bookd = Bookd::start().await;
    let calendars = ["ada", "bob"];
    for calendar in calendars {
        open_quarters(&bookd, calendar).await;
    }
    let writers = Writers::start(&bookd, &calendars);
    let mut watched = Vec::new();
    for _ in 0..8 {
        let (model, revision) = listed(&bookd, "ada", 7).await;
        let stream = watch(&bookd, of_calendar("ada", revision + 1))
            .await
            .unwrap();
        watched.push((model, revision, stream));
        // Writers make some more changes meanwhile.
        let mut more = watch(&bookd, of_calendar("bob", 0)).await.unwrap();
        for _ in 0..10 {
            change(&mut more).await;
        }
    }
    writers.stop().await;
    let newest = bookd.revision().await;
    let (now, _) = listed(&bookd, "ada", 1_000).await;
    assert!(now.len() > 20);
    for (mut model, revision, mut stream) in watched {
        // Only a change of this calendar ends the wait: changes of others do not wake a filtered
        // watch.
        let changes = async {
            let mut changes = Vec::new();
            while !(model_is(&model, &changes, &now)) {
                changes.push(change(&mut stream).await);
            }
            changes
        };
        let changes = tokio::time::timeout(PATIENCE, changes)
            .await
            .expect("the watch reaches the state of the list");
        assert!(
            changes
                .iter()
                .all(|it| it.revision > revision && it.revision <= newest)
        );
        assert!(
            changes
                .windows(2)
                .all(|pair| pair[0].revision < pair[1].revision)
        );
        apply(&mut model, &changes);
        assert_eq!(model, now);
    }
    bookd.stop().await;
}

fn apply(model: &mut Model, changes: &[pb::Change]) {
    let events = changes.iter().flat_map(|it| &it.events);
    events
        .filter_map(|it| it.appointment.as_ref())
        .for_each(|it| note(model, "ada", it));
}

fn model_is(model: &Model, changes: &[pb::Change], now: &Model) -> bool {
    let mut model = model.clone();
    apply(&mut model, changes);
    model == *now
}
