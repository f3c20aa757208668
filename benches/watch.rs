//! The cost of a thousand watchers for bookings: bookings per second without watchers, and with a
//! thousand watchers of each kind.
//!
//! `cargo bench --bench watch`. The watchers run in this process too, on a thread of their own, and
//! share its processors; the processor time of the server for each booking is therefore shown
//! separately.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bookd::cli::bench::{ThreadTimes, fsync_rate, load};
use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::watch_appointments_response::Message;
use bookd::zones::Zones;
use bookd_core::time::HOUR;
use bookd_transport::ServerLimits;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use service::{CONNECTIONS, Spread, connections, open, start, tomorrow};

const WATCHERS: usize = 1_000;
/// Connections of the watchers; a connection has at most 200 streams.
const WATCHING_CONNECTIONS: usize = 10;
const CALENDARS: usize = 1_000;
const SECONDS: f64 = 2.0;
const ROUNDS: usize = 3;
/// Bookings before each measurement, so that the watchers of the one before have ended.
const WARM_UP: usize = 200;

/// The kind of watchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No watchers.
    None,
    /// Each watches a calendar that is never booked.
    Elsewhere,
    /// Each watches a calendar of its own, so a booking reaches one watcher.
    One,
    /// Each watches everything, so a booking reaches all watchers.
    Everything,
}

impl Kind {
    const ALL: [Self; 4] = [Self::None, Self::Elsewhere, Self::One, Self::Everything];

    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Elsewhere => "1,000, of other calendars",
            Self::One => "1,000, of a calendar each",
            Self::Everything => "1,000, of everything",
        }
    }

    fn request(self, number: usize) -> pb::WatchAppointmentsRequest {
        let calendar_id = match self {
            Self::Elsewhere => format!("elsewhere-{number}"),
            Self::One => format!("calendar-{}", number % CALENDARS),
            Self::None | Self::Everything => String::new(),
        };
        pb::WatchAppointmentsRequest {
            calendar_id,
            ..Default::default()
        }
    }
}

/// The figures with one kind of watchers.
#[derive(Clone, Copy)]
struct Measured {
    /// Bookings per second.
    bookings: f64,
    /// The processor time of each booking.
    cpu: ThreadTimes,
    /// Changes that watchers received per second.
    received: f64,
}

/// The clients of the service.
struct World {
    channels: Vec<Channel>,
    watching: Vec<Channel>,
    handle: Handle,
    received: Arc<AtomicU64>,
    /// The number of the next booking.
    next: Arc<AtomicUsize>,
    first: i64,
}

impl World {
    /// Opens the watches, and waits until each has caught up.
    async fn watch(&self, kind: Kind) -> JoinSet<()> {
        let (mut watchers, ready) = (JoinSet::new(), Arc::new(Semaphore::new(0)));
        if kind == Kind::None {
            return watchers;
        }
        for number in 0..WATCHERS {
            let mut client =
                ListServiceClient::new(self.watching[number % WATCHING_CONNECTIONS].clone());
            let (received, ready) = (Arc::clone(&self.received), Arc::clone(&ready));
            let watching = async move {
                let mut stream = client
                    .watch_appointments(kind.request(number))
                    .await
                    .unwrap()
                    .into_inner();
                let mut is_ready = false;
                while let Some(response) = stream.message().await.unwrap() {
                    match response.message {
                        Some(Message::Change(_)) => drop(received.fetch_add(1, Ordering::Relaxed)),
                        _ if !is_ready => {
                            is_ready = true;
                            ready.add_permits(1);
                        }
                        _ => {}
                    }
                }
            };
            watchers.spawn_on(watching, &self.handle);
        }
        drop(ready.acquire_many(WATCHERS as u32).await.unwrap());
        watchers
    }

    /// Books with `in_flight` calls, until `at_most` bookings or until `until`; answers their
    /// number.
    async fn book(&self, in_flight: usize, at_most: usize, until: Instant) -> usize {
        let (mut running, asked) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for number in 0..in_flight {
            let mut client = BookingServiceClient::new(self.channels[number % CONNECTIONS].clone());
            let (next, asked, first) = (Arc::clone(&self.next), Arc::clone(&asked), self.first);
            running.spawn(async move {
                let mut done = 0;
                while Instant::now() < until && asked.fetch_add(1, Ordering::Relaxed) < at_most {
                    client
                        .book_appointment(booking(next.fetch_add(1, Ordering::Relaxed), first))
                        .await
                        .unwrap();
                    done += 1;
                }
                done
            });
        }
        running.join_all().await.into_iter().sum()
    }

