//! `bookd backup`: a copy of a whole database at one moment, made while a server goes on, and looked over before it gets
//! its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::exit::Exit;
use super::part::{Failed, Sound, copy, sound, unreadable, until_done};
use super::serve::say;
use crate::config::StoreUrl;
use crate::store::sqlite::{Source, is_there};
use crate::zones::Zones;

/// What to copy, and where to.
#[derive(Args, Clone, Debug)]
#[command(after_help = help())]
pub struct BackupOptions {
    /// The file to write; it must not be there
    pub file: PathBuf,
    /// The store; a server may be running on it
    #[arg(long, env = "BOOKD_STORE", default_value = "sqlite:bookd.db", value_name = "URL")]
    pub store: StoreUrl,
    /// A folder of compiled time zones to use instead of the newer of the system's and the bundled release
    #[arg(long, env = "BOOKD_ZONES", value_name = "FOLDER")]
    pub zones: Option<PathBuf>,
}

/// A backup that was made.
struct Backup {
    revision: u64,
    calendars: u64,
    appointments: u64,
    bytes: u64,
    findings: Vec<String>,
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
    let examples = ["bookd backup copy.db --store sqlite:bookd.db", "bookd backup /backups/monday.db --json"];
    format!("Examples:\n  {}\n\n{exits}", examples.join("\n  "))
}

/// Runs it; see its help for the exit codes.
pub fn run(options: &BackupOptions, is_json: bool) -> Exit {
    let begun = Instant::now();
    match back_up(options) {
        Ok(backup) => {
            let seconds = begun.elapsed().as_secs_f64();
            say(&if is_json { as_json(options, &backup, seconds) } else { as_text(options, &backup, seconds) });
            Exit::Done
        }
        Err(failed) => failed.complain(),
    }
}

fn back_up(options: &BackupOptions) -> Result<Backup, Failed> {
    let zones = Zones::load(options.zones.as_deref()).map_err(|error| Failed::other(error.to_string()))?;
    let StoreUrl::Sqlite(file) = options.store.clone();
    let like = present(&file)?;
    let target = options.file.clone();
    let (part, backup) = until_done(&options.file, move |made| make(&file, made, &target, &Arc::new(zones)))?;
    part.publish(&like)?;
    Ok(backup)
}

/// What the system knows of a file that must be there.
pub(super) fn present(file: &Path) -> Result<std::fs::Metadata, Failed> {
    is_there(file)?;
    match std::fs::metadata(file) {
        Ok(like) if like.is_file() => Ok(like),
        Ok(_) => Err(Failed::invalid(format!("{} is no file", file.display()))),
        Err(error) => Err(Failed::not_found(format!("{} cannot be read: {error}", file.display()))),
    }
}

fn make(file: &Path, part: &Path, target: &Path, zones: &Arc<Zones>) -> Result<Backup, Failed> {
    let mut source = Source::open(file)?;
    if source.is_older() {
        let what = "was made by an older bookd, or never finished";
        let next = "copy it with the bookd that serves it, or start `bookd serve` on it once";
        return Err(Failed::invalid(format!("{} {what}; {next}", file.display())));
    }
    copy(&mut source, part, target)?;
    let Sound { store, boot, calendars, appointments, findings } = sound(part, file, zones)?;
    store.close_alone().map_err(|error| unreadable(target, &error))?;
    let bytes = std::fs::metadata(part).map_or(0, |it| it.len());
    Ok(Backup { revision: boot.revision.0, calendars, appointments, bytes, findings })
}

fn as_text(options: &BackupOptions, it: &Backup, seconds: f64) -> String {
    let mut lines = super::table::table(
        &["file", "revision", "calendars", "appointments", "bytes", "seconds", "findings"],
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
    it.findings.iter().for_each(|finding| lines.push_str(&format!("\n{finding}")));
    lines
}

fn as_json(options: &BackupOptions, it: &Backup, seconds: f64) -> String {
    let Backup { revision, calendars, appointments, bytes, findings } = it;
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
