//! A database file in the making: it gets its name when it is whole, was looked over, and is on the disk; or never.
//!
//! It is made in a folder of its own beside its place, with everything that SQLite puts beside it. The folder goes with
//! all that is in it, however the command ends; only SIGKILL and power loss leave it there, for people to remove.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::AdminError;
use crate::descriptors;
use crate::signals::Signals;
use crate::store::sqlite::ExclusiveLock;

/// What SQLite puts beside a database. Of another database it would be taken for this one's.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// How often the folder is tried to be removed while somebody still writes to it.
const REMOVALS_MAX: usize = 5;

/// A file in the making.
pub(super) struct NewFile {
    folder: PathBuf,
    target: PathBuf,
}

impl NewFile {
    /// Begins a file that will have this name. Refused when there is one, or what SQLite would take for what belongs to it.
    fn of(target: &Path) -> Result<Self, AdminError> {
        let name = target
            .file_name()
            .ok_or_else(|| AdminError::Invalid(format!("{} names no file", target.display())))?;
        let there: Vec<String> = [target.to_owned()]
            .into_iter()
            .chain(BESIDE.map(|ending| with_ending(target.as_os_str().to_owned(), ending)))
            .filter(|it| it.symlink_metadata().is_ok())
            .map(|it| it.display().to_string())
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
        // Nobody else reads what is not finished.
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

    /// Where it is made.
    fn file(&self) -> PathBuf {
        self.folder.join("bookd.db")
    }

    /// Gives it its name: after what is in it is on the disk, and before anybody is told. Who may read it is whoever may
    /// read `like`.
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
        // Whoever opens it under its name while it has another one as well is told that it is in use.
        let _lock = ExclusiveLock::new(&file)?;
        std::fs::set_permissions(&file, like.permissions()).map_err(cannot)?;
        File::open(&file)
            .and_then(|it| it.sync_all())
            .map_err(cannot)?;
        // A rename would write over a file that came to be since it was looked for.
        match TempPath::try_from_path(file)
            .map_err(cannot)?
            .persist_noclobber(&self.target)
        {
            // File systems that know neither such a rename nor second names.
            Err(failed)
                if failed.error.kind() != ErrorKind::AlreadyExists
                    && self.target.symlink_metadata().is_err() =>
            {
                failed
                    .path
                    .persist(&self.target)
                    .map_err(|failed| cannot(failed.error))?;
            }
            published => published.map_err(|failed| cannot(failed.error))?,
        }
        let folder = self
            .target
            .parent()
            .filter(|it| !it.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|it| it.sync_all())
            .map_err(cannot)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // When it was cut short, somebody may still be writing; without the folder he cannot begin another file.
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

pub(super) fn unwritable(target: &Path, why: &str) -> AdminError {
    AdminError::Failed(format!(
        "{} cannot be written: {why}; nothing of it was left",
        target.display()
    ))
}

pub(super) fn full(target: &Path) -> AdminError {
    let why = "there is no room left on its disk; free some, or name another place; nothing of it was left";
    AdminError::Later(format!("{} cannot be written: {why}", target.display()))
}

/// Makes a file on a thread of its own, until it is done or a signal comes. Signals are listened for before anything is
/// there that they would leave behind.
pub(super) fn until_done<T: Send + 'static>(
    target: &Path,
    work: impl FnOnce(&Path) -> Result<T, AdminError> + Send + 'static,
) -> Result<(NewFile, T), AdminError> {
    let runtime = descriptors::runtime().map_err(AdminError::Failed)?;
    let done = runtime.block_on(async {
        let mut signals = Signals::new().map_err(AdminError::Failed)?;
        let new_file = NewFile::of(target)?;
        let file = new_file.file();
        tokio::select! {
            done = tokio::task::spawn_blocking(move || work(&file)) => {
                let done = done.unwrap_or_else(|error| Err(AdminError::Failed(format!("it came to no end: {error}"))));
                done.map(|made| (new_file, made))
            }
            _ = signals.next() => Err(AdminError::Failed("interrupted; nothing was written".to_owned())),
        }
    });
    // What is still at work ends with the process.
    runtime.shutdown_background();
    done
}
