//! The check of a whole database: every page against its checksum, free pages included, and then
//! SQLite's integrity check.
//!
//! Pages are read below the VFS, so that a damaged page is counted and does not end the sweep.

use std::collections::HashSet;
use std::io;

use rusqlite::{Connection, ffi};

use super::frames::number;
use super::header::HEADER_BYTES;
use super::pages::{Fault, Format, PAGE_BYTES, Verdict, damaged, is_counter, verdict};
use super::recovery::{Bytes, examine};
use super::vfs::UncheckedFile;
use crate::store::StoreError;

/// How many pages are read at a time.
const PAGES_AT_ONCE: u64 = 256;
/// How many findings are reported at most.
const FINDINGS_MAX: usize = 100;
/// The byte of the header at which the number of pages begins.
const PAGE_COUNT_AT: usize = 28;

const SELECT_COUNTER: &str = "select rootpage from sqlite_schema where name = '_litestream_seq'";

/// The result of the check of all pages of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SweptPages {
    /// How many pages the file has.
    pub count: u64,
    /// How many pages have no checksum.
    pub unsummed: u64,
    /// Each damage found, in words; empty when the file is sound.
    pub findings: Vec<String>,
}

/// Whether the pages of a file have checksums.
pub(super) fn format(connection: &Connection) -> Format {
    let mut header = [0; HEADER_BYTES];
    match UncheckedFile::database(connection).map(|it| it.read(0, &mut header)) {
        Some(Ok(())) => Format::of(&header),
        _ => Format::Unknown,
    }
}

/// Makes a connection pass over the page of Litestream's counter, which Litestream writes without a
/// checksum. Returns the page; none where there is no counter.
pub(super) fn pass_over_counter(connection: &Connection) -> Option<u64> {
    let page: i64 = connection
        .query_row(SELECT_COUNTER, [], |row| row.get(0))
        .ok()?;
    let page = u64::try_from(page).ok()?;
    UncheckedFile::database(connection)?.pass_over(page);
    Some(page)
}

/// Checks every page against its checksum, and, if all match, runs SQLite's integrity check.
pub(super) fn look_over(connection: &Connection) -> Result<SweptPages, StoreError> {
    // A read transaction, so that no page is written meanwhile and the WAL is open. It fails where
    // page 1 is damaged, which the sweep reports.
    let _begun = connection.execute_batch("begin; select 1 from sqlite_schema limit 1");
    let counter = pass_over_counter(connection);
    let swept = sweep(connection, counter);
    let _ended = connection.execute_batch("rollback");
    let mut pages = swept.map_err(|fault| match fault {
        Fault::Code(code) => StoreError::Io(ffi::code_to_str(code).to_owned()),
        Fault::Damage(what) => StoreError::Damaged(what),
    })?;
    if pages.findings.is_empty() {
        let mut statement = connection.prepare("pragma integrity_check(100)")?;
        let said = statement
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        pages
            .findings
            .extend(said.into_iter().filter(|line| line != "ok"));
    }
    Ok(pages)
}

fn sweep(connection: &Connection, counter: Option<u64>) -> Result<SweptPages, Fault> {
    let Some(database) = UncheckedFile::database(connection) else {
        return Ok(SweptPages::default());
    };
    let mut header = [0; HEADER_BYTES];
    let length = database.length()?;
    if length < PAGE_BYTES as u64 {
        return Ok(SweptPages::default());
    }
    database.read(0, &mut header)?;
    let is_summed = Format::of(&header) != Format::Plain;
    let bytes = PAGE_BYTES as u64;
    // Pages beyond the count of the header were left by a transaction that was cut short.
    let count = Some(u64::from(number(&header, PAGE_COUNT_AT))).filter(|it| *it > 0);
    let count = (length / bytes).min(count.unwrap_or(u64::MAX));
    let mut pages = SweptPages {
        count,
        unsummed: if is_summed { 0 } else { count },
        findings: Vec::new(),
    };
    let mut in_wal: Option<HashSet<u32>> = None;
    let mut read = vec![0; PAGE_BYTES * usize::try_from(PAGES_AT_ONCE).unwrap_or(1)];
    let mut first = 0;
    while is_summed && first < count {
        let there = usize::try_from((count - first).min(PAGES_AT_ONCE)).unwrap_or(1);
        let piece = read.get_mut(..there * PAGE_BYTES).unwrap_or_default();
        database.read(first * bytes, piece)?;
        for (page, page_number) in piece.chunks_exact(PAGE_BYTES).zip(first + 1..) {
            match verdict(page, page_number) {
                Verdict::Sound => {}
                Verdict::Unsummed => pages.unsummed += 1,
                Verdict::Damaged if counter == Some(page_number) && is_counter(page) => {
                    pages.unsummed += 1
                }
                Verdict::Damaged => {
                    let in_wal = match &mut in_wal {
                        Some(it) => it,
                        None => in_wal.insert(pages_in_wal(connection)?),
                    };
                    // Left by a copy of the WAL that was cut short: reads of this page are served
                    // from the WAL.
                    let is_superseded =
                        u32::try_from(page_number).is_ok_and(|it| in_wal.contains(&it));
                    if !is_superseded && pages.findings.len() < FINDINGS_MAX {
                        pages.findings.push(damaged(page_number));
                    }
                }
            }
        }
        first += there as u64;
    }
    Ok(pages)
}

/// The pages that SQLite reads from the WAL instead of the database.
fn pages_in_wal(connection: &Connection) -> Result<HashSet<u32>, Fault> {
    let Some(wal) = UncheckedFile::wal(connection) else {
        return Ok(HashSet::new());
    };
    let length = wal.length()?;
    let read = |at: u64, buffer: &mut [u8]| {
        wal.read(at, buffer)
            .map_err(|_| io::Error::from(io::ErrorKind::Other))
    };
    let mut nothing = Bytes {
        length: 0,
        read: Box::new(|_, _| Err(io::ErrorKind::UnexpectedEof.into())),
    };
    let content = examine(
        &mut Bytes {
            length,
            read: Box::new(read),
        },
        &[],
        &mut nothing,
    );
    content
        .map(|it| it.pages)
        .map_err(|_| Fault::Code(ffi::SQLITE_IOERR_READ))
}
