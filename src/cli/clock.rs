//! `bookd clock reset`: brings a store that believed a wrong clock back to the one that is right, offline.
//!
//! A store's time never goes back by itself. This says first what going back means, and does it only when told to.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::Exit;
use super::part::{Failed, unreadable};
use super::serve::{complain, say};
use super::transfer::StoreOptions;
use crate::clock::{Clock, SystemClock};
use crate::engine::CLOCK_BEHIND_LOGGED;
use crate::open_store::open_sqlite;
use crate::store::sqlite::{Sqlite, is_there};
use crate::store::told::PART_EVENTS_MAX;
use crate::store::{Batch, Boot, CalendarFilter, CommitError, Store, StoreError};
use bookd_core::appointment::Appointment;
use bookd_core::change::{AppointmentEvent, Change};
use bookd_core::decide::{HOLD_SECONDS_MAX, reset_clock};
use bookd_core::ids::{AppointmentId, Revision};
use bookd_core::log::LogPosition;
use bookd_core::state::State;
use bookd_core::time::{Instant, MINUTE};

/// How many appointments are read at a time.
const PAGE: usize = 1_000;

/// What to do about the time of a store.
#[derive(Subcommand, Clone, Debug)]
pub enum ClockCommand {
    /// Bring a store back to this machine's clock, after it believed one that was ahead; no server may be running on it
    #[command(after_help = help())]
    Reset(ResetOptions),
}

/// Which store, and whether to do it.
#[derive(Args, Clone, Debug)]
pub struct ResetOptions {
    /// The store
    #[command(flatten)]
    pub store: StoreOptions,
    /// Do it; without this only what it would do is shown
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Show what it would do, and end with 0
    #[arg(long)]
    pub dry_run: bool,
}

/// What a reset finds, and what it changes.
struct Plan {
    /// The last change, and when it says that it was made.
    last: (Revision, Instant),
    /// What this machine's clock shows.
    now: Instant,
    /// What lies after that; none when the store's time is not ahead.
    ahead: Option<Ahead>,
}

/// What was made by the wrong clock, and the change that brings the store back.
struct Ahead {
    /// The first change that is kept and says that it was made after now.
    first: Revision,
    /// Changes that do.
    changes: u64,
    /// Holds and requests that they let run out.
    expired: u64,
    /// Every change that is kept lies after now: the clock may be the one that is wrong.
    is_all: bool,
    reset: Change,
}

fn help() -> String {
    let exits = Exit::some(&[
        (Exit::Done, "done, shown, or nothing to do"),
        (Exit::Failed, "the store is damaged or cannot be read"),
        (Exit::Usage, "shown and not done, for want of --yes"),
        (Exit::Invalid, "it is not a bookd database of this version"),
        (Exit::NotFound, "there is none"),
        (Exit::TryAgain, "in use or it refuses, try again"),
    ]);
    let examples =
        ["bookd clock reset --store sqlite:bookd.db --dry-run", "bookd clock reset --store sqlite:bookd.db --yes"];
    format!("Examples:\n  {}\n\n{exits}", examples.join("\n  "))
}

/// Runs it; see its help for the exit codes.
pub fn run(command: &ClockCommand, is_json: bool) -> Exit {
    let ClockCommand::Reset(options) = command;
    match reset(options) {
        Ok(plan) => {
            let is_done = options.yes && plan.ahead.is_some();
            say(&if is_json { as_json(options, &plan, is_done) } else { as_text(options, &plan, is_done) });
            if is_done || options.dry_run || plan.ahead.is_none() {
                return Exit::Done;
            }
            let _always_the_same = complain("nothing was changed: say --yes to do it");
            Exit::Usage
        }
        Err(failed) => failed.complain(),
    }
}

fn reset(options: &ResetOptions) -> Result<Plan, Failed> {
    let path = options.store.file();
    if !is_there(path)? {
        return Err(Failed::not_found(format!("{}: there is no such file", path.display())));
    }
    let zones = Arc::new(options.store.load_zones().map_err(Failed::other)?);
    let mut store = open_sqlite(path, &zones)?;
    let plan = plan(&mut store, SystemClock.now()).map_err(|error| unreadable(path, &error))?;
    if let Some(ahead) = plan.ahead.as_ref().filter(|_| options.yes) {
        let batch = Batch { changes: std::slice::from_ref(&ahead.reset), requests: &[], expected: &[] };
        store.commit(&batch).map_err(|error| match error {
            CommitError::Refused(error) => unreadable(path, &error),
            CommitError::Unknown(error) => {
                let unknown = "whether the reset was written is not known; run it again to see";
                Failed::other(format!("{}: {error}; {unknown}", path.display()))
            }
        })?;
    }
    Ok(plan)
}

