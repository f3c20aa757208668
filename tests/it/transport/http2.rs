//! A client that speaks HTTP/2 frame by frame, to send what no well-behaved client sends.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bookd_kit::fuzzed::framed;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest wait of a test; a wait that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// The id of SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW_SIZE: u16 = 4;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The header block of a call of this method, without Huffman coding or the dynamic table.
pub(crate) fn call_headers(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (indexed_name, value) in [
        (&[0x04][..], path),
        (&[0x01], "localhost"),
        (&[0x0f, 0x10], "application/grpc"),
    ] {
        block.extend(indexed_name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    block
}

/// The frames of a whole call: its headers and its only message.
pub(crate) fn call(stream: u32, path: &str, message: &impl Message) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_HEADERS, stream, &call_headers(path));
    bytes.extend(frame(DATA, END_STREAM, stream, &grpc(message)));
    bytes
}

/// A message with the length prefix of gRPC.
pub(crate) fn grpc(message: &impl Message) -> Vec<u8> {
    framed(&message.encode_to_vec())
}

/// The payload of SETTINGS with one setting.
pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(value.to_be_bytes());
    bytes
}

/// A header whose value has 120 bytes.
pub(crate) fn long_header(number: usize) -> Vec<u8> {
    let name = format!("x-{number:04}");
    let mut header = vec![0x00, u8::try_from(name.len()).unwrap()];
    header.extend(name.as_bytes());
    header.push(120);
    header.extend([b'v'; 120]);
    header
}

pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Connection {
        Connection {
            stream: TcpStream::connect(address).await.unwrap(),
        }
    }

    /// A connection that has sent its preface and SETTINGS.
    pub(crate) async fn shaken(address: SocketAddr) -> Connection {
        let mut connection = Connection::open(address).await;
        connection.send(PREFACE).await;
        connection.send(&frame(SETTINGS, 0, 0, &[])).await;
        connection
    }

    /// A connection that takes no data: no stream of it ever has a window.
    pub(crate) async fn deaf(address: SocketAddr) -> Connection {
        let mut connection = Connection::shaken(address).await;
        connection
            .send(&frame(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 0)))
            .await;
        connection
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends as much as the server takes; it may have closed the connection.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Shuts down the sending side; the connection can still read.
    pub(crate) async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The socket itself.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// The next frame; none if the server has closed. PINGs are answered, because a graceful
    /// shutdown sends one.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let frame = self.read_frame().await.ok()?;
                if frame.kind != PING || frame.flags & ACK != 0 {
                    return Some(frame);
                }
                let answer = self::frame(PING, ACK, 0, &frame.payload);
                self.stream.write_all(&answer).await.ok()?;
            }
        })
        .await
        .expect("the server says something or closes")
    }

    /// Reads until a frame of this kind comes; none if the server closes before.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Follows the server's graceful shutdown until the server closes the connection.
    pub(crate) async fn ended(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Reads until the server closes the connection, and answers nothing.
    pub(crate) async fn closed(&mut self) {
        let mut ignored = Vec::new();
        let _reset_is_closed_too =
            tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut ignored))
                .await
                .expect("the server closes");
    }

    async fn read_frame(&mut self) -> io::Result<Frame> {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).await?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            payload,
        })
    }
}
