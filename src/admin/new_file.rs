//! A new database file, which gets its name only when it is whole, checked and on the disk.
//!
//! The file is made in a folder of its own next to its target, together with the files that SQLite
//! makes next to a database. The folder is removed however the command ends; only SIGKILL and power
//! loss leave it, for people to remove, or for the next run of a command that replaces a file.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::AdminError;
use crate::descriptors;
use crate::failpoints::Failpoint;
use crate::signals::Signals;
use crate::store::sqlite::ExclusiveLock;

/// The endings of the files that SQLite makes next to a database. Such a file of another database
/// would be taken for one of the new database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// The name of the file in its folder. The other files of a work begin so.
const NAME: &str = "bookd.db";
/// How often the removal of the folder is tried while a thread still writes to it.
const REMOVALS_MAX: usize = 5;

/// A new file that has no name yet.
pub(super) struct NewFile {
    folder: PathBuf,
    target: PathBuf,
}

impl NewFile {
    /// Begins a file that will have this name.
    ///
    /// # Errors
    ///
    /// `Exists` if there is a file of this name, or one that SQLite would take for a part of it.
    fn of(target: &Path) -> Result<Self, AdminError> {
        let name = target
            .file_name()
            .ok_or_else(|| AdminError::Invalid(format!("{} names no file", target.display())))?;
        let there: Vec<String> = [target.to_owned()]
            .into_iter()
            .chain(beside(target))
            .filter(|path| path.symlink_metadata().is_ok())
            .map(|path| path.display().to_string())
            .collect();
        if !there.is_empty() {
            let there = there.join(", ");
            return Err(AdminError::Exists(format!(
                "{there}: there already, and never written over; move it away first"
            )));
        }
        let (_, chance) = uuid::Uuid::now_v7().as_u64_pair();
        let made = format!(".{:08x}.part", chance & 0xffff_ffff);
        let folder = target.with_file_name(with_ending(name.to_owned(), &made));
        Self::in_folder(folder, target).map_err(|error| match error.kind() {
            ErrorKind::NotFound => AdminError::NotFound(format!(
                "{}: its folder does not exist; create it first",
                target.display()
            )),
            _ => unwritable(target, &error.to_string()),
        })
    }

    /// Begins a file that will take the place of this one, which nobody else may have open, and will
    /// have the owner of `like`. What an earlier run left that was killed is removed.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or the earlier one cannot be removed; the file cannot be replaced,
    /// or not be given to its owner.
    fn instead_of(target: &Path, like: &Metadata) -> Result<Self, AdminError> {
        if is_mount_point(target) {
            let why = "it is a mount point itself, and cannot be replaced: mount its folder";
            return Err(unreplaced(target, why));
        }
        remove_leftover(target)?;
        let new_file = Self::in_folder(folder_instead_of(target), target)
            .map_err(|error| unreplaced(target, &format!("no copy can be made: {error}")))?;
        // Tried here, and not found out when the work is done.
        let tried = new_file.folder.join(format!("{NAME}.owner"));
        File::create_new(&tried)
            .and_then(|_| give_to_owner_of(&tried, like))
            .and_then(|()| std::fs::remove_file(&tried))
            .map_err(|error| {
                let why = "a copy cannot be given to the owner of the file";
                unreplaced(target, &format!("{why}: {error}; run as that user"))
            })?;
        Ok(new_file)
    }

