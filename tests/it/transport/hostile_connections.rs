//! Connections that no well-behaved client makes: too many, idle, half open, cut off, in another
//! protocol, or one byte at a time.

#![allow(clippy::print_stdout, reason = "--nocapture shows the figures")]

use std::net::SocketAddr;

use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;

use crate::besieged::{Besieged, descriptors_max};
use crate::http2::{
    Connection, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, call_headers, frame,
    grpc,
};

/// The most connections of a server, as its limit says.
const CONNECTIONS_MAX: usize = 10_000;
/// Descriptors that the other tests of this process need meanwhile.
const DESCRIPTORS_LEFT: usize = 1_500;
/// The most memory of 10,000 greeted connections, in MiB: some 33 KiB each.
const CONNECTIONS_MEMORY_MAX: u64 = 350;
const MEMORY_MAX: u64 = 64;

/// Whether the server greets a new connection, and does not close it at once.
async fn is_taken_in(address: SocketAddr) -> bool {
    let mut connection = Connection::open(address).await;
    let mut hello = PREFACE.to_vec();
    hello.extend(frame(SETTINGS, 0, 0, &[]));
    connection.try_send(&hello).await.is_ok() && connection.next().await.is_some()
}

#[tokio::test]
async fn ten_thousand_idle_connections_are_borne_the_next_is_refused_and_who_was_there_is_served() {
    let mut besieged = Besieged::start().await;
    let possible = descriptors_max().saturating_sub(DESCRIPTORS_LEFT);
    // One connection belongs to the client that behaves well.
    let wanted = CONNECTIONS_MAX - 1;
    let mut idle = Vec::new();
    for _ in 0..wanted.min(possible) {
        let mut connection = Connection::shaken(besieged.address()).await;
        assert_eq!(connection.next().await.unwrap().kind, SETTINGS);
        idle.push(connection);
    }
    println!("{} connections are open", idle.len() + 1);
    besieged.books(10).await;
    if idle.len() == wanted {
        Connection::open(besieged.address()).await.closed().await;
        idle.pop();
        // Its place is free as soon as the server has seen it close.
        while !is_taken_in(besieged.address()).await {}
    }
    besieged.books(10).await;
    drop(idle);
    besieged.ends_unharmed(CONNECTIONS_MEMORY_MAX).await;
}

/// The beginning of a TLS handshake, as curl sends it to an https:// address.
fn client_hello() -> Vec<u8> {
    let mut hello = vec![
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
    ];
    hello.resize(517, 0x5a);
    hello
}

#[tokio::test]
async fn other_protocols_and_garbage_are_closed_at_once() {
    let mut besieged = Besieged::start().await;
    let mut upgrade =
        b"GET / HTTP/1.1\r\nhost: bookd\r\nconnection: Upgrade, HTTP2-Settings\r\n".to_vec();
    upgrade.extend(b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n");
    let mut chance: u64 = 7;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        chance.to_be_bytes()[0]
    })
    .take(100_000)
    .collect();
    let mut late = PREFACE.to_vec();
    late.extend(frame(DATA, 0, 0, &[7; 64]));
    let mut almost = PREFACE[..23].to_vec();
    almost.extend(b"X and much more that is never read as frames");
    let garbage = [
        b"POST /bookd.v1.BookingService/BookAppointment HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
            .to_vec(),
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        upgrade,
        client_hello(),
        b"\x00".repeat(70_000),
        noise,
        late,
        almost,
    ];
    for bytes in garbage {
        let mut connection = Connection::open(besieged.address()).await;
        // The server may close before it has read everything.
        let _closed_early = connection.try_send(&bytes).await;
        connection.closed().await;
        besieged.books(1).await;
    }
    besieged.ends_unharmed(MEMORY_MAX).await;
}

#[tokio::test]
async fn connections_that_are_cut_off_at_any_moment_leave_nothing_behind() {
    let mut besieged = Besieged::start().await;
    let mut whole = PREFACE.to_vec();
    whole.extend(frame(SETTINGS, 0, 0, &[]));
    whole.extend(frame(
        HEADERS,
        END_HEADERS,
        1,
        &call_headers("/bookd.v1.BookingService/BookAppointment"),
    ));
    whole.extend(frame(
        DATA,
        0,
        1,
        &grpc(&pb::BookAppointmentRequest::default()),
    ));
    for length in 0..=whole.len() {
        for is_half_open in [false, true] {
            let mut connection = Connection::open(besieged.address()).await;
            connection.send(&whole[..length]).await;
            if is_half_open {
                connection.half_close().await;
                connection.closed().await;
            }
        }
    }
    besieged.books(1).await;
    besieged.ends_unharmed(MEMORY_MAX).await;
}

#[tokio::test]
async fn a_handshake_byte_by_byte_ends_at_its_deadline_and_a_request_byte_by_byte_is_answered() {
    let mut besieged = Besieged::start().await;
    let mut slow = Connection::open(besieged.address()).await;
    for byte in &PREFACE[..23] {
        slow.send(&[*byte]).await;
        besieged.books(1).await;
    }
    // The connection has sent something all the time, and is closed all the same.
    slow.closed().await;

    let mut connection = Connection::shaken(besieged.address()).await;
    let path = "/bookd.v1.AvailabilityService/GetAvailability";
    for byte in frame(HEADERS, END_HEADERS, 1, &call_headers(path)) {
        connection.send(&[byte]).await;
    }
    for byte in grpc(&pb::GetAvailabilityRequest {
        calendar_id: "ada".into(),
    }) {
        connection.send(&frame(DATA, 0, 1, &[byte])).await;
    }
    connection.send(&frame(DATA, END_STREAM, 1, &[])).await;
    let headers = connection.next_of(HEADERS).await.unwrap();
    assert_eq!(headers.flags & END_STREAM, 0, "an answer and no error");
    let data = connection.next_of(DATA).await.unwrap();
    let request = pb::GetAvailabilityRequest {
        calendar_id: "ada".into(),
    };
    let answer = AvailabilityServiceClient::new(besieged.channel())
        .get_availability(request)
        .await
        .unwrap();
    assert_eq!(data.payload, grpc(answer.get_ref()));
    drop(connection);
    besieged.ends_unharmed(MEMORY_MAX).await;
}
