//! The format of the WAL file (SQLite file format, §4.1 and §4.2), and the check of each page that
//! is read from it.
//!
//! ```text
//! byte  0            32          56            56 + page
//!       | WAL header | header 1  | page of 1   | header 2 | page of 2 | …
//!         salts, sum   page number, mark, salts, sum
//! ```
//!
//! The checksum of a frame continues the checksum of the frame before it. SQLite checks it only
//! when it recovers a WAL that no process has open; here it is checked whenever a page is read. The
//! mark of a frame is 0, or the frame ends a transaction and the mark is the number of pages that
//! the database then has.

use super::pages::{Fault, PAGE_BYTES, ReadBelow};

/// The length of the WAL header.
pub(super) const HEADER_BYTES: usize = 32;
/// The length of a frame's header.
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// The first word of a WAL, without the last bit, which is set when checksums are of big-endian
/// words.
const MAGIC: u32 = 0x377f_0682;

/// The two words of a running checksum.
pub(super) type Sum = [u32; 2];

/// The big-endian number at this byte; 0 beyond the end.
pub(super) fn number(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|it| it.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}

/// The two words at this byte: a checksum or salts.
pub(super) fn pair(bytes: &[u8], at: usize) -> Sum {
    [number(bytes, at), number(bytes, at + 4)]
}

/// Continues a checksum over these bytes, whose number is a multiple of 8.
pub(super) fn sum(is_big: bool, mut sum: Sum, bytes: &[u8]) -> Sum {
    let words = |it: &[u8; 8]| {
        let [a, b, c, d, e, f, g, h] = *it;
        let (first, second) = ([a, b, c, d], [e, f, g, h]);
        if is_big {
            (u32::from_be_bytes(first), u32::from_be_bytes(second))
        } else {
            (u32::from_le_bytes(first), u32::from_le_bytes(second))
        }
    };
    for pair in bytes.as_chunks::<8>().0 {
        let (first, second) = words(pair);
        sum[0] = sum[0].wrapping_add(first).wrapping_add(sum[1]);
        sum[1] = sum[1].wrapping_add(second).wrapping_add(sum[0]);
    }
    sum
}

/// Whether the checksums of a WAL with this header are of big-endian words.
pub(super) fn is_big(header: &[u8]) -> bool {
    number(header, 0) == MAGIC | 1
}

/// Checks the header of a WAL as SQLite does. Both results are the computed checksum, which the
/// first frame continues.
pub(super) fn check_header(header: &[u8]) -> Result<Sum, Sum> {
    let (is_magic, page) = (number(header, 0) | 1 == MAGIC | 1, number(header, 8));
    let computed = sum(is_big(header), [0; 2], header.get(..24).unwrap_or_default());
    let is_whole = is_magic && page.is_power_of_two() && (512..=65_536).contains(&page);
    if is_whole && computed == pair(header, 24) {
        Ok(computed)
    } else {
        Err(computed)
    }
}

/// Checks that a frame, header and page, continues the checksum `from`. Both results are the
/// computed checksum.
pub(super) fn check_frame(is_big: bool, from: Sum, frame: &[u8]) -> Result<Sum, Sum> {
    let Some((header, page)) = frame.split_at_checked(FRAME_HEADER_BYTES) else {
        return Err(from);
    };
    let computed = sum(is_big, sum(is_big, from, &header[..8]), page);
    if computed == pair(header, 16) {
        Ok(computed)
    } else {
        Err(computed)
    }
}

const FRAME_BYTES: u64 = (FRAME_HEADER_BYTES + PAGE_BYTES) as u64;
/// The byte at which the page of the first frame begins.
const FIRST_PAGE: u64 = (HEADER_BYTES + FRAME_HEADER_BYTES) as u64;

