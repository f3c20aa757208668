//! Preparing an open database to be written: its leftover WAL settled, set to be durable, migrated,
//! and given checksums.
//!
//! Each step may be cut short by a power loss or a full disk, and is done by the next start then.

use std::fmt::Display;
use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::checkpoint::Checkpoints;
use super::header::{APPLICATION_ID, SCHEMA_VERSION, UNSUMMED_SCHEMA_VERSION};
use super::leftover_wal::{LEAST_BYTES, renew_wal, settle_or_keep};
use super::location::BUSY_WAIT;
use super::pages::{Format, PAGE_BYTES};
use super::reserve::Reserve;
use super::segments::SEGMENT_BYTES_MAX;
use super::sweep;
use super::upgrade::upgrade_rows;
use crate::failpoints::Failpoint;

mod embedded {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    refinery::embed_migrations!("src/store/migrations");
}

/// The length to which a WAL is cut when it is restarted, in bytes: its usual length while no read
/// is long.
const WAL_KEPT_BYTES: i64 = 64 * 1_024 * 1_024;

const INSERT_CODE_KEY: &str = "insert or ignore into meta (name, value) values ('code_key', ?1)";

/// The sizes at which the store copies its WAL and cuts changes.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Pages in the WAL at which it is copied into the database: small copies cost a fifth of the
    /// throughput.
    pub(super) checkpoint_pages: u32,
    /// The limit on the events of one segment, in bytes: `SEGMENT_BYTES_MAX`, or less.
    pub(super) segment_bytes_max: usize,
}

pub(super) const SIZES: Sizes = Sizes {
    checkpoint_pages: 8_000,
    segment_bytes_max: SEGMENT_BYTES_MAX,
};
/// Sizes for tests on failing disks: their data is small, and must include WAL copies and segmented
/// changes.
pub(super) const SIZES_SMALL: Sizes = Sizes {
    checkpoint_pages: 100,
    segment_bytes_max: 512,
};

/// Prepares a database to be written. Where the disk has no space for that, the reserve is given up
/// for it.
pub(super) fn prepare(
    connection: &mut Connection,
    code_key: u64,
    sizes: Sizes,
    rewrite: &dyn Fn(&Path) -> io::Result<()>,
    reserve: &mut Reserve,
) -> Result<Checkpoints, String> {
    let prepared = prepare_once(connection, code_key, sizes, rewrite, reserve);
    let is_short = prepared.is_err() && reserve.lacks(LEAST_BYTES);
    if !is_short {
        return prepared;
    }
    let prepared = if reserve.give_up() {
        prepare_once(connection, code_key, sizes, rewrite, reserve)
    } else {
        prepared
    };
    prepared.map_err(|why| format!("{why}; the disk is full: free some room, and start again"))
}

fn prepare_once(
    connection: &mut Connection,
    code_key: u64,
    sizes: Sizes,
    rewrite: &dyn Fn(&Path) -> io::Result<()>,
    reserve: &mut Reserve,
) -> Result<Checkpoints, String> {
    let text = |error: rusqlite::Error| error.to_string();
    mark_as_ours(connection).map_err(text)?;
    renew_wal(connection, rewrite)?;
    settle_or_keep(connection, reserve).map_err(text)?;
    set_for_writing(connection).map_err(text)?;
    let mut checkpoints = Checkpoints::of(connection, sizes.checkpoint_pages).map_err(text)?;
    if reserve.is_short() {
        checkpoints.keep_short();
    }
    Failpoint::Migration.reached();
    migrate(connection, code_key, sizes)?;
    Failpoint::Migration.reached();
    let schema = if add_checksums(connection, reserve).map_err(text)? {
        SCHEMA_VERSION
    } else {
        UNSUMMED_SCHEMA_VERSION
    };
    Failpoint::Migration.reached();
    set_schema(connection, schema).map_err(text)?;
    Failpoint::Migration.reached();
    Ok(checkpoints)
}

