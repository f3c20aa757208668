//! The admin port of a service: what it answers while all is well, and what while something is not.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bookd::clock::ManualClock;
use bookd::engine::{Settings, Stopped};
use bookd::open_store::open_sqlite;
use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::service::{Parts, Service, StartError};
use bookd::store::memory::Memory;
use bookd::store::{CommitError, Store, StoreError};
use bookd::zones::Zones;
use bookd_transport::Workers;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;

use crate::harness::{MONDAY, at, connect, instant};
use crate::kill::{Process, command};

/// How long a test waits for what is about to come.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// A port of this machine that the system chooses.
pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    /// The lines of the head, the names in small letters.
    head: String,
    pub body: String,
}

/// Asks once; panics where there is no answer.
pub async fn ask(address: SocketAddr, method: &str, path: &str) -> Answered {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: bookd\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answered {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let Answered { status, body, .. } = ask(address, "GET", path).await;
    (status, body.trim_end().to_owned())
}

/// Asks until the answer is this one.
pub async fn until(address: SocketAddr, path: &str, status: u16, begins: &str) {
    let ask = async {
        loop {
            let answer = get(address, path).await;
            if answer.0 == status && answer.1.starts_with(begins) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, ask).await;
    assert!(
        waited.is_ok(),
        "{path} never said {status} {begins}: {:?}",
        get(address, path).await
    );
}

/// The value of a sample, as the text has it.
pub fn sample<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(' ');
    text.lines().find_map(value)
}

/// A service with an admin port.
struct Watched {
    service: Service,
    clock: ManualClock,
    admin: SocketAddr,
    channel: Channel,
}

impl Watched {
    async fn start(store: Box<dyn Store>) -> Self {
        let clock = ManualClock::new(instant(&format!("{MONDAY}T08:00:00Z")));
        let parts = Parts {
            admin: Some(ANY),
            clock: Arc::new(clock.clone()),
            workers: Workers::Threads(NonZeroUsize::MIN),
            engine: Settings {
                is_clock_confirmed: true,
                ..Settings::default()
            },
            ..Parts::local(Arc::new(Zones::bundled()))
        };
        let service = Service::start(parts, store).await.unwrap();
        Self {
            admin: service.admin_addr().unwrap(),
            channel: connect(service.local_addr()).await,
            service,
            clock,
        }
    }

    /// On an empty file.
    async fn start_on_file() -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let zones = Arc::new(Zones::bundled());
        let store = open_sqlite(&folder.path().join("bookd.db"), &zones).unwrap();
        (Self::start(Box::new(store)).await, folder)
    }

    /// Opens a calendar every day, and creates it if it is not there.
    async fn open(&self, calendar: &str) -> Result<(), tonic::Status> {
        open(self.channel.clone(), calendar).await
    }

    fn booking(&self) -> BookingServiceClient<Channel> {
        BookingServiceClient::new(self.channel.clone())
    }

    async fn metrics(&self) -> String {
        let (status, text) = get(self.admin, "/metrics").await;
        assert_eq!(status, 200);
        text
    }

    async fn ready(&self) -> (u16, String) {
        get(self.admin, "/readyz").await
    }

    async fn stop(self) {
        drop(self.channel);
        assert_eq!(self.service.stop(PATIENCE).await.1, Stopped::Done);
    }
}

async fn open(channel: Channel, calendar: &str) -> Result<(), tonic::Status> {
    let rule = pb::AvailabilityRule {
        start_time: "09:00".to_owned(),
        end_time: "17:00".to_owned(),
        ..Default::default()
    };
    let request = pb::SetAvailabilityRequest {
        calendar_id: calendar.to_owned(),
        rules: vec![rule],
        ..Default::default()
    };
    let mut availability = AvailabilityServiceClient::new(channel);
    availability.set_availability(request).await.map(drop)
}

fn ok() -> (u16, String) {
    (200, "ok".to_owned())
}

fn not_now(why: &str) -> (u16, String) {
    (503, why.to_owned())
}

