//! The binary under attack: its memory and descriptors before, during and after, and whether it
//! still serves other clients.
//!
//! It is a process of its own, so that its memory and descriptors can be read, and its log searched
//! for a panic.

#![allow(clippy::print_stdout, reason = "--nocapture shows the figures")]

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::harness::connect;
use crate::http2::PATIENCE;
use crate::kill::{Process, around_the_clock, nth};

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

/// How the client that behaves well is let in; the default is for a server that asks for nothing.
#[derive(Clone, Default)]
pub struct GoodClient {
    /// The header `authorization` of its calls.
    pub bearer: Option<MetadataValue<Ascii>>,
    /// The authority of the server's certificate, in PEM; none without TLS.
    pub authority: Option<String>,
}

impl GoodClient {
    /// A new connection to the server, inside TLS if it talks TLS.
    pub async fn connect(&self, address: SocketAddr) -> Channel {
        let Some(authority) = &self.authority else {
            return connect(address).await;
        };
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }
}

impl Interceptor for GoodClient {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.bearer {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

/// A server under attack, and a client that behaves well.
pub struct Besieged {
    process: Process,
    folder: TempDir,
    client: GoodClient,
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
    Process::spawn_into(command, "with this program", Stdio::from(errors))
}

impl Besieged {
    /// Starts a server with a calendar and lets it serve a little, so that its memory has its usual
    /// size.
    pub async fn start() -> Besieged {
        Self::start_with(tempfile::tempdir().unwrap(), &[], GoodClient::default()).await
    }

    /// The same with these words at the end of the command, and this client.
    pub async fn start_with(folder: TempDir, words: &[&str], client: GoodClient) -> Besieged {
        let process = serve(&folder, words);
        let channel = client.connect(process.address).await;
        AvailabilityServiceClient::with_interceptor(channel.clone(), client.clone())
            .set_availability(around_the_clock())
            .await
            .unwrap();
        let before = Held::of(process.id());
        let mut besieged = Besieged {
            process,
            folder,
            client,
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

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What the server has written to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("errors")).unwrap()
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
            let mut client =
                BookingServiceClient::with_interceptor(self.channel.clone(), self.client.clone());
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
        self.channel = self.client.connect(self.process.address).await;
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