/// Makes a new file a bookd database.
fn mark_as_ours(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_WAIT)?;
    // Until there is a WAL, a commit is safe only when the removal of its journal is.
    connection.pragma_update(None, "synchronous", "extra")?;
    // Read through SQLite and not from the file: SQLite first undoes the unfinished transaction of
    // a process that died.
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id == 0 {
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    Ok(())
}

/// Sets the durability and the caches of the writer.
fn set_for_writing(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "full")?;
    // 8 MB of pages: SQLite goes over its whole cache at most commits that split a page, and the
    // system's own cache holds the other pages.
    connection.pragma_update(None, "cache_size", -8_000)?;
    // A WAL that a long read made longer is cut to this when it is restarted.
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    // Deleted content is overwritten where that costs no further write; VACUUM overwrites the rest.
    connection.pragma_update(None, "secure_delete", "fast")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Brings schema and rows up to this binary's version.
fn migrate(connection: &mut Connection, code_key: u64, sizes: Sizes) -> Result<(), String> {
    // As one transaction: by default a migration and the note that it was applied are two, and a
    // process may die between them.
    embedded::migrations::runner()
        .set_grouped(true)
        .run(connection)
        .map_err(|error| error.to_string())?;
    Failpoint::Migration.reached();
    let _page = sweep::pass_over_counter(connection);
    upgrade_rows(connection, sizes.segment_bytes_max).map_err(|error| error.to_string())?;
    Failpoint::Migration.reached();
    connection
        .execute(INSERT_CODE_KEY, [code_key.cast_signed()])
        .map_err(|error| error.to_string())?;
    Ok(())
}

/// Writes the number of the schema, unless the file has it already: there may be no space for a
/// write.
fn set_schema(connection: &Connection, wanted: i32) -> rusqlite::Result<()> {
    let schema: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if schema != wanted {
        connection.pragma_update(None, "user_version", wanted)?;
    }
    Ok(())
}

/// Adds checksums to the pages of a file from before schema 6: VACUUM rewrites the file with space
/// for them. False where that must wait for another start.
fn add_checksums(connection: &Connection, reserve: &Reserve) -> rusqlite::Result<bool> {
    if sweep::format(connection) == Format::Summed {
        return Ok(true);
    }
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (page_bytes, bytes) = (
        number("page_size")?,
        number("page_count")?.saturating_mul(number("page_size")?),
    );
    if page_bytes != PAGE_BYTES as i64 {
        tracing::warn!(
            page_bytes,
            "pages carry no checksums: only pages of {PAGE_BYTES} bytes can"
        );
        return Ok(false);
    }
    let warn_for_later = |why: &dyn Display| {
        tracing::warn!(
            %why, bytes,
            "pages carry no checksums, so that damage in them may go unnoticed; free as much room as the database \
             takes, beside it and in the folder for temporary files, and start again"
        );
    };
    // The whole file goes through the WAL: a VACUUM that fails halfway would fill the disk for
    // nothing.
    if reserve.lacks(bytes.unsigned_abs().saturating_add(LEAST_BYTES)) {
        warn_for_later(&"there is no room for it");
        return Ok(false);
    }
    tracing::info!(
        bytes,
        "giving every page a checksum, which may take minutes"
    );
    match connection.execute_batch("vacuum") {
        Ok(()) => {}
        Err(error) if is_for_later(&error) => {
            warn_for_later(&error);
            // Gives back the space that the attempt took, as far as possible.
            let _given_back =
                connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    // VACUUM moved the counter to another page.
    let _page = sweep::pass_over_counter(connection);
    // Copied out of the WAL now, so that the file itself has the checksums.
    connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()))?;
    tracing::info!(bytes, "every page has a checksum");
    Ok(true)
}

/// Whether a VACUUM that failed so may succeed at another start.
fn is_for_later(error: &rusqlite::Error) -> bool {
    let busy = [
        ErrorCode::DiskFull,
        ErrorCode::DatabaseBusy,
        ErrorCode::DatabaseLocked,
    ];
    error
        .sqlite_error_code()
        .is_some_and(|it| busy.contains(&it))
}
