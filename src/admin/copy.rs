//! Copies of databases: made while a server goes on, and looked over before anybody trusts them.

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

/// What the system knows of a file that must be there.
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

/// Copies a database to `made`, which will be called `target`.
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
            // The source is only read.
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
pub(super) fn look_over(
    made: &Path,
    of: &Path,
    zones: &Arc<Zones>,
    progress: Progress,
) -> Result<Sound, AdminError> {
    let wrong = |error: StoreError| AdminError::unreadable(of, &error);
    let mut store = open_sqlite(made, zones).map_err(|error| match error {
        OpenError::Unreadable { why, .. } => AdminError::Failed(format!(
            "a copy of {} cannot be opened: {why}",
            of.display()
        )),
        other => AdminError::from(other),
    })?;
    // Beside the copy: where there is room for that there is room for what is sorted.
    let folder = made.parent().unwrap_or(Path::new("."));
    let Examined { file, report } = examine(&mut store, zones, folder, progress).map_err(wrong)?;
    let Report {
        invariants,
        drift,
        sessions,
    } = report;
    let appointments = invariants
        .iter()
        .find(|it| it.name == "rows")
        .map_or(0, |it| it.examined);
    let all = [file].into_iter().chain(invariants);
    let damage: Vec<String> = all
        .flat_map(|it| {
            it.findings
                .into_iter()
                .map(move |finding| format!("{}: {finding}", it.name))
        })
        .collect();
    if !damage.is_empty() {
        return Err(AdminError::damaged(of, &damage));
    }
    let boot = store.boot().map_err(wrong)?;
    let calendars = store.count_calendars().map_err(wrong)?;
    let told = |it: Checked| {
        it.findings
            .into_iter()
            .map(move |finding| format!("{}: {finding}", it.name))
    };
    let findings = told(sessions).chain(told(drift)).collect();
    Ok(Sound {
        store,
        boot,
        calendars,
        appointments,
        findings,
    })
}
