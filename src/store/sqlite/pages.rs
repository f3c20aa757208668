//! Checksums of database pages: each page gets one when it is written, and is checked when it is
//! read.
//!
//! ```text
//! byte  0                                        4088      4096
//!       | content of SQLite                      | checksum |
//! ```
//!
//! SQLite does not use the last 8 bytes of each page ("reserved space", SQLite file format,
//! §1.3.4). In memory and in the WAL they are zero; in the database they hold a hash of the other
//! bytes and of the page's number. A page with zeros there has no checksum: a tool that is not
//! bookd, such as a restore of Litestream, copied it out of a WAL. This file knows pages and bytes;
//! `vfs` calls it.

use std::path::Path;

use rusqlite::ffi;
use twox_hash::XxHash3_64;

use super::header::{APPLICATION_ID, HEADER_BYTES, UNSUMMED_SCHEMA_VERSION};

/// The only length of pages that have checksums, in bytes: SQLite's default, which bookd never
/// changes.
pub(super) const PAGE_BYTES: usize = 4_096;
/// The length of a checksum, at the end of each page.
pub(super) const SUM_BYTES: usize = 8;
/// The schema from which on every file has checksums, unless its number is
/// `UNSUMMED_SCHEMA_VERSION`, or was that of an earlier schema.
const SUMMED_FROM: i32 = 6;
/// `UNSUMMED_SCHEMA_VERSION` of the schemas before.
const UNSUMMED_BEFORE: [i32; 1] = [7];

/// The length of the shortest page, in bytes; a shorter read is of a part of the header.
const PAGE_BYTES_LEAST: usize = 512;

/// Why an access fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The SQLite result code of the layer below.
    Code(i32),
    /// The content of the file is damaged; the text says how.
    Damage(String),
}

/// Fills the buffer from the file below.
pub(super) type ReadBelow<'a> = &'a mut dyn FnMut(u64, &mut [u8]) -> Result<(), Fault>;

/// Whether the pages of a file have checksums, as its header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// The file has no header yet.
    Unknown,
    /// The pages have no checksums.
    Plain,
    /// The pages have checksums.
    Summed,
    /// The pages must have checksums by the schema, and cannot by the rest of the header.
    Impossible,
}

impl Format {
    /// The format by the first bytes of a file.
    pub(super) fn of(header: &[u8]) -> Self {
        let number = |at: usize| {
            header
                .get(at..at + 4)
                .and_then(|it| it.try_into().ok())
                .map(u32::from_be_bytes)
        };
        let (Some(schema), Some(application)) = (number(60), number(68)) else {
            return Self::Unknown;
        };
        let is_summed = header[16..18] == [0x10, 0x00] && usize::from(header[20]) == SUM_BYTES;
        let must_be = application == APPLICATION_ID.unsigned_abs()
            && schema >= SUMMED_FROM.unsigned_abs()
            && schema != UNSUMMED_SCHEMA_VERSION.unsigned_abs()
            && !UNSUMMED_BEFORE.contains(&schema.cast_signed());
        match (is_summed, must_be) {
            (true, _) => Self::Summed,
            (false, true) => Self::Impossible,
            (false, false) => Self::Plain,
        }
    }
}

/// The result of the check of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The page matches its checksum.
    Sound,
    /// The page has no checksum.
    Unsummed,
    /// The page does not match its checksum.
    Damaged,
}

/// The checksum of a page; never 0.
fn sum(content: &[u8], number: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(number, content).max(1)
}

/// Checks a whole page against its checksum. Page numbers begin at 1.
pub(super) fn verdict(page: &[u8], number: u64) -> Verdict {
    let Some((content, kept)) = page.split_last_chunk::<SUM_BYTES>() else {
        return Verdict::Damaged;
    };
    match u64::from_le_bytes(*kept) {
        0 => Verdict::Unsummed,
        kept if kept == sum(content, number) => Verdict::Sound,
        _ => Verdict::Damaged,
    }
}

/// Writes the checksum of a whole page into its last bytes.
pub(super) fn seal(page: &mut [u8], number: u64) {
    if let Some((content, kept)) = page.split_last_chunk_mut::<SUM_BYTES>() {
        *kept = sum(content, number).to_le_bytes();
    }
}

/// The number of the page that begins at this byte; none when the access is not of one whole page.
fn page_at(at: u64, length: usize) -> Option<u64> {
    let bytes = PAGE_BYTES as u64;
    (length == PAGE_BYTES && at.is_multiple_of(bytes)).then(|| at / bytes + 1)
}

