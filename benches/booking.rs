//! Durable bookings per second over gRPC at 1, 16, 64 and 256 calls in flight, and the processor
//! time of each call: of the writer, of the workers, and of the clients.
//!
//! Only ratios count: in each of three rounds, an echo of messages of the same size on the same
//! transport and the rate of append + fsync of the disk are measured too.
//!
//! `cargo bench --bench booking`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

mod echo;
mod service;

use std::path::Path;
use std::time::Duration;

use bookd::api::stack;
use bookd::cli::bench::{ThreadTimes, fsync_rate, load};
use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::server_info_service_client::ServerInfoServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use bookd::service::Service;
use bookd::zones::Zones;
use bookd_core::time::{DAY, HOUR};
use bookd_transport::{AdmissionLimits, Running, ServerLimits};
use prost::Message;
use tonic::service::Routes;
use tonic::transport::Channel;

use echo::{Echo, Sized};
use service::{CONNECTIONS, Rate, Spread, a_day, connections, open, start, tomorrow, two_workers};

/// How often each call is measured.
const ROUNDS: usize = 3;
/// Seconds of each call in a round.
const SECONDS: f64 = 2.0;
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];
/// Days that one measurement books at most. All measurements together lie within the year that can
/// be booked.
const DAYS: i64 = 25;
const CALENDARS: usize = 1_000;
/// Calendars whose lists give the mean size of a list.
const SAMPLES: usize = 10;

/// The figures of one kind of call.
struct Measured {
    calls_per_second: f64,
    /// The processor time of each call.
    cpu: ThreadTimes,
    /// Calls per second, as a multiple of those of the echo.
    of_echo: f64,
}

impl Measured {
    /// The figures with their ratio to an echo.
    fn relative_to(self, echo: &Measured) -> Measured {
        Measured {
            of_echo: self.calls_per_second / echo.calls_per_second,
            ..self
        }
    }
}

