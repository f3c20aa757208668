//! `bookd restore`: a database from a backup, looked over first, and never written over another.
//!
//! What happened after the backup was made is gone, but people and programs have heard of it: watchers have revisions,
//! clients etags, callers confirmation codes. None of these is ever given out again (docs/decisions/0005).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::backup::present;
use super::exit::Exit;
use super::part::{Failed, Sound, copy, damaged, sound, unreadable, until_done};
use super::serve::say;
use super::transfer::StoreOptions;
use crate::clock::SystemClock;
use crate::store::Boot;
use crate::store::sqlite::{Source, unused};
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

/// What to restore, and where to.
#[derive(Args, Clone, Debug)]
#[command(after_help = help())]
pub struct RestoreOptions {
    /// The backup; it is only read
    pub backup: PathBuf,
    /// The store to make
    #[command(flatten)]
    pub store: StoreOptions,
}

/// A restore that was done.
struct Restored {
    revision: Revision,
    last_time: Instant,
    goes_on_after: Revision,
    calendars: u64,
    appointments: u64,
    bytes: u64,
    findings: Vec<String>,
}

fn help() -> String {
    let exits = Exit::some(&[
        (Exit::Done, "done"),
        (Exit::Failed, "the backup is damaged or cannot be read"),
        (Exit::Invalid, "it is not a bookd database of this version"),
        (Exit::NotFound, "there is none"),
        (Exit::Conflict, "the store exists"),
        (Exit::TryAgain, "no room or the store is in use, try again"),
    ]);
    format!("Example:\n  bookd restore copy.db --store sqlite:bookd.db\n\n{exits}")
}

/// Runs it; see its help for the exit codes.
pub fn run(options: &RestoreOptions, is_json: bool) -> Exit {
    let begun = std::time::Instant::now();
    match restore(options) {
        Ok(restored) => {
            let seconds = begun.elapsed().as_secs_f64();
            say(&if is_json { as_json(options, &restored, seconds) } else { as_text(options, &restored) });
            Exit::Done
        }
        Err(failed) => failed.complain(),
    }
}

fn restore(options: &RestoreOptions) -> Result<Restored, Failed> {
    let zones = options.store.load_zones().map_err(Failed::other)?;
    let like = present(&options.backup)?;
    let target = options.store.file().to_owned();
    // Whoever serves it is to be told something else than that it is there. A file that comes to be after this is kept as
    // well: the restore ends without one.
    unused(&target)?;
    let (backup, name) = (options.backup.clone(), target.clone());
    let (part, restored) = until_done(&target, move |made| make(&backup, made, &name, &Arc::new(zones)))?;
    part.publish(&like)?;
    Ok(restored)
}

fn make(backup: &Path, part: &Path, target: &Path, zones: &Arc<Zones>) -> Result<Restored, Failed> {
    let mut source = Source::open(backup)?;
    // A copy is sound where an index of the original is not.
    let findings = source.integrity().map_err(|error| unreadable(backup, &error))?;
    if !findings.is_empty() {
        return Err(damaged(backup, &findings));
    }
    copy(&mut source, part, target)?;
    let Sound { mut store, boot, calendars, appointments, findings } = sound(part, backup, zones)?;
    let (goes_on_after, first_key) = above_all(&boot, SystemClock.milliseconds()).map_err(Failed::later)?;
    let unwritten = |error| unreadable(target, &error);
    store.go_on_from(goes_on_after, first_key).map_err(unwritten)?;
    store.close_alone().map_err(unwritten)?;
    let bytes = std::fs::metadata(part).map_or(0, |it| it.len());
    let (revision, last_time) = (boot.revision, boot.last_time);
    Ok(Restored { revision, last_time, goes_on_after, calendars, appointments, bytes, findings })
}

/// A revision and a key above all that were ever given out, by the clock's milliseconds.
fn above_all(boot: &Boot, now: i64) -> Result<(Revision, AppointmentKey), String> {
    let since = |from: i64| u64::try_from(now.saturating_sub(from)).ok();
    let last = boot.last_time;
    let above = since(KEYS_FROM.max(last.seconds().saturating_mul(1_000))).and(since(0)).zip(since(KEYS_FROM));
    match above.map(|(revisions, keys)| (Revision(revisions * REVISIONS_A_MILLISECOND), AppointmentKey(keys))) {
        Some((revision, key)) if revision > boot.revision => Ok((revision, boot.next_key.max(key))),
        _ => {
            let (now, newest) = (Instant::from_seconds(now.div_euclid(1_000)), boot.revision);
            let why = "revisions go on from the time, so that none is given out twice";
            let what = format!("the clock shows {now}, and the backup's last change is revision {newest} of {last}");
            let ahead =
                "if the backup was stamped by a clock that was ahead, run `bookd clock reset` on a copy of it first";
            Err(format!("{what}; set the clock right: {why}; {ahead}"))
        }
    }
}

fn as_text(options: &RestoreOptions, it: &Restored) -> String {
    let [calendars, appointments] = [it.calendars, it.appointments].map(|it| usize::try_from(it).unwrap_or(usize::MAX));
    let counted = super::transfer::counted(calendars, appointments);
    let (store, backup) = (options.store.file().display(), options.backup.display());
    let Restored { revision, last_time, goes_on_after, .. } = it;
    let made = if revision.0 == 0 { String::new() } else { format!(", made {last_time}") };
    let mut text = format!(
        "{store} is what {backup} was at revision {revision}{made}: {counted}\n\
         What happened after that is gone: bookings that people were told of, moves, cancellations.\n\
         The next change is revision {next}. Watchers and pages further than {revision} are told REVISION_COMPACTED, and begin anew.",
        next = goes_on_after.next(),
    );
    it.findings.iter().for_each(|finding| text.push_str(&format!("\n{finding}")));
    text
}

fn as_json(options: &RestoreOptions, it: &Restored, seconds: f64) -> String {
    let value: Value = json!({
        "store": options.store.file().display().to_string(),
        "backup": options.backup.display().to_string(),
        "revision": it.revision.0,
        "time": it.last_time.to_string(),
        "next_revision": it.goes_on_after.next().0,
        "calendars": it.calendars,
        "appointments": it.appointments,
        "bytes": it.bytes,
        "seconds": seconds,
        "findings": it.findings,
    });
    format!("{value:#}")
}
