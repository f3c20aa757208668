//! Copies of databases, made while a server may use them, and checked before they are used.

use std::fs::Metadata;
use std::path::Path;
use std::sync::Arc;

use super::check::examine::{Examined, examine};
use super::check::{Checked, Report};
use super::new_file::{full, unwritable};
use super::{AdminError, Progress, Step};
use crate::open_store::open_sqlite;
use crate::store::sqlite::{CopySource, Sqlite, is_there};
use crate::store::{Boot, OpenError, Store, StoreError};
use crate::zones::Zones;

/// The metadata of a file that must exist.
pub(super) fn present(file: &Path) -> Result<Metadata, AdminError> {
    is_there(file)?;
    match std::fs::metadata(file) {
        Ok(like) if like.is_file() => Ok(like),
        Ok(_) => Err(AdminError::Invalid(format!(
            "{} is no file",
            file.display()
        ))),
        Err(error) => Err(AdminError::NotFound(format!(
            "{} cannot be read: {error}",
            file.display()
        ))),
    }
}

/// Copies a database to the file `made`, which gets the name `target` later: errors use that name.
pub(super) fn copy(
    source: &mut CopySource,
    made: &Path,
    target: &Path,
    progress: Progress,
) -> Result<(), AdminError> {
    let bytes = source
        .bytes()
        .map_err(|error| AdminError::unreadable(source.file(), &error))?;
    source
        .copy_into(made, progress(Step::Copying { bytes }))
        .map_err(|error| match error {
            // The source is only read, so a full or read-only disk is that of the copy.
            StoreError::Full => full(target),
            StoreError::ReadOnly => unwritable(target, "check the permissions of its folder"),
            StoreError::Io(why) => AdminError::Failed(format!(
                "a disk failed while {} was copied to {}: {why}; nothing of the copy was left",
                source.file().display(),
                target.display()
            )),
            other => AdminError::unreadable(source.file(), &other),
        })
}

/// A copy that was checked and has no damage.
pub(super) struct SoundCopy {
    pub(super) store: Sqlite,
    pub(super) boot: Boot,
    pub(super) calendars: u64,
    pub(super) appointments: u64,
    /// Findings that people should know and that are no damage.
    pub(super) findings: Vec<String>,
}

/// Why a copy cannot be used.
pub(super) enum Unsound {
    /// It has damage, each in words.
    Damaged(Vec<String>),
    /// It cannot be opened.
    Unopened(OpenError),
    /// It cannot be read.
    Unreadable(StoreError),
}

/// Checks the copy `made` of the database `of`.
pub(super) fn check_copy(
    made: &Path,
    of: &Path,
    zones: &Arc<Zones>,
    progress: Progress,
) -> Result<SoundCopy, AdminError> {
    look_over(made, zones, progress).map_err(|unsound| match unsound {
        Unsound::Damaged(damage) => AdminError::damaged(of, &damage),
        Unsound::Unopened(OpenError::Unreadable { why, .. }) => AdminError::Failed(format!(
            "a copy of {} cannot be opened: {why}",
            of.display()
        )),
        Unsound::Unopened(other) => AdminError::from(other),
        Unsound::Unreadable(error) => AdminError::unreadable(of, &error),
    })
}

/// Checks the copy `made`.
pub(super) fn look_over(
    made: &Path,
    zones: &Arc<Zones>,
    progress: Progress,
) -> Result<SoundCopy, Unsound> {
    let mut store = open_sqlite(made, zones).map_err(Unsound::Unopened)?;
    // The check sorts in the folder of the copy: a disk with space for the copy has space for
    // sorting.
    let folder = made.parent().unwrap_or(Path::new("."));
    let examined = examine(&mut store, zones, folder, progress);
    let Examined { file, report } = examined.map_err(Unsound::Unreadable)?;
    let Report {
        invariants,
        drift,
        sessions,
    } = report;
    let appointments = invariants
        .iter()
        .find(|check| check.name == "rows")
        .map_or(0, |check| check.examined);
    let damage: Vec<String> = [file]
        .into_iter()
        .chain(invariants)
        .flat_map(findings_of)
        .collect();
    if !damage.is_empty() {
        return Err(Unsound::Damaged(damage));
    }
    let boot = store.boot().map_err(Unsound::Unreadable)?;
    let calendars = store.count_calendars().map_err(Unsound::Unreadable)?;
    let findings = findings_of(sessions).chain(findings_of(drift)).collect();
    Ok(SoundCopy {
        store,
        boot,
        calendars,
        appointments,
        findings,
    })
}

/// The findings of a check, each with the name of the check.
fn findings_of(check: Checked) -> impl Iterator<Item = String> {
    check
        .findings
        .into_iter()
        .map(move |finding| format!("{}: {finding}", check.name))
}
