//! A database file in the making: it gets its name when it is whole, was looked over, and is on the disk; or never.
//!
//! It is made in a folder of its own beside its place, with everything that SQLite puts beside it. The folder goes with
//! all that is in it, however the command ends; only SIGKILL and power loss leave it there, for people to remove.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::examine;
use super::exit::Exit;
use crate::admin::check::{Checked, Report};
use crate::descriptors;
use crate::open_store::open_sqlite;
use crate::signals::Signals;
use crate::store::sqlite::{Reserved, Source, Sqlite};
use crate::store::{Boot, OpenError, Store, StoreError};
use crate::zones::Zones;

/// What SQLite puts beside a database. Of another database it would be taken for this one's.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// How often the folder is tried to be removed while somebody still writes to it.
const REMOVALS_MAX: usize = 5;
/// How many findings a message tells; `bookd check` tells them all.
const TOLD_MAX: usize = 5;

/// Why there is no new file: words, and the exit code, as every command has them.
pub(super) struct Failed {
    pub(super) exit: Exit,
    pub(super) text: String,
}

impl Failed {
    /// Anything that is none of the others: what was copied is damaged, the disk failed.
    pub(super) fn other(text: String) -> Self {
        Self { exit: Exit::Failed, text }
    }

    /// It is not what can be copied.
    pub(super) fn invalid(text: String) -> Self {
        Self { exit: Exit::Invalid, text }
    }

    /// It is not there.
    pub(super) fn not_found(text: String) -> Self {
        Self { exit: Exit::NotFound, text }
    }

    /// Something is there already.
    pub(super) fn exists(text: String) -> Self {
        Self { exit: Exit::Conflict, text }
    }

    /// Another time it may go well.
    pub(super) fn later(text: String) -> Self {
        Self { exit: Exit::TryAgain, text }
    }

    pub(super) fn complain(&self) -> Exit {
        let _always_the_same = super::serve::complain(&self.text);
        self.exit
    }
}

impl From<OpenError> for Failed {
    fn from(error: OpenError) -> Self {
        Self { exit: Exit::from(&error), text: error.to_string() }
    }
}

/// What went wrong with a file that is there to be read.
pub(super) fn unreadable(file: &Path, error: &StoreError) -> Failed {
    if error.is_damage() {
        return damaged(file, &[error.to_string()]);
    }
    let text = format!("{}: {error}; nothing was written", file.display());
    if *error == StoreError::Busy { Failed::later(text) } else { Failed::other(text) }
}

/// A file in the making.
pub(super) struct Part {
    folder: PathBuf,
    target: PathBuf,
}

impl Part {
    /// Begins a file that will have this name. Refused when there is one, or what would be taken for a part of it.
    fn of(target: &Path) -> Result<Self, Failed> {
        let name = target.file_name().ok_or_else(|| Failed::invalid(format!("{} names no file", target.display())))?;
        let there: Vec<String> = [target.to_owned()]
            .into_iter()
            .chain(BESIDE.map(|ending| with_ending(target.as_os_str().to_owned(), ending)))
            .filter(|it| it.symlink_metadata().is_ok())
            .map(|it| it.display().to_string())
            .collect();
        if !there.is_empty() {
            let there = there.join(", ");
            return Err(Failed::exists(format!("{there}: there already, and never written over; move it away first")));
        }
        let (_, chance) = uuid::Uuid::now_v7().as_u64_pair();
        let made = format!(".{:08x}.part", chance & 0xffff_ffff);
        let folder = target.with_file_name(with_ending(name.to_owned(), &made));
        // Nobody else reads what is not finished.
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Failed::not_found(format!("{}: its folder does not exist; create it first", target.display()))
            }
            _ => unwritable(target, &error.to_string()),
        })?;
        Ok(Self { folder, target: target.to_owned() })
    }

    /// Where it is made.
    fn file(&self) -> PathBuf {
        self.folder.join("bookd.db")
    }

    /// Gives it its name: after what is in it is on the disk, and before anybody is told. Who may read it is whoever may
    /// read `like`.
    pub(super) fn publish(self, like: &Metadata) -> Result<(), Failed> {
        let cannot = |error: std::io::Error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Failed::exists(format!("{}: came to be meanwhile; nothing was written", self.target.display()))
            }
            ErrorKind::StorageFull => full(&self.target),
            _ => unwritable(&self.target, &error.to_string()),
        };
        let file = self.file();
        // Whoever opens it under its name while it has another one as well is told that it is in use.
        let _reserved = Reserved::new(&file)?;
        std::fs::set_permissions(&file, like.permissions()).map_err(cannot)?;
        File::open(&file).and_then(|it| it.sync_all()).map_err(cannot)?;
        // A rename would write over a file that came to be since it was looked for; a second name never does.
        match std::fs::hard_link(&file, &self.target) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists && self.target.symlink_metadata().is_err() => {
                // File systems without second names.
                std::fs::rename(&file, &self.target).map_err(cannot)?;
            }
            linked => {
                linked.map_err(cannot)?;
                std::fs::remove_file(&file).map_err(cannot)?;
            }
        }
        let folder = self.target.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|it| it.sync_all()).map_err(cannot)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // When it was cut short, somebody may still be writing; without the folder he cannot begin another file.
        for _ in 0..REMOVALS_MAX {
            if !matches!(std::fs::remove_dir_all(&self.folder), Err(error) if error.kind() != ErrorKind::NotFound) {
                break;
            }
        }
    }
}

