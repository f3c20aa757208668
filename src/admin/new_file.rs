//! A new database file, which gets its name only when it is whole, checked and on the disk.
//!
//! The file is made in a folder of its own next to its target, together with the files that SQLite
//! makes next to a database. The folder is removed however the command ends; only SIGKILL and power
//! loss leave it, for people to remove, or for the next run of a command that replaces a file.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata};
use std::io::ErrorKind;
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
            .chain(BESIDE.map(|ending| with_ending(target.as_os_str().to_owned(), ending)))
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
        Self::in_folder(folder, target)
    }

    /// Begins a file that will take the place of this one, which nobody else may have open. What an
    /// earlier run left that was killed is removed.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or the earlier one cannot be removed.
    fn instead_of(target: &Path) -> Result<Self, AdminError> {
        let folder = folder_instead_of(target);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(unwritable(target, &error.to_string()))
            }
            _ => Self::in_folder(folder, target),
        }
    }

    fn in_folder(folder: PathBuf, target: &Path) -> Result<Self, AdminError> {
        // No other user may read an unfinished file.
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => AdminError::NotFound(format!(
                    "{}: its folder does not exist; create it first",
                    target.display()
                )),
                _ => unwritable(target, &error.to_string()),
            })?;
        Ok(Self {
            folder,
            target: target.to_owned(),
        })
    }

    /// The path of the file before it has its name.
    fn file(&self) -> PathBuf {
        self.folder.join("bookd.db")
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
    /// belongs to it.
    pub(super) fn replace(self, like: &Metadata) -> Result<(), AdminError> {
        let cannot = |error: std::io::Error| unwritable(&self.target, &error.to_string());
        let file = self.file();
        // A process that opens the new file before the command ends is refused: in use.
        let _lock = ExclusiveLock::new(&file)?;
        let made = std::fs::metadata(&file).map_err(cannot)?;
        if (made.uid(), made.gid()) != (like.uid(), like.gid()) {
            chown(&file, Some(like.uid()), Some(like.gid())).map_err(cannot)?;
        }
        std::fs::set_permissions(&file, like.permissions()).map_err(cannot)?;
        File::open(&file)
            .and_then(|file| file.sync_all())
            .map_err(cannot)?;
        // The name of a file that the target had next to it is gone before the new file comes.
        sync_folder_of(&self.target).map_err(cannot)?;
        Failpoint::TenantDeletion.reached();
        std::fs::rename(&file, &self.target).map_err(cannot)?;
        sync_folder_of(&self.target).map_err(cannot)?;
        Failpoint::TenantDeletion.reached();
        Ok(())
    }
}

/// The folder of a file that will take the place of this one: one for each, so that the next run
/// finds what a killed one left.
fn folder_instead_of(target: &Path) -> PathBuf {
    with_ending(target.as_os_str().to_owned(), ".new.part")
}

/// Removes what a killed run left of a file that was to take the place of this one. Answers whether
/// there was something.
pub(super) fn remove_leftover(target: &Path) -> Result<bool, AdminError> {
    match std::fs::remove_dir_all(folder_instead_of(target)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unwritable(target, &error.to_string())),
    }
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
    work: impl FnOnce(&Path) -> Result<T, AdminError> + Send + 'static,
) -> Result<(NewFile, T), AdminError> {
    begin(|| NewFile::instead_of(target), work)
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
