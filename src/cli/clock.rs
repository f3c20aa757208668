//! `bookd clock reset`: prints what a reset finds and changes, as text or as JSON, and does it with
//! `--yes`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::Exit;
use super::output::{complain, counted, ended, say};
use super::store_options::StoreOptions;
use crate::admin::clock_reset::{Ahead, Plan, reset};
use bookd_core::decide::HOLD_SECONDS_MAX;
use bookd_core::time::MINUTE;

/// What to do about the time of a store.
#[derive(Subcommand, Clone, Debug)]
pub enum ClockCommand {
    /// Bring a store back to this machine's clock, after it believed one that was ahead; no server
    /// may be running on it
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

fn help() -> String {
    let exits = Exit::some(&[
        (Exit::Done, "done, shown, or nothing to do"),
        (Exit::Failed, "the store is damaged or cannot be read"),
        (Exit::Usage, "shown and not done, for want of --yes"),
        (Exit::Invalid, "it is not a bookd database of this version"),
        (Exit::NotFound, "there is none"),
        (Exit::TryAgain, "in use or it refuses, try again"),
    ]);
    let examples = [
        "bookd clock reset --store sqlite:bookd.db --dry-run",
        "bookd clock reset --store sqlite:bookd.db --yes",
    ];
    format!("Examples:\n  {}\n\n{exits}", examples.join("\n  "))
}

/// Runs the command; its help has the exit codes.
pub fn run(command: &ClockCommand, is_json: bool) -> Exit {
    let ClockCommand::Reset(options) = command;
    match reset(&options.store.file(), options.yes) {
        Ok(plan) => {
            let is_done = options.yes && plan.ahead.is_some();
            say(&if is_json {
                as_json(options, &plan, is_done)
            } else {
                as_text(options, &plan, is_done)
            });
            if is_done || options.dry_run || plan.ahead.is_none() {
                return Exit::Done;
            }
            complain("nothing was changed: say --yes to do it");
            Exit::Usage
        }
        Err(error) => ended(&error),
    }
}

fn as_text(options: &ResetOptions, plan: &Plan, is_done: bool) -> String {
    let store = options.store.file();
    let store = store.path.display();
    let Plan {
        last: (revision, time),
        now,
        ahead,
    } = plan;
    let Some(Ahead {
        first,
        changes,
        expired,
        is_all,
        reset,
    }) = ahead
    else {
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
        format!(
            "{store} is {} ahead of the clock:",
            length(time.since(*now))
        ),
        format!("  last change    revision {revision} of {time}"),
        format!("  clock          {now}"),
        format!(
            "  ahead          {changes}, from revision {first} on: they stay as they are, with their times"
        ),
        format!("  run out by it  {expired}: they stay EXPIRED, and their time is free"),
        format!(
            "  too long       {holds}: they {end} at {latest}, as late as a hold that is made now"
        ),
    ];
    lines.extend(is_all.then(|| {
        "Every change that is kept lies after the clock: make sure that it is not the clock that is wrong.".to_owned()
    }));
    let reset = reset.revision;
    lines.push(if is_done {
        format!("Revision {reset} is the mark of the reset; the store goes on at the clock's time.")
    } else {
        format!("The reset will be revision {reset}, and the store will go on at the clock's time.")
    });
    lines.join("\n")
}

/// A length of time such as `3 d 4 h 5 min`.
fn length(seconds: i64) -> String {
    let minutes = seconds / MINUTE;
    let parts = [
        (minutes / 1_440, "d"),
        (minutes / 60 % 24, "h"),
        (minutes % 60, "min"),
        (seconds % MINUTE, "s"),
    ];
    let units: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    units.join(" ")
}

fn as_json(options: &ResetOptions, plan: &Plan, is_done: bool) -> String {
    let Plan {
        last: (revision, time),
        now,
        ahead,
    } = plan;
    let mut value: Value = json!({
        "store": options.store.file().path.display().to_string(),
        "revision": revision.0,
        "time": time.to_string(),
        "clock": now.to_string(),
        "ahead_seconds": time.since(*now).max(0),
        "needed": ahead.is_some(),
        "done": is_done,
    });
    if let Some(Ahead {
        first,
        changes,
        expired,
        is_all,
        reset,
    }) = ahead
    {
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
