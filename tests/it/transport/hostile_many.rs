//! The memory that many connections together can make a server hold, while each of them stays below
//! its own limits.

use bookd::proto::v1 as pb;
use bookd_transport::grpc::REQUEST_BYTES_MAX;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::besieged::Besieged;
use crate::harness::connect;
use crate::hostile_memory::{
    BOOK, MEMORY_MAX, REFLECTION, STREAMS, are_overloaded, begun, never_ending,
};
use crate::http2::{
    Connection, DATA, END_HEADERS, END_STREAM, HEADERS, call, call_headers, frame, grpc,
};
use crate::kill::nth;

const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const SERVER_INFO: &str = "/bookd.v1.ServerInfoService/GetServerInfo";
/// MiB of unfinished requests of all connections.
const RECEIVING_MAX: usize = 128;
/// MiB of answers that clients do not read, of all connections.
const UNTAKEN_MAX: u64 = 256;
/// Calls of health and reflection of all connections; and those that one connection may always
/// make.
const STANDARD_MAX: usize = 1_024;
const GRANTED: usize = 4;

/// Asserts that a booking in two pieces, over a connection of its own, is served.
async fn is_served_in_pieces(besieged: &Besieged) {
    let message = grpc(&pb::BookAppointmentRequest {
        note: "n".repeat(3_000),
        ..nth(900)
    });
    let mut connection = Connection::shaken(besieged.address()).await;
    connection
        .send(&frame(HEADERS, END_HEADERS, 1, &call_headers(BOOK)))
        .await;
    connection.send(&frame(DATA, 0, 1, &message[..1_000])).await;
    connection
        .send(&frame(DATA, END_STREAM, 1, &message[1_000..]))
        .await;
    let answer = connection.next_of(HEADERS).await.expect("an answer");
    assert_eq!(answer.flags & END_STREAM, 0, "it was booked");
}

/// 6,000 requests that announce 1 MiB each.
#[tokio::test]
async fn thirty_connections_that_announce_much_leave_room_for_others() {
    const CONNECTIONS: usize = 30;
    let mut besieged = Besieged::start().await;
    let announced = begun(u32::try_from(REQUEST_BYTES_MAX).unwrap(), 0);
    let (mut calls, mut answers) = never_ending(&besieged, CONNECTIONS, STREAMS, announced).await;
    are_overloaded(&mut answers, CONNECTIONS * STREAMS - RECEIVING_MAX).await;
    besieged.books(5).await;
    is_served_in_pieces(&besieged).await;
    calls.shutdown().await;
    besieged.ends_unharmed(2 * MEMORY_MAX).await;
}

/// 300 MiB of requests that lack only the end of the stream.
#[tokio::test]
async fn requests_that_are_whole_and_do_not_end_are_counted_until_they_do() {
    const CONNECTIONS: usize = 40;
    const OF_EACH: usize = 60;
    const BYTES: usize = 128 * 1_024;
    let mut besieged = Besieged::start().await;
    let whole = grpc(&pb::BookAppointmentRequest {
        note: "n".repeat(BYTES),
        ..nth(1)
    })
    .into();
    let (mut calls, mut answers) = never_ending(&besieged, CONNECTIONS, OF_EACH, whole).await;
    are_overloaded(
        &mut answers,
        CONNECTIONS * OF_EACH - RECEIVING_MAX * 1_024 * 1_024 / BYTES,
    )
    .await;
    besieged.books(5).await;
    is_served_in_pieces(&besieged).await;
    calls.shutdown().await;
    besieged
        .ends_unharmed(MEMORY_MAX + 2 * RECEIVING_MAX as u64)
        .await;
}

/// Opens 4,000 streams of a standard service.
async fn standard_streams_are_bounded(path: &str) {
    const CONNECTIONS: usize = 20;
    let mut besieged = Besieged::start().await;
    let (mut open, mut overloaded, mut connections) = (0, 0, Vec::new());
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::shaken(besieged.address()).await;
        for stream in 0..u32::try_from(STREAMS).unwrap() {
            connection
                .send(&frame(
                    HEADERS,
                    END_HEADERS,
                    stream * 2 + 1,
                    &call_headers(path),
                ))
                .await;
            // A watch begins with its request; reflection is a stream of requests, which may never
            // come.
            if path == HEALTH_WATCH {
                let message = grpc(&HealthCheckRequest::default());
                connection
                    .send(&frame(DATA, END_STREAM, stream * 2 + 1, &message))
                    .await;
            }
        }
        let mut of_this = 0;
        for _ in 0..STREAMS {
            let is_refused =
                connection.next_of(HEADERS).await.expect("an answer").flags & END_STREAM != 0;
            of_this += usize::from(!is_refused);
            overloaded += usize::from(is_refused);
        }
        assert!(of_this >= GRANTED, "{of_this} of a connection");
        open += of_this;
        connections.push(connection);
    }
    assert!(
        open <= STANDARD_MAX + CONNECTIONS * GRANTED,
        "{open} are open"
    );
    assert_eq!(open + overloaded, CONNECTIONS * STREAMS);
    // A full server still answers health checks of clients with few calls, and works.
    let channel: Channel = connect(besieged.address()).await;
    let health = HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    assert_eq!(health.into_inner().status, 1, "SERVING");
    besieged.books(5).await;
    drop((connections, channel));
    besieged.ends_unharmed(2 * MEMORY_MAX).await;
}

#[tokio::test]
async fn four_thousand_watches_of_health_are_bounded_and_health_is_told() {
    standard_streams_are_bounded(HEALTH_WATCH).await;
}

#[tokio::test]
async fn four_thousand_streams_of_reflection_are_bounded_and_health_is_told() {
    standard_streams_are_bounded(REFLECTION).await;
}

/// 24,000 small answers, each of which takes more memory than it has bytes.
#[tokio::test]
async fn small_answers_that_nobody_takes_are_counted_with_what_they_keep() {
    const CONNECTIONS: usize = 120;
    let mut besieged = Besieged::start().await;
    let mut deaf = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::deaf(besieged.address()).await;
        let mut bytes = Vec::new();
        for stream in 0..u32::try_from(STREAMS).unwrap() {
            bytes.extend(call(
                stream * 2 + 1,
                SERVER_INFO,
                &pb::GetServerInfoRequest {},
            ));
        }
        connection.send(&bytes).await;
        for _ in 0..STREAMS {
            connection.next_of(HEADERS).await.expect("an answer");
        }
        deaf.push(connection);
    }
    // There is no memory for the last answers, which end at once.
    let last = deaf.last_mut().unwrap();
    while last.next_of(HEADERS).await.expect("an answer").flags & END_STREAM == 0 {}
    besieged.books(5).await;
    drop(deaf);
    besieged.ends_unharmed(MEMORY_MAX + UNTAKEN_MAX).await;
}
