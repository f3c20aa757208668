//! WatchAppointments: every change in order, whole, once; resumed anywhere; exact behind a list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bookd::engine::Settings;
use bookd::log::WatchSettings;
use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::watch_appointments_response::Message;
use prost_types::Timestamp;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::harness::{Bookd, at, connect, instant, minutes};
use crate::random::Chance;
use crate::words::refused;

pub type Stream = Streaming<pb::WatchAppointmentsResponse>;

/// Nothing here takes so long; what never comes must fail and not hang.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn settings() -> Settings {
    Settings {
        is_clock_confirmed: true,
        ..Settings::default()
    }
}

pub async fn start(watch: WatchSettings) -> Bookd {
    Bookd::start_with(
        "2027-01-04T08:00:00Z",
        Settings {
            watch,
            ..settings()
        },
    )
    .await
}

pub fn of_calendar(calendar_id: &str, start_revision: i64) -> pb::WatchAppointmentsRequest {
    pb::WatchAppointmentsRequest {
        calendar_id: calendar_id.to_owned(),
        start_revision,
        ..Default::default()
    }
}

pub async fn watch(bookd: &Bookd, request: pb::WatchAppointmentsRequest) -> Result<Stream, Status> {
    Ok(bookd
        .lists()
        .watch_appointments(request)
        .await?
        .into_inner())
}

pub async fn said(stream: &mut Stream) -> Result<Message, Status> {
    let message = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .expect("it comes in time")?;
    Ok(message
        .expect("a watch ends with an error")
        .message
        .expect("a message says something"))
}

/// The next change; marks of progress before it are passed over.
pub async fn change(stream: &mut Stream) -> pb::Change {
    loop {
        if let Message::Change(change) = said(stream).await.unwrap() {
            return change;
        }
    }
}

/// What comes before the mark that everything up to a revision was said.
pub async fn changes_up_to(stream: &mut Stream, revision: i64) -> Vec<pb::Change> {
    let mut changes = Vec::new();
    loop {
        match said(stream).await.unwrap() {
            Message::Change(change) => changes.push(change),
            Message::Progress(progress) if progress.revision >= revision => return changes,
            Message::Progress(_) => {}
        }
    }
}

pub fn revisions(changes: &[pb::Change]) -> Vec<i64> {
    changes.iter().map(|it| it.revision).collect()
}

/// A calendar that is always open, with a type of a quarter of an hour.
pub async fn open_quarters(bookd: &Bookd, calendar: &str) {
    bookd.open(calendar, "00:00", "24:00").await;
    let quarter = pb::AppointmentType {
        appointment_type_id: "quarter".to_owned(),
        duration: Some(minutes(15)),
        ..Default::default()
    };
    bookd.put_type(calendar, quarter).await;
}

fn quarter(number: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: instant("2027-01-05T00:00:00Z").seconds() + number * 15 * 60,
        nanos: 0,
    })
}

/// Books, moves, changes and cancels until it is told to stop; times of its own calendar, so that all of it succeeds.
pub struct Writers {
    is_over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    pub fn start(bookd: &Bookd, calendars: &[&str]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let write = |calendar: &&str| {
            let (client, calendar, is_over) = (
                bookd.booking(),
                (*calendar).to_owned(),
                Arc::clone(&is_over),
            );
            tokio::spawn(async move {
                let mut number = 0;
                // A calendar has so many quarters until its horizon.
                while !is_over.load(Ordering::SeqCst) && number < 20_000 {
                    write_four(client.clone(), &calendar, number).await;
                    number += 2;
                }
            })
        };
        let tasks = calendars.iter().map(write).collect();
        Self { is_over, tasks }
    }

