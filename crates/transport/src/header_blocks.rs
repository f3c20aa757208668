//! Holds each header block back until it is whole, and then passes it on to HTTP/2.
//!
//! HTTP/2 decodes a block as it arrives, and one byte of it can become a header of 100 bytes in
//! memory. Here an unfinished block costs the bytes that were sent of it, and the bytes of all
//! connections together are limited.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`
const PREFACE_BYTES: usize = 24;
/// Length (3), type, flags, stream (4).
const FRAME_HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// A longer block is passed on unfinished: it is more than the h2 crate takes with
/// `ServerLimits::header_list_bytes_max`, so that h2 ends the connection with an error of its own.
const BLOCK_BYTES_MAX: usize = 256 * 1_024;
/// Bytes of a block, or of a TLS handshake, that one connection may hold however much the other
/// connections hold: more than the headers of any call that is served, and than most handshakes.
const BLOCK_BYTES_GRANTED: usize = 24 * 1_024;
/// Bytes that are read at a time while a block is held.
const READ_BYTES: usize = 4 * 1_024;

/// Bytes of unfinished header blocks and unfinished TLS handshakes on all connections, up to a
/// limit.
#[derive(Debug)]
pub(crate) struct BlockBytes {
    held: AtomicUsize,
    max: usize,
}

impl BlockBytes {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            max,
        }
    }

    /// Adds bytes of a connection that now holds `of_connection`. False if these are too many; they
    /// are added all the same.
    pub(crate) fn add(&self, bytes: usize, of_connection: usize) -> bool {
        let of_all = self.held.fetch_add(bytes, Relaxed) + bytes;
        of_all <= self.max || of_connection <= BLOCK_BYTES_GRANTED
    }

    /// Subtracts bytes that were added.
    pub(crate) fn subtract(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }
}

/// The unfinished block of one connection, behind the bytes before it that were not read yet.
struct UnfinishedBlock {
    all: Arc<BlockBytes>,
    bytes: Vec<u8>,
    /// The number of `bytes` that may be read.
    free: usize,
    /// The number of `bytes` that were read.
    read: usize,
}

impl UnfinishedBlock {
    fn new(all: Arc<BlockBytes>) -> Self {
        Self {
            all,
            bytes: Vec::new(),
            free: 0,
            read: 0,
        }
    }

    /// Keeps more bytes; an error when too many bytes are held.
    fn extend(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.reserve_exact(bytes.len());
        self.bytes.extend_from_slice(bytes);
        if !self.all.add(bytes.len(), self.bytes.len()) {
            return Err(io::Error::other(
                "too many bytes of unfinished header blocks are held",
            ));
        }
        Ok(())
    }

    /// Puts into `buffer` as many of the readable bytes as fit.
    fn read_into(&mut self, buffer: &mut ReadBuf<'_>) {
        let to = self.free.min(self.read + buffer.remaining());
        buffer.put_slice(&self.bytes[self.read..to]);
        self.read = to;
        if self.read == self.free {
            self.all.subtract(self.read);
            self.bytes = self.bytes.split_off(self.read);
            (self.free, self.read) = (0, 0);
        }
    }
}

impl Drop for UnfinishedBlock {
    fn drop(&mut self) {
        self.all.subtract(self.bytes.len());
    }
}

/// A connection whose header blocks are read only when they are whole. Written bytes pass
/// unchanged.
pub(crate) struct HeaderBlocks<I> {
    io: I,
    frames: FrameFollower,
    held: UnfinishedBlock,
}