/// Whether a page is the only one of a table with one small row, as Litestream's counter is.
///
/// Litestream writes the page of its counter without a checksum, or with the one that the page had
/// before. Without Litestream the table is empty, and its page is never taken for a counter,
/// whichever of its bytes is damaged.
pub(super) fn is_counter(page: &[u8]) -> bool {
    let word = |at: usize| {
        page.get(at..at + 2)
            .and_then(|it| it.try_into().ok())
            .map_or(0, u16::from_be_bytes)
    };
    page.first() == Some(&0x0d) && word(3) == 1 && (4_000..4_088).contains(&word(5))
}

/// The checks of an open database file.
pub(super) struct Pages {
    format: Format,
    /// The page of Litestream's counter, once it is known.
    pub(super) counter: Option<u64>,
    /// Whether pages were written with checksums before the file had a header.
    is_assumed: bool,
    /// The page that is written, with its checksum.
    scratch: Vec<u8>,
}

impl Pages {
    pub(super) fn new() -> Self {
        Self {
            format: Format::Unknown,
            counter: None,
            is_assumed: false,
            scratch: Vec::new(),
        }
    }

    /// Checks the bytes that were read at byte `at`, and zeroes the checksum in them.
    pub(super) fn after_read(
        &mut self,
        at: u64,
        read: &mut [u8],
        below: ReadBelow<'_>,
    ) -> Result<(), Fault> {
        if at == 0 && read.len() >= HEADER_BYTES {
            self.see(Format::of(read));
        } else if self.format == Format::Unknown {
            let mut header = [0; HEADER_BYTES];
            match below(0, &mut header) {
                Ok(()) => self.see(Format::of(&header)),
                Err(Fault::Code(ffi::SQLITE_IOERR_SHORT_READ)) => {}
                Err(fault) => return Err(fault),
            }
        }
        match self.format {
            Format::Unknown | Format::Plain => return Ok(()),
            Format::Impossible => return Err(Fault::Damage(impossible())),
            Format::Summed if read.len() < PAGE_BYTES_LEAST => return Ok(()),
            Format::Summed => {}
        }
        let Some(number) = page_at(at, read.len()) else {
            return Err(Fault::Damage(format!(
                "its header (byte 16) says that pages have {} bytes",
                read.len()
            )));
        };
        match verdict(read, number) {
            Verdict::Damaged if self.counter == Some(number) && is_counter(read) => {}
            Verdict::Damaged => return Err(Fault::Damage(damaged(number))),
            Verdict::Unsummed => {}
            Verdict::Sound => read[PAGE_BYTES - SUM_BYTES..].fill(0),
        }
        Ok(())
    }

    /// Notes the format by a header that was read. A file gets checksums by a write and never loses
    /// them, so the format stays `Summed`: a header that says otherwise later is damaged, and the
    /// checksum of page 1 shows it.
    fn see(&mut self, seen: Format) {
        if self.format != Format::Summed {
            self.format = seen;
        }
    }

    /// The bytes to write instead of `written` at byte `at`: the same with the checksum, if pages
    /// have checksums.
    pub(super) fn before_write<'a>(
        &'a mut self,
        at: u64,
        written: &'a [u8],
        below: ReadBelow<'_>,
    ) -> Result<&'a [u8], Fault> {
        let Some(number) = page_at(at, written.len()) else {
            return Ok(written);
        };
        if number == 1 {
            let seen = Format::of(written);
            // Not expected, because bytes for checksums are reserved before a file is created. But
            // a file in which some pages have checksums by mistake could not be read again.
            if seen == Format::Impossible || (self.is_assumed && seen != Format::Summed) {
                return Err(Fault::Damage(impossible()));
            }
            (self.format, self.is_assumed) = (seen, false);
        } else if self.format == Format::Unknown {
            let mut header = [0; HEADER_BYTES];
            match below(0, &mut header) {
                Ok(()) => self.format = Format::of(&header),
                // A large new file: pages that do not fit into memory are written before page 1.
                Err(Fault::Code(ffi::SQLITE_IOERR_SHORT_READ)) => self.is_assumed = true,
                Err(fault) => return Err(fault),
            }
        }
        if self.format != Format::Summed && !self.is_assumed {
            return Ok(written);
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(written);
        seal(&mut self.scratch, number);
        Ok(&self.scratch)
    }

    /// Notes that the file was truncated to this length.
    pub(super) fn truncated(&mut self, length: u64) {
        if length == 0 {
            *self = Self::new();
        }
    }
}

/// The message about a page that does not match its checksum.
pub(super) fn damaged(number: u64) -> String {
    let from = (number - 1) * PAGE_BYTES as u64;
    format!(
        "page {number} (bytes {from} to {}) does not match its checksum",
        from + PAGE_BYTES as u64
    )
}

/// The message about a header of `Format::Impossible`.
fn impossible() -> String {
    "its header (bytes 16 to 20) says that pages have no checksums, and those of its schema have"
        .to_owned()
}

