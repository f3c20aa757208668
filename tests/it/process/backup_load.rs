//! Backups of a server under load, and servers on restored backups.
//!
//! A backup has everything that was acknowledged before it began, and after a restore nothing is
//! given out twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use crate::backup::{book, names, run_json};
use crate::harness::connect;
use crate::kill::{Process, nth, open};
use crate::words::refused;

/// The number of hours that are booked; the horizon of a type is a year.
const HOURS_MAX: i64 = 8_000;

const BOOKERS: i64 = 8;

/// Acknowledged bookings by their number.
type Answers = BTreeMap<i64, pb::BookAppointmentResponse>;

/// The acknowledged bookings so far.
type Acknowledged = Arc<Mutex<Answers>>;

/// Clients that book one hour after the other until they are stopped.
struct Load {
    acknowledged: Acknowledged,
    is_over: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(channel: &Channel) -> Self {
        let (acknowledged, is_over) = (Acknowledged::default(), Arc::new(AtomicBool::new(false)));
        let mut clients = JoinSet::new();
        for booker in 0..BOOKERS {
            let mut booking = BookingServiceClient::new(channel.clone());
            let (acknowledged, is_over) = (Arc::clone(&acknowledged), Arc::clone(&is_over));
            clients.spawn(async move {
                for n in (booker..HOURS_MAX).step_by(usize::try_from(BOOKERS).unwrap()) {
                    let answer = booking.book_appointment(nth(n)).await.unwrap().into_inner();
                    acknowledged.lock().unwrap().insert(n, answer);
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        Self {
            acknowledged,
            is_over,
            clients,
        }
    }

    fn so_far(&self) -> Answers {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Waits until so many more are acknowledged.
    async fn more(&self, count: usize) {
        let wanted = self.so_far().len() + count;
        while self.acknowledged.lock().unwrap().len() < wanted {
            tokio::task::yield_now().await;
        }
    }

    async fn stop(mut self) -> Answers {
        self.is_over.store(true, Ordering::SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        self.so_far()
    }
}

async fn on_other_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn newest(all: &Answers) -> i64 {
    all.values().map(|it| it.revision).max().unwrap_or(0)
}

fn code(answer: &pb::BookAppointmentResponse) -> &str {
    &answer.appointment.as_ref().unwrap().confirmation_code
}

/// Asserts that a server on a restored file knows the bookings up to its revision, with all of
/// `before`, and gives nothing out twice. `last` is the newest revision that was given out; answers
/// the newest one now.
async fn restored_goes_on(
    file: &Path,
    revision: i64,
    before: &Answers,
    all: &Answers,
    mut last: i64,
) -> i64 {
    let process = Process::start(file);
    let channel = connect(process.address).await;
    let mut booking = BookingServiceClient::new(channel.clone());
    let (kept, lost): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.iter().partition(|(_, it)| it.revision <= revision);
    assert!(before.keys().all(|n| kept.contains_key(n)) && !lost.is_empty());
    for (n, answer) in &kept {
        assert_eq!(
            &booking
                .book_appointment(nth(**n))
                .await
                .unwrap()
                .into_inner(),
            *answer,
            "request-{n}"
        );
    }
    for n in lost.keys().take(20) {
        let again = booking
            .book_appointment(nth(**n))
            .await
            .unwrap()
            .into_inner();
        assert!(
            again.revision > last,
            "{} was given out before",
            again.revision
        );
        last = again.revision;
        assert!(
            all.values().all(|it| code(it) != code(&again)),
            "{} was given out before",
            code(&again)
        );
    }
    drop((booking, channel));
    assert!(process.terminate_beside_clients().await.success());
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_load_has_all_that_was_acknowledged_and_what_is_restored_of_it_goes_on() {
    let folder = TempDir::new().unwrap();
    let home = folder.path().to_owned();
    let process = Process::start(&home.join("bookd.db"));
    let channel = connect(process.address).await;
    open(&channel).await;
    let load = Load::start(&channel);
    let mut backups = Vec::new();
    for round in 0..3 {
        load.more(40).await;
        let before = load.so_far();
        let (home, file) = (home.clone(), format!("{round}.db"));
        let made = on_other_thread(move || run_json(&home, &["backup", &file])).await;
        assert!(
            load.so_far().len() > before.len(),
            "bookings go on beside a backup"
        );
        backups.push((before, made));
    }
    load.more(40).await;
    let all = load.stop().await;
    assert!(process.terminate_beside_clients().await.success());
    let mut last = newest(&all);
    for (before, made) in backups {
        let (file, revision) = (
            made["file"].as_str().unwrap(),
            made["revision"].as_i64().unwrap(),
        );
        assert!(
            revision >= newest(&before),
            "the backup has what was acknowledged before it began"
        );
        assert_eq!(
            (&made["appointments"], &made["findings"]),
            (&json!(revision - 1), &json!([])),
            "one a revision"
        );
        let store = format!("sqlite:restored-{file}");
        let check = run_json(&home, &["check", "--store", &format!("sqlite:{file}")]);
        assert_eq!(check["damaged"], false);
        let restored = run_json(&home, &["restore", file, "--store", &store]);
        assert_eq!(restored["revision"], revision);
        let file = home.join(format!("restored-{file}"));
        last = restored_goes_on(&file, revision, &before, &all, last).await;
        assert_eq!(
            run_json(&home, &["check", "--store", &store])["damaged"],
            false
        );
    }
    assert!(names(&home).iter().all(|it| !it.contains(".part")));
}

/// The first message of a watch from a revision on.
async fn watched(
    channel: &Channel,
    start_revision: i64,
) -> Result<pb::WatchAppointmentsResponse, tonic::Status> {
    let request = pb::WatchAppointmentsRequest {
        start_revision,
        ..Default::default()
    };
    let mut stream = ListServiceClient::new(channel.clone())
        .watch_appointments(request)
        .await?
        .into_inner();
    Ok(stream.message().await?.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_heard_of_what_is_gone_is_told_so_after_every_restore() {
    let folder = TempDir::new().unwrap();
    let home = folder.path().to_owned();
    let process = Process::start(&home.join("bookd.db"));
    let mut channel = connect(process.address).await;
    open(&channel).await;
    let kept = book(&channel, 0..3).await;
    let made = {
        let home = home.clone();
        on_other_thread(move || run_json(&home, &["backup", "copy.db"])).await
    };
    assert_eq!(made["revision"], kept.revision);
    let mut lost = vec![book(&channel, 3..9).await];
    assert!(process.terminate_beside_clients().await.success());
    for life in 0..2 {
        let file = format!("life-{life}.db");
        let restored = run_json(
            &home,
            &["restore", "copy.db", "--store", &format!("sqlite:{file}")],
        );
        let process = Process::start(&home.join(&file));
        channel = connect(process.address).await;
        let booked = book(&channel, 20..22).await;
        assert_eq!(
            booked.revision,
            restored["next_revision"].as_i64().unwrap() + 1
        );
        for of in &lost {
            for start in [of.revision, of.revision + 1] {
                let refused = refused(watched(&channel, start).await);
                assert!(
                    refused.is(Code::OutOfRange, "REVISION_COMPACTED"),
                    "{start}: {refused:?}"
                );
            }
            assert_ne!(code(of), code(&booked), "two appointments of one code");
            let id = of.appointment.as_ref().unwrap().appointment_id.clone();
            let request = pb::GetAppointmentRequest { appointment_id: id };
            let gone = refused(
                ListServiceClient::new(channel.clone())
                    .get_appointment(request)
                    .await,
            );
            assert!(gone.is(Code::NotFound, "APPOINTMENT_NOT_FOUND"), "{gone:?}");
        }
        // A watcher that has not seen the lost changes misses nothing.
        let next = watched(&channel, kept.revision + 1)
            .await
            .unwrap()
            .message
            .unwrap();
        let pb::watch_appointments_response::Message::Change(change) = next else {
            panic!("{next:?}")
        };
        assert_eq!(change.revision, restored["next_revision"].as_i64().unwrap());
        lost.push(booked);
        assert!(process.terminate_beside_clients().await.success());
    }
}
