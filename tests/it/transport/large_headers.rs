//! Headers that are too large: only the call is refused, with a reason, and the part that is sent
//! takes bounded memory.

use std::time::Duration;

use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd_transport::AdmissionLimits;
use bookd_transport::ServerLimits;
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::besieged::Besieged;
use crate::hostile_memory::{BOOK, MEMORY_MAX, STREAMS, reason, serve};
use crate::http2::{
    ACK, CONTINUATION, Connection, END_HEADERS, END_STREAM, HEADERS, PATIENCE, PING, call_headers,
    frame, long_header,
};
use crate::kill::nth;

/// The largest payload of a frame, in bytes.
const FRAME_BYTES: usize = 16_384;

/// Metadata of so many keys, each with a value of so many bytes.
fn metadata(keys: usize, value_bytes: usize) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for number in 0..keys {
        let key = AsciiMetadataKey::from_bytes(format!("x-{number}").as_bytes()).unwrap();
        metadata.insert(key, "v".repeat(value_bytes).parse().unwrap());
    }
    metadata
}

async fn book_with(
    channel: &Channel,
    number: i64,
    metadata: MetadataMap,
) -> Result<pb::Appointment, Status> {
    let mut request = Request::new(nth(number));
    *request.metadata_mut() = metadata;
    let booked = BookingServiceClient::new(channel.clone())
        .book_appointment(request)
        .await?;
    Ok(booked.into_inner().appointment.unwrap())
}

async fn tells_of(watch: &mut Streaming<pb::WatchAppointmentsResponse>, appointment_id: &str) {
    let received = async {
        loop {
            let message = watch
                .message()
                .await
                .expect("the watch goes on")
                .expect("the watch goes on")
                .message;
            if let Some(pb::watch_appointments_response::Message::Change(change)) = message
                && change
                    .events
                    .iter()
                    .any(|it| format!("{it:?}").contains(appointment_id))
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, received)
        .await
        .expect("it is told");
}

#[tokio::test]
async fn a_call_with_too_large_headers_is_refused_alone_and_the_watch_beside_it_goes_on() {
    let mut besieged = Besieged::start().await;
    // All calls are on one connection.
    let channel = besieged.channel();
    let watching = ListServiceClient::new(channel.clone());
    let mut watch = watching
        .clone()
        .watch_appointments(pb::WatchAppointmentsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut number = 1_000;
    for (keys, value_bytes, is_served) in [
        (1, 15_000, true),
        (1, 17_000, false),
        (1, 100_000, false),
        (1_000, 10, false),
        (1_000, 80, false),
    ] {
        number += 1;
        let answer = book_with(&channel, number, metadata(keys, value_bytes)).await;
        if is_served {
            answer.unwrap();
        } else {
            let status = answer.unwrap_err();
            assert_eq!(
                (status.code(), &*reason(&status)),
                (Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
                "{status:?}"
            );
        }
        number += 1;
        let booked = book_with(&channel, number, MetadataMap::new())
            .await
            .unwrap();
        tells_of(&mut watch, &booked.appointment_id).await;
    }
    // A refusal by HTTP/2 itself has no reason, and ends only its call.
    assert!(
        book_with(&channel, 2_000, metadata(1, 160_000))
            .await
            .is_err()
    );
    let booked = besieged.books(1).await.remove(0);
    tells_of(&mut watch, &booked.appointment_id).await;
    besieged.ends_unharmed(MEMORY_MAX).await;
}

/// The beginning of a header block with so many more bytes, in full frames; its last frame is
/// missing.
fn begun_block(more: &[u8]) -> Vec<u8> {
    let block = [&call_headers(BOOK), more].concat();
    let mut bytes = Vec::new();
    for (number, piece) in block.chunks(FRAME_BYTES).enumerate() {
        bytes.extend(frame(
            if number == 0 { HEADERS } else { CONTINUATION },
            0,
            1,
            piece,
        ));
    }
    bytes
}

/// A header that is put into the table, and then named by one byte again and again.
fn named_often(times: usize) -> Vec<u8> {
    [&[0x40, 1, b'b', 0][..], &[0xbe].repeat(times)].concat()
}

/// A connection on which the server has sent its SETTINGS and answered a PING.
async fn greeted(besieged: &Besieged) -> Connection {
    let mut connection = Connection::shaken(besieged.address()).await;
    connection.send(&frame(PING, 0, 0, &[7; 8])).await;
    while connection
        .next_of(PING)
        .await
        .expect("the server greets the connection")
        .flags
        & ACK
        == 0
    {}
    connection
}

/// Opens so many connections, each in the middle of a header block.
async fn half_way(besieged: &Besieged, connections: usize, block: &[u8]) -> Vec<Connection> {
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut connection = greeted(besieged).await;
        let _closed_when_it_is_full = connection.try_send(block).await;
        open.push(connection);
    }
    // Every worker reads everything that was sent before it answers these.
    for _ in 0..100 {
        open.push(greeted(besieged).await);
    }
    open
}

#[tokio::test]
async fn a_thousand_headers_that_are_half_sent_take_what_was_sent_of_them_and_that_is_bounded() {
    const CONNECTIONS: usize = 1_000;
    let literal: Vec<u8> = (0..780).flat_map(long_header).collect();
    let large = begun_block(&literal);
    let small = begun_block(&named_often(3_900));
    for (block, memory_max) in [
        (small, MEMORY_MAX),
        (large[..large.len() / 2].to_vec(), 2 * MEMORY_MAX),
        (large, 3 * MEMORY_MAX),
    ] {
        let mut besieged = Besieged::start().await;
        let open = half_way(&besieged, CONNECTIONS, &block).await;
        besieged.books(10).await;
        drop(open);
        besieged.ends_unharmed(memory_max).await;
    }
}

#[tokio::test]
async fn calls_that_all_have_as_many_tiny_headers_as_are_read_take_little_memory() {
    let mut besieged = Besieged::start().await;
    let block = [call_headers(BOOK), named_often(3_600)].concat();
    let calls: Vec<u8> = (0..STREAMS as u32)
        .flat_map(|number| frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &block))
        .collect();
    for _ in 0..4 {
        let mut connection = Connection::shaken(besieged.address()).await;
        connection.send(&calls).await;
        for _ in 0..STREAMS {
            let headers = connection
                .next_of(HEADERS)
                .await
                .expect("the connection goes on");
            assert_ne!(headers.flags & END_STREAM, 0, "a refusal");
        }
    }
    besieged.books(5).await;
    besieged.ends_unharmed(MEMORY_MAX).await;
}

#[tokio::test]
async fn a_header_that_never_ends_is_waited_for_as_long_as_the_answer_to_a_ping() {
    let keepalive = Duration::from_millis(50);
    let limits = ServerLimits {
        keepalive,
        keepalive_timeout: keepalive,
        ..ServerLimits::default()
    };
    let running = serve(AdmissionLimits::default(), limits);
    let mut connection = Connection::shaken(running.local_addr()).await;
    connection
        .send(&frame(HEADERS, 0, 1, &call_headers(BOOK)))
        .await;
    let (_from, mut to) = connection.into_stream().into_split();
    let trickling = async {
        while tokio::io::AsyncWriteExt::write_all(&mut to, &frame(CONTINUATION, 0, 1, &[0x82]))
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, trickling)
        .await
        .expect("the server closes");
}
