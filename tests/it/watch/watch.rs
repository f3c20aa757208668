//! WatchAppointments: every change in order, whole and once, to each watch of its calendars.

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
use crate::words::refused;

pub type Stream = Streaming<pb::WatchAppointmentsResponse>;

/// The longest wait for a message; a message that never comes must fail the test.
pub const PATIENCE: Duration = Duration::from_secs(60);

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

pub async fn next_message(stream: &mut Stream) -> Result<Message, Status> {
    let message = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .expect("a message comes in time")?;
    Ok(message
        .expect("a watch ends with an error")
        .message
        .expect("a message says something"))
}

/// The next change; progress marks before it are skipped.
pub async fn change(stream: &mut Stream) -> pb::Change {
    loop {
        if let Message::Change(change) = next_message(stream).await.unwrap() {
            return change;
        }
    }
}

/// The changes before the progress mark of this revision.
pub async fn changes_up_to(stream: &mut Stream, revision: i64) -> Vec<pb::Change> {
    let mut changes = Vec::new();
    loop {
        match next_message(stream).await.unwrap() {
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

/// Tasks that book, move, update and cancel until they are stopped, each on its own calendar, so
/// that every call succeeds.
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
                // The horizon of a calendar has more quarters of an hour than this.
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

/// Books, moves, and updates the note; every other appointment is cancelled too.
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

/// Asserts that a booking, a move and a cancellation show the appointment as of their revisions,
/// with its times before and after.
fn shows_each_revision(changes: &[pb::Change], booked: &pb::Appointment) {
    let (book, moved, cancelled) = (
        &changes[1].events[0],
        &changes[2].events[0],
        &changes[3].events[0],
    );
    assert_eq!(
        book.appointment.as_ref(),
        Some(booked),
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
}

#[tokio::test]
async fn every_change_is_told_once_in_order_and_whole_and_the_same_live_as_replayed() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "09:00", "17:00").await;
    let mut live = watch(&bookd, of_calendar("", 1)).await.unwrap();
    let mut changes = changes_up_to(&mut live, 1).await;
    assert_eq!(
        revisions(&changes),
        [1],
        "and the mark of progress follows at once"
    );
    let booked = bookd.book(at("ada", "10:00")).await.unwrap();
    changes.push(change(&mut live).await);
    let id = booked.appointment_id.clone();
    let moved = pb::RescheduleAppointmentRequest {
        appointment_id: id.clone(),
        start_time: at("ada", "12:00").start_time,
        ..Default::default()
    };
    bookd.booking().reschedule_appointment(moved).await.unwrap();
    changes.push(change(&mut live).await);
    let cancel = pb::CancelAppointmentRequest {
        appointment_id: id.clone(),
        ..Default::default()
    };
    bookd.booking().cancel_appointment(cancel).await.unwrap();
    changes.push(change(&mut live).await);
    assert_eq!(revisions(&changes), [1, 2, 3, 4]);
    let commands: Vec<&str> = changes.iter().map(|it| it.command.as_str()).collect();
    assert_eq!(
        commands,
        [
            "SetAvailability",
            "BookAppointment",
            "RescheduleAppointment",
            "CancelAppointment"
        ]
    );
    shows_each_revision(&changes, &booked);
    assert!(
        changes
            .iter()
            .all(|it| it.commit_time.unwrap().seconds == bookd.clock_seconds())
    );
    drop(live);
    let bookd = bookd.restart().await;
    let mut again = watch(&bookd, of_calendar("", 1)).await.unwrap();
    assert_eq!(
        changes_up_to(&mut again, 4).await,
        changes,
        "from the store after a restart"
    );
    drop(again);
    bookd.stop().await;
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
    // One change has two appointments; each watch gets its own.
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
    // Without changes progress marks still say that nothing was missed.
    for _ in 0..3 {
        let Message::Progress(progress) = next_message(&mut unborn).await.unwrap() else {
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
    // This watcher reads one change and pauses: the change that waits for it was read before the
    // removal.
    let mut slow = bookd
        .engine()
        .watch(
            bookd::store::WatchFilter::ALL,
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
    let bookd::engine::Watched::Change {
        change: received, ..
    } = slow.next().await.unwrap()
    else {
        panic!("a change waits")
    };
    assert_eq!(received.entry.revision.0, 2);
    let then = received.appointments[0].as_ref().unwrap();
    assert_eq!(
        (
            then.person.invitee.name.as_str(),
            then.person.carried.note.as_str()
        ),
        ("(removed)", "")
    );
    drop(slow);
    let mut again = watch(&bookd, of_calendar("ada", 2)).await.unwrap();
    for change in changes_up_to(&mut again, 3).await {
        let then = change.events[0].appointment.clone().unwrap();
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
    let outcomes = tokio::time::timeout(PATIENCE, watchers.join_all())
        .await
        .expect("all are told");
    assert_eq!(outcomes, vec![true; 1_000]);
    drop(channels);
    bookd.stop().await;
}