/// Logs damage that was met.
pub(super) fn log(file: &Path, what: &str) {
    tracing::error!(
        file = %file.display(), %what,
        "the database is damaged; stop the server, look with `bookd check`, and restore a backup"
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn none(_: u64, _: &mut [u8]) -> Result<(), Fault> {
        Err(Fault::Code(ffi::SQLITE_IOERR_SHORT_READ))
    }

    /// Page 1 of a database with or without bytes for checksums.
    fn first(reserved: u8, schema: u8) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        page[16..18].copy_from_slice(&[0x10, 0x00]);
        page[20] = reserved;
        page[63] = schema;
        page[68..72].copy_from_slice(b"bkd1");
        page
    }

    #[test]
    fn each_byte_of_a_page_and_its_place_are_in_the_checksum() {
        let mut page: Vec<u8> = (0..PAGE_BYTES).map(|it| it as u8).collect();
        seal(&mut page, 7);
        assert_eq!(verdict(&page, 7), Verdict::Sound);
        assert_eq!(verdict(&page, 8), Verdict::Damaged);
        for at in 0..PAGE_BYTES {
            page[at] ^= 0x10;
            assert_eq!(verdict(&page, 7), Verdict::Damaged, "byte {at}");
            page[at] ^= 0x10;
        }
        page[PAGE_BYTES - SUM_BYTES..].fill(0);
        assert_eq!(verdict(&page, 7), Verdict::Unsummed);
    }

    #[test]
    fn a_new_file_has_checksums_whichever_page_is_written_first() {
        let mut pages = Pages::new();
        let mut second = pages
            .before_write(4_096, &[1; PAGE_BYTES], &mut none)
            .unwrap()
            .to_vec();
        assert_eq!(verdict(&second, 2), Verdict::Sound);
        let sealed = pages
            .before_write(0, &first(8, 6), &mut none)
            .unwrap()
            .to_vec();
        assert_eq!(verdict(&sealed, 1), Verdict::Sound);
        pages.after_read(4_096, &mut second, &mut none).unwrap();
        assert_eq!(second[PAGE_BYTES - SUM_BYTES..], [0; SUM_BYTES]);
        second[0] ^= 1;
        seal(&mut second, 3);
        let what = "page 2 (bytes 4096 to 8192) does not match its checksum".to_owned();
        assert_eq!(
            pages.after_read(4_096, &mut second, &mut none),
            Err(Fault::Damage(what))
        );
    }

    #[test]
    fn a_file_without_checksums_stays_as_it_is() {
        let mut pages = Pages::new();
        let header = first(0, 5);
        let mut below = |_: u64, buffer: &mut [u8]| {
            buffer.copy_from_slice(&header[..buffer.len()]);
            Ok(())
        };
        assert_eq!(
            pages
                .before_write(8_192, &[9; PAGE_BYTES], &mut below)
                .unwrap(),
            [9; PAGE_BYTES]
        );
        let mut read = [9; PAGE_BYTES];
        pages.after_read(8_192, &mut read, &mut below).unwrap();
        assert_eq!(read, [9; PAGE_BYTES]);
        // Until a new page 1 reserves bytes for them.
        let sealed = pages
            .before_write(0, &first(8, 5), &mut below)
            .unwrap()
            .to_vec();
        assert_eq!(verdict(&sealed, 1), Verdict::Sound);
        assert_eq!(
            pages
                .before_write(8_192, &[9; PAGE_BYTES], &mut below)
                .unwrap()
                .len(),
            PAGE_BYTES
        );
    }

    #[test]
    fn the_counter_of_litestream_is_passed_over_and_nothing_else_is() {
        let mut page = vec![0; PAGE_BYTES];
        (page[0], page[4], page[5], page[6]) = (0x0d, 1, 0x0f, 0xf0);
        seal(&mut page, 3);
        page[4_086] ^= 1;
        let mut pages = Pages::new();
        pages.see(Format::Summed);
        assert!(pages.after_read(8_192, &mut page, &mut none).is_err());
        pages.counter = Some(3);
        assert!(pages.after_read(8_192, &mut page, &mut none).is_ok());
        let mut empty = vec![0; PAGE_BYTES];
        (empty[0], empty[5], empty[6]) = (0x0d, 0x0f, 0xf8);
        seal(&mut empty, 3);
        for at in 0..PAGE_BYTES {
            let mut damaged = empty.clone();
            damaged[at] ^= 1;
            assert!(
                pages.after_read(8_192, &mut damaged, &mut none).is_err(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_header_that_denies_the_checksums_of_its_schema_is_damaged() {
        for (at, value) in [(16, 0x20), (17, 0x10), (20, 0), (20, 9)] {
            let mut header = first(8, 6);
            header[at] = value;
            assert!(matches!(
                Pages::new().after_read(0, &mut header[..100], &mut none),
                Err(Fault::Damage(_))
            ));
        }
    }
}
