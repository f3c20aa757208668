//! `bookd import` and `bookd export`: a store's calendars as one JSON file, offline.
//!
//! An import is one command to the engine, so it happens whole or not at all; an export reads and changes nothing.

pub mod export;
mod file;
pub mod import;
mod places;
mod slots;

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;

use super::progress::{bar, counter};
use crate::config::StoreUrl;
use crate::zones::Zones;

/// The largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 512 * 1_024 * 1_024;
/// The most calendars of one file.
pub const CALENDARS_MAX: usize = 10_000;
/// The most appointments of one file: they become one change.
pub const APPOINTMENTS_MAX: usize = 500_000;
/// How much that is wrong with a file is told; the rest is counted.
pub const COMPLAINTS_MAX: usize = 50;

/// Which store, and by which time zones.
#[derive(Args, Clone, Debug)]
pub struct StoreOptions {
    /// The store; no server may be running on it
    #[arg(long, env = "BOOKD_STORE", default_value = "sqlite:bookd.db", value_name = "URL")]
    pub store: StoreUrl,
    /// A folder of compiled time zones to use instead of the newer of the system's and the bundled release
    #[arg(long, env = "BOOKD_ZONES", value_name = "FOLDER")]
    pub zones: Option<PathBuf>,
}

impl StoreOptions {
    pub(super) fn file(&self) -> &Path {
        let StoreUrl::Sqlite(file) = &self.store;
        file
    }

    pub(super) fn load_zones(&self) -> Result<Zones, String> {
        Zones::load(self.zones.as_deref()).map_err(|error| error.to_string())
    }
}

/// `1 calendar with 2 appointments`.
pub(super) fn counted(calendars: usize, appointments: usize) -> String {
    let of = |count: usize, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
    format!("{} with {}", of(calendars, "calendar"), of(appointments, "appointment"))
}

/// A bar on standard error, which shows itself only on a terminal.
fn progress(what: &'static str, length: Option<usize>) -> ProgressBar {
    match length {
        Some(length) => bar(u64::try_from(length).unwrap_or(u64::MAX), what),
        None => counter(what),
    }
}
