//! Durable bookings per second over gRPC at 1, 16, 64 and 256 in flight, beside a bare echo of messages of the same size on
//! the same transport and the disk's own rate of append + fsync, in three rounds: only the ratios count. And the
//! processor time that a server uses for each call, without its clients.
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
use std::time::{Duration, Instant};

use bookd::api::stack;
use bookd::cli::bench::{fsync_rate, load, used_by_services};
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
use service::{CONNECTIONS, Spread, a_day, connections, open, start, tomorrow, two_workers};

/// How often everything is measured, in turn.
const ROUNDS: usize = 3;
/// How long each call is made in each of them.
const SECONDS: f64 = 2.0;
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];
/// What is booked in one of these times at most: all of them lie within the year that can be booked.
const DAYS: i64 = 25;
const CALENDARS: usize = 1_000;
/// Calendars whose lists say how large a list is.
const SAMPLES: usize = 10;

/// What was measured of one kind of call.
struct Measured {
    calls_per_second: f64,
    cpu_microseconds: f64,
    /// Calls a second, of the echo beside it.
    of_echo: f64,
}

impl Measured {
    fn beside(self, echo: &Measured) -> Measured {
        Measured {
            of_echo: self.calls_per_second / echo.calls_per_second,
            ..self
        }
    }
}

/// Makes calls with so many in flight, for some seconds.
async fn rate<F, Fut>(in_flight: usize, call: F) -> Measured
where
    F: Fn(usize, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool> + Send,
{
    let (started, cpu) = (Instant::now(), used_by_services().unwrap_or(0));
    let until = started + Duration::from_secs_f64(SECONDS);
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..in_flight {
        let call = call.clone();
        lanes.spawn(async move {
            let mut done = 0_usize;
            while Instant::now() < until {
                assert!(call(lane, done).await, "a call of a benchmark was refused");
                done += 1;
            }
            done
        });
    }
    let done: usize = lanes.join_all().await.into_iter().sum();
    let cpu = used_by_services().unwrap_or(0) - cpu;
    Measured {
        calls_per_second: done as f64 / started.elapsed().as_secs_f64(),
        cpu_microseconds: cpu as f64 / done as f64,
        of_echo: 1.0,
    }
}

/// The n-th booking of a lane: its own calendars in turn, the next free half hour of each.
fn booking(lane: usize, n: usize, in_flight: usize, first: i64) -> pb::BookAppointmentRequest {
    let per_lane = CALENDARS / in_flight;
    let calendar = lane * per_lane + n % per_lane;
    let slot = i64::try_from(n / per_lane).unwrap();
    service::booking(format!("calendar-{calendar}"), first + slot * HOUR)
}

/// Books once, to see how large the messages are.
async fn size_of_booking(channel: &Channel, start: i64) -> Sized {
    let request = booking(0, 0, 1, start);
    let asked = request.encoded_len();
    let answer = BookingServiceClient::new(channel.clone())
        .book_appointment(request)
        .await
        .unwrap();
    Sized::new(asked, answer.into_inner().encoded_len())
}

/// How large they are of a list of this day, over several calendars.
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
    rate(in_flight, move |lane, _| {
        let (channel, size) = (channels[lane % CONNECTIONS].clone(), size.clone());
        async move { echo::ask(channel, size).await.is_ok() }
    })
    .await
}

/// The servers that are asked, over connections of their own.
struct Asked {
    service: Vec<Channel>,
    echo: Vec<Channel>,
    full: Vec<Channel>,
    /// Of a booking and its answer.
    size: Sized,
}

