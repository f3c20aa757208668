//! The binary under attack: what it holds before, during and after, and whether it still serves the others.
//!
//! A process of its own, so that its memory and descriptors can be read, and what it says searched for a panic.

#![allow(
    clippy::print_stdout,
    reason = "the figures, for who asks for them with --nocapture"
)]

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::harness::connect;
use crate::http2::PATIENCE;
use crate::kill::{Process, nth, open};

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// In KiB, now.
    pub memory: u64,
    /// In KiB, at most since `forget_peak`.
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

    /// From now on the peak is counted anew.
    pub fn forget_peak(process: u32) {
        std::fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
    }
}

/// How many descriptors this process may have at a time.
pub fn descriptors_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The binary: the one that was built with the tests, or another to be tried, such as an optimised one.
pub fn binary() -> String {
    std::env::var("BOOKD_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_bookd").to_owned())
}

/// See the header.
pub struct Besieged {
    process: Process,
    folder: TempDir,
    channel: Channel,
    booked: i64,
    before: Held,
}

/// `bookd serve` with as many descriptors as it can get, told more at the end.
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
    /// A server with a calendar, that has served a little, so that what it holds by then is what it always holds.
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

    /// The connection of somebody who behaves.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Somebody who behaves books, and is served.
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

    /// How much more memory than before it held at most, in MiB.
    pub fn grown(&self) -> u64 {
        Held::of(self.process.id())
            .memory_peak
            .saturating_sub(self.before.memory)
            / 1_024
    }

    /// The attack is over: at most so much memory was taken for it, in MiB, everything was given back, new clients are
    /// served, nothing panicked, and the server stops in order.
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
