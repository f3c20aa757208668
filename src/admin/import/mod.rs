//! An import: reads a file, reports everything that is wrong with it, and imports all of it or
//! nothing.
//!
//! The import is one command to an engine that runs only for it.

mod calendars_file;
mod json_positions;
mod slots_file;
mod text;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::{AdminError, Progress, Step, StoreFile};
use crate::clock::SystemClock;
use crate::engine::{self, Answer, Engine, Failure, Stopped, SubmitOptions};
use crate::layout::Layout;
use crate::open_store::open_sqlite;
use crate::store::Store;
use crate::store::memory::Memory;
use crate::zones::Zones;
use bookd_core::command::{Command, ImportedCalendar};
use bookd_core::ids::Revision;
use bookd_core::refusal::Refusal;
use slots_file::SlotDefaults;
use text::{Complaint, Members, Text};

/// The largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 512 * 1_024 * 1_024;
/// The most calendars of one file.
pub const CALENDARS_MAX: usize = 10_000;
/// The most appointments of one file: they become one change.
pub const APPOINTMENTS_MAX: usize = 500_000;
/// The most complaints about a file that are reported; the others are counted.
pub const COMPLAINTS_MAX: usize = 50;

/// The settings of an import.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The name of the file in messages.
    pub name: String,
    /// Checks the file and imports nothing.
    pub is_dry_run: bool,
    /// The clock is right, though it is more than a day after the last commit.
    pub is_clock_confirmed: bool,
    /// For a file of slots: the id of the calendar that it becomes.
    pub calendar: Option<String>,
    /// For a file of slots: the time zone of its clock times; UTC if it is left out.
    pub zone: Option<String>,
    /// For a file of slots without ends: the minutes of each type by its name, and of all other
    /// types by the empty name.
    pub durations: BTreeMap<String, u16>,
}

/// The size of an import, or of one that a dry run would make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The number of calendars.
    pub calendars: u64,
    /// The number of appointments.
    pub appointments: u64,
    /// The revision of the change that imports them.
    pub revision: Revision,
    /// The members of the file that were passed over, of the export of a tenant.
    pub passed_over: Vec<String>,
}

/// Imports the file that `open` opens.
pub fn import(
    store: &StoreFile,
    wanted: &Import,
    open: impl FnOnce() -> io::Result<Box<dyn Read>>,
    progress: Progress,
) -> Result<Imported, AdminError> {
    let (zones, file) = (store.load_zones()?, &wanted.name);
    let whole = contents(file, open).map_err(AdminError::Failed)?;
    let mut text = Text::new(&whole);
    let read = calendars(wanted, &mut text, &zones, progress);
    if !text.complaints.is_empty() {
        return Err(wrong(file, &text));
    }
    let appointments = read
        .iter()
        .map(|calendar| calendar.appointments.len() as u64)
        .sum();
    let calendars = read.len() as u64;
    let answer =
        submit(&store.path, wanted, &zones, read, progress).map_err(|failed| match failed {
            ImportFailure::Refused(Refusal::FieldInvalid(found)) => {
                text.refused(found);
                wrong(file, &text)
            }
            ImportFailure::Refused(Refusal::CalendarExists(id)) => AdminError::Exists(format!(
                "{file}: calendar {id} exists already; nothing was imported"
            )),
            ImportFailure::Refused(other) => AdminError::Failed(format!("refused: {other:?}")),
            ImportFailure::Failed(error) => error,
        })?;
    Ok(Imported {
        calendars,
        appointments,
        revision: answer.revision,
        passed_over: text.passed_over,
    })
}

/// The error of a file with complaints.
fn wrong(file: &str, text: &Text<'_>) -> AdminError {
    let mut lines = vec![format!("nothing was imported, for {file} is wrong:")];
    lines.extend(text.complaints.iter().map(
        |Complaint { line, field, why }| match field.as_str() {
            "" => format!("  {file}:{line}: {why}"),
            field => format!("  {file}:{line}: {field}: {why}"),
        },
    ));
    if text.unreported > 0 {
        lines.push(format!("  and {} more", text.unreported));
    }
    AdminError::Invalid(lines.join("\n"))
}

