//! A backup: a copy of a whole database at one moment, made while a server goes on, and looked over before it gets its
//! name.

use std::path::Path;
use std::sync::Arc;

use super::copy::{Sound, copy, look_over, present};
use super::new_file::until_done;
use super::{AdminError, Progress, StoreFile};
use crate::store::sqlite::CopySource;
use crate::zones::Zones;

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The last change that is in it.
    pub revision: u64,
    /// How many calendars there are.
    pub calendars: u64,
    /// How many appointments there are.
    pub appointments: u64,
    /// How large it is.
    pub bytes: u64,
    /// What people should know, and is no damage.
    pub findings: Vec<String>,
}

/// Makes one of a store, in a file that must not be there.
pub fn back_up(store: &StoreFile, target: &Path, progress: Progress) -> Result<Backup, AdminError> {
    let zones = store.load_zones()?;
    let like = present(&store.path)?;
    let (file, name) = (store.path.clone(), target.to_owned());
    let (new_file, backup) = until_done(target, move |made| {
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
    let Sound {
        store,
        boot,
        calendars,
        appointments,
        findings,
    } = look_over(made, file, zones, progress)?;
    store
        .close_alone()
        .map_err(|error| AdminError::unreadable(target, &error))?;
    let bytes = std::fs::metadata(made).map_or(0, |it| it.len());
    Ok(Backup {
        revision: boot.revision.0,
        calendars,
        appointments,
        bytes,
        findings,
    })
}
