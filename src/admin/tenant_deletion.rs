//! The deletion of a tenant: everything on the calendars of one prefix goes from the file of a store
//! that no server holds.
//!
//! It is done on a copy, which is looked over and then takes the place of the file: whoever looks,
//! and whenever the process dies, finds the file as it was or without the tenant, and never between
//! (docs/decisions/0010).
//!
//! ```text
//! file ──copy──▶ copy ──▶ calendars with shared appointments are deleted by a writer, which cancels
//!                          those that are upcoming ──▶ everything of the tenant goes, in one
//!                          transaction ──▶ copy without free pages ──▶ check ──▶ the second copy
//!                          takes the file's place
//! ```
//!
//! What can be refused is refused before the work, which may take hours.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::copy::{SoundCopy, Unsound, look_over, present};
use super::new_file::{remove_leftover, unreplaced};
use super::tenant::TenantPrefix;
use super::{AdminError, Position, Progress, Step, StoreFile, new_file};
use crate::clock::{Clock, SystemClock};
use crate::engine::{self, Engine, Failure, Stopped, SubmitOptions};
use crate::failpoints::Failpoint;
use crate::layout::Layout;
use crate::open_store::{lookup, open_existing_sqlite, open_sqlite};
use crate::store::sqlite::{CopySource, ExclusiveLock, Sqlite, TenantSize};
use crate::store::{CommitError, Store, StoreError};
use crate::zones::Zones;
use bookd_core::command::Command;
use bookd_core::ids::{CalendarId, Revision};

/// How many rows of an unsettled deletion of a calendar are written at a time.
const SETTLED_ROWS: usize = 1_000;
/// How long the deletion of a calendar may take: nobody waits for it but the command.
const DELETION_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A tenant that was deleted.
#[derive(Clone, Copy, Debug)]
pub struct DeletedTenant {
    /// How much there was of it.
    pub size: TenantSize,
    /// The revision of the mark that the deletion left.
    pub revision: Revision,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// Whether a copy was removed that an earlier run had left.
    pub had_leftover: bool,
}

/// Tells how much a store has of a tenant, and writes nothing to it or next to it.
///
/// # Errors
///
/// The store is in use, missing, older or damaged; it has nothing of the tenant.
pub fn look(
    store: &StoreFile,
    tenant: &TenantPrefix,
    progress: Progress,
) -> Result<TenantSize, AdminError> {
    store.must_be_there()?;
    let zones = store.load_zones()?;
    let source = CopySource::open_unwritten(&store.path)?;
    if source.is_older() {
        return Err(AdminError::Invalid(format!(
            "{} was made by an older bookd, or never finished; start `bookd serve` on it once, which upgrades it",
            store.path.display()
        )));
    }
    let unreadable = |error: StoreError| AdminError::unreadable(&store.path, &error);
    let mut opened = source.into_store(lookup(&zones)).map_err(unreadable)?;
    let rows = opened.count_rows().map_err(unreadable)?;
    let position = progress(Step::Searching { rows });
    let found = opened.look_for_tenant(tenant.calendars(), &*position);
    let (size, _) = found.map_err(unreadable)?;
    if size.is_nothing() {
        return Err(AdminError::NotFound(format!(
            "{} has nothing of {}: no calendar, no appointment, no change and no token",
            store.path.display(),
            tenant.as_str()
        )));
    }
    Ok(size)
}

