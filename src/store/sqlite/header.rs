//! The header of a database file: whether the file is bookd's, and in which schema.
//!
//! The header is read before SQLite opens the file, because SQLite would recover or change it.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use super::file::beside;
use crate::store::OpenError;

/// The `application_id` of a bookd database, "bkd1", at byte 68 of the file (SQLite file format,
/// §1.3.8).
pub(super) const APPLICATION_ID: i32 = 0x626b_6431;
/// The schema that this binary writes, at byte 60 of the file; SQLite's `user_version`.
pub(super) const SCHEMA_VERSION: i32 = 10;
/// The number of the same schema in a file whose pages have no checksums because the disk was too
/// full to add them. The next start tries again.
pub(super) const UNSUMMED_SCHEMA_VERSION: i32 = 9;
/// The length of the header.
pub(super) const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The content of a file, by its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Nothing yet: the file is new, or its creation was cut short.
    Nothing,
    /// A bookd database of this version or an older one.
    Database,
}

/// Reads and checks the header of an open file. `path` is its path without symbolic links, `file`
/// its name in errors.
pub(super) fn check_header(
    file: &Path,
    mut opened: &File,
    path: &Path,
) -> Result<Content, OpenError> {
    let foreign = |why: &str| OpenError::Foreign {
        file: file.to_owned(),
        why: why.to_owned(),
    };
    let unreadable = |error: io::Error| OpenError::Unreadable {
        file: file.to_owned(),
        why: error.to_string(),
    };
    let mut header = Vec::with_capacity(HEADER_BYTES);
    opened.rewind().map_err(unreadable)?;
    opened
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut header)
        .map_err(unreadable)?;
    // The power was lost while the file was created: its journal takes back what was written.
    let is_torn = header.iter().all(|byte| *byte == 0) && beside(path, "-journal").exists();
    if header.is_empty() || is_torn {
        return Ok(Content::Nothing);
    }
    if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Err(foreign("it is not an SQLite database"));
    }
    let number = |at: usize| {
        i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if number(68) != APPLICATION_ID {
        return Err(foreign("its application_id is another program's"));
    }
    let found = number(60);
    if found > SCHEMA_VERSION {
        return Err(newer(file, found));
    }
    Ok(Content::Database)
}

/// The error of a file whose schema is newer than this binary's.
pub(super) fn newer(file: &Path, found: i32) -> OpenError {
    OpenError::Newer {
        file: file.to_owned(),
        found: i64::from(found),
        known: i64::from(SCHEMA_VERSION),
    }
}

/// The error of an empty file where there must be a database.
pub(super) fn empty(file: &Path) -> OpenError {
    OpenError::Foreign {
        file: file.to_owned(),
        why: "it is empty".to_owned(),
    }
}
