//! Frames that no well-behaved client sends: they cost at most their own connection, however many
//! there are.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use bookd::proto::v1 as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::besieged::Besieged;
use crate::http2::{
    ACK, CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, call_headers, frame, grpc, long_header,
    setting,
};

const BOOK: &str = "/bookd.v1.BookingService/BookAppointment";
const WATCH: &str = "/bookd.v1.ListService/WatchAppointments";
/// The longest time until an attack is answered or ended, on a slow machine too.
const ATTACK: Duration = Duration::from_secs(120);
/// The most memory that an attack of this file may take, in MiB.
const MEMORY_MAX: u64 = 64;
const PADDED: u8 = 8;
const PRIORITIZED: u8 = 0x20;
/// The payload of a PING that shows that everything before it was read.
const MARK: [u8; 8] = *b"read all";

/// The end of a connection.
#[derive(Debug, Default)]
struct Fate {
    /// The server closed it.
    is_closed: bool,
    /// The error code of its GOAWAY.
    goaway: Option<u32>,
    /// The streams that were reset, or answered by headers alone.
    refused: usize,
}

/// Sends all pieces and reads meanwhile, until the server has read everything and has answered, or
/// has closed.
async fn flood(address: SocketAddr, pieces: impl Iterator<Item = Vec<u8>>) -> Fate {
    let (mut from, mut to) = Connection::shaken(address).await.into_stream().into_split();
    let answered = Notify::new();
    let write = async {
        // A refusal may come after the answer to the first PING, and comes before that to the
        // second.
        for piece in pieces.chain([frame(PING, 0, 0, &MARK)]) {
            if to.write_all(&piece).await.is_err() {
                // The connection is closed; what the server sent before is still read.
                return pending::<()>().await;
            }
        }
        answered.notified().await;
        let _closed_is_read = to.write_all(&frame(PING, 0, 0, &MARK)).await;
        pending().await
    };
    let read = async {
        let mut fate = Fate::default();
        let mut marks = 0;
        while marks < 2 {
            let mut header = [0; 9];
            let mut is_there = from.read_exact(&mut header).await.is_ok();
            let [l0, l1, l2, kind, flags, ..] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
            is_there &= from.read_exact(&mut payload).await.is_ok();
            if !is_there {
                fate.is_closed = true;
                return fate;
            }
            match kind {
                GOAWAY => fate.goaway = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
                RST_STREAM => fate.refused += 1,
                HEADERS if flags & END_STREAM != 0 => fate.refused += 1,
                PING if flags & ACK != 0 && payload == MARK => {
                    marks += 1;
                    answered.notify_one();
                }
                _ => {}
            }
        }
        fate
    };
    let all = async {
        tokio::select! {
            fate = read => fate,
            () = write => unreachable!("the writing side never ends"),
        }
    };
    tokio::time::timeout(ATTACK, all)
        .await
        .expect("the server reads or closes")
}

/// The header block of a call, with these bytes behind it.
fn headers_and(more: &[u8]) -> Vec<u8> {
    let mut block = call_headers(BOOK);
    block.extend(more);
    block
}

fn opened(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &call_headers(BOOK))
}

/// A description, and bytes after the handshake that break the protocol in this way.
type Broken = (&'static str, Vec<u8>);

fn after(mut first: Vec<u8>, then: Vec<u8>) -> Vec<u8> {
    first.extend(then);
    first
}

fn broken() -> Vec<Broken> {
    [
        broken_calls(),
        broken_header_blocks(),
        broken_control_frames(),
        broken_windows_and_sequences(),
    ]
    .concat()
}

/// DATA and HEADERS in the wrong place, or too short.
fn broken_calls() -> Vec<Broken> {
    let headers = call_headers(BOOK);
    vec![
        ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("DATA on an idle stream", frame(DATA, 0, 1, b"x")),
        (
            "DATA with more padding than there is",
            after(opened(1), frame(DATA, PADDED, 1, &[200, 1, 2])),
        ),
        (
            "DATA after the end",
            after(
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &headers),
                frame(DATA, 0, 1, b"x"),
            ),
        ),
        (
            "HEADERS on stream 0",
            frame(HEADERS, END_HEADERS, 0, &headers),
        ),
        (
            "HEADERS on a stream of the server",
            frame(HEADERS, END_HEADERS, 2, &headers),
        ),
        (
            "HEADERS with more padding than there is",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0x83]),
        ),
        (
            "HEADERS too short for their priority",
            frame(HEADERS, END_HEADERS | PRIORITIZED, 1, &[0, 0]),
        ),
        ("streams that go backwards", after(opened(5), opened(3))),
    ]
}