    fn in_folder(folder: PathBuf, target: &Path) -> std::io::Result<Self> {
        // No other user may read an unfinished file.
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self {
            folder,
            target: target.to_owned(),
        })
    }

    /// The path of the file before it has its name.
    fn file(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Gives the file its name, after its content is on the disk. It has the permissions of `like`.
    pub(super) fn publish(self, like: &Metadata) -> Result<(), AdminError> {
        let cannot = |error: std::io::Error| match error.kind() {
            ErrorKind::AlreadyExists => AdminError::Exists(format!(
                "{}: came to be meanwhile; nothing was written",
                self.target.display()
            )),
            ErrorKind::StorageFull => full(&self.target),
            _ => unwritable(&self.target, &error.to_string()),
        };
        let file = self.file();
        // A process that opens the file by its new name while it has the old one too is refused: in
        // use.
        let _lock = ExclusiveLock::new(&file)?;
        std::fs::set_permissions(&file, like.permissions()).map_err(cannot)?;
        File::open(&file)
            .and_then(|file| file.sync_all())
            .map_err(cannot)?;
        // A rename would overwrite a file that appeared after the check.
        match TempPath::try_from_path(file)
            .map_err(cannot)?
            .persist_noclobber(&self.target)
        {
            // Systems without a rename that keeps an existing file; the last resort is for those
            // without hard links, too.
            Err(failed)
                if failed.error.kind() != ErrorKind::AlreadyExists
                    && self.target.symlink_metadata().is_err() =>
            {
                // A hard link never overwrites; the path's own name goes when it is dropped.
                if let Err(error) = std::fs::hard_link(&failed.path, &self.target) {
                    if error.kind() == ErrorKind::AlreadyExists {
                        return Err(cannot(error));
                    }
                    failed
                        .path
                        .persist(&self.target)
                        .map_err(|failed| cannot(failed.error))?;
                }
            }
            published => published.map_err(|failed| cannot(failed.error))?,
        }
        sync_folder_of(&self.target).map_err(cannot)
    }

    /// Puts the file in the place of the target, after its content is on the disk. It has the
    /// permissions and the owner of `like`. The caller has the target locked, and no file next to it
    /// belongs to it. `becomes` says what the target is then, in words, such as "without acme/".
    pub(super) fn replace(self, like: &Metadata, becomes: &str) -> Result<(), AdminError> {
        let cannot = |error: std::io::Error| unreplaced(&self.target, &error.to_string());
        let file = self.file();
        // A process that opens the new file before the command ends is refused: in use.
        let _lock = ExclusiveLock::new(&file)?;
        give_to_owner_of(&file, like).map_err(cannot)?;
        std::fs::set_permissions(&file, like.permissions()).map_err(cannot)?;
        File::open(&file)
            .and_then(|file| file.sync_all())
            .map_err(cannot)?;
        // The name of a file that the target had next to it is gone before the new file comes.
        sync_folder_of(&self.target).map_err(cannot)?;
        Failpoint::TenantDeletion.reached();
        let there = beside(&self.target).find(|path| path.symlink_metadata().is_ok());
        if let Some(beside) = there {
            let why = format!("{} came to be meanwhile", beside.display());
            return Err(unreplaced(&self.target, &why));
        }
        std::fs::rename(&file, &self.target).map_err(cannot)?;
        sync_folder_of(&self.target).map_err(|error| {
            AdminError::Failed(format!(
                "{} is {becomes}, but its folder cannot be synced: {error}; after a power loss it may be as it was \
                 before: run the command again then",
                self.target.display()
            ))
        })?;
        Failpoint::TenantDeletion.reached();
        Ok(())
    }
}

/// The files that SQLite makes next to a database.
fn beside(target: &Path) -> impl Iterator<Item = PathBuf> {
    BESIDE
        .map(|ending| with_ending(target.as_os_str().to_owned(), ending))
        .into_iter()
}

/// Gives a file the owner and the group of `like`.
fn give_to_owner_of(file: &Path, like: &Metadata) -> std::io::Result<()> {
    let made = std::fs::metadata(file)?;
    if (made.uid(), made.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    chown(file, Some(like.uid()), Some(like.gid()))
}

/// Whether a file itself is mounted, as one file of a host is in a container: it can be written, and
/// no other file can take its name. Where the system does not tell, none is.
fn is_mount_point(file: &Path) -> bool {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    is_among(&mounts, file.as_os_str().as_bytes())
}

/// Whether a path is among the mount points of a `mountinfo`: the fifth field of a line, with some
/// characters as octal numbers.
fn is_among(mounts: &[u8], path: &[u8]) -> bool {
    let mut written = Vec::new();
    for byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => written.extend(format!("\\{byte:03o}").bytes()),
            other => written.push(*other),
        }
    }
    let mut lines = mounts.split(|byte| *byte == b'\n');
    lines.any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(&*written))
}

/// The folder of a file that will take the place of this one: one for each, so that the next run
/// finds what a killed one left.
fn folder_instead_of(target: &Path) -> PathBuf {
    with_ending(target.as_os_str().to_owned(), ".new.part")
}