/// The text of the file, at most `FILE_BYTES_MAX` bytes.
fn contents(
    name: &str,
    open: impl FnOnce() -> io::Result<Box<dyn Read>>,
) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = open().and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("{name} cannot be read: {error}"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(format!(
            "{name} has more than {} MiB; import it in parts",
            FILE_BYTES_MAX >> 20
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        format!("{name}:{line}: is not UTF-8")
    })
}

/// Reads the calendars of a file of calendars, or the one that a file of slots becomes.
fn calendars<'a>(
    wanted: &Import,
    text: &mut Text<'a>,
    zones: &Zones,
    progress: Progress,
) -> Vec<ImportedCalendar> {
    let whole = text.whole;
    let Some(members) = text.read::<Members<'a>>(whole, "") else {
        return Vec::new();
    };
    let is_slots_file = members
        .0
        .iter()
        .any(|(key, _)| slots_file::is_date_like(key));
    if !is_slots_file {
        if members.0.iter().all(|(key, _)| key != "calendars") {
            text.wrong_at(
                (whole, 0),
                String::new(),
                "must be {\"calendars\": [...]} or slots by date and type",
            );
        }
        for (flag, is_given) in [
            ("--calendar", wanted.calendar.is_some()),
            ("--zone", wanted.zone.is_some()),
        ] {
            if is_given {
                text.wrong_at(
                    (whole, 0),
                    flag.to_owned(),
                    "is for a file of slots; this one names its calendars",
                );
            }
        }
        return calendars_file::calendars(text, &members, zones, progress);
    }
    let Some(calendar) = &wanted.calendar else {
        let why = "is needed for a file of slots: which calendar it becomes";
        text.wrong_at((whole, 0), "--calendar".to_owned(), why);
        return Vec::new();
    };
    let defaults = SlotDefaults {
        calendar: calendar.clone(),
        zone: wanted.zone.clone().unwrap_or_default(),
        durations: wanted.durations.clone(),
    };
    slots_file::calendar(text, &members, &defaults, zones)
}

/// Why an import failed.
enum ImportFailure {
    Refused(Refusal),
    Failed(AdminError),
}

/// Submits the import to an engine that runs until this function returns.
fn submit(
    file: &Path,
    wanted: &Import,
    zones: &Arc<Zones>,
    calendars: Vec<ImportedCalendar>,
    progress: Progress,
) -> Result<Answer, ImportFailure> {
    let later = |why: String| ImportFailure::Failed(AdminError::Later(why));
    let is_empty = || std::fs::metadata(file).map_or(0, |metadata| metadata.len()) == 0;
    // A dry run makes no file, and no store in an empty file.
    let store: Box<dyn Store> = if wanted.is_dry_run && is_empty() {
        Box::new(Memory::new(0))
    } else {
        Box::new(open_sqlite(file, zones).map_err(|error| ImportFailure::Failed(error.into()))?)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.map_err(|error| later(format!("the runtime cannot start: {error}")))?;
    let settings = engine::Settings {
        layout: Layout::Inline,
        is_clock_confirmed: wanted.is_clock_confirmed,
        ..engine::Settings::default()
    };
    let _writing = progress(Step::Writing);
    runtime.block_on(async {
        let started = Engine::start(store, Arc::new(SystemClock), settings);
        let (engine, running) = started.map_err(|error| later(error.to_string()))?;
        let terms = SubmitOptions {
            is_dry_run: wanted.is_dry_run,
            ..SubmitOptions::default()
        };
        let answer = engine.submit(Command::Import(calendars), terms).await;
        drop(engine);
        let stopped = running.stopped().await;
        match (answer, stopped) {
            (Ok(answer), Stopped::Done) => Ok(answer),
            (Err(Failure::Refused(refusal)), _) => Err(ImportFailure::Refused(*refusal)),
            (Err(other), Stopped::Done) => Err(later(other.to_string())),
            (_, Stopped::Failed(why) | Stopped::FileGone(why)) => Err(later(why)),
        }
    })
}
