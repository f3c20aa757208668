//! Notices when a peer has sent the HTTP/2 preface and its first SETTINGS, and counts the bytes
//! that the peer is sent.
//!
//! Bytes pass unchanged: only their number counts, and the length that the first frame announces.
//! hyper judges whether they are a valid preface, and closes the connection when they are not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`
const PREFACE_BYTES: usize = 24;
/// Length (3), type, flags, stream (4).
const FRAME_HEADER_BYTES: usize = 9;
const FRAME_LENGTH_BYTES: usize = 3;

/// A connection that signals once when its preface and first SETTINGS are complete.
pub(crate) struct Handshaking<I> {
    io: I,
    progress: HandshakeProgress,
    complete: Option<oneshot::Sender<()>>,
    written: Written,
}

/// The number of bytes that the peer was sent.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<AtomicU64>);

impl Written {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn note(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = result {
            self.0.fetch_add(*bytes as u64, Relaxed);
        }
    }
}

impl<I> Handshaking<I> {
    /// The wrapped connection, the signal of its handshake, and the counter of what is written. The
    /// signal resolves too when the connection is dropped before its handshake.
    pub(crate) fn new(io: I) -> (Handshaking<I>, oneshot::Receiver<()>, Written) {
        let (complete, completed) = oneshot::channel();
        let written = Written::default();
        let progress = HandshakeProgress::default();
        (
            Handshaking {
                io,
                progress,
                complete: Some(complete),
                written: written.clone(),
            },
            completed,
            written,
        )
    }
}

#[derive(Default)]
struct HandshakeProgress {
    /// Bytes read so far.
    position: usize,
    /// The length that the first frame announces, as far as it was read.
    settings_bytes: usize,
}

impl HandshakeProgress {
    /// Takes in more bytes; true when the preface and the first frame are complete.
    fn advance(&mut self, bytes: &[u8]) -> bool {
        let length_field = PREFACE_BYTES..PREFACE_BYTES + FRAME_LENGTH_BYTES;
        for (position, byte) in (self.position..length_field.end).zip(bytes) {
            if length_field.contains(&position) {
                self.settings_bytes = self.settings_bytes << 8 | usize::from(*byte);
            }
        }
        self.position = self.position.saturating_add(bytes.len());
        self.position >= PREFACE_BYTES + FRAME_HEADER_BYTES + self.settings_bytes
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Handshaking<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled_before = buffer.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buffer);
        let this = &mut *self;
        if this.complete.is_some()
            && this.progress.advance(&buffer.filled()[filled_before..])
            && let Some(complete) = this.complete.take()
        {
            let _connection_is_gone = complete.send(());
        }
        result
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Handshaking<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written.note(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.written.note(&result);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preface_and_settings(settings_bytes: u8) -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend([0, 0, settings_bytes, 4, 0, 0, 0, 0, 0]);
        bytes.resize(bytes.len() + usize::from(settings_bytes), 0);
        bytes
    }

    #[test]
    fn the_preface_is_complete_with_the_last_byte_of_settings_however_it_is_cut() {
        for settings_bytes in [0, 6, 36] {
            let bytes = preface_and_settings(settings_bytes);
            for chunk_bytes in 1..=bytes.len() {
                let mut progress = HandshakeProgress::default();
                let mut taken = 0;
                for chunk in bytes.chunks(chunk_bytes) {
                    taken += chunk.len();
                    assert_eq!(progress.advance(chunk), taken == bytes.len());
                }
            }
        }
    }
}
