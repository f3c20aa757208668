//! The database file as the system knows it: by its inode, which has one lock, one name, and what SQLite keeps beside it.
//!
//! Locks. The lock is `flock` on the database itself, so it holds by whichever path a process comes, and there is no
//! lock file to be removed. On local file systems of Linux it has nothing to do with the `fcntl` locks that SQLite has on
//! the same file. Those have a trap of their own: whenever a process closes any descriptor of a file, all its `fcntl`
//! locks on the file are gone. So the descriptor of the lock is opened before SQLite opens the file, is shared by
//! everything that has it open, and is closed after the last of them; and nobody opens the file beside it.
//!
//! Names. SQLite finds the WAL by the name of the database. A file with two names could have two WALs, and is refused.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::descriptors;
use crate::store::{OpenError, StoreError};

/// A WAL that has a header and no more holds no change.
const WAL_HEADER_BYTES: u64 = 32;
/// Who may read a new database, before the umask: as SQLite has it.
const MODE: u32 = 0o644;

/// A database file that this process has, from before SQLite opens it until SQLite has closed it.
pub(super) struct Locked {
    file: File,
    /// Without symbolic links: SQLite goes by the same.
    pub(super) path: PathBuf,
}

impl Drop for Locked {
    fn drop(&mut self) {
        // By name and not only by closing the file: a child process that is being started has a copy of every
        // descriptor for a moment, and with it the lock. It ends with the file in any case.
        let _released = self.file.unlock();
    }
}

/// What a file was when it was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(it: &Metadata) -> Self {
        Self {
            device: it.dev(),
            inode: it.ino(),
        }
    }
}

impl Locked {
    /// Takes a file to write it. One that is not there is made, empty, so that there is something to lock.
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

    /// Takes a file that is there to read it, beside others who only read; refused while anybody may write it.
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
                // Never closed: if this very process has the file, closing it would end SQLite's locks on it.
                std::mem::forget(opened);
                return Err(OpenError::InUse {
                    file: file.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(unreadable(file, &error)),
        }
        let locked = Self { file: opened, path };
        let is = locked
            .file
            .metadata()
            .map_err(|error| unreadable(file, &error))?;
        if !is.is_file() {
            return Err(OpenError::Foreign {
                file: file.to_owned(),
                why: "it is no file".to_owned(),
            });
        }
        // Whoever had it before may have removed it between the opening and the lock.
        if !seen(&locked.path).is_ok_and(|now| now == Identity::of(&is)) {
            let why = "it was removed or replaced at this very moment; look who does that, and start again".to_owned();
            return Err(OpenError::Unreadable {
                file: file.to_owned(),
                why,
            });
        }
        match is.nlink() {
            1 => Ok(locked),
            names => Err(OpenError::Linked {
                file: file.to_owned(),
                names,
                inode: is.ino(),
            }),
        }
    }

    /// For who reads the beginning of the file: through this descriptor, and none that would be closed again.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Begins to watch over the file and what is beside it, once SQLite has all of it open.
    pub(super) fn watch(&self) -> io::Result<WatchedFiles> {
        let database = (self.path.clone(), Identity::of(&self.file.metadata()?));
        let others = ["-wal", "-shm"].map(|ending| beside(&self.path, ending));
        let others = others.map(|path| seen(&path).map(|it| (path, it)));
        let [wal, index] = others;
        Ok(WatchedFiles {
            database,
            others: [wal?, index?],
        })
    }
}

/// Files that are open, and by which names they must be found.
pub(super) struct WatchedFiles {
    database: (PathBuf, Identity),
    others: [(PathBuf, Identity); 2],
}

/// What was taken away from under who has it open.
pub(super) struct Missing {
    pub(super) is_database: bool,
    pub(super) error: StoreError,
}

impl WatchedFiles {
    /// Whether each is where it was: a few microseconds, for it only asks what the names lead to.
    pub(super) fn look(&self) -> Result<(), Missing> {
        let lost = |(path, was): &(PathBuf, Identity)| match seen(path) {
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

/// What a name leads to, without following a link that took its place.
///
/// Nothing but the inode is asked for: a file whose times were looked at since gets them anew, and exact, with its next
/// write (Linux 6.13, multigrain timestamps), and a sync then writes the inode too. For a look at each commit that is the
/// price of a second disk access for each commit.
#[cfg(target_os = "linux")]
fn seen(path: &Path) -> io::Result<Identity> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    use rustix::io::Errno;
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO) {
        Ok(it) => Ok(Identity {
            device: makedev(it.stx_dev_major, it.stx_dev_minor),
            inode: it.stx_ino,
        }),
        // A kernel that has no such call, or a sandbox that does not know it.
        Err(Errno::NOSYS | Errno::PERM) => fs::symlink_metadata(path).map(|it| Identity::of(&it)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn seen(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|it| Identity::of(&it))
}

/// The length of a file; nothing of one that is not there.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |it| it.len())
}

/// Whether there are changes in the WAL of a database.
pub(super) fn has_wal(path: &Path) -> bool {
    length(&beside(path, "-wal")) > WAL_HEADER_BYTES
}

/// The name of a file beside the database.
pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Whether there is a database at this path; refused where none is and there are changes of one.
pub fn is_there(file: &Path) -> Result<bool, OpenError> {
    if file.exists() {
        return Ok(true);
    }
    // What is wrong with a folder or a link is told as of a file that is not there.
    resolved(file)
        .map_or(Ok(()), |path| expect_no_orphan(file, &path))
        .map(|()| false)
}

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

/// A path without symbolic links and dots, of a file that need not be there yet.
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
        _ => descriptors::told(error, ""),
    };
    OpenError::Unreadable {
        file: file.to_owned(),
        why,
    }
}
