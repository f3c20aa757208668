//! The TLS handshake of one connection, and the bytes that it may cost before the peer is known.
//!
//! The time of the handshake is limited by its caller. rustls refuses a message above 64 KiB, such
//! as an endless chain of certificates; here all messages of a handshake together are limited, and
//! those of all handshakes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::CertificateName;
use crate::header_blocks::BlockBytes;

/// Bytes that a peer may send in its handshake: the longest chain of certificates that rustls takes,
/// and the other messages.
const HANDSHAKE_BYTES_MAX: usize = 96 * 1_024;
/// Bytes of answers that are encrypted and wait for a peer that reads slowly. Every connection may
/// have so many beside what the limits of answers count.
const UNSENT_BYTES_MAX: usize = 32 * 1_024;

/// A connection whose handshake is done, and the name of its client.
pub(crate) type Shaken<I> = (
    Box<TlsStream<HandshakeBytes<I>>>,
    Option<Arc<CertificateName>>,
);

/// Why there is no connection.
pub(crate) enum HandshakeError<I> {
    /// The peer went away without having sent a byte, as those do who look whether a port is open.
    NeverBegun,
    /// The peer speaks no TLS, none that is accepted, or has no certificate that is.
    Failed(io::Error, HandshakeBytes<I>),
}

/// Shakes hands as the server. `held` counts the bytes of the handshake until it is over.
pub(crate) async fn shake_hands<I>(
    io: I,
    config: Arc<ServerConfig>,
    held: Arc<BlockBytes>,
) -> Result<Shaken<I>, HandshakeError<I>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let io = HandshakeBytes {
        io,
        counted: Some(CountedBytes { held, bytes: 0 }),
    };
    let accepting = TlsAcceptor::from(config).accept_with(io, |session| {
        session.set_buffer_limit(Some(UNSENT_BYTES_MAX))
    });
    let mut stream = match accepting.into_fallible().await {
        Ok(stream) => stream,
        Err((error, io)) => {
            return Err(match io.counted {
                Some(CountedBytes { bytes: 0, .. }) => HandshakeError::NeverBegun,
                _ => HandshakeError::Failed(error, io),
            });
        }
    };
    let (io, session) = stream.get_mut();
    io.counted = None;
    let name = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .and_then(CertificateName::of)
        .map(Arc::new);
    Ok((Box::new(stream), name))
}

/// A connection whose bytes are counted until its handshake is over.
pub(crate) struct HandshakeBytes<I> {
    io: I,
    counted: Option<CountedBytes>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> HandshakeBytes<I> {
    /// Closes a connection whose handshake failed, and reads what its peer still sends. If the
    /// connection were dropped at once, what arrives would reset it, and the peer might not read
    /// the alert that says why.
    pub(crate) async fn close(mut self) {
        let mut ignored = [0; 1_024];
        if self.io.shutdown().await.is_ok() {
            // Ends with the peer, or when it has sent as much as a handshake may have.
            while self.read(&mut ignored).await.is_ok_and(|bytes| bytes > 0) {}
        }
    }
}

/// Bytes that a peer has sent in its handshake. They no longer count when this value is dropped.
struct CountedBytes {
    held: Arc<BlockBytes>,
    bytes: usize,
}

impl CountedBytes {
    fn add(&mut self, bytes: usize) -> io::Result<()> {
        self.bytes += bytes;
        let is_within_all = self.held.add(bytes, self.bytes);
        if self.bytes > HANDSHAKE_BYTES_MAX {
            return Err(io::Error::other(format!(
                "the handshake is longer than {HANDSHAKE_BYTES_MAX} bytes"
            )));
        }
        if !is_within_all {
            return Err(io::Error::other(
                "too many bytes of unfinished handshakes are held",
            ));
        }
        Ok(())
    }
}

impl Drop for CountedBytes {
    fn drop(&mut self) {
        self.held.subtract(self.bytes);
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for HandshakeBytes<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled_before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        Poll::Ready(match &mut self.counted {
            Some(counted) => counted.add(buffer.filled().len() - filled_before),
            None => Ok(()),
        })
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for HandshakeBytes<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
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
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}
