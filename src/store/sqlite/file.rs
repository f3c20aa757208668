//! The database file as the system knows it: an inode with one lock, one name, and the files that
//! SQLite keeps next to it.
//!
//! Locks. The lock is `flock` on the database itself, so it holds by whichever path a process
//! comes, and there is no lock file to be removed. On local file systems of Linux it is independent
//! of the `fcntl` locks that SQLite has on the same file. Those have a trap: when a process closes
//! any descriptor of a file, it loses all its `fcntl` locks on the file. So the descriptor of the
//! lock is opened before SQLite opens the file, is shared by everything that has the file open, and
//! is closed after the last connection; nothing else in the process opens the file.
//!
//! Names. SQLite finds the WAL by the name of the database. A file with two names could have two
//! WALs, and is refused.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::descriptors;
use crate::store::{OpenError, StoreError};

/// The length of the header of a WAL: a WAL of this length or less holds no change.
const WAL_HEADER_BYTES: u64 = 32;
/// The permissions of a new database before the umask, the same as SQLite's default.
const MODE: u32 = 0o644;

/// A database file that this process has locked, from before SQLite opens it until after SQLite has
/// closed it.
pub(super) struct Locked {
    file: File,
    /// The path without symbolic links, as SQLite resolves it.
    pub(super) path: PathBuf,
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Explicitly and not only by closing the file: a child process that is being started has a
        // copy of every descriptor for a moment, and with it the lock. The lock ends with the last
        // descriptor in any case.
        let _released = self.file.unlock();
    }
}

/// The identity of a file: as long as it is the same, so is the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl Locked {
    /// Locks a file to write it. A file that does not exist is created, empty, so that there is
    /// something to lock.
    pub(super) fn to_write(file: &Path) -> Result<Self, OpenError> {
        let path = resolved(file)?;
        expect_no_orphan(file, &path)?;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(&path);
        Self::take(file, path, opened, File::try_lock)
    }

    /// Locks an existing file to read it, shared with other readers; refused while a process may
    /// write it.
    pub(super) fn to_read(file: &Path) -> Result<Self, OpenError> {
        let path = resolved(file)?;
        let opened = File::open(&path);
        Self::take(file, path, opened, File::try_lock_shared)
    }

    fn take(
        file: &Path,
        path: PathBuf,
        opened: io::Result<File>,
        lock: impl FnOnce(&File) -> Result<(), TryLockError>,
    ) -> Result<Self, OpenError> {
        let opened = opened.map_err(|error| unreadable(file, &error))?;
        match lock(&opened) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // Never closed: if this very process has the file locked, closing it would end
                // SQLite's locks.
                std::mem::forget(opened);
                return Err(OpenError::InUse {
                    file: file.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(unreadable(file, &error)),
        }
        let locked = Self { file: opened, path };
        let metadata = locked
            .file
            .metadata()
            .map_err(|error| unreadable(file, &error))?;
        if !metadata.is_file() {
            return Err(OpenError::Foreign {
                file: file.to_owned(),
                why: "it is no file".to_owned(),
            });
        }
        // The process that had the file before may have removed it between the open and the lock.
        if !identity_at(&locked.path).is_ok_and(|now| now == Identity::of(&metadata)) {
            let why = "it was removed or replaced at this very moment; look who does that, and start again".to_owned();
            return Err(OpenError::Unreadable {
                file: file.to_owned(),
                why,
            });
        }
        match metadata.nlink() {
            1 => Ok(locked),
            names => Err(OpenError::Linked {
                file: file.to_owned(),
                names,
                inode: metadata.ino(),
            }),
        }
    }

    /// The descriptor of the lock, for reads of the header: another one would be closed again, see
    /// the header.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Notes the identities of the database, its WAL and its WAL index, once SQLite has all of them
    /// open.
    pub(super) fn watch(&self) -> io::Result<WatchedFiles> {
        let database = (self.path.clone(), Identity::of(&self.file.metadata()?));
        let others = ["-wal", "-shm"].map(|ending| beside(&self.path, ending));
        let others = others.map(|path| identity_at(&path).map(|it| (path, it)));
        let [wal, index] = others;
        Ok(WatchedFiles {
            database,
            others: [wal?, index?],
        })
    }
}

/// Open files, with the paths at which they must stay.
pub(super) struct WatchedFiles {
    database: (PathBuf, Identity),
    others: [(PathBuf, Identity); 2],
}

/// A file that was moved, removed or replaced while it is open.
pub(super) struct Missing {
    pub(super) is_database: bool,
    pub(super) error: StoreError,
}