/// Header blocks that HPACK or HTTP/2 do not allow.
fn broken_header_blocks() -> Vec<Broken> {
    vec![
        (
            "an index that is in no table",
            frame(HEADERS, END_HEADERS, 1, &headers_and(&[0xff, 0xff, 0x7f])),
        ),
        (
            "an integer that never ends",
            frame(HEADERS, END_HEADERS, 1, &headers_and(&[0xff; 64])),
        ),
        (
            "a name that is cut off",
            frame(HEADERS, END_HEADERS, 1, &headers_and(&[0, 100, b'x'])),
        ),
        (
            "a table of 4 GiB",
            frame(
                HEADERS,
                END_HEADERS,
                1,
                &[0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f],
            ),
        ),
        (
            "a header in capitals",
            frame(HEADERS, END_HEADERS, 1, &headers_and(b"\x00\x01X\x01y")),
        ),
        (
            "a header of the connection",
            frame(
                HEADERS,
                END_HEADERS,
                1,
                &headers_and(b"\x00\x0aconnection\x05close"),
            ),
        ),
        (
            "no path",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x83, 0x86]),
        ),
        (
            "two paths",
            frame(HEADERS, END_HEADERS, 1, &headers_and(b"\x04\x02/x")),
        ),
    ]
}

/// Control frames of a wrong length, on a wrong stream, or with a value that is not allowed.
fn broken_control_frames() -> Vec<Broken> {
    vec![
        ("PRIORITY too short", frame(PRIORITY, 0, 1, &[0; 4])),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
        (
            "RST_STREAM too short",
            after(opened(1), frame(RST_STREAM, 0, 1, &[0; 3])),
        ),
        ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        (
            "RST_STREAM on an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
        ),
        ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        (
            "an acknowledgement with SETTINGS",
            frame(SETTINGS, ACK, 0, &setting(4, 1)),
        ),
        ("ENABLE_PUSH of 2", frame(SETTINGS, 0, 0, &setting(2, 2))),
        (
            "a window of 2 GiB",
            frame(SETTINGS, 0, 0, &setting(4, 1 << 31)),
        ),
        ("frames of 1 byte", frame(SETTINGS, 0, 0, &setting(5, 1))),
        (
            "PUSH_PROMISE of a client",
            after(
                opened(1),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x83]),
            ),
        ),
        ("PING of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        ("GOAWAY too short", frame(GOAWAY, 0, 0, &[0; 4])),
    ]
}

/// Windows that overflow, and frames in a wrong order or of a wrong size.
fn broken_windows_and_sequences() -> Vec<Broken> {
    let headers = call_headers(BOOK);
    vec![
        (
            "WINDOW_UPDATE of 3 bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        ),
        (
            "WINDOW_UPDATE by nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        ),
        (
            "WINDOW_UPDATE by nothing on a stream",
            after(opened(1), frame(WINDOW_UPDATE, 0, 1, &[0; 4])),
        ),
        (
            "a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        (
            "a window of a stream that overflows",
            after(
                opened(1),
                frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
            ),
        ),
        (
            "WINDOW_UPDATE on an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ),
        (
            "CONTINUATION of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &headers),
        ),
        (
            "DATA in the middle of headers",
            after(frame(HEADERS, 0, 1, &headers), frame(DATA, 0, 1, b"x")),
        ),
        (
            "CONTINUATION of other headers",
            after(
                frame(HEADERS, 0, 1, &headers),
                frame(CONTINUATION, END_HEADERS, 3, &[]),
            ),
        ),
        (
            "a frame of 16 MiB",
            vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1],
        ),
        (
            "more data than the window",
            after(
                opened(1),
                vec![frame(DATA, 0, 1, &[0; 16_384]); 40].concat(),
            ),
        ),
    ]
}

#[tokio::test]
async fn no_broken_frame_of_any_type_passes_or_costs_more_than_its_connection() {
    let mut besieged = Besieged::start().await;
    for (what, bytes) in broken() {
        let fate = flood(besieged.address(), [bytes].into_iter()).await;
        assert!(
            fate.is_closed || fate.goaway.is_some() || fate.refused > 0,
            "{what} passed: {fate:?}"
        );
        besieged.books(1).await;
    }
    besieged.ends_unharmed(MEMORY_MAX).await;
}

/// Priorities are deprecated in HTTP/2, so even a stream that depends on itself is ignored.
#[tokio::test]
async fn frames_of_unknown_types_and_flags_and_priorities_are_passed_over() {
    let mut besieged = Besieged::start().await;
    let mut on_itself = vec![0, 0, 0, 1, 9];
    let priority = frame(PRIORITY, 0, 1, &on_itself);
    on_itself.extend(call_headers(WATCH));
    let headers = frame(HEADERS, END_HEADERS | PRIORITIZED, 1, &on_itself);
    let unknown = (10..=255).map(|kind| frame(kind, 0xff, 0, &[7; 100]));
    let settings = [
        frame(SETTINGS, 0, 0, &setting(0x99, 7)),
        frame(PING, 0xfe, 0, &[7; 8]),
    ];
    let fate = flood(
        besieged.address(),
        unknown.chain(settings).chain([headers, priority]),
    )
    .await;
    assert!(!fate.is_closed && fate.goaway.is_none(), "{fate:?}");
    besieged.books(1).await;
    besieged.ends_unharmed(MEMORY_MAX).await;
}

/// A hundred thousand frames of each kind, from a client that reads the answers and from one that
/// never does.
#[tokio::test]
async fn floods_of_control_frames_take_no_memory_and_disturb_nobody() {
    let mut besieged = Besieged::start().await;
    for piece in [
        frame(PING, 0, 0, &[7; 8]),
        frame(SETTINGS, 0, 0, &[]),
        frame(SETTINGS, 0, 0, &setting(4, 70_000).repeat(100)),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]),
        frame(0x77, 0, 0, &[]),
    ] {
        let flooding = tokio::spawn(flood(
            besieged.address(),
            std::iter::repeat_n(piece.repeat(100), 1_000),
        ));
        let (_from, mut to) = Connection::shaken(besieged.address())
            .await
            .into_stream()
            .into_split();
        let mute = tokio::spawn(async move {
            // Writes until the connection is full or closed, or everything is taken.
            for _ in 0..1_000 {
                if to.write_all(&piece.repeat(100)).await.is_err() {
                    return;
                }
            }
        });
        besieged.books(5).await;
        flooding.await.unwrap();
        besieged.books(5).await;
        mute.abort();
    }
    besieged.ends_unharmed(MEMORY_MAX).await;
}