/// Deletes a tenant. `is_clock_confirmed` says that the clock is right, though it is more than a day
/// after the last change: upcoming appointments that are shared with other tenants are cancelled by
/// it.
///
/// # Errors
///
/// The store is in use, missing, older or damaged; it has nothing of the tenant, or cannot be
/// rewritten. The store is as it was, unless the message says otherwise.
pub fn delete(
    store: &StoreFile,
    tenant: &TenantPrefix,
    is_clock_confirmed: bool,
    progress: Progress,
) -> Result<DeletedTenant, AdminError> {
    let like = present(&store.path)?;
    let target = store.path.canonicalize()?;
    let had_leftover = {
        // No other deletion is under way.
        let _lock = ExclusiveLock::new(&target)?;
        remove_leftover(&target)?
    };
    let size = look(store, tenant, progress).map_err(|error| match error {
        AdminError::NotFound(why) if had_leftover => AdminError::NotFound(format!(
            "{why}; the copy that a deletion which was cut short had left was removed"
        )),
        error => error,
    })?;
    let zones = store.load_zones()?;
    let mut opened = open_existing_sqlite(&store.path, &zones)?;
    // The file has nothing next to it from here on. A process that reads it is found now.
    opened
        .leave_alone()
        .map_err(|error| AdminError::unreadable(&store.path, &error))?;
    let work = Work {
        file: store.path.clone(),
        tenant: tenant.clone(),
        is_clock_confirmed,
        zones,
        progress,
    };
    let (new_file, (opened, revision)) = new_file::remake(&target, &like, move |made| {
        let revision = work.make(&mut opened, made)?;
        Ok((opened, revision))
    })?;
    let closed = opened.close_alone_locked();
    let _lock = closed.map_err(|error| AdminError::unreadable(&store.path, &error))?;
    Failpoint::TenantDeletion.reached();
    new_file.replace(&like, &format!("without {}", tenant.as_str()))?;
    let bytes = std::fs::metadata(&target).map_or(0, |metadata| metadata.len());
    Ok(DeletedTenant {
        size,
        revision,
        bytes,
        had_leftover,
    })
}

/// What is done on the copy.
struct Work {
    /// The file of the store, for errors.
    file: PathBuf,
    tenant: TenantPrefix,
    is_clock_confirmed: bool,
    zones: Arc<Zones>,
    progress: Progress,
}

impl Work {
    /// Makes the file without the tenant; answers the revision of the mark.
    fn make(&self, store: &mut Sqlite, made: &Path) -> Result<Revision, AdminError> {
        let first = made.with_added_extension("first");
        self.copy(store, &first)
            .map_err(|error| self.not_copied(error))?;
        Failpoint::TenantDeletion.reached();
        let mut copy = self.open_copy(&first)?;
        self.settle(&mut copy)?;
        let found = copy.look_for_tenant(self.tenant.calendars(), &|_| {});
        let (_, shared) = found.map_err(|error| self.wrong(error))?;
        if !shared.is_empty() {
            copy = self.delete_calendars(copy, shared, &first)?;
        }
        Failpoint::TenantDeletion.reached();
        self.erase(&mut copy)?;
        Failpoint::TenantDeletion.reached();
        // Not VACUUM in place, whose temporary file may be on another and smaller disk.
        self.copy(&mut copy, made)
            .map_err(|error| self.wrong(error))?;
        copy.close_alone().map_err(|error| self.wrong(error))?;
        std::fs::remove_file(&first)
            .map_err(|error| unreplaced(&self.file, &format!("its copy: {error}")))?;
        Failpoint::TenantDeletion.reached();
        let sound = self.check(made)?;
        let closed = sound.store.close_alone();
        closed.map_err(|error| self.wrong(error))?;
        Ok(sound.boot.revision)
    }

    fn copy(&self, of: &mut Sqlite, to: &Path) -> Result<(), StoreError> {
        let position = (self.progress)(Step::Copying { bytes: of.bytes()? });
        of.copy_into(to, position)
    }

    fn open_copy(&self, made: &Path) -> Result<Sqlite, AdminError> {
        Ok(open_sqlite(made, &self.zones)?)
    }

    /// Writes the rows of a deletion of a calendar that is not settled.
    fn settle(&self, copy: &mut Sqlite) -> Result<(), AdminError> {
        while copy
            .settle(SETTLED_ROWS, None)
            .map_err(|error| self.failed(error))?
        {}
        Ok(())
    }

    fn erase(&self, copy: &mut Sqlite) -> Result<(), AdminError> {
        let rows = copy.count_rows().map_err(|error| self.wrong(error))?;
        let position: Position = (self.progress)(Step::Erasing { rows });
        let erased = copy.erase_tenant(self.tenant.calendars(), &*position);
        erased.map(drop).map_err(|error| self.failed(error))
    }