impl WatchedFiles {
    /// Checks that each file is where it was. Takes a few microseconds, because only the names are
    /// resolved.
    pub(super) fn check(&self) -> Result<(), Missing> {
        let lost = |(path, was): &(PathBuf, Identity)| match identity_at(path) {
            Ok(now) if now == *was => None,
            Ok(_) => Some(format!("{} was replaced by another file", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Some(format!("{} was removed", path.display()))
            }
            Err(error) => Some(format!(
                "{} cannot be found any more ({error})",
                path.display()
            )),
        };
        if let Some(what) = lost(&self.database) {
            let next = "what was acknowledged since is in no file with a name. Do not start it again as it is: move the \
                 database back beside its WAL if it was moved, else restore a backup";
            let error = StoreError::Gone(format!("{what} while it was served; {next}"));
            return Err(Missing {
                is_database: true,
                error,
            });
        }
        let Some(what) = self.others.iter().find_map(lost) else {
            return Ok(());
        };
        let next = "what it holds is copied into the database as the server stops. Look with `bookd check` whether all \
             is well, and start it again";
        Err(Missing {
            is_database: false,
            error: StoreError::Gone(format!("{what} while it was served; {next}")),
        })
    }
}

/// The identity of the file at a path; a symbolic link is not followed.
///
/// Only the inode number is asked for. Once the times of a file were read, its next write gives it
/// new, exact times (Linux 6.13, multigrain timestamps), and the next sync then writes the inode
/// too: a check at each commit would cost a second disk access for each commit.
#[cfg(target_os = "linux")]
fn identity_at(path: &Path) -> io::Result<Identity> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    use rustix::io::Errno;
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO) {
        Ok(status) => Ok(Identity {
            device: makedev(status.stx_dev_major, status.stx_dev_minor),
            inode: status.stx_ino,
        }),
        // A kernel without this call, or a sandbox that forbids it.
        Err(Errno::NOSYS | Errno::PERM) => fs::symlink_metadata(path).map(|it| Identity::of(&it)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn identity_at(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|it| Identity::of(&it))
}

/// The length of a file in bytes; 0 for a file that does not exist.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |it| it.len())
}

/// Whether the WAL of a database holds changes.
pub(super) fn has_wal(path: &Path) -> bool {
    length(&beside(path, "-wal")) > WAL_HEADER_BYTES
}

/// The path of a file next to the database, which has the database's name with a suffix.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether there is a database at this path. An error where there is none but a WAL with changes of
/// one.
pub fn is_there(file: &Path) -> Result<bool, OpenError> {
    if file.exists() {
        return Ok(true);
    }
    // A path that cannot be resolved has no WAL; a later open reports what is wrong with it.
    if let Ok(path) = resolved(file) {
        expect_no_orphan(file, &path)?;
    }
    Ok(false)
}

/// Refuses a path without a database and with a WAL that holds changes.
fn expect_no_orphan(file: &Path, path: &Path) -> Result<(), OpenError> {
    let wal = beside(path, "-wal");
    if length(path) == 0 && length(&wal) > WAL_HEADER_BYTES {
        return Err(OpenError::Orphaned {
            file: file.to_owned(),
            wal,
        });
    }
    Ok(())
}

/// The path without symbolic links and dots of a file that need not exist yet.
fn resolved(file: &Path) -> Result<PathBuf, OpenError> {
    let error = match file.canonicalize() {
        Ok(path) => return Ok(path),
        Err(error) => error,
    };
    let is_absent = error.kind() == ErrorKind::NotFound;
    if is_absent && file.symlink_metadata().is_ok() {
        let why =
            "it is a symbolic link to a file that is not there; mount or restore that, or name another".to_owned();
        return Err(OpenError::Unreadable {
            file: file.to_owned(),
            why,
        });
    }
    let (true, Some(name)) = (is_absent, file.file_name()) else {
        return Err(unreadable(file, &error));
    };
    let folder = file
        .parent()
        .filter(|it| !it.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    folder
        .canonicalize()
        .map(|folder| folder.join(name))
        .map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &io::Error) -> OpenError {
    let why = match error.kind() {
        ErrorKind::NotFound => "its folder does not exist; create it first".to_owned(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!(
                "{error}; check the permissions of file and folder, and how the disk is mounted"
            )
        }
        _ => descriptors::message(error, ""),
    };
    OpenError::Unreadable {
        file: file.to_owned(),
        why,
    }
}