/// The rate of calls that `in_flight` callers make for `SECONDS`, see `service::rate`.
async fn rate<F, Fut>(in_flight: usize, call: F) -> Measured
where
    F: Fn(usize, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool> + Send,
{
    let Rate {
        calls_per_second,
        cpu,
    } = service::rate(SECONDS, in_flight, call).await;
    Measured {
        calls_per_second,
        cpu,
        of_echo: 1.0,
    }
}

/// The n-th booking of a caller: its own calendars in turn, an hour after the booking before on
/// each.
fn booking(caller: usize, n: usize, in_flight: usize, first: i64) -> pb::BookAppointmentRequest {
    let per_caller = CALENDARS / in_flight;
    let calendar = caller * per_caller + n % per_caller;
    let slot = i64::try_from(n / per_caller).unwrap();
    service::booking(format!("calendar-{calendar}"), first + slot * HOUR)
}

/// The sizes of the request and the answer of a booking.
async fn size_of_booking(channel: &Channel, start: i64) -> Sized {
    let request = booking(0, 0, 1, start);
    let asked = request.encoded_len();
    let answer = BookingServiceClient::new(channel.clone())
        .book_appointment(request)
        .await
        .unwrap();
    Sized::new(asked, answer.into_inner().encoded_len())
}

/// The mean sizes of the request and the answer of a list of this day, over several calendars.
async fn size_of_day(channel: &Channel, first: i64) -> Sized {
    let (mut asked, mut answered) = (0, 0);
    for number in (0..CALENDARS).step_by(CALENDARS / SAMPLES) {
        let request = a_day(format!("calendar-{number}"), first);
        asked += request.encoded_len();
        let answer = SlotsServiceClient::new(channel.clone())
            .list_slots(request)
            .await
            .unwrap();
        answered += answer.into_inner().encoded_len();
    }
    Sized::new(asked / SAMPLES, answered / SAMPLES)
}

async fn echo_rate(in_flight: usize, channels: &[Channel], size: Sized) -> Measured {
    let channels = channels.to_vec();
    rate(in_flight, move |caller, _| {
        let (channel, size) = (channels[caller % CONNECTIONS].clone(), size.clone());
        async move { echo::ask(channel, size).await.is_ok() }
    })
    .await
}

/// The connections to the servers that are measured.
struct Connections {
    service: Vec<Channel>,
    echo: Vec<Channel>,
    full: Vec<Channel>,
    /// The sizes of a booking and its answer.
    size: Sized,
}

impl Connections {
    /// Measures each kind of call with `in_flight` callers, on the days from `first` on.
    async fn round(&self, in_flight: usize, first: i64) -> Vec<(&'static str, Measured)> {
        let echoed = echo_rate(in_flight, &self.echo, self.size.clone()).await;
        let clients = self.service.clone();
        let booked = rate(in_flight, move |caller, n| {
            let mut client = BookingServiceClient::new(clients[caller % CONNECTIONS].clone());
            let request = booking(caller, n, in_flight, first);
            async move { client.book_appointment(request).await.is_ok() }
        });
        let booked = booked.await.relative_to(&echoed);
        let echoed_day = echo_rate(
            in_flight,
            &self.echo,
            size_of_day(&self.service[0], first).await,
        )
        .await;
        let clients = self.service.clone();
        let listed = rate(in_flight, move |caller, n| {
            let mut client = SlotsServiceClient::new(clients[caller % CONNECTIONS].clone());
            let request = a_day(format!("calendar-{}", (caller + n) % CALENDARS), first);
            async move { client.list_slots(request).await.is_ok() }
        });
        let listed = listed.await.relative_to(&echoed_day);
        let refused = refusals(in_flight, &self.service, first)
            .await
            .relative_to(&echoed);
        let mut round = vec![("echo", echoed), ("book", booked), ("refused", refused)];
        round.extend([("echo of a day", echoed_day), ("slots", listed)]);
        if in_flight > 16 {
            let overloaded = refusals(in_flight, &self.full, first).await;
            round.push(("overloaded", overloaded.relative_to(&round[0].1)));
        }
        round
    }
}

/// Measures refusals: each caller books a time that is taken.
async fn refusals(in_flight: usize, channels: &[Channel], first: i64) -> Measured {
    let clients = channels.to_vec();
    rate(in_flight, move |caller, _| {
        let mut client = BookingServiceClient::new(clients[caller % CONNECTIONS].clone());
        let request = booking(caller, 0, in_flight, first);
        async move { client.book_appointment(request).await.is_err() }
    })
    .await
}

/// The servers that are measured.
struct Servers {
    service: Service,
    /// Lets no call in, except some of each connection.
    full: Service,
    echo: Running,
}

impl Servers {
    async fn start(folder: &Path) -> Self {
        let service = start(
            &folder.join("bookd.db"),
            Zones::bundled(),
            ServerLimits::default(),
        )
        .await;
        // Admission lets some calls of each connection in all the same. They are refused as well,
        // because this service has no calendars.
        let admission = AdmissionLimits {
            calls_max: 0,
            ..AdmissionLimits::default()
        };
        let full = start(
            &folder.join("full.db"),
            Zones::bundled(),
            ServerLimits {
                admission,
                ..ServerLimits::default()
            },
        )
        .await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let routes = Routes::new(Echo);
        let echo = bookd_transport::start(
            listener,
            ServerLimits::default(),
            two_workers(),
            move |_| (stack::alone(routes.clone()), std::future::ready(())),
        )
        .unwrap();
        Self {
            service,
            full,
            echo,
        }
    }

    async fn stop(self) {
        self.echo.shutdown(Duration::from_secs(1)).await;
        self.full.stop(Duration::from_secs(1)).await;
        self.service.stop(Duration::from_secs(1)).await;
    }
}

async fn measure(folder: &Path) {
    let servers = Servers::start(folder).await;
    let channels = connections(servers.service.local_addr(), CONNECTIONS).await;
    for number in 0..CALENDARS {
        open(&channels[0], format!("calendar-{number}")).await;
    }
    let first = tomorrow();
    // On the last of the days of the first measurement, which its bookings do not reach.
    let size = size_of_booking(&channels[0], first + (DAYS - 1) * DAY).await;
    let clients = Connections {
        service: channels,
        echo: connections(servers.echo.local_addr(), CONNECTIONS).await,
        full: connections(servers.full.local_addr(), CONNECTIONS).await,
        size,
    };
    measure_rounds(folder, &clients, first).await;
    print_end(&clients.service[0]).await;
    drop(clients);
    servers.stop().await;
}

/// Measures all rounds, and prints the figures.
async fn measure_rounds(folder: &Path, clients: &Connections, mut first: i64) {
    let (mut rounds, mut waits, mut fsyncs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let fsync = fsync_rate(folder).unwrap();
        let mut round = Vec::new();
        for in_flight in IN_FLIGHT {
            round.extend(
                clients
                    .round(in_flight, first)
                    .await
                    .into_iter()
                    .map(|(call, measured)| (in_flight, call, measured)),
            );
            // The next measurement books later days, because these are taken.
            first += DAYS * DAY;
        }
        let [echo, booked] = [0, 1].map(|at| 1e6 / round[at].2.calls_per_second);
        waits.push((booked - echo) / (1e6 / fsync));
        fsyncs.push(fsync);
        rounds.push(round);
    }
    print_rounds(&rounds);
    println!(
        "fsync {:.0}/s, load {}",
        Spread::of(fsyncs.into_iter()),
        load()
    );
    println!(
        "one booking at a time, beyond an echo, in append + fsync: {:.2}",
        Spread::of(waits.into_iter())
    );
}

/// Prints the figures of all rounds, a row for each number in flight and each call.
fn print_rounds(rounds: &[Vec<(usize, &'static str, Measured)>]) {
    println!(
        "{:>9} {:>13} {:>28} {:>20} {:>20} {:>7} {:>8} {:>8}",
        "in flight", "call", "calls/s", "of echo", "server µs", "writer", "workers", "clients"
    );
    for (at, (in_flight, call, _)) in rounds[0].iter().enumerate() {
        let of =
            |what: fn(&Measured) -> f64| Spread::of(rounds.iter().map(|round| what(&round[at].2)));
        let (rate, of_echo, cpu) = (
            of(|it| it.calls_per_second),
            of(|it| it.of_echo),
            of(|it| it.cpu.services()),
        );
        let [writer, workers, clients] = [
            of(|it| it.cpu.writer),
            of(|it| it.cpu.workers),
            of(|it| it.cpu.clients),
        ]
        .map(|group| group.median());
        println!(
            "{in_flight:>9} {call:>13} {rate:>28.0} {of_echo:>20.2} {cpu:>20.1} \
             {writer:>7.1} {workers:>8.1} {clients:>8.1}"
        );
    }
}

/// Prints how many changes the service committed.
async fn print_end(channel: &Channel) {
    let info = ServerInfoServiceClient::new(channel.clone())
        .get_server_info(pb::GetServerInfoRequest {})
        .await
        .unwrap();
    println!(
        "{} changes committed, load {}",
        info.into_inner().revision,
        load()
    );
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(folder.path()));
}
