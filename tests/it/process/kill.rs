//! The binary itself: killed under load, started again, stopped in order, and refused as a second
//! one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use bookd::clock::{Clock, SystemClock};
use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use prost_types::Timestamp;
use tokio::sync::mpsc;
use tonic::transport::Channel;

use crate::harness::connect;

/// A process of the binary, which is killed when it is dropped, so that no test leaves one behind.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    /// The first line that it prints when it is ready.
    pub banner: String,
}

/// The command that serves a file on a free port.
pub fn command(file: &Path) -> Command {
    command_logging(file, "warn")
}

/// The same with this log filter.
pub fn command_logging(file: &Path, log: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--confirm-clock",
        "--log",
        log,
        "--store",
    ]);
    command
        .arg(format!("sqlite:{}", file.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Process {
    pub fn start(file: &Path) -> Self {
        Self::spawn(command(file), "with this program")
    }

    /// Starts a command that prints its address; it is ready after it has printed `last`.
    pub fn spawn(command: Command, last: &str) -> Self {
        Self::spawn_into(command, last, Stdio::piped())
    }

    /// Starts a command with its standard error redirected: a full pipe that nobody reads would
    /// block the process.
    pub fn spawn_into(mut command: Command, last: &str, errors: Stdio) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.as_mut().unwrap());
        let mut banner = String::new();
        while !banner.contains(last) {
            assert_ne!(
                output.read_line(&mut banner).unwrap(),
                0,
                "the process ended before it served: {banner:?}"
            );
        }
        let address = banner
            .split(" on ")
            .nth(1)
            .and_then(|rest| rest.split(',').next());
        let address = address
            .unwrap_or_else(|| panic!("no address in {banner:?}"))
            .parse()
            .unwrap();
        Self {
            child,
            address,
            banner,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits on another thread until the process ends by itself, as debug builds do at an armed
    /// moment.
    #[cfg(debug_assertions)]
    pub async fn ended(mut self) -> ExitStatus {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap())
            .await
            .unwrap()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the process ends by itself; answers the status and its standard error.
    pub fn ended_by_itself(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut said).unwrap();
        }
        (self.child.wait().unwrap(), said)
    }

    pub fn terminate(self) -> ExitStatus {
        self.terminate_and_read().0
    }

    /// Stops the process; answers the status and its standard error.
    pub fn terminate_and_read(mut self) -> (ExitStatus, String) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let mut said = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut said).unwrap();
        }
        (self.child.wait().unwrap(), said)
    }

    /// Stops the process and waits on another thread, so that clients on this one go on and answer
    /// the pings of a closing server.
    pub async fn terminate_beside_clients(self) -> ExitStatus {
        tokio::task::spawn_blocking(|| self.terminate())
            .await
            .unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, as most tests want it to.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

pub async fn open(channel: &Channel) {
    AvailabilityServiceClient::new(channel.clone())
        .set_availability(around_the_clock())
        .await
        .unwrap();
}

/// The calendar that `nth` books, open around the clock.
pub fn around_the_clock() -> pb::SetAvailabilityRequest {
    let rule = pb::AvailabilityRule {
        start_time: "00:00".to_owned(),
        end_time: "24:00".to_owned(),
        ..Default::default()
    };
    pb::SetAvailabilityRequest {
        calendar_id: "ada".to_owned(),
        rules: vec![rule],
        ..Default::default()
    }
}

/// The booking of the n-th free hour from tomorrow on.
pub fn nth(n: i64) -> pb::BookAppointmentRequest {
    let tomorrow = (SystemClock.now().seconds() / 86_400 + 1) * 86_400;
    pb::BookAppointmentRequest {
        calendar_id: "ada".to_owned(),
        start_time: Some(Timestamp {
            seconds: tomorrow + n * 3_600,
            nanos: 0,
        }),
        invitee: Some(pb::Invitee {
            name: "Grace".to_owned(),
            ..Default::default()
        }),
        request_id: format!("request-{n}"),
        ..Default::default()
    }
}

/// Books hour after hour from `first` on, 16 calls at a time, until the process dies; calls
/// `reached` after each answer.
async fn load(
    channel: Channel,
    first: i64,
    reached: mpsc::Sender<(i64, pb::BookAppointmentResponse)>,
) {
    let mut clients = tokio::task::JoinSet::new();
    for worker in 0..16 {
        let mut booking = BookingServiceClient::new(channel.clone());
        let reached = reached.clone();
        clients.spawn(async move {
            for n in (first + worker..first + 1_000).step_by(16) {
                match booking.book_appointment(nth(n)).await {
                    Ok(answer) => drop(reached.send((n, answer.into_inner())).await),
                    Err(_) => return,
                }
            }
        });
    }
    while clients.join_next().await.is_some() {}
}

#[tokio::test]
async fn what_was_acknowledged_survives_six_kills_and_its_request_ids_answer_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bookd.db");
    let mut acknowledged: BTreeMap<i64, pb::BookAppointmentResponse> = BTreeMap::new();
    for round in 0..6_i64 {
        let process = Process::start(&file);
        let channel = connect(process.address).await;
        if round == 0 {
            open(&channel).await;
        }
        let (sender, mut answers) = mpsc::channel(64);
        let loading = tokio::spawn(load(channel, round * 1_000, sender));
        for _ in 0..60 + round * 37 {
            let (n, answer) = answers.recv().await.unwrap();
            acknowledged.insert(n, answer);
        }
        process.kill();
        while let Some((n, answer)) = answers.recv().await {
            acknowledged.insert(n, answer);
        }
        loading.await.unwrap();
    }
    assert!(acknowledged.len() >= 6 * 60);
    let process = Process::start(&file);
    let channel = connect(process.address).await;
    let mut booking = BookingServiceClient::new(channel.clone());
    for (n, answer) in &acknowledged {
        let again = booking
            .book_appointment(nth(*n))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (&again.appointment, again.revision),
            (&answer.appointment, answer.revision),
            "request-{n}"
        );
    }
    let starts = listed(&channel).await;
    assert!(
        starts.windows(2).all(|pair| pair[1] - pair[0] >= 3_600),
        "no two at one time"
    );
    assert!(starts.len() >= acknowledged.len());
    drop(channel);
    assert!(process.terminate_beside_clients().await.success());
}

