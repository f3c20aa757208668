//! `bookd backup`: copies a whole database at one instant, and prints what the copy has.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::exit::Exit;
use super::output::{ended, say};
use super::progress::shown;
use crate::admin::StoreFile;
use crate::admin::backup::{Backup, back_up};
use crate::config::StoreUrl;

/// What to copy, and where to.
#[derive(Args, Clone, Debug)]
#[command(after_help = help())]
pub struct BackupOptions {
    /// The file to write; it must not be there
    pub file: PathBuf,
    /// The store; a server may be running on it
    #[arg(
        long,
        env = "BOOKD_STORE",
        default_value = "sqlite:bookd.db",
        value_name = "URL"
    )]
    pub store: StoreUrl,
    /// A folder of compiled time zones to use instead of the newer of the system's and the bundled
    /// release
    #[arg(long, env = "BOOKD_ZONES", value_name = "FOLDER")]
    pub zones: Option<PathBuf>,
}

fn help() -> String {
    let exits = Exit::some(&[
        (Exit::Done, "done"),
        (Exit::Failed, "the store is damaged or cannot be read"),
        (Exit::Invalid, "it is not a bookd database of this version"),
        (Exit::NotFound, "there is none"),
        (Exit::Conflict, "the file exists"),
        (Exit::TryAgain, "no room or in use, try again"),
    ]);
    let examples = [
        "bookd backup copy.db --store sqlite:bookd.db",
        "bookd backup /backups/monday.db --json",
    ];
    format!("Examples:\n  {}\n\n{exits}", examples.join("\n  "))
}

/// Runs the command; its help has the exit codes.
pub fn run(options: &BackupOptions, is_json: bool) -> Exit {
    let begun = Instant::now();
    let StoreUrl::Sqlite(path) = options.store.clone();
    match back_up(
        &StoreFile {
            path,
            zones: options.zones.clone(),
        },
        &options.file,
        shown,
    ) {
        Ok(backup) => {
            let seconds = begun.elapsed().as_secs_f64();
            say(&if is_json {
                as_json(options, &backup, seconds)
            } else {
                as_text(options, &backup, seconds)
            });
            Exit::Done
        }
        Err(error) => ended(&error),
    }
}

fn as_text(options: &BackupOptions, it: &Backup, seconds: f64) -> String {
    let mut lines = super::table::table(
        &[
            "file",
            "revision",
            "calendars",
            "appointments",
            "bytes",
            "seconds",
            "findings",
        ],
        std::iter::once(vec![
            options.file.display().to_string(),
            it.revision.to_string(),
            it.calendars.to_string(),
            it.appointments.to_string(),
            it.bytes.to_string(),
            format!("{seconds:.1}"),
            it.findings.len().to_string(),
        ]),
    );
    it.findings
        .iter()
        .for_each(|finding| lines.push_str(&format!("\n{finding}")));
    lines
}

fn as_json(options: &BackupOptions, it: &Backup, seconds: f64) -> String {
    let Backup {
        revision,
        calendars,
        appointments,
        bytes,
        findings,
    } = it;
    let value: Value = json!({
        "file": options.file.display().to_string(),
        "revision": revision,
        "calendars": calendars,
        "appointments": appointments,
        "bytes": bytes,
        "seconds": seconds,
        "findings": findings,
    });
    format!("{value:#}")
}