fn with_ending(mut name: OsString, ending: &str) -> PathBuf {
    name.push(ending);
    name.into()
}

fn unwritable(target: &Path, why: &str) -> Failed {
    Failed::other(format!("{} cannot be written: {why}; nothing of it was left", target.display()))
}

fn full(target: &Path) -> Failed {
    let why = "there is no room left on its disk; free some, or name another place; nothing of it was left";
    Failed::later(format!("{} cannot be written: {why}", target.display()))
}

/// Copies a database into a part; `target` is what the part will be called.
pub(super) fn copy(source: &mut Source, part: &Path, target: &Path) -> Result<(), Failed> {
    let bytes = source.bytes().map_err(|error| unreadable(source.file(), &error))?;
    let bar = super::progress::bytes(bytes, "copying");
    let shown = bar.clone();
    let copied = source.copy_into(part, move |written| shown.set_position(written));
    bar.finish_and_clear();
    copied.map_err(|error| match error {
        // The source is only read.
        StoreError::Full => full(target),
        StoreError::ReadOnly => unwritable(target, "check the permissions of its folder"),
        StoreError::Io(why) => Failed::other(format!(
            "a disk failed while {} was copied to {}: {why}; nothing of the copy was left",
            source.file().display(),
            target.display()
        )),
        other => unreadable(source.file(), &other),
    })
}

/// A copy that was looked over, and nothing is in it that cannot be.
pub(super) struct Sound {
    pub(super) store: Sqlite,
    pub(super) boot: Boot,
    pub(super) calendars: u64,
    pub(super) appointments: u64,
    /// What people should know, and is no damage.
    pub(super) findings: Vec<String>,
}

/// Looks a copy over; `of` is what it is a copy of.
pub(super) fn sound(part: &Path, of: &Path, zones: &Arc<Zones>) -> Result<Sound, Failed> {
    let wrong = |error: StoreError| unreadable(of, &error);
    let mut store = open_sqlite(part, zones).map_err(|error| match error {
        OpenError::Unreadable { why, .. } => {
            Failed::other(format!("a copy of {} cannot be opened: {why}", of.display()))
        }
        other => Failed::from(other),
    })?;
    // Beside the copy: where there is room for that there is room for what is sorted.
    let folder = part.parent().unwrap_or(Path::new("."));
    let (file, Report { invariants, drift, sessions }) = examine(&mut store, zones, folder).map_err(wrong)?;
    let appointments = invariants.iter().find(|it| it.name == "rows").map_or(0, |it| it.examined);
    let all = [file].into_iter().chain(invariants);
    let damage: Vec<String> =
        all.flat_map(|it| it.findings.into_iter().map(move |finding| format!("{}: {finding}", it.name))).collect();
    if !damage.is_empty() {
        return Err(damaged(of, &damage));
    }
    let boot = store.boot().map_err(wrong)?;
    let calendars = store.count_calendars().map_err(wrong)?;
    let told = |it: Checked| it.findings.into_iter().map(move |finding| format!("{}: {finding}", it.name));
    let findings = told(sessions).chain(told(drift)).collect();
    Ok(Sound { store, boot, calendars, appointments, findings })
}

/// What is said of a database in which something is that cannot be.
pub(super) fn damaged(file: &Path, damage: &[String]) -> Failed {
    let told = damage.iter().take(TOLD_MAX).map(|it| format!("\n  {it}"));
    let more = damage.len().saturating_sub(TOLD_MAX);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    let file = file.display();
    Failed::other(format!("{file} is damaged, and nothing was written:{}{more}", told.collect::<String>()))
}

/// Makes a part on a thread of its own, until it is done or somebody has had enough. Signals are listened for before
/// anything is there that they would leave behind.
pub(super) fn until_done<T: Send + 'static>(
    target: &Path,
    work: impl FnOnce(&Path) -> Result<T, Failed> + Send + 'static,
) -> Result<(Part, T), Failed> {
    let runtime = descriptors::runtime().map_err(Failed::other)?;
    let done = runtime.block_on(async {
        let mut signals = Signals::new().map_err(Failed::other)?;
        let part = Part::of(target)?;
        let file = part.file();
        tokio::select! {
            done = tokio::task::spawn_blocking(move || work(&file)) => {
                let done = done.unwrap_or_else(|error| Err(Failed::other(format!("it came to no end: {error}"))));
                done.map(|made| (part, made))
            }
            _ = signals.next() => Err(Failed::other("interrupted; nothing was written".to_owned())),
        }
    });
    // What is still at work ends with the process.
    runtime.shutdown_background();
    done
}
