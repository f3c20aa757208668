//! Durable bookings per second over gRPC at 1, 16, 64 and 256 in flight, beside a bare echo of messages of the same size on
//! the same transport and the disk's own rate of append + fsync, all in one run: only the ratios count. And the processor
//! time that a server uses for each call, without its clients.
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

use bookd::cli::bench::{fsync_rate, load, used_by_services};
use bookd::domain::time::{DAY, HOUR};
use bookd::grpc::room::RoomLimits;
use bookd::grpc::wire::Wire;
use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::server_info_service_client::ServerInfoServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use bookd::server::{self, Limits};
use bookd::zones::Zones;
use prost::Message;
use tonic::service::Routes;
use tonic::transport::Channel;

use echo::{Echo, Sized};
use service::{CONNECTIONS, a_day, connections, open, start, tomorrow, two_lanes};

const SECONDS: f64 = 3.0;
const CALENDARS: usize = 1_000;
/// Calendars whose lists say how large a list is.
const SAMPLES: usize = 10;

/// What was measured of one kind of call.
struct Measured {
    calls_per_second: f64,
    cpu_microseconds: f64,
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
    let answer = BookingServiceClient::new(channel.clone()).book_appointment(request).await.unwrap();
    Sized::new(asked, answer.into_inner().encoded_len())
}

/// How large they are of a list of this day, over several calendars.
async fn size_of_day(channel: &Channel, first: i64) -> Sized {
    let (mut asked, mut answered) = (0, 0);
    for number in (0..CALENDARS).step_by(CALENDARS / SAMPLES) {
        let request = a_day(format!("calendar-{number}"), first);
        asked += request.encoded_len();
        let answer = SlotsServiceClient::new(channel.clone()).list_slots(request).await.unwrap();
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

/// What one booking at a time waits for beside its call, in the disk's own time.
fn tell_wait(booked: &Measured, echoed: &Measured, fsyncs: f64) {
    let [booking, echo, fsync] = [booked.calls_per_second, echoed.calls_per_second, fsyncs].map(|it| 1e6 / it);
    let times = (booking - echo) / fsync;
    println!(
        "one at a time: booking {booking:.0} µs − echo {echo:.0} µs is {times:.2} of append + fsync, {fsync:.0} µs"
    );
}

async fn measure(folder: &Path) {
    let service = start(&folder.join("bookd.db"), Zones::bundled(), Limits::default()).await;
    // Of each connection some calls are let in all the same: what is asked there is nothing.
    let room = RoomLimits { calls_max: 0, ..RoomLimits::default() };
    let full = start(&folder.join("full.db"), Zones::bundled(), Limits { room, ..Limits::default() }).await;
    let echo_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let routes = Routes::new(Echo);
    let echo =
        server::start(echo_listener, Limits::default(), two_lanes(), move |_| Wire::new(routes.clone())).unwrap();
    let channels = connections(service.local_addr(), CONNECTIONS).await;
    let echoes = connections(echo.local_addr(), CONNECTIONS).await;
    let refusing = connections(full.local_addr(), CONNECTIONS).await;
    for number in 0..CALENDARS {
        open(&channels[0], format!("calendar-{number}")).await;
    }
    let fsyncs = fsync_rate(folder).unwrap();
    println!("fsync {fsyncs:.0}/s, load {}", load());
    let mut first = tomorrow();
    // On a day before the second round's, which the first does not reach.
    let size = size_of_booking(&channels[0], first + 59 * DAY).await;
    for in_flight in [1, 16, 64, 256] {
        let echoed = echo_rate(in_flight, &echoes, size.clone()).await;
        tell(in_flight, "echo", &echoed, &echoed);
        let clients = channels.clone();
        let booked = rate(in_flight, move |lane, n| {
            let mut client = BookingServiceClient::new(clients[lane % CONNECTIONS].clone());
            let request = booking(lane, n, in_flight, first);
            async move { client.book_appointment(request).await.is_ok() }
        });
        let booked = booked.await;
        tell(in_flight, "book", &booked, &echoed);
        if in_flight == 1 {
            tell_wait(&booked, &echoed, fsyncs);
        }
        let echoed_day = echo_rate(in_flight, &echoes, size_of_day(&channels[0], first).await).await;
        tell(in_flight, "echo of a day", &echoed_day, &echoed_day);
        let clients = channels.clone();
        let listed = rate(in_flight, move |lane, n| {
            let mut client = SlotsServiceClient::new(clients[lane % CONNECTIONS].clone());
            let calendar_id = format!("calendar-{}", (lane + n) % CALENDARS);
            let request = a_day(calendar_id, first);
            async move { client.list_slots(request).await.is_ok() }
        });
        tell(in_flight, "slots", &listed.await, &echoed_day);
        let clients = channels.clone();
        let refused = rate(in_flight, move |lane, _| {
            let mut client = BookingServiceClient::new(clients[lane % CONNECTIONS].clone());
            let request = booking(lane, 0, in_flight, first);
            async move { client.book_appointment(request).await.is_err() }
        });
        tell(in_flight, "refused", &refused.await, &echoed);
        if in_flight > 16 {
            let clients = refusing.clone();
            let overloaded = rate(in_flight, move |lane, _| {
                let mut client = BookingServiceClient::new(clients[lane % CONNECTIONS].clone());
                let request = booking(lane, 0, in_flight, first);
                async move { client.book_appointment(request).await.is_err() }
            });
            tell(in_flight, "overloaded", &overloaded.await, &echoed);
        }
        // The next round books later dates: what is taken stays taken.
        first += 60 * DAY;
    }
    tell_end(&channels[0]).await;
    drop((channels, echoes, refusing));
    echo.shutdown(Duration::from_secs(1)).await;
    full.stop(Duration::from_secs(1)).await;
    service.stop(Duration::from_secs(1)).await;
}

fn tell(in_flight: usize, call: &str, it: &Measured, echo: &Measured) {
    if call == "echo" {
        println!("{}", ["in flight", "call", "calls/s", "of echo", "CPU µs"].map(|it| format!("{it:>13}")).join(" "));
    }
    let Measured { calls_per_second, cpu_microseconds } = it;
    let ratio = calls_per_second / echo.calls_per_second;
    println!("{in_flight:>13} {call:>13} {calls_per_second:>13.0} {ratio:>13.2} {cpu_microseconds:>13.1}");
}

async fn tell_end(channel: &Channel) {
    let info =
        ServerInfoServiceClient::new(channel.clone()).get_server_info(pb::GetServerInfoRequest {}).await.unwrap();
    println!("{} changes committed, load {}", info.into_inner().revision, load());
}

fn main() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(folder.path()));
}
