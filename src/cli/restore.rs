//! `bookd restore`: makes a database from a backup, and prints what it has.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::exit::Exit;
use super::output::{counted_together, ended, say};
use super::progress::shown;
use super::store_options::StoreOptions;
use crate::admin::restore::{Restored, restore};

/// What to restore, and where to.
#[derive(Args, Clone, Debug)]
#[command(after_help = help())]
pub struct RestoreOptions {
    /// The backup; it is only read
    pub backup: PathBuf,
    /// Keep the tokens of the backup, also those that were revoked since; without it all are dropped
    #[arg(long)]
    pub keep_tokens: bool,
    /// The store to make
    #[command(flatten)]
    pub store: StoreOptions,
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

/// Runs the command; its help has the exit codes.
pub fn run(options: &RestoreOptions, is_json: bool) -> Exit {
    let begun = Instant::now();
    let store = options.store.file();
    match restore(&options.backup, &store, options.keep_tokens, shown) {
        Ok(restored) => {
            let seconds = begun.elapsed().as_secs_f64();
            say(&if is_json {
                as_json(options, &restored, seconds)
            } else {
                as_text(options, &restored)
            });
            Exit::Done
        }
        Err(error) => ended(&error),
    }
}

fn as_text(options: &RestoreOptions, it: &Restored) -> String {
    let counted = counted_together(it.calendars, it.appointments);
    let (store, backup) = (options.store.file(), options.backup.display());
    let store = store.path.display();
    let Restored {
        revision,
        last_time,
        goes_on_after,
        ..
    } = it;
    let made = if revision.0 == 0 {
        String::new()
    } else {
        format!(", made {last_time}")
    };
    let mut text = format!(
        "{store} is what {backup} was at revision {revision}{made}: {counted}\n\
         What happened after that is gone: bookings that people were told of, moves, cancellations.\n\
         The next change is revision {next}. Watchers and pages further than {revision} are told REVISION_COMPACTED, and begin anew.",
        next = goes_on_after.next(),
    );
    if it.tokens_dropped > 0 {
        let dropped = it.tokens_dropped;
        text.push_str(&format!(
            "\nIts tokens were dropped, {dropped} of them: some may have been revoked since. Create others with bookd token create."
        ));
    }
    it.findings
        .iter()
        .for_each(|finding| text.push_str(&format!("\n{finding}")));
    text
}

fn as_json(options: &RestoreOptions, it: &Restored, seconds: f64) -> String {
    let value: Value = json!({
        "store": options.store.file().path.display().to_string(),
        "backup": options.backup.display().to_string(),
        "revision": it.revision.0,
        "time": it.last_time.to_string(),
        "next_revision": it.goes_on_after.next().0,
        "calendars": it.calendars,
        "appointments": it.appointments,
        "tokens_dropped": it.tokens_dropped,
        "bytes": it.bytes,
        "seconds": seconds,
        "findings": it.findings,
    });
    format!("{value:#}")
}