/// Removes what a killed run left of a file that was to take the place of this one. Answers whether
/// there was something. Files of others are left alone.
pub(super) fn remove_leftover(target: &Path) -> Result<bool, AdminError> {
    let folder = folder_instead_of(target);
    match remove_made(&folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => {
            let what = format!("{} is in the way and cannot be removed", folder.display());
            Err(unreplaced(target, &format!("{what}: {error}")))
        }
    }
}

/// Removes a folder with the files that were made in it, and with no others.
fn remove_made(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_bytes().starts_with(NAME.as_bytes()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir(folder)
}

fn sync_folder_of(file: &Path) -> std::io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all())
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After an interruption the worker thread may still write, which makes a removal fail. Once
        // the folder is gone, the thread cannot make another file.
        for _ in 0..REMOVALS_MAX {
            if !matches!(std::fs::remove_dir_all(&self.folder), Err(error) if error.kind() != ErrorKind::NotFound)
            {
                break;
            }
        }
    }
}

fn with_ending(mut name: OsString, ending: &str) -> PathBuf {
    name.push(ending);
    name.into()
}

/// The error of a file that cannot be written.
pub(super) fn unwritable(target: &Path, why: &str) -> AdminError {
    AdminError::Failed(format!(
        "{} cannot be written: {why}; nothing of it was left",
        target.display()
    ))
}

/// The error of a file that cannot be replaced, and stays.
pub(super) fn unreplaced(target: &Path, why: &str) -> AdminError {
    AdminError::Failed(format!(
        "{}: {why}; the store is as it was",
        target.display()
    ))
}

/// The error of a file whose disk is full.
pub(super) fn full(target: &Path) -> AdminError {
    let why = "there is no room left on its disk; free some, or name another place; nothing of it was left";
    AdminError::Later(format!("{} cannot be written: {why}", target.display()))
}

/// Makes a new file: runs `work` on a thread of its own, until it is done or a signal comes.
/// Signals are caught before the folder exists, so that none leaves it behind.
pub(super) fn make<T: Send + 'static>(
    target: &Path,
    work: impl FnOnce(&Path) -> Result<T, AdminError> + Send + 'static,
) -> Result<(NewFile, T), AdminError> {
    begin(|| NewFile::of(target), work)
}

/// Makes a file that will take the place of this one, as `make` does.
pub(super) fn remake<T: Send + 'static>(
    target: &Path,
    like: &Metadata,
    work: impl FnOnce(&Path) -> Result<T, AdminError> + Send + 'static,
) -> Result<(NewFile, T), AdminError> {
    begin(|| NewFile::instead_of(target, like), work)
}

fn begin<T: Send + 'static>(
    new_file: impl FnOnce() -> Result<NewFile, AdminError>,
    work: impl FnOnce(&Path) -> Result<T, AdminError> + Send + 'static,
) -> Result<(NewFile, T), AdminError> {
    let runtime = descriptors::runtime().map_err(AdminError::Failed)?;
    let done = runtime.block_on(async {
        let mut signals = Signals::new().map_err(AdminError::Failed)?;
        let new_file = new_file()?;
        let file = new_file.file();
        tokio::select! {
            done = tokio::task::spawn_blocking(move || work(&file)) => {
                let done = done.unwrap_or_else(|error| Err(AdminError::Failed(format!("it came to no end: {error}"))));
                done.map(|made| (new_file, made))
            }
            _ = signals.next() => Err(AdminError::Failed("interrupted; nothing was written".to_owned())),
        }
    });
    // Work that is still running ends with the process.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::is_among;

    #[test]
    fn a_file_that_is_mounted_itself_is_found_among_the_mounts() {
        let mounts = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            36 22 8:1 /host/bookd.db /var/my\\040data/bookd.db rw - ext4 /dev/sda1 rw\n";
        for (path, is_mounted) in [
            ("/", true),
            ("/var/my data/bookd.db", true),
            ("/var/my data", false),
            ("/host/bookd.db", false),
        ] {
            assert_eq!(is_among(mounts, path.as_bytes()), is_mounted, "{path}");
        }
    }
}
