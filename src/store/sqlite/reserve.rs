//! The reserve: a file beside the database whose room is given up when the disk is full, so that writing can go on until
//! somebody has freed some.
//!
//! A full disk is a trap otherwise: the WAL cannot be copied into the database, for that must grow, and so it is not
//! begun anew either. Who removes the reserve loses nothing but that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::file::beside;

/// The end of its name, behind that of the database.
const ENDING: &str = "-reserve";
/// What it begins with: what begins otherwise is somebody else's, and is left alone.
const MARK: &[u8] = b"bookd keeps this room for when the disk is full. Whoever needs it now may remove this file.\n";
/// The least that is worth keeping, in bytes; and what the reserve is a multiple of.
const UNIT_BYTES: u64 = 1_024 * 1_024;
/// The reserve takes at most one part in so many of what is free.
const PARTS: u64 = 8;
/// A disk with so much free room, in bytes, is not about to be full.
const AMPLE_BYTES: u64 = 128 * 1_024 * 1_024;
/// So much more room, in bytes, is worth another try.
const MORE_BYTES: u64 = 64 * 1_024;
/// What is written at a time where room can only be had by writing.
const PIECE_BYTES: usize = 64 * 1_024;

/// The room on the disk that a database lies on.
pub trait Room: Send {
    /// How many bytes can still be written; none where nobody can tell.
    fn free_bytes(&self) -> Option<u64>;
    /// How many bytes the reserve has; 0 where there is none.
    fn reserved_bytes(&self) -> u64;
    /// Makes the reserve, which is not there.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// Removes the reserve.
    fn give_up(&self) -> io::Result<()>;
}

/// The reserve of a database, and whether there was need of it.
pub(super) struct Reserve {
    room: Box<dyn Room>,
    /// How many bytes it shall have, 0 = there shall be none; none = whatever it has.
    wanted_bytes: Option<u64>,
    /// The disk was full, and is not yet ample again.
    is_short: bool,
    /// How much was free when all was tried in vain: as long as there is no more, it is not tried again.
    hopeless_at: Option<u64>,
}

impl Reserve {
    pub(super) fn new(room: Box<dyn Room>) -> Self {
        Self {
            room,
            wanted_bytes: None,
            is_short: false,
            hopeless_at: None,
        }
    }

    /// From now on there shall be a reserve of so many bytes, or as much as there is room for; 0 = none.
    pub(super) fn keep(&mut self, bytes: u64) {
        self.wanted_bytes = Some(bytes);
        match self.adjust() {
            Err(error) => {
                tracing::warn!(%error, "the reserve beside the database cannot be made or removed")
            }
            Ok(_) if bytes > 0 && self.room.reserved_bytes() == 0 => {
                tracing::warn!(
                    "there is no room for a reserve beside the database: when the disk is full, nothing is left"
                );
            }
            Ok(_) => {}
        }
    }

    /// Makes it as large as it shall be and there is room for; one that is large enough stays what it is. Whether it is
    /// another now.
    fn adjust(&self) -> io::Result<bool> {
        let Some(wanted) = self.wanted_bytes else {
            return Ok(false);
        };
        let (reserved, free) = (
            self.room.reserved_bytes(),
            self.room.free_bytes().unwrap_or(0),
        );
        let bytes = wanted.min((free + reserved) / PARTS) / UNIT_BYTES * UNIT_BYTES;
        if (bytes..=wanted).contains(&reserved) {
            return Ok(false);
        }
        if reserved > 0 {
            self.room.give_up()?;
        }
        if bytes > 0 {
            self.room.reserve(bytes)?;
        }
        Ok(true)
    }

    /// Gives it up, because there is no room for something else; whether there was one.
    pub(super) fn give_up(&mut self) -> bool {
        self.is_short = true;
        let bytes = self.room.reserved_bytes();
        if bytes == 0 {
            return false;
        }
        match self.room.give_up() {
            Ok(()) => {
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

    /// Whether the disk was full, and is not yet ample again.
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Whether it is known that so many bytes cannot be written.
    pub(super) fn lacks(&self, bytes: u64) -> bool {
        self.room.free_bytes().is_some_and(|free| free < bytes)
    }

    /// Notes that there was no room. Whether something may be gained by making some: it was not tried in vain, or there
    /// is more than then.
    pub(super) fn note_full(&mut self) -> bool {
        self.is_short = true;
        let more = |then: u64| {
            self.room
                .free_bytes()
                .is_none_or(|free| free >= then.saturating_add(MORE_BYTES))
        };
        self.hopeless_at.is_none_or(more)
    }

    /// Notes that all was tried in vain; or that something was written since.
    pub(super) fn note_hopeless(&mut self, is_hopeless: bool) {
        self.hopeless_at = if is_hopeless {
            self.room.free_bytes()
        } else {
            None
        };
    }

    /// Looks whether there is room again, and makes the reserve then. Whether the disk was short of room and is not any
    /// more.
    pub(super) fn tend(&mut self) -> bool {
        match self.adjust() {
            Ok(true) => {
                let megabytes = self.room.reserved_bytes() / UNIT_BYTES;
                tracing::info!(
                    megabytes,
                    "there is room again: the reserve beside the database was made"
                );
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "the reserve beside the database cannot be made"),
        }
        let is_ample = self
            .room
            .free_bytes()
            .is_some_and(|free| free >= AMPLE_BYTES);
        let was_short = self.is_short;
        self.is_short = was_short && !is_ample;
        was_short && is_ample
    }
}

/// The system's file system.
pub(super) struct FileSystem {
    /// Where the reserve lies.
    path: PathBuf,
    folder: PathBuf,
}

impl FileSystem {
    /// Of the database in this file.
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

impl Room for FileSystem {
    fn free_bytes(&self) -> Option<u64> {
        let it = rustix::fs::statvfs(&self.folder).ok()?;
        it.f_bavail.checked_mul(it.f_frsize)
    }

    fn reserved_bytes(&self) -> u64 {
        let is_ours = || -> io::Result<u64> {
            let known = fs::symlink_metadata(&self.path)?;
            if !known.is_file() {
                return Ok(0);
            }
            let mut begin = Vec::with_capacity(MARK.len());
            File::open(&self.path)?
                .take(MARK.len() as u64)
                .read_to_end(&mut begin)?;
            // Of one that was being made when the power or the process went the mark is missing.
            let is_unmarked = begin.iter().all(|byte| *byte == 0);
            Ok(if begin == MARK {
                known.len()
            } else {
                u64::from(is_unmarked) * known.len().max(1)
            })
        };
        is_ours().unwrap_or(0)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        // Nobody else's file is taken for it.
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

/// Gives a new file room for so many bytes, and the mark.
fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    file.write_all(MARK)?;
    if allocate(file, bytes).is_ok() {
        // The mark, too, is there after a power loss.
        return file.sync_all();
    }
    // Where room cannot be had without writing.
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
        let room = FileSystem::of(&folder.path().join("bookd.db"));
        let path = folder.path().join("bookd.db-reserve");
        assert!(room.free_bytes().unwrap() > 0);
        assert_eq!(room.reserved_bytes(), 0);
        room.reserve(2 * UNIT_BYTES).unwrap();
        assert_eq!(room.reserved_bytes(), 2 * UNIT_BYTES);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&path).unwrap());
        assert!(blocks * 512 >= 2 * UNIT_BYTES, "{blocks} blocks");
        assert!(room.reserve(UNIT_BYTES).is_err(), "it is there");
        room.give_up().unwrap();
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
