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
//!                          transaction ──▶ VACUUM ──▶ check ──▶ the copy takes the file's place
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::copy::{check_copy, present};
use super::new_file::full;
use super::tenant::TenantPrefix;
use super::{AdminError, Position, Progress, Step, StoreFile, new_file};
use crate::clock::SystemClock;
use crate::engine::{self, Engine, Failure, Stopped, SubmitOptions};
use crate::failpoints::Failpoint;
use crate::layout::Layout;
use crate::open_store::{open_existing_sqlite, open_sqlite};
use crate::store::sqlite::{Sqlite, TenantSize};
use crate::store::{CommitError, Store, StoreError};
use crate::zones::Zones;
use bookd_core::command::Command;
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::prefixes::Prefixes;

/// How many rows of an unsettled deletion of a calendar are written at a time.
const SETTLED_ROWS: usize = 1_000;

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

/// Tells how much a store has of a tenant, and changes nothing.
///
/// # Errors
///
/// The store is in use, missing or damaged; it has nothing of the tenant.
pub fn look(
    store: &StoreFile,
    tenant: &TenantPrefix,
    progress: Progress,
) -> Result<TenantSize, AdminError> {
    let (mut opened, zones) = open(store)?;
    drop(zones);
    Ok(find(&mut opened, store, tenant, progress)?.0)
}

/// Deletes a tenant. `is_clock_confirmed` says that the clock is right, though it is more than a day
/// after the last change: upcoming appointments that are shared with other tenants are cancelled by
/// it.
///
/// # Errors
///
/// The store is in use, missing or damaged; it has nothing of the tenant, or cannot be rewritten.
/// The store is as it was.
pub fn delete(
    store: &StoreFile,
    tenant: &TenantPrefix,
    is_clock_confirmed: bool,
    progress: Progress,
) -> Result<DeletedTenant, AdminError> {
    let like = present(&store.path)?;
    let (mut opened, zones) = open(store)?;
    let target = store.path.canonicalize()?;
    let had_leftover = new_file::remove_leftover(&target)?;
    let found = find(&mut opened, store, tenant, progress);
    let (size, _) = found.map_err(|error| match error {
        AdminError::NotFound(why) if had_leftover => AdminError::NotFound(format!(
            "{why}; the copy that a deletion which was cut short had left was removed"
        )),
        error => error,
    })?;
    let work = Work {
        file: store.path.clone(),
        calendars: tenant.calendars().clone(),
        is_clock_confirmed,
        zones,
        progress,
    };
    let (new_file, (opened, revision)) = new_file::remake(&target, move |made| {
        let revision = work.make(&mut opened, made)?;
        Ok((opened, revision))
    })?;
    // From here on the file has nothing next to it: the WAL is in it.
    let closed = opened.close_alone_locked();
    let _lock = closed.map_err(|error| AdminError::unreadable(&store.path, &error))?;
    Failpoint::TenantDeletion.reached();
    new_file.replace(&like)?;
    let bytes = std::fs::metadata(&target).map_or(0, |metadata| metadata.len());
    Ok(DeletedTenant {
        size,
        revision,
        bytes,
        had_leftover,
    })
}

fn open(store: &StoreFile) -> Result<(Sqlite, Arc<Zones>), AdminError> {
    store.must_be_there()?;
    let zones = store.load_zones()?;
    Ok((open_existing_sqlite(&store.path, &zones)?, zones))
}

/// How much there is of a tenant, and which of its calendars shared appointments name.
fn find(
    opened: &mut Sqlite,
    store: &StoreFile,
    tenant: &TenantPrefix,
    progress: Progress,
) -> Result<(TenantSize, Vec<CalendarId>), AdminError> {
    let unreadable = |error: StoreError| AdminError::unreadable(&store.path, &error);
    let rows = opened.count_rows().map_err(unreadable)?;
    let position = progress(Step::Searching { rows });
    let found = opened.look_for_tenant(tenant.calendars(), &*position);
    let (size, calendars) = found.map_err(unreadable)?;
    if size.is_nothing() {
        return Err(AdminError::NotFound(format!(
            "{} has nothing of {}: no calendar, no appointment, no change and no token",
            store.path.display(),
            tenant.as_str()
        )));
    }
    Ok((size, calendars))
}

