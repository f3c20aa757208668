//! TLS and a token on every call: bookings and lists of a day over gRPC, beside the same calls on
//! plain connections to a server that asks nobody for credentials.
//!
//! Only ratios count: both servers run in this process on the same disk, are measured in turn over
//! connections that are kept, and take the first turn alternately.
//!
//! `cargo bench --bench guarded`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

mod service;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bookd::auth::{Access, GrantConfig, Grants};
use bookd::cli::bench::{fsync_rate, load};
use bookd::cli::client::{CallerChannel, CallerToken};
use bookd::ids::Ids;
use bookd::proto::v1 as pb;
use bookd::proto::v1::access_service_client::AccessServiceClient;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use bookd::service::{Parts, Service};
use bookd::zones::Zones;
use bookd_core::time::{DAY, HOUR};
use bookd_transport::{Tls, TlsFiles};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use service::{CONNECTIONS, Rate, Spread, a_day, booking, start_with, tomorrow};

/// How often each call is measured on each server.
const ROUNDS: usize = 5;
/// Seconds of each measurement.
const SECONDS: f64 = 2.0;
const IN_FLIGHT: [usize; 3] = [1, 64, 256];
const CALENDARS: usize = 1_000;
/// Days that one measurement books at most. All measurements together lie within the year that can
/// be booked.
const DAYS: i64 = 20;
/// The scopes of the token: what a front end that books has.
const SCOPES: [pb::Scope; 3] = [pb::Scope::Slots, pb::Scope::Book, pb::Scope::Manage];

/// A server, and the connections to it.
struct Measurable {
    service: Service,
    connections: Vec<CallerChannel>,
}

impl Measurable {
    /// A server without TLS that asks nobody for credentials.
    async fn plain(folder: &Path) -> Self {
        let parts = Parts::local(Arc::new(Zones::bundled()));
        let service = start_with(&folder.join("plain.db"), parts).await;
        let endpoint = Endpoint::from_shared(format!("http://{}", service.local_addr())).unwrap();
        let connections = connect(&endpoint, CallerToken(None)).await;
        Self {
            service,
            connections,
        }
    }

    /// A server with TLS that asks for tokens, and a token of its store.
    async fn guarded(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let [certificate, key, root] =
            ["server.pem", "server.key", "root"].map(|it| folder.join(it));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let operator = Ids::default().secret().unwrap().into_text();
        std::fs::write(&root, &operator).unwrap();
        let grants = Grants::load(&GrantConfig::default(), Some(&root)).unwrap();
        let files = TlsFiles {
            certificate,
            key,
            client_ca: None,
        };
        let parts = Parts {
            access: Access::granted(grants),
            tls: Some(Tls::load(files).unwrap()),
            ..Parts::local(Arc::new(Zones::bundled()))
        };
        let service = start_with(&folder.join("guarded.db"), parts).await;
        let authority = Certificate::from_pem(made.cert.pem());
        let tls = ClientTlsConfig::new().ca_certificate(authority);
        let port = service.local_addr().port();
        let endpoint = Endpoint::from_shared(format!("https://localhost:{port}")).unwrap();
        let endpoint = endpoint.tls_config(tls.domain_name("localhost")).unwrap();
        let operators = connect(&endpoint, bearer(&operator)).await;
        let token = created(&operators[0]).await;
        let connections = connect(&endpoint, bearer(&token)).await;
        Self {
            service,
            connections,
        }
    }

    /// Makes the calendars, open around the clock.
    async fn open(&self) {
        for number in 0..CALENDARS {
            let rule = pb::AvailabilityRule {
                start_time: "00:00".to_owned(),
                end_time: "24:00".to_owned(),
                ..Default::default()
            };
            let request = pb::SetAvailabilityRequest {
                calendar_id: calendar(number),
                rules: vec![rule],
                ..Default::default()
            };
            let mut client = AvailabilityServiceClient::new(self.connections[0].clone());
            client.set_availability(request).await.unwrap();
        }
    }

    /// Measures bookings on the days from `first` on, with so many callers.
    async fn book(&self, in_flight: usize, first: i64) -> Measured {
        rate(
            in_flight,
            &self.connections,
            move |connection, caller, n| {
                let per_caller = CALENDARS / in_flight;
                let hour = i64::try_from(n / per_caller).unwrap();
                let calendar = calendar(caller * per_caller + n % per_caller);
                let request = booking(calendar, first + hour * HOUR);
                async move {
                    let mut client = BookingServiceClient::new(connection);
                    client.book_appointment(request).await.is_ok()
                }
            },
        )
        .await
    }

    /// Measures lists of the slots of the day `first`, with so many callers.
    async fn list(&self, in_flight: usize, first: i64) -> Measured {
        rate(
            in_flight,
            &self.connections,
            move |connection, caller, n| {
                let request = a_day(calendar((caller + n) % CALENDARS), first);
                async move {
                    let mut client = SlotsServiceClient::new(connection);
                    client.list_slots(request).await.is_ok()
                }
            },
        )
        .await
    }
}

