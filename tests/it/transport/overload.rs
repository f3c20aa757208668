//! More calls than a server can take: each is booked or refused with OVERLOADED, none is lost, and
//! afterwards the server works as before.
//!
//! `bookd bench --overload` measures how long accepted calls wait and what refused ones cost; these
//! tests measure no time.

#![allow(clippy::print_stdout, reason = "--nocapture shows the figures")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bookd::api::context::Api;
use bookd::api::stack;
use bookd::clock::SystemClock;
use bookd::engine::{Engine, Settings, Stopped, SubmitOptions};
use bookd::layout::Layout;
use bookd::open_store::open_sqlite;
use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::service::{Parts, Service};
use bookd::store::memory::Memory;
use bookd::zones::Zones;
use bookd_core::calendar::Profile;
use bookd_core::calendar::availability::Availability;
use bookd_core::command::Command;
use bookd_core::ids::CalendarId;
use bookd_core::time::zone::Zone;
use bookd_transport::{Admission, AdmissionLimits, ConnectionShare};
use bookd_transport::{Observing, ServerLimits, Workers};
use http_body_util::Full;
use prost_types::Timestamp;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use tower::Service as _;

use crate::harness::connect;
use crate::http2::{
    ACK, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, PATIENCE, PING, call, call_headers,
    frame, grpc,
};
use crate::kill::nth;
use crate::words::{rule, set_availability};

/// The connections, each with 200 calls in flight; the server lets 50 calls in.
const CONNECTIONS: i64 = 10;
const CALLS_OF_EACH: i64 = 200;
const CALLS_MAX: usize = 50;
/// The most refusals of one call; more have another cause.
const REFUSALS_MAX: usize = 100_000;

async fn start(admission: AdmissionLimits) -> (Service, TempDir) {
    let (folder, zones) = (tempfile::tempdir().unwrap(), Arc::new(Zones::bundled()));
    let store = open_sqlite(&folder.path().join("bookd.db"), &zones).unwrap();
    let parts = Parts {
        workers: Workers::Threads(NonZeroUsize::new(2).unwrap()),
        limits: ServerLimits {
            admission,
            ..ServerLimits::default()
        },
        ..Parts::local(zones)
    };
    (
        Service::start(parts, Box::new(store)).await.unwrap(),
        folder,
    )
}

fn booking(connection: i64, number: i64) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        calendar_id: format!("crowd/{connection}"),
        request_id: format!("{connection}-{number}"),
        ..nth(number)
    }
}

/// Repeats a booking until it is accepted, and answers how often it was refused before.
async fn persist(channel: Channel, request: pb::BookAppointmentRequest) -> usize {
    for refused in 0..REFUSALS_MAX {
        match BookingServiceClient::new(channel.clone())
            .book_appointment(request.clone())
            .await
        {
            Ok(answer) => {
                let start = answer.into_inner().appointment.unwrap().start_time;
                assert_eq!(
                    start.map(|it: Timestamp| it.seconds),
                    request.start_time.map(|it| it.seconds)
                );
                return refused;
            }
            Err(status) => {
                let details = status.get_error_details();
                let reason = details.error_info().map(|it| it.reason.as_str());
                assert_eq!(
                    (status.code(), reason),
                    (Code::Unavailable, Some("OVERLOADED")),
                    "{status:?}"
                );
                assert!(details.retry_info().unwrap().retry_delay.is_some());
            }
        }
    }
    panic!("{request:?} was never taken");
}

