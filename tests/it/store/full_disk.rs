//! The binary on a real full file system: it books with the space that there is, its log stays
//! short, and a restart reads.
//!
//! The file system is a `tmpfs` in a mount namespace of its own, which needs no root where the
//! system allows user namespaces.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use tonic::transport::Channel;

use crate::harness::connect;
use crate::kill::nth;

const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;
/// Mounts the file system and serves the same file twice; prints the process id before each.
const SCRIPT: &str = r#"mount -t tmpfs -o size=16m tmpfs "$0" || exit 99
for time in first second; do "$@" & echo "process $!"; wait $!; done"#;
/// Bookings of one calendar; they lie within a year, so that the next ones need another calendar.
const EACH: i64 = 5_000;
const CALENDARS: i64 = 6;
/// Refusals that show that the disk is full.
const REFUSED: usize = 200;

/// A shell with a small disk, and the server that the shell runs.
struct Small {
    shell: Child,
    output: BufReader<ChildStdout>,
    process: u32,
    /// The path of the disk outside the namespace.
    disk: PathBuf,
    log: PathBuf,
}

impl Small {
    /// Starts the shell and the server; none where a user may not mount.
    fn start(folder: &Path) -> Option<Self> {
        let (mount, log) = (folder.join("disk"), folder.join("log"));
        std::fs::create_dir(&mount).unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c", SCRIPT])
            .arg(&mount);
        command.arg(env!("CARGO_BIN_EXE_bookd")).args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--confirm-clock",
        ]);
        command
            .args(["--log", "info", "--store"])
            .arg(format!("sqlite:{}", mount.join("bookd.db").display()));
        let errors = File::create(&log).unwrap();
        let mut shell = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .ok()?;
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let Some(process) = line
            .trim()
            .strip_prefix("process ")
            .and_then(|it| it.parse().ok())
        else {
            shell.wait().unwrap();
            return None;
        };
        let disk = PathBuf::from(format!("/proc/{}/root{}", shell.id(), mount.display()));
        Some(Self {
            shell,
            output,
            process,
            disk,
            log,
        })
    }

    /// Waits until the server serves, and connects.
    async fn ready(&mut self) -> Channel {
        let mut said = String::new();
        while !said.contains("with this program") {
            let log = || std::fs::read_to_string(&self.log).unwrap();
            assert_ne!(
                self.output.read_line(&mut said).unwrap(),
                0,
                "the process ended before it served: {said} {}",
                log()
            );
        }
        if let Some(process) = said.lines().find_map(|line| line.strip_prefix("process ")) {
            self.process = process.parse().unwrap();
        }
        let address = said
            .split(" on ")
            .nth(1)
            .and_then(|rest| rest.split(',').next())
            .unwrap();
        connect(address.parse::<SocketAddr>().unwrap()).await
    }

    fn signal(&self, name: &str) {
        assert!(
            Command::new("kill")
                .args([name, &self.process.to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The number of lines in the log with these words.
    fn lines(&self, words: &str) -> usize {
        std::fs::read_to_string(&self.log)
            .unwrap()
            .lines()
            .filter(|line| line.contains(words))
            .count()
    }

    fn filler(&self) -> File {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.disk.join("filler"))
            .unwrap()
    }

    /// Fills the disk with another file, except for so many bytes.
    fn fill(&self, left: u64) {
        let mut filler = self.filler();
        let piece = vec![1; 64 * KIB as usize];
        while filler.write_all(&piece).is_ok() {}
        self.free(left);
    }

    /// Frees so many bytes of the other file.
    fn free(&self, bytes: u64) {
        let filler = self.filler();
        filler
            .set_len(filler.metadata().unwrap().len().saturating_sub(bytes))
            .unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Both may have ended already, as they should have.
        let _ended = self.shell.kill();
        let _status = self.shell.wait();
        let _killed = Command::new("kill")
            .args(["-KILL", &self.process.to_string()])
            .stderr(Stdio::null())
            .status();
    }
}

/// The n-th booking; each is of another hour.
fn booking(n: i64) -> pb::BookAppointmentRequest {
    let calendar_id = format!("room-{}", n / EACH);
    pb::BookAppointmentRequest {
        calendar_id,
        request_id: format!("request-{n}"),
        ..nth(n % EACH)
    }
}

async fn open(channel: &Channel) {
    for number in 0..CALENDARS {
        let all_day = pb::AvailabilityRule {
            start_time: "00:00".into(),
            end_time: "24:00".into(),
            ..Default::default()
        };
        let calendar_id = format!("room-{number}");
        let hours = pb::SetAvailabilityRequest {
            calendar_id,
            rules: vec![all_day],
            ..Default::default()
        };
        AvailabilityServiceClient::new(channel.clone())
            .set_availability(hours)
            .await
            .unwrap();
    }
}

/// Books one hour after the other until many bookings are refused; answers how many were booked.
async fn book(channel: &Channel, next: &mut i64) -> usize {
    let mut client = BookingServiceClient::new(channel.clone());
    let (mut booked, mut refused) = (0, 0);
    while refused < REFUSED {
        match client.book_appointment(booking(*next)).await {
            Ok(_) => (booked, *next) = (booked + 1, *next + 1),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                assert!(status.message().contains("the disk is full"), "{status:?}");
                refused += 1;
            }
        }
    }
    booked
}

async fn listed(channel: &Channel) -> usize {
    let mut count = 0;
    for number in 0..CALENDARS {
        let calendar_id = format!("room-{number}");
        let mut list = pb::ListAppointmentsRequest {
            calendar_id,
            page_size: 1_000,
            ..Default::default()
        };
        loop {
            let page = ListServiceClient::new(channel.clone())
                .list_appointments(list.clone())
                .await
                .unwrap();
            let page = page.into_inner();
            count += page.appointments.len();
            list.page_token = page.next_page_token;
            if list.page_token.is_empty() {
                break;
            }
        }
    }
    count
}

#[tokio::test]
#[allow(clippy::print_stderr, reason = "the test prints what it measured")]
async fn on_a_full_disk_it_books_with_what_room_there_is_and_a_restart_reads() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut small) = Small::start(folder.path()) else {
        eprintln!(
            "NOT TRIED: this system lets nobody mount a file system of his own (unshare --map-root-user --mount)"
        );
        return;
    };
    let channel = small.ready().await;
    open(&channel).await;
    let reserve = small.disk.join("bookd.db-reserve");
    assert_eq!(
        std::fs::metadata(&reserve).unwrap().len(),
        MIB,
        "an eighth of the disk, in whole MiB"
    );
    small.fill(64 * KIB);
    let (mut next, begun) = (0, Instant::now());
    let booked = book(&channel, &mut next).await;
    assert!(!reserve.exists(), "it was given up");
    small.free(3 * MIB);
    let more = book(&channel, &mut next).await;
    let (seconds, lines) = (
        begun.elapsed().as_secs_f64(),
        small.lines("the store refused changes"),
    );
    eprintln!(
        "{booked} bookings with the reserve, {more} in 3 MiB that were freed; {lines} lines in {seconds:.1} s"
    );
    assert!(booked > 300 && more > 500, "{booked} and {more}");
    assert!(
        lines as f64 <= seconds + 2.0,
        "{lines} lines in {seconds:.1} s"
    );
    assert_eq!(listed(&channel).await, booked + more, "reads go on");

    small.signal("-KILL");
    let channel = small.ready().await;
    assert_eq!(
        listed(&channel).await,
        booked + more,
        "a restart on the full disk reads"
    );
    let refused = BookingServiceClient::new(channel.clone())
        .book_appointment(booking(next))
        .await
        .unwrap_err();
    assert!(
        refused.message().contains("the disk is full"),
        "{refused:?}"
    );
    small.free(u64::MAX);
    BookingServiceClient::new(channel.clone())
        .book_appointment(booking(next))
        .await
        .unwrap();
    drop(channel);
    small.signal("-TERM");
    assert!(small.shell.wait().unwrap().success());
    assert_eq!(
        small.lines("the store takes changes again"),
        2,
        "after the room that was freed, each time"
    );
}