fn calendar(number: usize) -> String {
    format!("calendar-{number}")
}

fn bearer(token: &str) -> CallerToken {
    CallerToken(Some(format!("Bearer {token}").parse().unwrap()))
}

async fn connect(endpoint: &Endpoint, bearer: CallerToken) -> Vec<CallerChannel> {
    let endpoint = endpoint.clone().tcp_nodelay(true);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let channel = endpoint.connect().await.unwrap();
        connections.push(InterceptedService::new(channel, bearer.clone()));
    }
    connections
}

/// A new token of the store.
async fn created(operator: &CallerChannel) -> String {
    let request = pb::CreateTokenRequest {
        name: "front".to_owned(),
        scopes: SCOPES.map(i32::from).to_vec(),
        ..Default::default()
    };
    let mut client = AccessServiceClient::new(operator.clone());
    client
        .create_token(request)
        .await
        .unwrap()
        .into_inner()
        .token
}

/// The figures of one measurement.
struct Measured {
    calls_per_second: f64,
    /// Microseconds of the server's processor time for each call.
    cpu: f64,
}

/// The rate of calls that `in_flight` callers make for `SECONDS`, see `service::rate`; `call` takes a
/// connection, too.
async fn rate<F, Fut>(in_flight: usize, connections: &[CallerChannel], call: F) -> Measured
where
    F: Fn(CallerChannel, usize, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool> + Send,
{
    let connections = connections.to_vec();
    let made = service::rate(SECONDS, in_flight, move |caller, n| {
        call(connections[caller % CONNECTIONS].clone(), caller, n)
    });
    let Rate {
        calls_per_second,
        cpu,
    } = made.await;
    let cpu = cpu.services();
    Measured {
        calls_per_second,
        cpu,
    }
}

/// The figures of one kind of call in all rounds: plain and guarded.
struct Row {
    in_flight: usize,
    call: &'static str,
    rounds: Vec<[Measured; 2]>,
}

/// Measures each kind of call on both servers in turn.
async fn measure(servers: &[Measurable; 2]) -> Vec<Row> {
    let first = tomorrow();
    let mut rows = Vec::new();
    for (at, in_flight) in (0..).zip(IN_FLIGHT) {
        let rows_of = ["book", "slots of a day"].map(|call| Row {
            in_flight,
            call,
            rounds: Vec::new(),
        });
        rows.extend(rows_of);
        for round in 0..ROUNDS {
            let days = i64::try_from(at * ROUNDS + round).unwrap() * DAYS;
            let (first, is_plain_first) = (first + days * DAY, round % 2 == 0);
            let booked = both(servers, is_plain_first, |it| it.book(in_flight, first)).await;
            rows[2 * at].rounds.push(booked);
            let listed = both(servers, is_plain_first, |it| it.list(in_flight, first)).await;
            rows[2 * at + 1].rounds.push(listed);
        }
    }
    rows
}

/// Measures one server after the other.
async fn both<'a, Fut: Future<Output = Measured>>(
    [plain, guarded]: &'a [Measurable; 2],
    is_plain_first: bool,
    measure: impl Fn(&'a Measurable) -> Fut,
) -> [Measured; 2] {
    if is_plain_first {
        let measured = measure(plain).await;
        [measured, measure(guarded).await]
    } else {
        let measured = measure(guarded).await;
        [measure(plain).await, measured]
    }
}

fn print(rows: &[Row]) {
    println!(
        "{:>9} {:>15} {:>26} {:>26} {:>20} {:>20} {:>20}",
        "in flight",
        "call",
        "plain/s",
        "TLS and token/s",
        "of plain",
        "plain µs",
        "TLS and token µs"
    );
    for Row {
        in_flight,
        call,
        rounds,
    } in rows
    {
        let of = |what: fn(&[Measured; 2]) -> f64| Spread::of(rounds.iter().map(what));
        let (plain, guarded) = (
            of(|it| it[0].calls_per_second),
            of(|it| it[1].calls_per_second),
        );
        let ratio = of(|it| it[1].calls_per_second / it[0].calls_per_second);
        let (cpu, cpu_guarded) = (of(|it| it[0].cpu), of(|it| it[1].cpu));
        println!(
            "{in_flight:>9} {call:>15} {plain:>26} {guarded:>26} {ratio:>20.2} {cpu:>20.1} {cpu_guarded:>20.1}"
        );
    }
}

async fn run(folder: &Path) {
    let fsync = fsync_rate(folder).unwrap();
    let servers = [
        Measurable::plain(folder).await,
        Measurable::guarded(folder).await,
    ];
    for server in &servers {
        server.open().await;
    }
    print(&measure(&servers).await);
    println!("fsync {fsync:.0}/s, load {}", load());
    for Measurable {
        service,
        connections,
    } in servers
    {
        drop(connections);
        service.stop(Duration::from_secs(1)).await;
    }
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(folder.path()));
}
