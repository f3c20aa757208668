//! Durable bookings per second over gRPC at 1, 16 and 64 in flight, beside a bare echo on the same transport and the
//! disk's own rate of append + fsync, all in one run: only the ratios count.
//!
//! `cargo bench --bench booking`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bookd::cli::bench::{fsync_rate, load};
use bookd::clock::{Clock, SystemClock};
use bookd::engine::Settings;
use bookd::grpc::wire::Wire;
use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::server_info_service_client::ServerInfoServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use bookd::server::{self, Lanes, Limits};
use bookd::service::{Parts, Service, open_sqlite};
use bookd::zones::Zones;
use prost_types::Timestamp;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const SECONDS: f64 = 3.0;
const CALENDARS: usize = 1_000;
const CONNECTIONS: usize = 4;

#[derive(Clone)]
struct Echo;

#[tonic::async_trait]
impl tonic_health::pb::health_server::Health for Echo {
    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, tonic::Status>>;

    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, tonic::Status> {
        Ok(tonic::Response::new(HealthCheckResponse { status: 1 }))
    }

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, tonic::Status> {
        Ok(tonic::Response::new(tokio_stream::empty()))
    }
}

async fn connect(address: std::net::SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().tcp_nodelay(true).connect().await.unwrap()
}

/// Calls per second with so many in flight, for some seconds.
async fn rate<F, Fut>(in_flight: usize, call: F) -> f64
where
    F: Fn(usize, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool> + Send,
{
    let started = Instant::now();
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
    done as f64 / started.elapsed().as_secs_f64()
}

/// The n-th booking of a lane: its own calendars in turn, the next free half hour of each.
fn booking(lane: usize, n: usize, in_flight: usize, first: i64) -> pb::BookAppointmentRequest {
    let per_lane = CALENDARS / in_flight;
    let calendar = lane * per_lane + n % per_lane;
    let slot = i64::try_from(n / per_lane).unwrap();
    pb::BookAppointmentRequest {
        calendar_id: format!("calendar-{calendar}"),
        start_time: Some(Timestamp { seconds: first + slot * 3_600, nanos: 0 }),
        invitee: Some(pb::Invitee { name: "Grace Hopper".to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

async fn open_calendars(channel: &Channel) {
    for n in 0..CALENDARS {
        let rule =
            pb::AvailabilityRule { start_time: "00:00".to_owned(), end_time: "24:00".to_owned(), ..Default::default() };
        let request = pb::SetAvailabilityRequest {
            calendar_id: format!("calendar-{n}"),
            rules: vec![rule],
            ..Default::default()
        };
        AvailabilityServiceClient::new(channel.clone()).set_availability(request).await.unwrap();
    }
}

async fn measure(folder: &Path) {
    let zones = Arc::new(Zones::bundled());
    let store = open_sqlite(&folder.join("bookd.db"), &zones).unwrap();
    let lanes = Lanes::Threads(NonZeroUsize::new(2).unwrap());
    let clock = Arc::new(SystemClock);
    let engine = Settings { is_clock_confirmed: true, ..Settings::default() };
    let limits = Limits::default();
    let parts = Parts { listen: "127.0.0.1:0".parse().unwrap(), zones, clock, lanes, engine, limits };
    let service = Service::start(parts, Box::new(store)).await.unwrap();
    let echo_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let routes = Routes::new(tonic_health::pb::health_server::HealthServer::new(Echo));
    let echo = server::start(echo_listener, Limits::default(), lanes, move |_| Wire::new(routes.clone())).unwrap();
    let mut channels = Vec::new();
    let mut echoes = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(connect(service.local_addr()).await);
        echoes.push(connect(echo.local_addr()).await);
    }
    open_calendars(&channels[0]).await;
    println!("fsync {:.0}/s, load {}", fsync_rate(folder).unwrap(), load());
    tell_header();
    let mut first = (SystemClock.now().seconds() / 86_400 + 1) * 86_400;
    for in_flight in [1, 16, 64] {
        let channels_of = |all: &Vec<Channel>| all.clone();
        let clients = channels_of(&echoes);
        let echoed = rate(in_flight, move |lane, _| {
            let mut client = HealthClient::new(clients[lane % CONNECTIONS].clone());
            async move { client.check(HealthCheckRequest { service: String::new() }).await.is_ok() }
        })
        .await;
        let clients = channels_of(&channels);
        let booked = rate(in_flight, move |lane, n| {
            let mut client = BookingServiceClient::new(clients[lane % CONNECTIONS].clone());
            let request = booking(lane, n, in_flight, first);
            async move { client.book_appointment(request).await.is_ok() }
        })
        .await;
        let clients = channels_of(&channels);
        let day = Timestamp { seconds: first, nanos: 0 };
        let next = Timestamp { seconds: first + 86_400, nanos: 0 };
        let listed = rate(in_flight, move |lane, n| {
            let mut client = SlotsServiceClient::new(clients[lane % CONNECTIONS].clone());
            let calendar_id = format!("calendar-{}", (lane + n) % CALENDARS);
            let request =
                pb::ListSlotsRequest { calendar_id, start_time: Some(day), end_time: Some(next), ..Default::default() };
            async move { client.list_slots(request).await.is_ok() }
        })
        .await;
        let clients = channels_of(&channels);
        let refused = rate(in_flight, move |lane, _| {
            let mut client = BookingServiceClient::new(clients[lane % CONNECTIONS].clone());
            let request = booking(lane, 0, in_flight, first);
            async move { client.book_appointment(request).await.is_err() }
        })
        .await;
        println!(
            "{in_flight:>12} {echoed:>12.0} {booked:>12.0} {:>12.2} {listed:>12.0} {:>12.2} {refused:>12.0} {:>12.2}",
            booked / echoed,
            listed / echoed,
            refused / echoed
        );
        // The next round books later dates: what is taken stays taken.
        first += 60 * 86_400;
    }
    tell_end(&channels[0]).await;
    drop((channels, echoes));
    echo.shutdown(Duration::from_secs(1)).await;
    service.stop(Duration::from_secs(1)).await;
}

async fn tell_end(channel: &Channel) {
    let info =
        ServerInfoServiceClient::new(channel.clone()).get_server_info(pb::GetServerInfoRequest {}).await.unwrap();
    println!("{} changes committed, load {}", info.into_inner().revision, load());
}

fn tell_header() {
    let columns = ["in flight", "echo/s", "booked/s", "ratio", "slots/s", "ratio", "refused/s", "ratio"];
    println!("{}", columns.map(|it| format!("{it:>12}")).join(" "));
}

fn main() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(folder.path()));
}