impl Asked {
    /// Makes each kind of call in turn, with so many in flight, of the days that begin then.
    async fn round(&self, in_flight: usize, first: i64) -> Vec<(&'static str, Measured)> {
        let echoed = echo_rate(in_flight, &self.echo, self.size.clone()).await;
        let clients = self.service.clone();
        let booked = rate(in_flight, move |lane, n| {
            let mut client = BookingServiceClient::new(clients[lane % CONNECTIONS].clone());
            let request = booking(lane, n, in_flight, first);
            async move { client.book_appointment(request).await.is_ok() }
        });
        let booked = booked.await.beside(&echoed);
        let echoed_day = echo_rate(
            in_flight,
            &self.echo,
            size_of_day(&self.service[0], first).await,
        )
        .await;
        let clients = self.service.clone();
        let listed = rate(in_flight, move |lane, n| {
            let mut client = SlotsServiceClient::new(clients[lane % CONNECTIONS].clone());
            let request = a_day(format!("calendar-{}", (lane + n) % CALENDARS), first);
            async move { client.list_slots(request).await.is_ok() }
        });
        let listed = listed.await.beside(&echoed_day);
        let refused = refusals(in_flight, &self.service, first)
            .await
            .beside(&echoed);
        let mut round = vec![("echo", echoed), ("book", booked), ("refused", refused)];
        round.extend([("echo of a day", echoed_day), ("slots", listed)]);
        if in_flight > 16 {
            let overloaded = refusals(in_flight, &self.full, first).await;
            round.push(("overloaded", overloaded.beside(&round[0].1)));
        }
        round
    }
}

/// Each lane asks again and again for what it cannot have.
async fn refusals(in_flight: usize, channels: &[Channel], first: i64) -> Measured {
    let clients = channels.to_vec();
    rate(in_flight, move |lane, _| {
        let mut client = BookingServiceClient::new(clients[lane % CONNECTIONS].clone());
        let request = booking(lane, 0, in_flight, first);
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
            move |_| stack::alone(routes.clone()),
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
    // On the last of the days that are booked next, which they do not reach.
    let size = size_of_booking(&channels[0], first + (DAYS - 1) * DAY).await;
    let asked = Asked {
        service: channels,
        echo: connections(servers.echo.local_addr(), CONNECTIONS).await,
        full: connections(servers.full.local_addr(), CONNECTIONS).await,
        size,
    };
    measure_rounds(folder, &asked, first).await;
    tell_end(&asked.service[0]).await;
    drop(asked);
    servers.stop().await;
}

async fn measure_rounds(folder: &Path, asked: &Asked, mut first: i64) {
    let (mut rounds, mut waits, mut fsyncs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let fsync = fsync_rate(folder).unwrap();
        let mut round = Vec::new();
        for in_flight in IN_FLIGHT {
            round.extend(
                asked
                    .round(in_flight, first)
                    .await
                    .into_iter()
                    .map(|(call, measured)| (in_flight, call, measured)),
            );
            // What is taken stays taken: the next ones book later dates.
            first += DAYS * DAY;
        }
        let [echo, booked] = [0, 1].map(|at| 1e6 / round[at].2.calls_per_second);
        waits.push((booked - echo) / (1e6 / fsync));
        fsyncs.push(fsync);
        rounds.push(round);
    }
    tell(&rounds);
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

/// Of all rounds, for each number in flight and each call.
fn tell(rounds: &[Vec<(usize, &'static str, Measured)>]) {
    println!(
        "{:>9} {:>13} {:>28} {:>20} {:>20}",
        "in flight", "call", "calls/s", "of echo", "CPU µs"
    );
    for (at, (in_flight, call, _)) in rounds[0].iter().enumerate() {
        let of =
            |what: fn(&Measured) -> f64| Spread::of(rounds.iter().map(|round| what(&round[at].2)));
        let (rate, of_echo, cpu) = (
            of(|it| it.calls_per_second),
            of(|it| it.of_echo),
            of(|it| it.cpu_microseconds),
        );
        println!("{in_flight:>9} {call:>13} {rate:>28.0} {of_echo:>20.2} {cpu:>20.1}");
    }
}

async fn tell_end(channel: &Channel) {
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