/// The checks of an open WAL.
///
/// A transaction whose pages do not fit into memory may write a page twice: it overwrites the page
/// in its frame, and updates the checksums from there on only when it ends. Until then nobody else
/// reads these frames, and their checksums do not match.
pub(super) struct Frames {
    /// Whether checksums are of big-endian words; none until the header is read.
    is_big: Option<bool>,
    /// The byte after the frame header that was written last.
    header_end: Option<u64>,
    /// The byte of the page from which on checksums are out of date.
    rewritten_from: Option<u64>,
    /// The frame that is checked.
    frame: Vec<u8>,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            is_big: None,
            header_end: None,
            rewritten_from: None,
            frame: Vec::new(),
        }
    }

    /// Checks the bytes that were read at byte `at`, if they are the page of a frame.
    pub(super) fn after_read(
        &mut self,
        at: u64,
        read: &[u8],
        below: ReadBelow<'_>,
    ) -> Result<(), Fault> {
        let is_page = read.len() == PAGE_BYTES
            && at >= FIRST_PAGE
            && (at - FIRST_PAGE).is_multiple_of(FRAME_BYTES);
        if !is_page || self.rewritten_from.is_some_and(|from| at >= from) {
            return Ok(());
        }
        let is_first = at == FIRST_PAGE;
        let mut header = [0; HEADER_BYTES];
        if is_first || self.is_big.is_none() {
            below(0, &mut header)?;
            self.is_big = Some(is_big(&header));
        }
        let is_big = self.is_big == Some(true);
        let mut own = [0; FRAME_HEADER_BYTES];
        let header_at = at - FRAME_HEADER_BYTES as u64;
        below(header_at, &mut own)?;
        let (salts, from) = if is_first {
            (pair(&header, 16), pair(&header, 24))
        } else {
            let mut before = [0; FRAME_HEADER_BYTES];
            below(header_at - FRAME_BYTES, &mut before)?;
            (pair(&before, 8), pair(&before, 16))
        };
        self.frame.clear();
        self.frame.extend_from_slice(&own);
        self.frame.extend_from_slice(read);
        if pair(&own, 8) == salts && check_frame(is_big, from, &self.frame).is_ok() {
            return Ok(());
        }
        let frame = (at - FIRST_PAGE) / FRAME_BYTES + 1;
        Err(Fault::Damage(format!(
            "frame {frame} (from byte {header_at} on) does not match its checksum"
        )))
    }

    /// Follows the writes, to know from which page on checksums are out of date.
    pub(super) fn before_write(&mut self, at: u64, length: usize) {
        let header_end = self.header_end.take();
        if at == 0 {
            *self = Self {
                frame: std::mem::take(&mut self.frame),
                ..Self::new()
            };
        } else if length == FRAME_HEADER_BYTES {
            let end = at + FRAME_HEADER_BYTES as u64;
            self.rewritten_from = self.rewritten_from.filter(|from| end > *from);
            self.header_end = Some(end);
        } else if header_end != Some(at) {
            self.rewritten_from = Some(self.rewritten_from.map_or(at, |from| from.min(at)));
        }
    }

    /// Notes that the WAL was truncated.
    pub(super) fn truncated(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    /// A WAL of so many frames, each of whose pages is of one byte, and every second one ends a
    /// transaction.
    fn wal(pages: &[u8]) -> Vec<u8> {
        let mut header = [MAGIC, 3_007_000, 4_096, 1, 7, 8]
            .map(u32::to_be_bytes)
            .concat();
        let mut last = sum(false, [0; 2], &header);
        header.extend(last.map(u32::to_be_bytes).concat());
        let mut wal = header;
        for (at, byte) in (1..).zip(pages) {
            let mark = if at % 2 == 0 { 9 } else { 0 };
            let mut frame = [at, mark, 7, 8, 0, 0].map(u32::to_be_bytes).concat();
            frame.extend([*byte; PAGE_BYTES]);
            last = check_frame(false, last, &frame).unwrap_err();
            frame[16..24].copy_from_slice(&last.map(u32::to_be_bytes).concat());
            wal.extend(frame);
        }
        wal
    }

    fn read(frames: &mut Frames, wal: &[u8], frame: u64) -> Result<(), Fault> {
        let at = FIRST_PAGE + (frame - 1) * FRAME_BYTES;
        let mut below = |at: u64, buffer: &mut [u8]| {
            let from = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&wal[from..from + buffer.len()]);
            Ok(())
        };
        let mut page = [0; PAGE_BYTES];
        below(at, &mut page)?;
        frames.after_read(at, &page, &mut below)
    }

    #[test]
    fn each_byte_of_a_frame_but_its_mark_of_who_wrote_it_is_in_its_sum() {
        let mut wal = wal(&[1, 2, 3]);
        let mut frames = Frames::new();
        assert!((1..=3).all(|frame| read(&mut frames, &wal, frame).is_ok()));
        for at in (HEADER_BYTES..HEADER_BYTES + 2 * FRAME_BYTES as usize).step_by(5) {
            wal[at] ^= 0x40;
            let bad = 1 + (at - HEADER_BYTES) as u64 / FRAME_BYTES;
            assert!(
                matches!(read(&mut frames, &wal, bad), Err(Fault::Damage(_))),
                "byte {at}"
            );
            wal[at] ^= 0x40;
        }
        assert!(check_header(&wal).is_ok());
        for at in 0..HEADER_BYTES {
            wal[at] ^= 0x40;
            assert!(check_header(&wal).is_err(), "byte {at}");
            wal[at] ^= 0x40;
        }
    }

    #[test]
    fn a_page_that_is_written_over_is_believed_until_its_sum_is_written() {
        let wal = wal(&[1, 2, 3]);
        let mut frames = Frames::new();
        let page = |frame: u64| FIRST_PAGE + (frame - 1) * FRAME_BYTES;
        for frame in 1..=3 {
            frames.before_write(page(frame) - 24, 24);
            frames.before_write(page(frame), PAGE_BYTES);
        }
        let mut over = wal.clone();
        over[usize::try_from(page(2)).unwrap()] ^= 1;
        assert!(read(&mut frames, &over, 2).is_err());
        frames.before_write(page(2), PAGE_BYTES);
        assert!(read(&mut frames, &over, 2).is_ok());
        assert!(read(&mut frames, &over, 1).is_ok());
        frames.before_write(page(2) - 24, 24);
        assert!(read(&mut frames, &over, 2).is_err());
        assert!(read(&mut frames, &wal, 2).is_ok());
    }
}
