//! A backup: a copy of a whole database at one instant, while a server may use the database.
//!
//! The copy is checked before it gets its name, so a backup that exists is sound.

use std::path::Path;
use std::sync::Arc;

use super::copy::{SoundCopy, check_copy, copy, present};
use super::{AdminError, Progress, StoreFile, new_file};
use crate::store::sqlite::CopySource;
use crate::zones::Zones;

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The revision of its last change.
    pub revision: u64,
    /// The number of calendars.
    pub calendars: u64,
    /// The number of appointments.
    pub appointments: u64,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// Findings that people should know and that are no damage.
    pub findings: Vec<String>,
}

/// Makes a backup of a store in a file that must not exist.
pub fn back_up(store: &StoreFile, target: &Path, progress: Progress) -> Result<Backup, AdminError> {
    let zones = store.load_zones()?;
    let like = present(&store.path)?;
    let (file, name) = (store.path.clone(), target.to_owned());
    let (new_file, backup) = new_file::make(target, move |made| {
        make(&file, made, &name, &zones, progress)
    })?;
    new_file.publish(&like)?;
    Ok(backup)
}

fn make(
    file: &Path,
    made: &Path,
    target: &Path,
    zones: &Arc<Zones>,
    progress: Progress,
) -> Result<Backup, AdminError> {
    let mut source = CopySource::open(file)?;
    if source.is_older() {
        let what = "was made by an older bookd, or never finished";
        let next = "copy it with the bookd that serves it, or start `bookd serve` on it once";
        return Err(AdminError::Invalid(format!(
            "{} {what}; {next}",
            file.display()
        )));
    }
    copy(&mut source, made, target, progress)?;
    let SoundCopy {
        store,
        boot,
        calendars,
        appointments,
        findings,
    } = check_copy(made, file, zones, progress)?;
    store
        .close_alone()
        .map_err(|error| AdminError::unreadable(target, &error))?;
    let bytes = std::fs::metadata(made).map_or(0, |metadata| metadata.len());
    Ok(Backup {
        revision: boot.revision.0,
        calendars,
        appointments,
        bytes,
        findings,
    })
}