impl<I> HeaderBlocks<I> {
    pub(crate) fn new(io: I, all: Arc<BlockBytes>) -> Self {
        Self {
            io,
            frames: FrameFollower::default(),
            held: UnfinishedBlock::new(all),
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for HeaderBlocks<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.held.bytes.is_empty() {
            let filled_before = buffer.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
            let bytes = &buffer.filled()[filled_before..];
            let whole = this.frames.advance(bytes);
            if whole == bytes.len() {
                return Poll::Ready(Ok(()));
            }
            this.held.extend(&bytes[whole..])?;
            buffer.set_filled(filled_before + whole);
            if whole > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        while this.held.free == 0 {
            let mut read = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut read);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
            let (bytes, before) = (read.filled(), this.held.bytes.len());
            let whole = this.frames.advance(bytes);
            this.held.extend(bytes)?;
            // HTTP/2 also judges the end of the connection.
            let is_passed_on = bytes.is_empty() || this.held.bytes.len() > BLOCK_BYTES_MAX;
            if is_passed_on || whole > 0 {
                this.held.free = before + if is_passed_on { bytes.len() } else { whole };
            }
        }
        this.held.read_into(buffer);
        Poll::Ready(Ok(()))
    }
}

/// Follows the frames of a connection, to know which bytes belong to an unfinished header block.
#[derive(Default)]
struct FrameFollower {
    /// Bytes of the preface that have arrived.
    preface_bytes: usize,
    /// The head of the current frame, of which `head_bytes` have arrived.
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    /// Bytes of the current frame after its head that have not arrived.
    missing: usize,
    /// A block has begun and is not whole.
    is_in_block: bool,
    /// The current frame is the last one of the block.
    is_last: bool,
}

impl FrameFollower {
    /// Takes in more bytes. Returns how many of them come before the unfinished block in which they
    /// end: all of them without such a block, and 0 when the block began earlier. A block begins
    /// after the head of its first frame.
    fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut block_at = 0;
        let mut at = (PREFACE_BYTES - self.preface_bytes).min(bytes.len());
        self.preface_bytes += at;
        while at < bytes.len() {
            if self.head_bytes < FRAME_HEAD_BYTES {
                self.head[self.head_bytes] = bytes[at];
                self.head_bytes += 1;
                at += 1;
                if self.head_bytes == FRAME_HEAD_BYTES && self.begin_frame() {
                    block_at = at;
                }
            } else {
                let taken = self.missing.min(bytes.len() - at);
                self.missing -= taken;
                at += taken;
            }
            if self.head_bytes == FRAME_HEAD_BYTES && self.missing == 0 {
                self.end_frame();
            }
        }
        if self.is_in_block {
            block_at
        } else {
            bytes.len()
        }
    }

    /// Reads a complete head; true when a block begins behind it.
    fn begin_frame(&mut self) -> bool {
        let [l0, l1, l2, kind, flags, ..] = self.head;
        self.missing = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
        self.is_last = flags & END_HEADERS != 0;
        let is_begun = kind == HEADERS && !self.is_in_block;
        // Any other frame inside a block is an error of the peer, which HTTP/2 must see.
        self.is_in_block = is_begun || (kind == CONTINUATION && self.is_in_block);
        is_begun
    }

    fn end_frame(&mut self) {
        self.head_bytes = 0;
        self.is_in_block &= !self.is_last;
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for HeaderBlocks<I> {
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::ops::Range;

    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len())
            .expect("it is short")
            .to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// Settings, a block in three frames, data, and a block in one frame; and the ranges of the
    /// blocks.
    fn conversation() -> (Vec<u8>, [Range<usize>; 2]) {
        let frames = [
            frame(4, 0, &[1; 6]),
            frame(HEADERS, 1, &[2; 7]),
            frame(CONTINUATION, 0, &[]),
            frame(CONTINUATION, END_HEADERS, &[3; 5]),
            frame(0, 1, &[4; 3]),
            frame(HEADERS, END_HEADERS, &[5; 2]),
            frame(6, 0, &[6; 8]),
        ];
        (prefaced(&frames.concat()), [48..78, 99..101])
    }

    fn prefaced(bytes: &[u8]) -> Vec<u8> {
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes].concat()
    }