    async fn measure(&self, kind: Kind, in_flight: usize) -> Measured {
        let watchers = self.watch(kind).await;
        self.book(in_flight, WARM_UP, Instant::now() + Duration::from_secs(10))
            .await;
        let (begun, cpu) = (Instant::now(), ThreadTimes::now().unwrap_or_default());
        let received = self.received.load(Ordering::Relaxed);
        let bookings = self
            .book(
                in_flight,
                usize::MAX,
                begun + Duration::from_secs_f64(SECONDS),
            )
            .await;
        let (seconds, cpu) = (
            begun.elapsed().as_secs_f64(),
            ThreadTimes::now()
                .unwrap_or_default()
                .each_since(&cpu, bookings),
        );
        let received = self.received.load(Ordering::Relaxed) - received;
        drop(watchers);
        Measured {
            bookings: bookings as f64 / seconds,
            cpu,
            received: received as f64 / seconds,
        }
    }
}

/// The n-th booking: calendars in turn, hour by hour.
fn booking(number: usize, first: i64) -> pb::BookAppointmentRequest {
    let start = first + (number / CALENDARS) as i64 * HOUR;
    service::booking(format!("calendar-{}", number % CALENDARS), start)
}

/// Prints the figures of all rounds, a row for each kind of watchers.
fn print_rounds(in_flight: usize, measured: &[[Measured; Kind::ALL.len()]]) {
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let of =
            |what: fn(&Measured) -> f64| Spread::of(measured.iter().map(|round| what(&round[at])));
        let (rate, received) = (of(|it| it.bookings), of(|it| it.received));
        let cpu = of(|it| it.cpu.services());
        let [writer, workers, others, clients] = [
            of(|it| it.cpu.writer),
            of(|it| it.cpu.workers),
            of(|it| it.cpu.others),
            of(|it| it.cpu.clients),
        ]
        .map(|group| group.median());
        // The ratio is of one round, in which the load of the machine was the same for both.
        let ratio = Spread::of(
            measured
                .iter()
                .map(|round| round[at].bookings / round[0].bookings),
        );
        println!(
            "{in_flight:>9} {:>26} {rate:>24.0} {ratio:>18.2} {cpu:>24.1} \
             {writer:>7.1} {workers:>8.1} {others:>7.1} {clients:>8.1} {received:>24.0}",
            kind.name()
        );
    }
}

async fn run(handle: Handle, folder: &std::path::Path) {
    let service = start(
        &folder.join("bookd.db"),
        Zones::bundled(),
        ServerLimits::default(),
    )
    .await;
    let address = service.local_addr();
    let channels = connections(address, CONNECTIONS).await;
    let watching = handle
        .spawn(connections(address, WATCHING_CONNECTIONS))
        .await
        .unwrap();
    let (received, next) = (Arc::default(), Arc::default());
    let world = World {
        channels,
        watching,
        handle,
        received,
        next,
        first: tomorrow(),
    };
    for number in 0..CALENDARS {
        open(&world.channels[0], format!("calendar-{number}")).await;
    }
    for number in 0..WATCHERS {
        open(&world.channels[0], format!("elsewhere-{number}")).await;
    }
    println!(
        "fsync {:.0}/s, load {}",
        fsync_rate(folder).unwrap(),
        load()
    );
    println!(
        "in flight {:>26} {:>24} {:>18} {:>24} {:>7} {:>8} {:>7} {:>8} {:>24}",
        "watchers",
        "bookings/s",
        "of none",
        "server µs",
        "writer",
        "workers",
        "others",
        "clients",
        "told/s"
    );
    for in_flight in [1, 64] {
        let mut measured = Vec::new();
        for _ in 0..ROUNDS {
            let mut round = Vec::new();
            for kind in Kind::ALL {
                round.push(world.measure(kind, in_flight).await);
            }
            measured.push(<[Measured; Kind::ALL.len()]>::try_from(round).ok().unwrap());
        }
        print_rounds(in_flight, &measured);
    }
    println!("load {}", load());
    drop(world);
    service.stop(Duration::from_secs(1)).await;
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let watching = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(watching.handle().clone(), folder.path()));
}