/// What is done on the copy.
struct Work {
    /// The file of the store, for errors.
    file: PathBuf,
    calendars: Prefixes,
    is_clock_confirmed: bool,
    zones: Arc<Zones>,
    progress: Progress,
}

impl Work {
    /// Makes the file without the tenant; answers the revision of the mark.
    fn make(&self, store: &mut Sqlite, made: &Path) -> Result<Revision, AdminError> {
        self.copy(store, made)?;
        Failpoint::TenantDeletion.reached();
        let mut copy = self.open_copy(made)?;
        while copy
            .settle(SETTLED_ROWS, None)
            .map_err(|it| self.failed(it))?
        {}
        let found = copy.look_for_tenant(&self.calendars, &|_| {});
        let (_, shared) = found.map_err(|error| self.wrong(error))?;
        if !shared.is_empty() {
            copy = self.delete_calendars(copy, shared, made)?;
        }
        Failpoint::TenantDeletion.reached();
        self.erase(&mut copy)?;
        Failpoint::TenantDeletion.reached();
        copy.vacuum().map_err(|error| self.wrong(error))?;
        copy.close_alone().map_err(|error| self.wrong(error))?;
        Failpoint::TenantDeletion.reached();
        let sound = check_copy(made, &self.file, &self.zones, self.progress)?;
        let closed = sound.store.close_alone();
        closed.map_err(|error| self.wrong(error))?;
        Ok(sound.boot.revision)
    }

    fn copy(&self, store: &mut Sqlite, made: &Path) -> Result<(), AdminError> {
        let bytes = store.bytes().map_err(|error| self.wrong(error))?;
        let position = (self.progress)(Step::Copying { bytes });
        store
            .copy_into(made, position)
            .map_err(|error| self.wrong(error))
    }

    fn open_copy(&self, made: &Path) -> Result<Sqlite, AdminError> {
        Ok(open_sqlite(made, &self.zones)?)
    }

    fn erase(&self, copy: &mut Sqlite) -> Result<(), AdminError> {
        let rows = copy.count_rows().map_err(|error| self.wrong(error))?;
        let position: Position = (self.progress)(Step::Erasing { rows });
        let erased = copy.erase_tenant(&self.calendars, &*position);
        erased.map(drop).map_err(|error| self.failed(error))
    }

    /// Deletes these calendars by a writer, which cancels their upcoming appointments as it does for
    /// everybody: so the other tenants are told. Answers the copy, opened anew.
    fn delete_calendars(
        &self,
        copy: Sqlite,
        calendars: Vec<CalendarId>,
        made: &Path,
    ) -> Result<Sqlite, AdminError> {
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
            let (engine, running) = started.map_err(|error| later(error.to_string()))?;
            let deleted = delete_each(&engine, calendars).await;
            drop(engine);
            match (deleted, running.stopped().await) {
                (Ok(()), Stopped::Done) => Ok(()),
                (Err(failure), Stopped::Done) => Err(later(failure.to_string())),
                (_, Stopped::Failed(why) | Stopped::FileGone(why)) => Err(later(why)),
            }
        });
        ended?;
        let mut copy = self.open_copy(made)?;
        while copy
            .settle(SETTLED_ROWS, None)
            .map_err(|it| self.failed(it))?
        {}
        Ok(copy)
    }

    /// The error of a failed commit, of the copy alone.
    fn failed(&self, error: CommitError) -> AdminError {
        self.wrong(error.into_store_error())
    }

    /// The error of a store or a copy that cannot be read or written.
    fn wrong(&self, error: StoreError) -> AdminError {
        match error {
            StoreError::Full => full(&self.file),
            other => AdminError::unreadable(&self.file, &other),
        }
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
        engine.submit(command, SubmitOptions::default()).await?;
    }
    Ok(())
}