#[tokio::test]
async fn the_port_answers_metrics_and_probes_to_get_and_head_and_nothing_else() {
    let (bookd, _folder) = Watched::start_on_file().await;
    let metrics = ask(bookd.admin, "GET", "/metrics?ignored=1").await;
    assert_eq!(metrics.status, 200);
    assert!(
        metrics
            .head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        metrics.head
    );
    assert_eq!(get(bookd.admin, "/livez").await, ok());
    assert_eq!(get(bookd.admin, "/readyz").await, ok());
    for path in ["/metrics", "/livez", "/readyz"] {
        let head = ask(bookd.admin, "HEAD", path).await;
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let refused = ask(bookd.admin, method, path).await;
            assert_eq!(refused.status, 405, "{method} {path}");
            assert!(
                refused.head.contains("allow: get, head"),
                "{}",
                refused.head
            );
        }
    }
    for path in ["/", "/metrics/", "/debug/pprof", "//livez", "/..%2fmetrics"] {
        let missing = ask(bookd.admin, "GET", path).await;
        assert_eq!(missing.status, 404, "{path}");
        assert!(
            !missing.body.contains("pprof"),
            "nothing of a request is repeated"
        );
    }
    bookd.stop().await;
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code_refusals_by_reason_and_connections() {
    let (bookd, _folder) = Watched::start_on_file().await;
    bookd.open("ada").await.unwrap();
    bookd
        .booking()
        .book_appointment(at("ada", "10:00"))
        .await
        .unwrap();
    bookd
        .booking()
        .book_appointment(at("ada", "10:00"))
        .await
        .unwrap_err();
    let mut raw = tonic::client::Grpc::new(bookd.channel.clone());
    raw.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/made.up.Service/Ada");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    raw.unary(tonic::Request::new(()), path, codec)
        .await
        .unwrap_err();
    let text = bookd.metrics().await;
    let count = |method: &str, code: &str| {
        let name = format!(
            "rpc_server_call_duration_seconds_count{{rpc_system_name=\"grpc\",rpc_method=\"{method}\",\
             rpc_status_code=\"{code}\"}}"
        );
        sample(&text, &name)
    };
    assert_eq!(
        count("bookd.v1.BookingService/BookAppointment", "OK"),
        Some("1")
    );
    assert_eq!(
        count("bookd.v1.BookingService/BookAppointment", "ABORTED"),
        Some("1")
    );
    assert_eq!(count("_OTHER", "UNIMPLEMENTED"), Some("1"));
    assert!(!text.contains("made.up"), "{text}");
    for (name, value) in [
        ("bookd_refusals_total{reason=\"SLOT_TAKEN\"}", "1"),
        ("bookd_refusals_total{reason=\"NOT_IMPLEMENTED\"}", "1"),
        ("bookd_refusals_total{reason=\"OVERLOADED\"}", "0"),
        ("bookd_calls_open", "0"),
        ("bookd_connections_open", "1"),
        ("bookd_connections_accepted_total", "1"),
        ("bookd_commits_total", "2"),
        ("bookd_batch_commands_count", "2"),
        ("bookd_commit_duration_seconds_bucket{le=\"+Inf\"}", "2"),
        ("bookd_revision", "2"),
        ("bookd_calendars_in_memory", "1"),
        ("bookd_ready", "1"),
        ("bookd_disk_full", "0"),
    ] {
        assert_eq!(sample(&text, name), Some(value), "{name} in {text}");
    }
    let wal: u64 = sample(&text, "bookd_store_wal_bytes")
        .unwrap()
        .parse()
        .unwrap();
    assert!(wal > 0, "the WAL has the booking");
    let version = format!(
        "bookd_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(sample(&text, &version), Some("1"));
    bookd.stop().await;
}

#[tokio::test]
async fn nothing_of_a_person_a_calendar_or_an_appointment_is_in_the_metrics() {
    let (bookd, _folder) = Watched::start_on_file().await;
    bookd.open("secret-calendar").await.unwrap();
    let mut request = at("secret-calendar", "10:00");
    request.request_id = "secret-request".to_owned();
    request.note = "secret-note".to_owned();
    request.invitee = Some(pb::Invitee {
        name: "Secret Hopper".to_owned(),
        email: "secret@example.com".to_owned(),
        ..Default::default()
    });
    let booked = bookd.booking().book_appointment(request).await.unwrap();
    let appointment = booked.into_inner().appointment.unwrap();
    let text = bookd.metrics().await;
    let lower = text.to_ascii_lowercase();
    for word in [
        "secret",
        "hopper",
        "example.com",
        "127.0.0.1",
        &*appointment.appointment_id,
    ] {
        assert!(
            !lower.contains(&word.to_ascii_lowercase()),
            "{word} in {text}"
        );
    }
    assert!(!text.contains(&appointment.confirmation_code), "{text}");
    // Every value of every label is of a closed list: methods, codes, reasons, bounds, the version.
    let labels: std::collections::BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('{')?.1.split_once('}'))
        .flat_map(|(labels, _)| labels.split(','))
        .filter_map(|label| label.split_once('='))
        .map(|(name, _)| name)
        .collect();
    let known = [
        "le",
        "reason",
        "rpc_method",
        "rpc_status_code",
        "rpc_system_name",
        "version",
    ];
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), known);
    bookd.stop().await;
}