/// The connections of the crowd, each with a calendar that is always open.
async fn open_crowd(address: SocketAddr) -> Vec<Channel> {
    let mut channels = Vec::new();
    for connection in 0..CONNECTIONS {
        let channel = connect(address).await;
        let hours = set_availability(
            &format!("crowd/{connection}"),
            "UTC",
            vec![rule("00:00", "24:00")],
        );
        AvailabilityServiceClient::new(channel.clone())
            .set_availability(hours)
            .await
            .unwrap();
        channels.push(channel);
    }
    channels
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_times_the_calls_that_a_server_takes_are_booked_or_overloaded_and_none_is_lost_or_booked_twice()
 {
    let (service, _folder) = start(AdmissionLimits {
        calls_max: CALLS_MAX,
        ..AdmissionLimits::default()
    })
    .await;
    let address = service.local_addr();
    let channels = open_crowd(address).await;
    let mut calls = JoinSet::new();
    for number in 0..CALLS_OF_EACH {
        for (connection, channel) in (0..).zip(&channels) {
            calls.spawn(persist(channel.clone(), booking(connection, number)));
        }
    }
    // Meanwhile the health service answers, and a connection with one call is let in at once.
    let outside = connect(address).await;
    let health = HealthClient::new(outside.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    assert_eq!(health.into_inner().status, 1, "SERVING");
    assert_eq!(persist(outside.clone(), booking(0, CALLS_OF_EACH)).await, 0);
    let refusals: Vec<usize> = calls.join_all().await;
    println!(
        "{} calls, {} refusals",
        refusals.len(),
        refusals.iter().sum::<usize>()
    );
    assert_eq!(
        refusals.len(),
        usize::try_from(CONNECTIONS * CALLS_OF_EACH).unwrap()
    );
    assert!(
        refusals.iter().sum::<usize>() > 0,
        "the server was never full"
    );
    let mut lists = ListServiceClient::new(outside.clone());
    for connection in 0..CONNECTIONS {
        let request = pb::ListAppointmentsRequest {
            calendar_id: format!("crowd/{connection}"),
            page_size: 1_000,
            ..Default::default()
        };
        let listed = lists
            .list_appointments(request)
            .await
            .unwrap()
            .into_inner()
            .appointments;
        let expected = CALLS_OF_EACH + i64::from(connection == 0);
        assert_eq!(
            i64::try_from(listed.len()).unwrap(),
            expected,
            "crowd/{connection}"
        );
    }
    drop((lists, outside, channels));
    assert_eq!(service.stop(PATIENCE).await.1, Stopped::Done);
}

#[tokio::test]
async fn requests_that_never_arrive_are_overloaded_above_their_limit_and_keep_out_nobody_who_has_few_calls()
 {
    let (service, _folder) = start(AdmissionLimits {
        begun_calls_max: 10,
        ..AdmissionLimits::default()
    })
    .await;
    let address = service.local_addr();
    let book = call_headers("/bookd.v1.BookingService/BookAppointment");
    let mut greedy = Connection::shaken(address).await;
    for stream in 0..11 {
        greedy
            .send(&frame(HEADERS, END_HEADERS, stream * 2 + 1, &book))
            .await;
    }
    // The server waits in vain for the rest of the last request.
    let refusal = greedy.next_of(HEADERS).await.unwrap();
    assert_eq!(
        (refusal.stream, refusal.flags & END_STREAM),
        (21, END_STREAM)
    );
    let modest = connect(address).await;
    AvailabilityServiceClient::new(modest.clone())
        .set_availability(set_availability(
            "crowd/0",
            "UTC",
            vec![rule("00:00", "24:00")],
        ))
        .await
        .unwrap();
    assert_eq!(persist(modest.clone(), booking(0, 1)).await, 0);
    greedy
        .send(&call(
            23,
            "/grpc.health.v1.Health/Check",
            &HealthCheckRequest::default(),
        ))
        .await;
    let health = greedy.next_of(HEADERS).await.unwrap();
    assert_eq!(
        (health.stream, health.flags & END_STREAM),
        (23, 0),
        "it is answered"
    );
    drop((greedy, modest));
    assert_eq!(service.stop(PATIENCE).await.1, Stopped::Done);
}

/// HTTP/2 allows a peer 1,024 errors and then closes its connection; frames after a refusal must
/// not count.
#[tokio::test]
async fn a_connection_may_be_refused_more_often_than_it_may_make_errors() {
    const ROUNDS: u32 = 12;
    const CALLS: u32 = 100;
    let (service, _folder) = start(AdmissionLimits {
        begun_calls_max: 4,
        ..AdmissionLimits::default()
    })
    .await;
    let mut connection = Connection::shaken(service.local_addr()).await;
    let book = call_headers("/bookd.v1.BookingService/BookAppointment");
    for stream in 0..4 {
        connection
            .send(&frame(HEADERS, END_HEADERS, stream * 2 + 1, &book))
            .await;
    }
    for round in 0..ROUNDS {
        let streams: Vec<u32> = (0..CALLS)
            .map(|call| (4 + round * CALLS + call) * 2 + 1)
            .collect();
        let begun: Vec<u8> = streams
            .iter()
            .flat_map(|stream| frame(HEADERS, END_HEADERS, *stream, &book))
            .collect();
        connection.send(&begun).await;
        // All requests have begun before their messages come.
        connection.send(&frame(PING, 0, 0, &[7; 8])).await;
        while connection.next_of(PING).await.expect("it goes on").flags & ACK == 0 {}
        let message = grpc(&nth(1));
        let rest: Vec<u8> = streams
            .iter()
            .flat_map(|stream| frame(DATA, END_STREAM, *stream, &message))
            .collect();
        connection.send(&rest).await;
        for _ in 0..CALLS {
            assert_ne!(
                connection.next_of(HEADERS).await.expect("it goes on").flags & END_STREAM,
                0
            );
        }
    }
    drop(connection);
    assert_eq!(service.stop(PATIENCE).await.1, Stopped::Done);
}

/// A client may cancel its calls as fast as it makes them; their commands still wait for the
/// writer.
#[tokio::test]
async fn calls_that_are_given_up_count_until_they_are_decided() {
    const CALLS_MAX: usize = 4;
    let booking = |number| grpc(&nth(number));
    // The writer adopts a calendar that is not in memory.
    let reading = |_| {
        grpc(&pb::GetCalendarRequest {
            calendar_id: "ada".to_owned(),
        })
    };
    let booked = (
        "/bookd.v1.BookingService/BookAppointment",
        &booking as &dyn Fn(i64) -> Vec<u8>,
    );
    for (path, message) in [booked, ("/bookd.v1.CalendarService/GetCalendar", &reading)] {
        given_up_count_until_they_are_decided(CALLS_MAX, path, message).await;
    }
}

async fn given_up_count_until_they_are_decided(
    calls_max: usize,
    path: &str,
    message: &dyn Fn(i64) -> Vec<u8>,
) {
    let settings = Settings {
        layout: Layout::Inline,
        is_clock_confirmed: true,
        ..Settings::default()
    };
    let store = Memory::new(7);
    let start = || {
        let store = Box::new(store.clone());
        Engine::start(store, Arc::new(SystemClock), settings.clone()).unwrap()
    };
    let (engine, running) = start();
    let ada = CalendarId::parse("ada").unwrap();
    let profile = Profile::open(Arc::new(Zone::utc()), Availability::default());
    engine
        .submit(
            Command::CreateCalendar {
                calendar: ada,
                profile,
            },
            SubmitOptions::default(),
        )
        .await
        .unwrap();
    drop(engine);
    running.stopped().await;
    let (engine, _running) = start();
    let api = Api::new(engine.clone(), Arc::new(Zones::bundled()));
    let admission = Arc::new(Admission::new(AdmissionLimits {
        calls_max,
        ..AdmissionLimits::default()
    }));
    let mut stack = stack::around(
        bookd::api::services(api),
        Arc::clone(&admission),
        Observing::default(),
    );
    let share = ConnectionShare::default();
    // No other task runs until this one waits, so that the writer decides nothing.
    let mut is_let_in_and_given_up = |number: usize| {
        let request = http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .extension(share.clone())
            .body(Full::from(message(i64::try_from(number).unwrap())))
            .unwrap();
        pin!(stack.call(request))
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    };
    let let_in = (0..3 * calls_max)
        .filter(|number| is_let_in_and_given_up(*number))
        .count();
    assert_eq!(
        (let_in, admission.calls()),
        (calls_max, calls_max),
        "{path}"
    );
    engine.tick().await.unwrap();
    assert_eq!(admission.calls(), 0, "{path}: what is decided makes room");
    assert!(is_let_in_and_given_up(0));
}