    fn check(&self, made: &Path) -> Result<SoundCopy, AdminError> {
        look_over(made, &self.zones, self.progress).map_err(|unsound| match unsound {
            Unsound::Damaged(findings) => self.found(&findings),
            Unsound::Unopened(error) => AdminError::Open(error),
            Unsound::Unreadable(error) => self.wrong(error),
        })
    }

    /// Deletes these calendars by a writer, which cancels their upcoming appointments as it does for
    /// everybody: so the other tenants are told. Answers the copy, opened anew.
    fn delete_calendars(
        &self,
        mut copy: Sqlite,
        calendars: Vec<CalendarId>,
        made: &Path,
    ) -> Result<Sqlite, AdminError> {
        // The writer does not say what is wrong with a calendar that it cannot load.
        let loaded = copy.load_calendars(&calendars, SystemClock.now());
        loaded.map_err(|error| self.wrong(error))?;
        copy.let_go(&calendars);
        let later = |why: String| AdminError::Later(format!("{why}; nothing was changed"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| later(format!("the runtime cannot start: {error}")))?;
        let settings = engine::Settings {
            layout: Layout::Inline,
            is_clock_confirmed: self.is_clock_confirmed,
            ..engine::Settings::default()
        };
        let ended = runtime.block_on(async {
            let started = Engine::start(Box::new(copy), Arc::new(SystemClock), settings);
            let (engine, running) = started.map_err(|error| self.wrong(error))?;
            let deleted = delete_each(&engine, calendars).await;
            drop(engine);
            match (deleted, running.stopped().await) {
                (Ok(()), Stopped::Done) => Ok(()),
                (Err(failure), Stopped::Done) => Err(match failure {
                    Failure::Damaged | Failure::Refused(_) => {
                        self.found(&[format!("a calendar cannot be deleted: {failure}")])
                    }
                    other => later(other.to_string()),
                }),
                (_, Stopped::Failed(why) | Stopped::FileGone(why)) => {
                    Err(unreplaced(&self.file, &format!("its copy: {why}")))
                }
            }
        });
        ended?;
        let mut copy = self.open_copy(made)?;
        self.settle(&mut copy)?;
        Ok(copy)
    }

    /// The error of a failed commit, of the copy alone.
    fn failed(&self, error: CommitError) -> AdminError {
        self.wrong(error.into_store_error())
    }

    /// The error of a store that cannot be copied.
    fn not_copied(&self, error: StoreError) -> AdminError {
        match error {
            StoreError::Full => self.wrong(error),
            other => AdminError::unreadable(&self.file, &other),
        }
    }

    /// The error of a copy that cannot be read or written.
    fn wrong(&self, error: StoreError) -> AdminError {
        match error {
            StoreError::Full => AdminError::Later(format!(
                "{}: there is no room for its copies on its disk; free twice its size; the store is as it was",
                self.file.display()
            )),
            StoreError::Damaged(_) => self.found(&[error.to_string()]),
            other => unreplaced(&self.file, &format!("its copy: {other}")),
        }
    }

    /// The error of a copy with findings.
    fn found(&self, findings: &[String]) -> AdminError {
        let (tenant, file) = (self.tenant.as_str(), self.file.display());
        let what = format!(
            "the copy of {file} without {tenant} has findings, and nothing was changed; see whether `bookd check` has \
             them of {file} too"
        );
        AdminError::found(&what, findings)
    }
}

async fn delete_each(engine: &Engine, calendars: Vec<CalendarId>) -> Result<(), Failure> {
    for calendar in calendars {
        let command = Command::DeleteCalendar {
            calendar,
            force: true,
            etag: None,
            beforehand: None,
        };
        let options = SubmitOptions {
            deadline: Some(tokio::time::Instant::now() + DELETION_MAX),
            ..SubmitOptions::default()
        };
        engine.submit(command, options).await?;
    }
    Ok(())
}