#[tokio::test]
async fn a_service_is_not_ready_while_its_store_refuses_or_its_clock_is_not_confirmed() {
    let memory = Memory::new(7);
    let bookd = Watched::start(Box::new(memory.clone())).await;
    assert_eq!(bookd.ready().await, ok());
    for (error, word) in [
        (StoreError::Full, "disk full"),
        (StoreError::ReadOnly, "store is read-only"),
        (StoreError::Io("sector 7".to_owned()), "disk failed"),
    ] {
        memory.fail_next_commit(CommitError::Refused(error));
        bookd.open("ada").await.unwrap_err();
        assert_eq!(bookd.ready().await, not_now(word));
        assert_eq!(
            get(bookd.admin, "/livez").await,
            ok(),
            "a restart does not help"
        );
    }
    bookd.open("ada").await.unwrap();
    assert_eq!(bookd.ready().await, ok());
    assert_eq!(
        sample(&bookd.metrics().await, "bookd_commits_refused_total"),
        Some("3")
    );
    bookd.clock.jump(3_600);
    bookd.service.engine().tick().await.unwrap();
    assert_eq!(bookd.ready().await, not_now("clock not confirmed"));
    assert_eq!(
        sample(&bookd.metrics().await, "bookd_clock_in_doubt"),
        Some("1")
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_writer_that_stopped_is_neither_alive_nor_ready() {
    let memory = Memory::new(7);
    let bookd = Watched::start(Box::new(memory.clone())).await;
    memory.fail_next_commit(CommitError::Unknown(StoreError::Io("gone".to_owned())));
    bookd.open("ada").await.unwrap_err();
    bookd.service.failed().await;
    assert_eq!(get(bookd.admin, "/livez").await, not_now("writer stopped"));
    assert_eq!(bookd.ready().await, not_now("writer stopped"));
    drop(bookd.channel);
    assert!(matches!(
        bookd.service.stop(PATIENCE).await.1,
        Stopped::Failed(_)
    ));
}

#[tokio::test]
async fn a_service_that_drains_says_so_until_its_last_call_is_answered_and_then_the_port_closes() {
    let memory = Memory::new(7);
    let bookd = Watched::start(Box::new(memory.clone())).await;
    let (release, released) = std::sync::mpsc::channel();
    memory.hold_next_commit(released);
    let call = tokio::spawn(open(bookd.channel.clone(), "ada"));
    let Watched {
        service,
        admin,
        channel,
        ..
    } = bookd;
    drop(channel);
    let begun = async {
        while sample(&get(admin, "/metrics").await.1, "bookd_admission_calls") != Some("1") {}
    };
    tokio::time::timeout(PATIENCE, begun).await.unwrap();
    let stop = tokio::spawn(service.stop(PATIENCE));
    until(admin, "/readyz", 503, "draining").await;
    assert_eq!(
        get(admin, "/livez").await,
        ok(),
        "nobody is to cut the drain short"
    );
    assert_eq!(
        sample(&get(admin, "/metrics").await.1, "bookd_ready"),
        Some("0")
    );
    assert!(!stop.is_finished() && !call.is_finished());
    release.send(()).unwrap();
    call.await.unwrap().unwrap();
    assert_eq!(stop.await.unwrap().1, Stopped::Done);
    assert!(TcpStream::connect(admin).await.is_err());
}

#[tokio::test]
async fn an_admin_address_in_use_is_refused_and_named() {
    let taken = std::net::TcpListener::bind(ANY).unwrap();
    let parts = Parts {
        admin: Some(taken.local_addr().unwrap()),
        ..Parts::local(Arc::new(Zones::bundled()))
    };
    let refused = Service::start(parts, Box::new(Memory::new(7)))
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, StartError::Admin { .. }), "{refused}");
    assert!(refused.to_string().contains("--admin"), "{refused}");
}

#[test]
fn an_address_that_others_reach_must_be_meant() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bookd.db");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9464"] {
        let mut command = command(&file);
        let refused = command.args(["--admin", address]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{address}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            said.contains(address) && said.contains("--admin-exposed"),
            "{said}"
        );
    }
    assert!(!file.exists(), "nothing was touched");
    let mut exposed = command(&file);
    exposed.args(["--admin", "0.0.0.0:0", "--admin-exposed"]);
    let process = Process::spawn(exposed, "with this program");
    assert!(
        process
            .banner
            .contains("metrics and probes: http://0.0.0.0:"),
        "{}",
        process.banner
    );
    assert!(process.terminate().success());
}
