//! Opening a database: locked, checked before SQLite touches it, migrated, and set to be durable.
//!
//! A file that is not a bookd database of this version or an older one is left exactly as it was.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Sqlite;
use super::file::{Locked, beside};
use super::header::{Content, check_header, empty};
use super::leftover_wal::rewrite;
use super::location::{FileAccess, Location};
use super::prepare::{SIZES, SIZES_SMALL, prepare};
use super::recovery;
use super::reserve::{DiskSpace, FileSystem, Reserve};
use super::vfs::damage_met;
use crate::descriptors;
use crate::failpoints::Failpoint;
use crate::store::{OpenError, ZoneLookup};

/// A disk that SQLite reaches through a VFS of its own, for tests of the store on failing disks.
/// Its files belong to one process and to no other program, so nothing is locked and no foreign
/// file is expected.
pub trait Drive {
    /// The name of the disk's VFS.
    fn vfs(&self) -> &str;
    /// The path of the database on the disk.
    fn file(&self) -> &Path;
    /// The length of a file in bytes; 0 for a file that does not exist.
    fn length(&self, file: &Path) -> io::Result<u64>;
    /// Fills the buffer from byte `at` of a file on.
    fn read(&self, file: &Path, at: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Rewrites every byte of this file in place, and syncs it.
    fn rewrite(&self, file: &Path) -> io::Result<()>;
    /// The free space of the disk, and its reserve.
    fn space(&self) -> Box<dyn DiskSpace>;
}

impl Sqlite {
    /// Opens the database in this file, and creates it if there is none. `code_key` is the secret
    /// behind the confirmation codes of a new database.
    pub fn open(file: &Path, zones: ZoneLookup, code_key: u64) -> Result<Self, OpenError> {
        Self::open_locked(file, Locked::to_write(file)?, zones, code_key)
    }

    /// Opens the database in this file; refused if there is none.
    pub fn open_existing(file: &Path, zones: ZoneLookup) -> Result<Self, OpenError> {
        let locked = Locked::to_write(file)?;
        match check_header(file, locked.file(), &locked.path)? {
            Content::Nothing => Err(empty(file)),
            Content::Database => Self::open_locked(file, locked, zones, 0),
        }
    }

    fn open_locked(
        file: &Path,
        locked: Locked,
        zones: ZoneLookup,
        code_key: u64,
    ) -> Result<Self, OpenError> {
        check_header(file, locked.file(), &locked.path)?;
        check_wal(file, &locked)?;
        let location = Location::new(locked.path.clone(), FileAccess::Shared);
        let mut connection = location
            .writer()
            .map_err(|error| refused(file, error.to_string()))?;
        let sizes = if Failpoint::Checkpoint.is_armed() {
            SIZES_SMALL
        } else {
            SIZES
        };
        let mut reserve = Reserve::new(Box::new(FileSystem::of(&locked.path)));
        let prepared = prepare(&mut connection, code_key, sizes, &rewrite, &mut reserve);
        let checkpoints = prepared.map_err(|why| refused(file, why))?;
        let watched = locked
            .watch()
            .map_err(|error| unreadable(file, error.to_string()))?;
        let (watched, locked) = (Some(watched), Some(Arc::new(locked)));
        let (segment_bytes_max, known) = (sizes.segment_bytes_max, Default::default());
        Ok(Self {
            connection,
            checkpoints,
            location,
            zones,
            segment_bytes_max,
            known,
            reserve,
            watched,
            locked,
        })
    }

    /// Opens the database on a test's disk, and creates it if there is none.
    pub fn open_on(drive: &dyn Drive, zones: ZoneLookup, code_key: u64) -> Result<Self, OpenError> {
        let file = drive.file();
        let content = wal_of_drive(drive).map_err(|error| unreadable(file, error.to_string()))?;
        unless_damaged(file, file, &content)?;
        let location = Location::new(file.to_owned(), FileAccess::Vfs(drive.vfs().to_owned()));
        let mut connection = location
            .writer()
            .map_err(|error| refused(file, error.to_string()))?;
        let rewrite = |file: &Path| drive.rewrite(file);
        let mut reserve = Reserve::new(drive.space());
        let prepared = prepare(
            &mut connection,
            code_key,
            SIZES_SMALL,
            &rewrite,
            &mut reserve,
        );
        let checkpoints = prepared.map_err(|why| refused(file, why))?;
        let (segment_bytes_max, known) = (SIZES_SMALL.segment_bytes_max, Default::default());
        let (watched, locked) = (None, None);
        Ok(Self {
            connection,
            checkpoints,
            location,
            zones,
            segment_bytes_max,
            known,
            reserve,
            watched,
            locked,
        })
    }
}

/// The error of a file that SQLite could not open. SQLite reports a lack of descriptors like a lack
/// of permissions.
pub(super) fn unreadable(file: &Path, why: String) -> OpenError {
    let why = if descriptors::ran_out() {
        descriptors::RAN_OUT.to_owned()
    } else {
        why
    };
    OpenError::Unreadable {
        file: file.to_owned(),
        why,
    }
}

/// The error of a file that was not opened: the damage that SQLite met, else SQLite's own message.
pub(super) fn refused(file: &Path, why: String) -> OpenError {
    match damage_met() {
        Some(what) => OpenError::Damaged {
            file: file.to_owned(),
            what,
        },
        None => unreadable(file, why),
    }
}

/// Refuses a file whose WAL holds acknowledged changes that SQLite would not recover.
pub(super) fn check_wal(file: &Path, locked: &Locked) -> Result<(), OpenError> {
    let content = recovery::examine_files(&locked.path, locked.file());
    let content = content.map_err(|error| unreadable(file, format!("its WAL: {error}")))?;
    unless_damaged(file, &locked.path, &content)
}

/// Examines the WAL of a file that another process may be writing.
pub(super) fn wal_content(file: &Path, opened: &File) -> Result<recovery::WalContent, OpenError> {
    let content = file
        .canonicalize()
        .and_then(|path| recovery::examine_files(&path, opened));
    content.map_err(|error| unreadable(file, format!("its WAL: {error}")))
}

fn wal_of_drive(drive: &dyn Drive) -> io::Result<recovery::WalContent> {
    let file = drive.file();
    let wal = beside(file, "-wal");
    let bytes = |file: PathBuf| -> io::Result<recovery::Bytes<'_>> {
        let length = drive.length(&file)?;
        Ok(recovery::Bytes {
            length,
            read: Box::new(move |at, buffer| drive.read(&file, at, buffer)),
        })
    };
    recovery::examine(&mut bytes(wal)?, &[], &mut bytes(file.to_owned())?)
}

/// Refuses a damaged WAL.
fn unless_damaged(
    file: &Path,
    path: &Path,
    content: &recovery::WalContent,
) -> Result<(), OpenError> {
    match content.refusal(&beside(path, "-wal"), &beside(path, "-shm")) {
        Some(what) => Err(OpenError::Damaged {
            file: file.to_owned(),
            what,
        }),
        None => Ok(()),
    }
}