#[tokio::test]
async fn a_hundred_thousand_rapid_resets_are_read_or_end_their_connection_and_disturb_nobody() {
    let mut besieged = Besieged::start().await;
    let cancel = 8u32.to_be_bytes();
    let mut sent = 0;
    while sent < 100_000 {
        let pairs = (0..10_000).map(|number| number * 2 + 1).map(move |stream| {
            let mut pair = frame(HEADERS, END_HEADERS, stream, &call_headers(WATCH));
            pair.extend(frame(
                DATA,
                END_STREAM,
                stream,
                &grpc(&pb::WatchAppointmentsRequest::default()),
            ));
            pair.extend(frame(RST_STREAM, 0, stream, &cancel));
            pair
        });
        let flooding = tokio::spawn(flood(besieged.address(), pairs));
        besieged.books(3).await;
        let fate = flooding.await.unwrap();
        assert!(
            fate.goaway.is_none_or(|code| code == 11),
            "ENHANCE_YOUR_CALM or nothing: {fate:?}"
        );
        sent += 10_000;
    }
    besieged.ends_unharmed(MEMORY_MAX).await;
}

#[tokio::test]
async fn header_bombs_of_every_make_are_given_up() {
    let mut besieged = Besieged::start().await;
    let begun = || frame(HEADERS, END_STREAM, 1, &call_headers(BOOK));
    // A header of 4 KiB in the table, named again and again by one byte.
    let mut indexed = headers_and(&[0x40, 1, b'b', 0x7f, 0x81, 0x1e]);
    indexed.extend([b'v'; 4_000]);
    indexed.extend([0xbe; 12_000]);
    let table = frame(HEADERS, END_HEADERS | END_STREAM, 1, &indexed);
    let sizes = frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &[0x20, 0x3f, 0xe1, 0x1f].repeat(4_000),
    );
    let empty = std::iter::repeat_n(frame(CONTINUATION, 0, 1, &[]).repeat(100), 1_000);
    let many: Vec<u8> = (0..120).flat_map(long_header).collect();
    let large = std::iter::repeat_n(frame(CONTINUATION, 0, 1, &many), 5_000);
    let bombs: [(&str, Vec<Vec<u8>>); 4] = [
        ("a table that is named often", vec![table]),
        ("a table that changes its size", vec![sizes]),
        (
            "100,000 empty CONTINUATIONs",
            [begun()].into_iter().chain(empty).collect(),
        ),
        (
            "80 MB of CONTINUATIONs",
            [begun()].into_iter().chain(large).collect(),
        ),
    ];
    for (what, bomb) in bombs {
        let flooding = tokio::spawn(flood(besieged.address(), bomb.into_iter()));
        besieged.books(3).await;
        let fate = flooding.await.unwrap();
        assert!(
            fate.is_closed || fate.goaway.is_some() || fate.refused > 0,
            "{what} passed: {fate:?}"
        );
    }
    besieged.ends_unharmed(MEMORY_MAX).await;
}