fn plan(store: &mut Sqlite, now: Instant) -> Result<Plan, StoreError> {
    let boot = store.boot()?;
    let last = (boot.revision, boot.last_time);
    // A clock that is this little behind catches up by itself.
    if boot.last_time.since(now) <= CLOCK_BEHIND_LOGGED {
        return Ok(Plan { last, now, ahead: None });
    }
    let waiting = waiting(store, &boot)?;
    let state = State { revision: boot.revision, last_time: boot.last_time, ..State::default() };
    let reset = reset_clock(&state, &waiting, now);
    let first = store.first_change_after(now)?.unwrap_or(boot.revision);
    let is_all = store.oldest()?.is_none_or(|oldest| oldest.revision == first);
    let (changes, expired) = made_after(store, first, now)?;
    Ok(Plan { last, now, ahead: Some(Ahead { first, changes, expired, is_all, reset }) })
}

/// Every hold and request.
fn waiting(store: &mut Sqlite, boot: &Boot) -> Result<Vec<Arc<Appointment>>, StoreError> {
    let ids: Vec<AppointmentId> = boot.expiring.iter().map(|it| it.appointment).collect();
    let mut waiting = Vec::with_capacity(ids.len());
    for page in ids.chunks(PAGE) {
        waiting.extend(store.load_appointments(page)?.into_iter().map(Arc::new));
    }
    Ok(waiting)
}

/// How many changes from `first` on say that they were made after `now`, and how much they let run out.
fn made_after(store: &Sqlite, first: Revision, now: Instant) -> Result<(u64, u64), StoreError> {
    let mut reader = store.reader()?;
    let (mut changes, mut expired) = (0, 0);
    let mut from = LogPosition::of(first);
    loop {
        let page = reader.changes_from(from, &CalendarFilter::All, PART_EVENTS_MAX)?;
        if page.next == from {
            return Ok((changes, expired));
        }
        for told in page.changes.iter().filter(|it| it.entry.time > now) {
            changes += u64::from(told.is_last());
            expired += told.entry.appointments().filter(|it| it.kind == AppointmentEvent::Expired).count() as u64;
        }
        from = page.next;
    }
}

fn as_text(options: &ResetOptions, plan: &Plan, is_done: bool) -> String {
    let store = options.store.file().display();
    let Plan { last: (revision, time), now, ahead } = plan;
    let Some(Ahead { first, changes, expired, is_all, reset }) = ahead else {
        return format!(
            "{store} is not ahead of the clock: its last change is revision {revision} of {time}, and the clock shows {now}. \
             Nothing to do."
        );
    };
    let (shortened, latest) = (reset.events.len() as u64, now.plus(HOLD_SECONDS_MAX));
    let changes = counted(*changes, "change");
    let expired = counted(*expired, "hold or request");
    let holds = counted(shortened, "hold");
    let end = if is_done { "end" } else { "will end" };
    let mut lines = vec![
        format!("{store} is {} ahead of the clock:", length(time.since(*now))),
        format!("  last change    revision {revision} of {time}"),
        format!("  clock          {now}"),
        format!("  ahead          {changes}, from revision {first} on: they stay as they are, with their times"),
        format!("  run out by it  {expired}: they stay EXPIRED, and their time is free"),
        format!("  too long       {holds}: they {end} at {latest}, as late as a hold that is made now"),
    ];
    lines.extend(is_all.then(|| {
        "Every change that is kept lies after the clock: make sure that it is not the clock that is wrong.".to_owned()
    }));
    let reset = reset.revision;
    lines.push(match is_done {
        true => format!("Revision {reset} is the mark of the reset; the store goes on at the clock's time."),
        false => format!("The reset will be revision {reset}, and the store will go on at the clock's time."),
    });
    lines.join("\n")
}

/// `1 hold`, `2 holds`.
fn counted(count: u64, one: &str) -> String {
    let several = one.split(' ').map(|word| if word == "or" { word.to_owned() } else { format!("{word}s") });
    if count == 1 { format!("1 {one}") } else { format!("{count} {}", several.collect::<Vec<_>>().join(" ")) }
}

/// In words, such as `3 d 4 h 5 min`.
fn length(seconds: i64) -> String {
    let minutes = seconds / MINUTE;
    let parts = [(minutes / 1_440, "d"), (minutes / 60 % 24, "h"), (minutes % 60, "min"), (seconds % MINUTE, "s")];
    let said: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}")).collect();
    said.join(" ")
}

fn as_json(options: &ResetOptions, plan: &Plan, is_done: bool) -> String {
    let Plan { last: (revision, time), now, ahead } = plan;
    let mut value: Value = json!({
        "store": options.store.file().display().to_string(),
        "revision": revision.0,
        "time": time.to_string(),
        "clock": now.to_string(),
        "ahead_seconds": time.since(*now).max(0),
        "needed": ahead.is_some(),
        "done": is_done,
    });
    if let Some(Ahead { first, changes, expired, is_all, reset }) = ahead {
        value["first_revision_ahead"] = json!(first.0);
        value["changes_ahead"] = json!(changes);
        value["all_ahead"] = json!(is_all);
        value["expired"] = json!(expired);
        value["holds_shortened"] = json!(reset.events.len());
        value["holds_end"] = json!(now.plus(HOLD_SECONDS_MAX).to_string());
        value["reset_revision"] = json!(reset.revision.0);
    }
    format!("{value:#}")
}