    pub async fn stop(self) {
        self.is_over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// A booking, a move, another note, and for every other a cancellation.
async fn write_four(mut client: BookingServiceClient<Channel>, calendar: &str, number: i64) {
    let book = pb::BookAppointmentRequest {
        calendar_id: calendar.to_owned(),
        appointment_type_id: "quarter".to_owned(),
        start_time: quarter(number),
        invitee: at(calendar, "09:00").invitee,
        ..Default::default()
    };
    let booked = client
        .book_appointment(book)
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    let appointment_id = booked.appointment_id;
    let moved = pb::RescheduleAppointmentRequest {
        appointment_id: appointment_id.clone(),
        start_time: quarter(number + 1),
        ..Default::default()
    };
    client.reschedule_appointment(moved).await.unwrap();
    let update = pb::UpdateAppointmentRequest {
        appointment_id: appointment_id.clone(),
        note: format!("number {number}"),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["note".to_owned()],
        }),
        ..Default::default()
    };
    client.update_appointment(update).await.unwrap();
    if number % 4 == 0 {
        client
            .cancel_appointment(pb::CancelAppointmentRequest {
                appointment_id,
                ..Default::default()
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn every_change_is_told_once_in_order_and_whole_and_the_same_live_as_replayed() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    let mut live = watch(&bookd, of_calendar("", 1)).await.unwrap();
    let mut told = changes_up_to(&mut live, 1).await;
    assert_eq!(
        revisions(&told),
        [1],
        "and the mark of progress follows at once"
    );
    let booked = bookd.book(at("ada", "10:00")).await.unwrap();
    told.push(change(&mut live).await);
    let id = booked.appointment_id.clone();
    let moved = pb::RescheduleAppointmentRequest {
        appointment_id: id.clone(),
        start_time: at("ada", "12:00").start_time,
        ..Default::default()
    };
    bookd.booking().reschedule_appointment(moved).await.unwrap();
    told.push(change(&mut live).await);
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: id.clone(),
        ..Default::default()
    };
    bookd.booking().cancel_appointment(cancel).await.unwrap();
    told.push(change(&mut live).await);
    assert_eq!(revisions(&told), [1, 2, 3, 4]);
    let commands: Vec<&str> = told.iter().map(|it| it.command.as_str()).collect();
    assert_eq!(
        commands,
        [
            "SetAvailability",
            "BookAppointment",
            "RescheduleAppointment",
            "CancelAppointment"
        ]
    );
    let (book, moved, cancelled) = (&told[1].events[0], &told[2].events[0], &told[3].events[0]);
    assert_eq!(
        book.appointment.as_ref(),
        Some(&booked),
        "as of its revision, and as it was answered"
    );
    assert_eq!((&book.before, book.kind()), (&None, pb::ChangeKind::Booked));
    assert_eq!(moved.before, book.after);
    assert_eq!(moved.before.as_ref().unwrap().start_time, booked.start_time);
    let then = moved.appointment.as_ref().unwrap();
    assert_eq!(
        (then.start_time, then.state()),
        (
            at("ada", "12:00").start_time,
            pb::AppointmentState::Confirmed
        )
    );
    assert_eq!(
        cancelled.appointment.as_ref().unwrap().state(),
        pb::AppointmentState::Cancelled
    );
    assert_eq!(cancelled.calendar_ids, ["ada"]);
    assert!(
        told.iter()
            .all(|it| it.commit_time.unwrap().seconds == bookd.clock_seconds())
    );
    drop(live);
    let bookd = bookd.restart().await;
    let mut again = watch(&bookd, of_calendar("", 1)).await.unwrap();
    assert_eq!(
        changes_up_to(&mut again, 4).await,
        told,
        "from the store after a restart"
    );
    drop(again);
    bookd.stop().await;
}

#[tokio::test]
async fn a_watch_resumed_a_thousand_times_at_random_misses_and_repeats_nothing_while_writers_write()
{
    // A ring so small that every watcher goes back and forth between it and the store; and the usual one.
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
            match said(&mut stream).await.unwrap() {
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

/// What a calendar has, by what a list and the changes behind it say.
type Model = BTreeMap<String, (Option<Timestamp>, Option<Timestamp>, i32, Vec<String>)>;

fn note(model: &mut Model, calendar: &str, it: &pb::Appointment) {
    let shown = (
        it.start_time,
        it.end_time,
        it.state,
        it.calendar_ids.clone(),
    );
    match it.calendar_ids.iter().any(|id| id == calendar) {
        true => drop(model.insert(it.appointment_id.clone(), shown)),
        false => drop(model.remove(&it.appointment_id)),
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
        // Some more are written meanwhile.
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
        // A booking of its own ends the wait: a filtered watch is not woken by what others do.
        let changes = async {
            let mut changes = Vec::new();
            while !(model_is(&model, &changes, &now)) {
                changes.push(change(&mut stream).await);
            }
            changes
        };
        let changes = tokio::time::timeout(PATIENCE, changes)
            .await
            .expect("it gets there");
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

#[tokio::test]
async fn a_watch_is_told_of_its_calendars_and_of_no_others() {
    let bookd = start(WatchSettings {
        progress: Duration::from_millis(20),
        ..WatchSettings::default()
    })
    .await;
    for calendar in ["acme/ada", "acme/bob", "other"] {
        bookd.open(calendar, "09:00", "17:00").await;
    }
    let prefix = |id_prefix: &str| pb::WatchAppointmentsRequest {
        id_prefix: id_prefix.to_owned(),
        ..Default::default()
    };
    let mut acme = watch(&bookd, prefix("acme/")).await.unwrap();
    let mut ada = watch(&bookd, of_calendar("acme/ada", 1)).await.unwrap();
    let mut unborn = watch(&bookd, of_calendar("unborn", 1)).await.unwrap();
    assert_eq!(revisions(&changes_up_to(&mut unborn, 3).await), [0; 0]);
    bookd.book(at("other", "09:00")).await.unwrap();
    bookd.book(at("acme/bob", "09:00")).await.unwrap();
    // One change of two appointments: each watch is told of its own.
    let requests = vec![at("acme/ada", "10:00"), at("other", "10:00")];
    bookd
        .booking()
        .batch_book(pb::BatchBookRequest {
            requests,
            ..Default::default()
        })
        .await
        .unwrap();
    bookd.open("unborn", "09:00", "17:00").await;
    let of_acme = changes_up_to(&mut acme, 7).await;
    assert_eq!(revisions(&of_acme), [5, 6]);
    let of_ada = changes_up_to(&mut ada, 7).await;
    assert_eq!(revisions(&of_ada), [1, 6]);
    for events in [&of_acme[1].events, &of_ada[1].events] {
        assert_eq!(
            events
                .iter()
                .flat_map(|it| &it.calendar_ids)
                .collect::<Vec<_>>(),
            ["acme/ada"]
        );
    }
    assert_eq!(revisions(&changes_up_to(&mut unborn, 7).await), [7]);
    // Nothing happens, and still it is said that nothing was missed.
    for _ in 0..3 {
        let Message::Progress(progress) = said(&mut unborn).await.unwrap() else {
            panic!("nothing changed")
        };
        assert_eq!(
            (progress.revision, progress.time.unwrap().seconds),
            (7, bookd.clock_seconds())
        );
    }
    let both = pb::WatchAppointmentsRequest {
        id_prefix: "acme".to_owned(),
        ..of_calendar("ada!", -1)
    };
    let refusal = refused(watch(&bookd, both).await);
    assert!(refusal.is(Code::InvalidArgument, "FIELD_INVALID"));
    assert_eq!(refusal.fields(), ["id_prefix", "start_revision"]);
    drop((acme, ada, unborn));
    bookd.stop().await;
}

#[tokio::test]
async fn what_is_personal_is_told_as_it_is_now_wherever_the_change_is_read_from() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    let secret = pb::BookAppointmentRequest {
        note: "secret".to_owned(),
        ..at("ada", "10:00")
    };
    let booked = bookd.book(secret).await.unwrap();
    // It reads one change and then nothing for a while: what waits for it was read before the removal.
    let mut slow = bookd
        .engine()
        .watch(
            bookd::store::CalendarFilter::All,
            bookd_core::ids::Revision(1),
            None,
        )
        .await
        .unwrap();
    slow.next().await.unwrap();
    let mut live = watch(&bookd, of_calendar("ada", 1)).await.unwrap();
    assert_eq!(
        changes_up_to(&mut live, 2).await[1].events[0]
            .appointment
            .as_ref()
            .unwrap()
            .note,
        "secret"
    );
    let removal = pb::UpdateAppointmentRequest {
        appointment_id: booked.appointment_id,
        invitee: Some(pb::Invitee {
            name: "(removed)".to_owned(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["invitee".to_owned(), "note".to_owned()],
        }),
        ..Default::default()
    };
    bookd.booking().update_appointment(removal).await.unwrap();
    change(&mut live).await;
    let bookd::engine::Watched::Change { change: told, .. } = slow.next().await.unwrap() else {
        panic!("a change waits")
    };
    assert_eq!(told.entry.revision.0, 2);
    let then = told.appointments[0].as_ref().unwrap();
    assert_eq!(
        (
            then.person.invitee.name.as_str(),
            then.person.carried.note.as_str()
        ),
        ("(removed)", "")
    );
    drop(slow);
    let mut again = watch(&bookd, of_calendar("ada", 2)).await.unwrap();
    for told in changes_up_to(&mut again, 3).await {
        let then = told.events[0].appointment.clone().unwrap();
        assert_eq!(
            (then.invitee.unwrap().name.as_str(), then.note.as_str()),
            ("(removed)", "")
        );
    }
    drop((live, again));
    bookd.stop().await;
}

#[tokio::test]
async fn a_thousand_watchers_are_told_of_their_own_calendar_each_and_of_nothing_twice() {
    let bookd = Bookd::start().await;
    let calendars: Vec<String> = (0..50).map(|number| format!("calendar-{number}")).collect();
    for calendar in &calendars {
        bookd.open(calendar, "09:00", "17:00").await;
    }
    let start = bookd.revision().await + 1;
    let mut watchers = tokio::task::JoinSet::new();
    let mut channels = Vec::new();
    for _ in 0..8 {
        channels.push(connect(bookd.address()).await);
    }
    for number in 0..1_000 {
        let calendar = calendars[number % 50].clone();
        let mut client = pb::list_service_client::ListServiceClient::new(
            channels[number % channels.len()].clone(),
        );
        let mut stream = client
            .watch_appointments(of_calendar(&calendar, start))
            .await
            .unwrap()
            .into_inner();
        watchers.spawn(async move {
            let (first, second) = (change(&mut stream).await, change(&mut stream).await);
            let touched = [
                first.events[0].calendar_ids.clone(),
                second.events[0].calendar_ids.clone(),
            ];
            touched == [[calendar.clone()], [calendar]] && first.revision < second.revision
        });
    }
    for clock in ["10:00", "12:00"] {
        for calendar in &calendars {
            bookd.book(at(calendar, clock)).await.unwrap();
        }
    }
    let told = tokio::time::timeout(PATIENCE, watchers.join_all())
        .await
        .expect("all are told");
    assert_eq!(told, vec![true; 1_000]);
    drop(channels);
    bookd.stop().await;
}
