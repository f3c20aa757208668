//! A restore: makes a database from a backup, checks it first, and never overwrites another
//! database.
//!
//! The changes after the backup are lost, but their revisions, etags and confirmation codes are
//! known to watchers, clients and callers. None of these is ever given out again
//! (docs/decisions/0005).

use std::path::Path;
use std::sync::Arc;

use super::copy::{SoundCopy, check_copy, copy, present};
use super::{AdminError, Progress, StoreFile, new_file};
use crate::clock::SystemClock;
use crate::store::Boot;
use crate::store::sqlite::{CopySource, unused};
use crate::zones::Zones;
use bookd_core::ids::{AppointmentKey, Revision};
use bookd_core::time::Instant;

/// The revisions that a restore skips for each millisecond of the clock since 1970, which are more
/// than are ever made in a millisecond. A restored store therefore goes on above every revision
/// that any history before has given out, without knowing them, and stays below 2^53, up to which
/// numbers in JSON are exact, until the year 2255.
const REVISIONS_A_MILLISECOND: u64 = 1_000;
/// 2025-01-01 in milliseconds. A restore skips one of the keys of confirmation codes for each
/// millisecond since then. There are 2^40 keys, enough until 2059 at a thousand bookings in every
/// second.
const KEYS_FROM: i64 = 1_735_689_600_000;

/// A store that was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The revision of the last change of the backup.
    pub revision: Revision,
    /// The time of that change.
    pub last_time: Instant,
    /// The revision from which the store goes on: its next change has the one after it.
    pub goes_on_after: Revision,
    /// The number of calendars.
    pub calendars: u64,
    /// The number of appointments.
    pub appointments: u64,
    /// The number of tokens that were dropped.
    pub tokens_dropped: usize,
    /// The size of the database in bytes.
    pub bytes: u64,
    /// Findings that people should know and that are no damage.
    pub findings: Vec<String>,
}

/// Makes a store from a backup. The backup is only read. Its tokens are dropped, because some may
/// have been revoked since, unless `keeps_tokens`.
pub fn restore(
    backup: &Path,
    store: &StoreFile,
    keeps_tokens: bool,
    progress: Progress,
) -> Result<Restored, AdminError> {
    let zones = store.load_zones()?;
    let like = present(backup)?;
    // A store that a server uses is an error of its own, not just a file that exists. A file that
    // appears after this check is kept too: `publish` fails then.
    unused(&store.path)?;
    let (backup, name) = (backup.to_owned(), store.path.clone());
    let (new_file, restored) = new_file::make(&store.path, move |made| {
        make((&backup, made, &name), keeps_tokens, &zones, progress)
    })?;
    new_file.publish(&like)?;
    Ok(restored)
}

fn make(
    (backup, made, target): (&Path, &Path, &Path),
    keeps_tokens: bool,
    zones: &Arc<Zones>,
    progress: Progress,
) -> Result<Restored, AdminError> {
    let mut source = CopySource::open(backup)?;
    // The original is checked too: a copy is sound even where an index of the original is damaged.
    let findings = source
        .integrity()
        .map_err(|error| AdminError::unreadable(backup, &error))?;
    if !findings.is_empty() {
        return Err(AdminError::damaged(backup, &findings));
    }
    copy(&mut source, made, target, progress)?;
    let SoundCopy {
        mut store,
        boot,
        calendars,
        appointments,
        findings,
    } = check_copy(made, backup, zones, progress)?;
    let (goes_on_after, first_key) =
        above_all(&boot, SystemClock.milliseconds()).map_err(AdminError::Later)?;
    let unwritten = |error| AdminError::unreadable(target, &error);
    let tokens_dropped = store
        .go_on_from(goes_on_after, first_key, keeps_tokens)
        .map_err(unwritten)?;
    store.close_alone().map_err(unwritten)?;
    let bytes = std::fs::metadata(made).map_or(0, |metadata| metadata.len());
    let (revision, last_time) = (boot.revision, boot.last_time);
    Ok(Restored {
        revision,
        last_time,
        goes_on_after,
        calendars,
        appointments,
        tokens_dropped,
        bytes,
        findings,
    })
}

/// A revision and a key above all that were ever given out, from the milliseconds of the clock.
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
