//! `bookd import`: imports calendars and appointments from a file into a store, and prints their
//! number.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::output::{complain, counted_together, ended, say};
use super::progress::shown;
use super::store_options::StoreOptions;
use super::words;
use crate::admin::import::{Import, Imported, import};

/// What `bookd import` needs to know.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  bookd import calendars.json --dry-run\n  \
                        bookd import slots.json --calendar clinic --zone Europe/Paris")]
pub struct ImportConfig {
    /// The file: {"calendars": [...]} as `bookd export` writes it, or slots by date and type; `-`
    /// reads standard input
    pub file: PathBuf,
    /// The store
    #[command(flatten)]
    pub store: StoreOptions,
    /// Say what is wrong with the file, and import nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The clock is right, though it is more than a day after the last commit
    #[arg(long, env = "BOOKD_CONFIRM_CLOCK")]
    pub confirm_clock: bool,
    /// Of a file of slots: the calendar that it becomes
    #[arg(long, value_name = "CALENDAR")]
    pub calendar: Option<String>,
    /// Of a file of slots: the time zone of its clock times [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Of a file of slots that says no ends: how long a type lasts, such as therapy=1h; 30m = all
    /// others
    #[arg(long, value_name = "TYPE=LENGTH", value_parser = duration)]
    pub duration: Vec<(String, u16)>,
}

/// A duration of a type such as `therapy=1h`, or of all other types such as `30m`: the name, empty
/// for all others, and the minutes.
fn duration(text: &str) -> Result<(String, u16), String> {
    let (name, length) = text.split_once('=').unwrap_or(("", text));
    let seconds = words::seconds(length)?;
    let minutes = u16::try_from(seconds / 60)
        .ok()
        .filter(|minutes| *minutes > 0 && *minutes <= 7 * 24 * 60 && seconds % 60 == 0);
    Ok((
        name.to_owned(),
        minutes.ok_or("must be whole minutes, 1 minute to 7 days")?,
    ))
}

/// Runs the command; the exit code says whether the file is invalid, a calendar exists already, or
/// the store cannot be opened.
pub fn run(config: &ImportConfig) -> Exit {
    let wanted = Import {
        name: config.file.display().to_string(),
        is_dry_run: config.dry_run,
        is_clock_confirmed: config.confirm_clock,
        calendar: config.calendar.clone(),
        zone: config.zone.clone(),
        durations: config.duration.iter().cloned().collect(),
    };
    let open = || -> std::io::Result<Box<dyn Read>> {
        match config.file.to_str() {
            Some("-") => Ok(Box::new(std::io::stdin())),
            _ => Ok(Box::new(File::open(&config.file)?)),
        }
    };
    match import(&config.store.file(), &wanted, open, shown) {
        Ok(Imported {
            calendars,
            appointments,
            revision,
            passed_over,
        }) => {
            let (counted, store) = (
                counted_together(calendars, appointments),
                &config.store.store,
            );
            say(&if config.dry_run {
                format!("{counted} would be imported into {store}")
            } else {
                format!("{counted} imported into {store} at revision {revision}")
            });
            if !passed_over.is_empty() {
                complain(&format!(
                    "passed over, for an import cannot take it: {}",
                    passed_over.join(", ")
                ));
            }
            Exit::Done
        }
        Err(error) => ended(&error),
    }
}