    /// Reads all readable bytes, `at_a_time` at a time.
    async fn read_on(
        blocks: &mut HeaderBlocks<DuplexStream>,
        at_a_time: usize,
        read: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut pauses = 0;
        while pauses < 2 {
            let mut space = vec![0; at_a_time];
            let mut buffer = ReadBuf::new(&mut space);
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut *blocks).poll_read(cx, &mut buffer))).await
            {
                Poll::Pending => {
                    // The runtime also makes a task pause that reads much.
                    tokio::task::yield_now().await;
                    pauses += 1;
                }
                Poll::Ready(result) if buffer.filled().is_empty() => return result,
                Poll::Ready(result) => {
                    result?;
                    read.extend(buffer.filled());
                    pauses = 0;
                }
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn everything_passes_unchanged_and_at_once_but_for_a_block_that_is_not_whole() {
        let (bytes, ranges) = conversation();
        let passable = |count| {
            ranges
                .iter()
                .find(|it| it.contains(&count))
                .map_or(count, |it| it.start)
        };
        for piece in 1..=bytes.len() {
            for at_a_time in [1, 5, 1_000] {
                let all = Arc::new(BlockBytes::new(1_000));
                let (mut peer, io) = tokio::io::duplex(1_000);
                let mut blocks = HeaderBlocks::new(io, Arc::clone(&all));
                let (mut read, mut sent) = (Vec::new(), 0);
                for sending in bytes.chunks(piece) {
                    peer.write_all(sending).await.expect("it is open");
                    sent += sending.len();
                    read_on(&mut blocks, at_a_time, &mut read)
                        .await
                        .expect("it is below the limit");
                    assert_eq!(read, bytes[..passable(sent)], "{sent} in pieces of {piece}");
                    assert_eq!(all.held.load(Relaxed), sent - read.len());
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_a_block_that_may_become_whole_is_left_to_http_2_to_judge() {
        let flood = [
            frame(HEADERS, 0, &[1; 9]),
            frame(CONTINUATION, 0, &[]).repeat(BLOCK_BYTES_MAX / 9 + 1),
        ]
        .concat();
        let broken = [frame(HEADERS, 0, &[1; 9]), frame(0, 0, &[2; 9])].concat();
        let cut = frame(HEADERS, 0, &[1; 9]);
        for (bytes, is_closed) in [(flood, false), (broken, false), (cut, true)] {
            let bytes = prefaced(&bytes);
            let (mut peer, io) = tokio::io::duplex(bytes.len());
            let mut blocks = HeaderBlocks::new(io, Arc::new(BlockBytes::new(usize::MAX)));
            peer.write_all(&bytes).await.expect("it is open");
            let _open = (!is_closed).then_some(peer);
            let mut read = Vec::new();
            read_on(&mut blocks, 1_000, &mut read)
                .await
                .expect("it is below the limit");
            assert_eq!(read.len(), bytes.len());
        }
    }

    #[tokio::test]
    async fn who_holds_much_of_what_is_full_is_cut_and_gives_it_back() {
        let all = Arc::new(BlockBytes::new(100 * 1_024));
        let mut begun = Vec::new();
        for connection in 0..20 {
            let (mut peer, io) = tokio::io::duplex(1 << 20);
            let mut blocks = HeaderBlocks::new(io, Arc::clone(&all));
            let mut read = Vec::new();
            let few = prefaced(&frame(HEADERS, 0, &[1; 12 * 1_024]));
            peer.write_all(&few).await.expect("it is open");
            read_on(&mut blocks, 1_000, &mut read)
                .await
                .expect("so much is granted");
            peer.write_all(&frame(CONTINUATION, 0, &[1; 16 * 1_024]))
                .await
                .expect("it is open");
            let result = read_on(&mut blocks, 1_000, &mut read).await;
            assert_eq!(
                result.is_ok(),
                connection < 3,
                "{connection}: {}",
                all.held.load(Relaxed)
            );
            if result.is_ok() {
                begun.push(blocks);
            }
        }
        drop(begun);
        assert_eq!(all.held.load(Relaxed), 0);
    }
}
