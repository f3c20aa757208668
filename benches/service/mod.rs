//! The service as the benchmarks start it, in their own process and with the allocator of the
//! binary, and the requests that they send.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a benchmark stops when it cannot go on, and none needs all of this"
)]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bookd::cli::bench::ThreadTimes;
use bookd::clock::{Clock, SystemClock};
use bookd::open_store::open_sqlite;
use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::service::{Parts, Service};
use bookd::zones::Zones;
use bookd_core::time::DAY;
use bookd_transport::{ServerLimits, Workers};
use prost_types::Timestamp;
use tonic::transport::{Channel, Endpoint};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections of the clients that book.
pub(crate) const CONNECTIONS: usize = 4;

/// Two workers: one for each core of the machines whose figures are in the documents.
pub(crate) fn two_workers() -> Workers {
    Workers::Threads(NonZeroUsize::new(2).unwrap())
}

/// Starts the service on a file.
pub(crate) async fn start(file: &Path, zones: Zones, limits: ServerLimits) -> Service {
    let parts = Parts {
        limits,
        ..Parts::local(Arc::new(zones))
    };
    start_with(file, parts).await
}

/// Starts a service of these parts on a file, on two workers.
pub(crate) async fn start_with(file: &Path, parts: Parts) -> Service {
    let store = open_sqlite(file, &parts.zones).unwrap();
    let workers = two_workers();
    let parts = Parts { workers, ..parts };
    Service::start(parts, Box::new(store)).await.unwrap()
}

/// The rate of some calls, and the processor time of each.
pub(crate) struct Rate {
    pub(crate) calls_per_second: f64,
    pub(crate) cpu: ThreadTimes,
}

/// Makes calls for `seconds`, with `in_flight` callers that each make one call after the other;
/// `call` takes the numbers of the caller and of its call.
pub(crate) async fn rate<F, Fut>(seconds: f64, in_flight: usize, call: F) -> Rate
where
    F: Fn(usize, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool> + Send,
{
    let (started, cpu) = (Instant::now(), ThreadTimes::now().unwrap_or_default());
    let until = started + Duration::from_secs_f64(seconds);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..in_flight {
        let call = call.clone();
        callers.spawn(async move {
            let mut done = 0_usize;
            while Instant::now() < until {
                assert!(
                    call(caller, done).await,
                    "a call of a benchmark was refused"
                );
                done += 1;
            }
            done
        });
    }
    let done: usize = callers.join_all().await.into_iter().sum();
    let cpu = ThreadTimes::now()
        .unwrap_or_default()
        .each_since(&cpu, done);
    Rate {
        calls_per_second: done as f64 / started.elapsed().as_secs_f64(),
        cpu,
    }
}

/// Opens `number` connections.
pub(crate) async fn connections(address: SocketAddr, number: usize) -> Vec<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .tcp_nodelay(true);
    let mut channels = Vec::new();
    for _ in 0..number {
        channels.push(endpoint.connect().await.unwrap());
    }
    channels
}

/// Makes a calendar, open around the clock.
pub(crate) async fn open(channel: &Channel, calendar_id: String) {
    let rule = pb::AvailabilityRule {
        start_time: "00:00".to_owned(),
        end_time: "24:00".to_owned(),
        ..Default::default()
    };
    let request = pb::SetAvailabilityRequest {
        calendar_id,
        rules: vec![rule],
        ..Default::default()
    };
    AvailabilityServiceClient::new(channel.clone())
        .set_availability(request)
        .await
        .unwrap();
}

/// The start of tomorrow in UTC, in seconds.
pub(crate) fn tomorrow() -> i64 {
    (SystemClock.now().seconds() / DAY + 1) * DAY
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// A booking of the default type.
pub(crate) fn booking(calendar_id: String, start: i64) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        calendar_id,
        start_time: at(start),
        invitee: Some(pb::Invitee {
            name: "Grace Hopper".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The request for the slots of the day from `start` on.
pub(crate) fn a_day(calendar_id: String, start: i64) -> pb::ListSlotsRequest {
    let (start_time, end_time) = (at(start), at(start + DAY));
    pb::ListSlotsRequest {
        calendar_id,
        start_time,
        end_time,
        ..Default::default()
    }
}

/// A figure over several rounds, shown as "median (least – most)" with the precision of the format.
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(rounds: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = rounds.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Spread(sorted)
    }

    pub(crate) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let decimals = f.precision().unwrap_or(0);
        let (least, middle, most) = (self.0[0], self.median(), self.0[self.0.len() - 1]);
        let text = format!("{middle:.decimals$} ({least:.decimals$} – {most:.decimals$})");
        write!(f, "{text:>width$}", width = f.width().unwrap_or(0))
    }
}
