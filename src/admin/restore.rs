//! A restore: a database from a backup, looked over first, and never written over another.
//!
//! What happened after the backup was made is gone, but people and programs have heard of it: watchers have revisions,
//! clients etags, callers confirmation codes. None of these is ever given out again (docs/decisions/0005).

use std::path::Path;
use std::sync::Arc;

use super::copy::{Sound, copy, look_over, present};
use super::new_file::until_done;
use super::{AdminError, Progress, StoreFile};
use crate::clock::SystemClock;
use crate::store::Boot;
use crate::store::sqlite::{CopySource, unused};
use crate::zones::Zones;
use bookd_core::ids::{AppointmentKey, Revision};
use bookd_core::time::Instant;

/// Revisions that are skipped for each millisecond of the clock since 1970: more than are ever made in one. So a restore
/// goes on above every revision that any history before it has given out, without knowing any of them; and below 2^53,
/// which is as far as numbers in JSON are exact, until the year 2255.
const REVISIONS_A_MILLISECOND: u64 = 1_000;
/// 2025-01-01 in milliseconds. One key behind confirmation codes is skipped for each since then: there are 2^40 of them,
/// enough until 2059, at a thousand bookings in every second of it.
const KEYS_FROM: i64 = 1_735_689_600_000;

/// A restore that was done.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The last change of the backup.
    pub revision: Revision,
    /// When that was made.
    pub last_time: Instant,
    /// The revision that the next change follows on.
    pub goes_on_after: Revision,
    /// How many calendars there are.
    pub calendars: u64,
    /// How many appointments there are.
    pub appointments: u64,
    /// How large the database is.
    pub bytes: u64,
    /// What people should know, and is no damage.
    pub findings: Vec<String>,
}

/// Makes a store from a backup, which is only read.
pub fn restore(
    backup: &Path,
    store: &StoreFile,
    progress: Progress,
) -> Result<Restored, AdminError> {
    let zones = store.load_zones()?;
    let like = present(backup)?;
    // Whoever serves it is to be told something else than that it is there. A file that comes to be after this is kept as
    // well: the restore ends without one.
    unused(&store.path)?;
    let (backup, name) = (backup.to_owned(), store.path.clone());
    let (new_file, restored) = until_done(&store.path, move |made| {
        make(&backup, made, &name, &zones, progress)
    })?;
    new_file.publish(&like)?;
    Ok(restored)
}

fn make(
    backup: &Path,
    made: &Path,
    target: &Path,
    zones: &Arc<Zones>,
    progress: Progress,
) -> Result<Restored, AdminError> {
    let mut source = CopySource::open(backup)?;
    // A copy is sound where an index of the original is not.
    let findings = source
        .integrity()
        .map_err(|error| AdminError::unreadable(backup, &error))?;
    if !findings.is_empty() {
        return Err(AdminError::damaged(backup, &findings));
    }
    copy(&mut source, made, target, progress)?;
    let Sound {
        mut store,
        boot,
        calendars,
        appointments,
        findings,
    } = look_over(made, backup, zones, progress)?;
    let (goes_on_after, first_key) =
        above_all(&boot, SystemClock.milliseconds()).map_err(AdminError::Later)?;
    let unwritten = |error| AdminError::unreadable(target, &error);
    store
        .go_on_from(goes_on_after, first_key)
        .map_err(unwritten)?;
    store.close_alone().map_err(unwritten)?;
    let bytes = std::fs::metadata(made).map_or(0, |it| it.len());
    let (revision, last_time) = (boot.revision, boot.last_time);
    Ok(Restored {
        revision,
        last_time,
        goes_on_after,
        calendars,
        appointments,
        bytes,
        findings,
    })
}

/// A revision and a key above all that were ever given out, by the clock's milliseconds.
fn above_all(boot: &Boot, now: i64) -> Result<(Revision, AppointmentKey), String> {
    let since = |from: i64| u64::try_from(now.saturating_sub(from)).ok();
    let last = boot.last_time;
    let above = since(KEYS_FROM.max(last.seconds().saturating_mul(1_000)))
        .and(since(0))
        .zip(since(KEYS_FROM));
    match above.map(|(revisions, keys)| {
        (
            Revision(revisions * REVISIONS_A_MILLISECOND),
            AppointmentKey(keys),
        )
    }) {
        Some((revision, key)) if revision > boot.revision => Ok((revision, boot.next_key.max(key))),
        _ => {
            let (now, newest) = (Instant::from_seconds(now.div_euclid(1_000)), boot.revision);
            let why = "revisions go on from the time, so that none is given out twice";
            let what = format!(
                "the clock shows {now}, and the backup's last change is revision {newest} of {last}"
            );
            let ahead = "if the backup was stamped by a clock that was ahead, run `bookd clock reset` on a copy of it first";
            Err(format!("{what}; set the clock right: {why}; {ahead}"))
        }
    }
}
