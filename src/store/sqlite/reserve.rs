//! The reserve: a file next to the database that is removed when the disk is full, so that its
//! space lets writing go on until an operator has freed some.
//!
//! A full disk is a trap otherwise: the WAL cannot be copied into the database, which would have to
//! grow, and so the WAL cannot be restarted either. An operator who removes the reserve loses no
//! data.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::file::beside;

/// The suffix of the reserve's name, after the name of the database.
const ENDING: &str = "-reserve";
/// The beginning of a reserve. A file that begins otherwise belongs to another program, and is left
/// alone.
const MARK: &[u8] = b"bookd keeps this room for when the disk is full. Whoever needs it now may remove this file.\n";
/// The smallest reserve worth keeping, in bytes; every reserve is a multiple of it.
const UNIT_BYTES: u64 = 1_024 * 1_024;
/// The reserve takes at most one part in this many of the free space.
const FREE_PARTS: u64 = 8;
/// The free space, in bytes, with which a disk counts as ample: it is not about to be full.
const AMPLE_BYTES: u64 = 128 * 1_024 * 1_024;
/// How much more free space than at the last failure is worth another attempt, in bytes.
const MORE_BYTES: u64 = 64 * 1_024;
/// How many bytes are written at a time where space can only be allocated by writing.
const PIECE_BYTES: usize = 64 * 1_024;

/// The free space on the disk of a database, and the reserve there.
pub trait DiskSpace: Send {
    /// The free space in bytes; none where it is unknown.
    fn free_bytes(&self) -> Option<u64>;
    /// The length of the reserve in bytes; 0 where there is none.
    fn reserved_bytes(&self) -> u64;
    /// Creates the reserve; an error where there is one already.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// Removes the reserve.
    fn give_up(&self) -> io::Result<()>;
}

/// The reserve of a database, and whether the disk was full.
pub(super) struct Reserve {
    space: Box<dyn DiskSpace>,
    /// The wanted length in bytes; 0 = no reserve, none = its present length.
    wanted_bytes: Option<u64>,
    /// Whether the disk was full and is not yet ample again.
    is_short: bool,
    /// Whether the reserve was given up and is not yet made again.
    is_given_up: bool,
    /// The free bytes when everything had been tried in vain: without more free space nothing is
    /// tried again.
    hopeless_at: Option<u64>,
}

impl Reserve {
    pub(super) fn new(space: Box<dyn DiskSpace>) -> Self {
        Self {
            space,
            wanted_bytes: None,
            is_short: false,
            is_given_up: false,
            hopeless_at: None,
        }
    }

    /// Keeps a reserve from now on, of this many bytes or as many as the disk has space for; 0 = no
    /// reserve.
    pub(super) fn keep(&mut self, bytes: u64) {
        self.wanted_bytes = Some(bytes);
        match self.adjust() {
            Err(error) => {
                tracing::warn!(%error, "the reserve beside the database cannot be made or removed")
            }
            Ok(_) if bytes > 0 && self.space.reserved_bytes() == 0 => {
                tracing::warn!(
                    "there is no room for a reserve beside the database: when the disk is full, nothing is left"
                );
            }
            Ok(_) => {}
        }
    }

    /// Makes the reserve as large as wanted, or as the disk has space for. One that is large enough
    /// stays as it is. True when it changed.
    fn adjust(&mut self) -> io::Result<bool> {
        let Some(wanted) = self.wanted_bytes else {
            return Ok(false);
        };
        let (reserved, free) = (
            self.space.reserved_bytes(),
            self.space.free_bytes().unwrap_or(0),
        );
        let bytes = wanted.min((free + reserved) / FREE_PARTS) / UNIT_BYTES * UNIT_BYTES;
        if (bytes..=wanted).contains(&reserved) {
            return Ok(false);
        }
        if reserved > 0 {
            self.space.give_up()?;
        }
        if bytes > 0 {
            self.space.reserve(bytes)?;
            self.is_given_up = false;
        }
        Ok(true)
    }

    /// Removes the reserve, because there is no space for something else. True when there was one.
    pub(super) fn give_up(&mut self) -> bool {
        self.is_short = true;
        let bytes = self.space.reserved_bytes();
        if bytes == 0 {
            return false;
        }
        match self.space.give_up() {
            Ok(()) => {
                self.is_given_up = true;
                tracing::warn!(
                    megabytes = bytes / UNIT_BYTES,
                    "the disk is full: the reserve beside the database was given up, and writing goes on in its room; \
                     free some soon, for there is no second one"
                );
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the disk is full, and the reserve cannot be removed");
                false
            }
        }
    }

    /// Whether the disk was full and is not yet ample again.
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Whether the reserve was given up and is not yet made again.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// Whether the free space is known to be less than this many bytes.
    pub(super) fn lacks(&self, bytes: u64) -> bool {
        self.space.free_bytes().is_some_and(|free| free < bytes)
    }

    /// Notes that the disk is full. True when freeing space is worth an attempt: it was not in vain
    /// before, or more is free than then.
    pub(super) fn note_full(&mut self) -> bool {
        self.is_short = true;
        let more = |then: u64| {
            self.space
                .free_bytes()
                .is_none_or(|free| free >= then.saturating_add(MORE_BYTES))
        };
        self.hopeless_at.is_none_or(more)
    }

