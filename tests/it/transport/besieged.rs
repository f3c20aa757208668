//! The binary under attack: its memory and descriptors before, during and after, and whether it
//! still serves other clients.
//!
//! It is a process of its own, so that its memory and descriptors can be read, and its log searched
//! for a panic.

#![allow(clippy::print_stdout, reason = "--nocapture shows the figures")]

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::harness::connect;
use crate::http2::PATIENCE;
use crate::kill::{Process, nth, open};

/// The resources of a process.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Memory in KiB, now.
    pub memory: u64,
    /// The peak of the memory in KiB since `forget_peak`.
    pub memory_peak: u64,
    pub descriptors: u64,
    pub threads: u64,
}

impl Held {
    pub fn of(process: u32) -> Held {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let number = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd"))
            .unwrap()
            .count() as u64;
        Held {
            memory: number("VmRSS:"),
            memory_peak: number("VmHWM:"),
            descriptors,
            threads: number("Threads:"),
        }
    }

    /// Restarts the measurement of the peak.
    pub fn forget_peak(process: u32) {
        std::fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
    }
}

/// The most descriptors that this process may have open.
pub fn descriptors_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The path of the binary: the one that was built with the tests, or another one, such as an
/// optimised build.
pub fn binary() -> String {
    std::env::var("BOOKD_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_bookd").to_owned())
}

/// A server under attack, and a client that behaves well.
pub struct Besieged {
    process: Process,
    folder: TempDir,
    channel: Channel,
    booked: i64,
    before: Held,
}

/// Starts `bookd serve` with as many descriptors as it can get, and with these words at the end.
pub fn serve(folder: &TempDir, words: &[&str]) -> Process {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -n "$(ulimit -H -n)"; exec "$0" "$@""#])
        .arg(binary());
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--confirm-clock",
        "--log",
        "warn",
        "--store",
    ]);
    command
        .arg(format!(
            "sqlite:{}",
            folder.path().join("bookd.db").display()
        ))
        .args(words);
    let errors = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.path().join("errors"))
        .unwrap();
    Process::spawn_into(command, "or with this program", Stdio::from(errors))
}

impl Besieged {
    /// Starts a server with a calendar and lets it serve a little, so that its memory has its usual
    /// size.
    pub async fn start() -> Besieged {
        let folder = tempfile::tempdir().unwrap();
        let process = serve(&folder, &[]);
        let channel = connect(process.address).await;
        open(&channel).await;
        let before = Held::of(process.id());
        let mut besieged = Besieged {
            process,
            folder,
            channel,
            booked: 0,
            before,
        };
        besieged.books(20).await;
        Held::forget_peak(besieged.process.id());
        besieged.before = Held::of(besieged.process.id());
        besieged
    }

    pub fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// The connection of the client that behaves well.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Books so many times on the good connection; every booking is served.
    pub async fn books(&mut self, times: usize) -> Vec<pb::Appointment> {
        let mut booked = Vec::new();
        for _ in 0..times {
            self.booked += 1;
            let mut client = BookingServiceClient::new(self.channel.clone());
            let answer =
                tokio::time::timeout(PATIENCE, client.book_appointment(nth(self.booked))).await;
            let answer = answer.expect("others are served").unwrap().into_inner();
            booked.extend(answer.appointment);
        }
        booked
    }

    /// The rise of the memory's peak over the memory before the attack, in MiB.
    pub fn grown(&self) -> u64 {
        Held::of(self.process.id())
            .memory_peak
            .saturating_sub(self.before.memory)
            / 1_024
    }

    /// Ends the attack: asserts that it took at most so much memory, in MiB, that everything was
    /// released, new clients are served, nothing panicked, and the server stops in order.
    pub async fn ends_unharmed(mut self, memory_max: u64) {
        let grown = self.grown();
        assert!(
            grown <= memory_max,
            "{grown} MiB more than before, at most {memory_max}"
        );
        println!("memory grew by {grown} MiB at most, {memory_max} allowed");
        self.books(1).await;
        let given_back = async {
            while Held::of(self.process.id()).descriptors > self.before.descriptors {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, given_back).await;
        assert!(
            in_time.is_ok(),
            "{:?} now and {:?} before",
            Held::of(self.process.id()),
            self.before
        );
        self.channel = connect(self.process.address).await;
        self.books(1).await;
        let Besieged {
            process,
            folder,
            channel,
            ..
        } = self;
        drop(channel);
        assert!(process.terminate_beside_clients().await.success());
        let said = std::fs::read_to_string(folder.path().join("errors")).unwrap();
        assert!(
            !said.contains("panicked") && !said.contains("ERROR"),
            "{said}"
        );
    }
}