/// The starts of all upcoming appointments, in order.
async fn listed(channel: &Channel) -> Vec<i64> {
    let mut lists = ListServiceClient::new(channel.clone());
    let mut starts = Vec::new();
    let mut request = pb::ListAppointmentsRequest {
        calendar_id: "ada".to_owned(),
        page_size: 97,
        ..Default::default()
    };
    loop {
        let page = lists
            .list_appointments(request.clone())
            .await
            .unwrap()
            .into_inner();
        starts.extend(
            page.appointments
                .iter()
                .map(|it| it.start_time.unwrap().seconds),
        );
        if page.next_page_token.is_empty() {
            return starts;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bookd.db");
    let first = Process::start(&file);
    let mut second = command(&file).spawn().unwrap();
    let mut said = String::new();
    second
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(7));
    assert!(
        said.contains("in use by another bookd") && said.contains("bookd.db"),
        "{said}"
    );
    assert!(first.terminate_beside_clients().await.success());
}

#[tokio::test]
async fn what_is_not_a_bookd_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letter.db");
    for (content, why) in [
        (
            b"Dear Ada, this is a letter and no database. ".repeat(8),
            "it is not an SQLite database",
        ),
        (b"short".to_vec(), "it is not an SQLite database"),
        (
            [&b"SQLite format 3\0"[..], &[7; 200]].concat(),
            "its application_id is another program's",
        ),
    ] {
        std::fs::write(&file, &content).unwrap();
        let output = command(&file).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert!(said.contains(why), "{said}");
        assert_eq!(std::fs::read(&file).unwrap(), content);
    }
}

#[tokio::test]
async fn sigterm_answers_everything_that_it_commits_and_exits_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bookd.db");
    let process = Process::start(&file);
    let channel = connect(process.address).await;
    open(&channel).await;
    let (sender, mut answers) = mpsc::channel(1_024);
    let loading = tokio::spawn(load(channel, 0, sender));
    let mut acknowledged = BTreeMap::new();
    for _ in 0..100 {
        let (n, answer) = answers.recv().await.unwrap();
        acknowledged.insert(n, answer);
    }
    // The client goes on meanwhile: it reads its answers and the GOAWAY.
    let status = process.terminate_beside_clients().await;
    assert!(status.success(), "{status}");
    while let Some((n, answer)) = answers.recv().await {
        acknowledged.insert(n, answer);
    }
    loading.await.unwrap();
    let process = Process::start(&file);
    let starts = listed(&connect(process.address).await).await;
    let mut expected: Vec<i64> = acknowledged
        .values()
        .map(|it| it.appointment.as_ref().unwrap().start_time.unwrap().seconds)
        .collect();
    expected.sort_unstable();
    assert_eq!(
        starts, expected,
        "exactly the acknowledged bookings are there"
    );
    assert!(process.terminate_beside_clients().await.success());
}