    /// Notes that everything was tried in vain, or that something was written since.
    pub(super) fn note_hopeless(&mut self, is_hopeless: bool) {
        self.hopeless_at = if is_hopeless {
            self.space.free_bytes()
        } else {
            None
        };
    }

    /// Makes the reserve again if there is space. True when the disk was short of space and is
    /// ample again.
    pub(super) fn tend(&mut self) -> bool {
        match self.adjust() {
            Ok(true) => {
                let megabytes = self.space.reserved_bytes() / UNIT_BYTES;
                tracing::info!(
                    megabytes,
                    "there is room again: the reserve beside the database was made"
                );
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "the reserve beside the database cannot be made"),
        }
        let is_ample = self
            .space
            .free_bytes()
            .is_some_and(|free| free >= AMPLE_BYTES);
        let was_short = self.is_short;
        self.is_short = was_short && !is_ample;
        was_short && is_ample
    }
}

/// The disk space of the system's file system.
pub(super) struct FileSystem {
    /// The path of the reserve.
    path: PathBuf,
    /// The folder of the database.
    folder: PathBuf,
}

impl FileSystem {
    /// The file system of this database file.
    pub(super) fn of(file: &Path) -> Self {
        let folder = file
            .parent()
            .filter(|it| !it.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        Self {
            path: beside(file, ENDING),
            folder: folder.to_owned(),
        }
    }
}

impl DiskSpace for FileSystem {
    fn free_bytes(&self) -> Option<u64> {
        let it = rustix::fs::statvfs(&self.folder).ok()?;
        it.f_bavail.checked_mul(it.f_frsize)
    }

    fn reserved_bytes(&self) -> u64 {
        reserve_length(&self.path).unwrap_or(0)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        // `create_new`: a file of another program is not overwritten.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)?;
        let filled = fill(&file, bytes);
        if filled.is_err() {
            fs::remove_file(&self.path)?;
        }
        filled
    }

    fn give_up(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// The length of the reserve at this path, in bytes; 0 for a file that is not a reserve.
fn reserve_length(path: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Ok(0);
    }
    let mut begin = Vec::with_capacity(MARK.len());
    File::open(path)?
        .take(MARK.len() as u64)
        .read_to_end(&mut begin)?;
    // The mark is missing where the power or the process was lost while the reserve was created.
    let is_unmarked = begin.iter().all(|byte| *byte == 0);
    Ok(if begin == MARK {
        metadata.len()
    } else {
        u64::from(is_unmarked) * metadata.len().max(1)
    })
}

/// Writes the mark to a new file, and allocates this many bytes for it.
fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    file.write_all(MARK)?;
    if allocate(file, bytes).is_ok() {
        // So that the mark, too, survives a power loss.
        return file.sync_all();
    }
    // The file system allocates space only for content.
    let piece = vec![b'\n'; PIECE_BYTES];
    let mut left = bytes.saturating_sub(MARK.len() as u64);
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        file.write_all(&piece[..count])?;
        left -= count as u64;
    }
    file.sync_all()
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(
        file,
        rustix::fs::FallocateFlags::empty(),
        0,
        bytes,
    )?)
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_has_its_room_and_what_is_not_one_is_left_alone() {
        let folder = tempfile::TempDir::new().unwrap();
        let space = FileSystem::of(&folder.path().join("bookd.db"));
        let path = folder.path().join("bookd.db-reserve");
        assert!(space.free_bytes().unwrap() > 0);
        assert_eq!(space.reserved_bytes(), 0);
        space.reserve(2 * UNIT_BYTES).unwrap();
        assert_eq!(space.reserved_bytes(), 2 * UNIT_BYTES);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&path).unwrap());
        assert!(blocks * 512 >= 2 * UNIT_BYTES, "{blocks} blocks");
        assert!(space.reserve(UNIT_BYTES).is_err(), "it is there");
        space.give_up().unwrap();
        assert!(!path.exists());
        fs::write(&path, "somebody's notes").unwrap();
        let mut reserve = Reserve::new(Box::new(FileSystem::of(&folder.path().join("bookd.db"))));
        reserve.keep(UNIT_BYTES);
        assert!(!reserve.give_up());
        reserve.keep(0);
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's notes");
    }

    #[test]
    fn a_reserve_that_was_being_made_when_the_power_went_is_made_anew() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("bookd.db-reserve");
        for left in [Vec::new(), vec![0; 3 * PIECE_BYTES]] {
            fs::write(&path, left).unwrap();
            let mut reserve =
                Reserve::new(Box::new(FileSystem::of(&folder.path().join("bookd.db"))));
            reserve.keep(UNIT_BYTES);
            assert!(fs::read(&path).unwrap().starts_with(MARK));
        }
    }

    #[test]
    fn where_room_is_had_by_writing_the_reserve_is_as_long() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("file");
        let file = File::create(&path).unwrap();
        fill(&file, 3 * UNIT_BYTES).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 3 * UNIT_BYTES);
        assert!(fs::read(&path).unwrap().starts_with(MARK));
    }
}
