//! `bookd import`: reads a file, tells everything that is wrong with it, and brings all of it or nothing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::file::{self, Complaint, Members, Text};
use super::slots::{self, Unsaid};
use super::{FILE_BYTES_MAX, StoreOptions, counted, progress};
use crate::cli::exit::Exit;
use crate::clock::SystemClock;
use crate::engine::{self, Answer, Engine, Failure, Layout, Stopped, Terms};
use crate::open_store::open_sqlite;
use crate::store::memory::Memory;
use crate::store::{OpenError, Store};
use crate::zones::Zones;
use bookd_core::command::{Command, ImportedCalendar};
use bookd_core::refusal::Refusal;

/// What `bookd import` needs to know.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  bookd import calendars.json --dry-run\n  \
                        bookd import slots.json --calendar clinic --zone Europe/Paris")]
pub struct ImportConfig {
    /// The file: {"calendars": [...]} as `bookd export` writes it, or slots by date and type; `-` reads standard input
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
    /// Of a file of slots that says no ends: how long a type lasts, such as therapy=1h; 30m = all others
    #[arg(long, value_name = "TYPE=LENGTH", value_parser = duration)]
    pub duration: Vec<(String, u16)>,
}

fn duration(text: &str) -> Result<(String, u16), String> {
    let (name, length) = text.split_once('=').unwrap_or(("", text));
    let seconds = crate::cli::words::seconds(length)?;
    let minutes = u16::try_from(seconds / 60).ok().filter(|it| *it > 0 && *it <= 7 * 24 * 60 && seconds % 60 == 0);
    Ok((name.to_owned(), minutes.ok_or("must be whole minutes, 1 minute to 7 days")?))
}

/// Why nothing was imported.
#[derive(Debug)]
enum Failed {
    /// The file is wrong in these ways, and in so many more.
    Wrong(Vec<Complaint>, usize),
    /// It collides with what is there.
    Exists(String),
    /// The store cannot be opened.
    Open(OpenError),
    /// The store refuses.
    Unavailable(String),
    /// Anything else.
    Other(String),
}

/// Runs it; the exit code tells whether the file is wrong, a calendar exists, or the store cannot be had.
pub fn run(config: &ImportConfig) -> Exit {
    let said = match import(config) {
        Ok(done) => {
            let _ = writeln!(std::io::stdout(), "{done}");
            return Exit::Done;
        }
        Err(failed) => failed,
    };
    let file = config.file.display();
    let (text, exit) = match said {
        Failed::Wrong(complaints, untold) => (told(&file.to_string(), &complaints, untold), Exit::Invalid),
        Failed::Exists(text) => (format!("{file}: {text}"), Exit::Conflict),
        Failed::Open(error) => (error.to_string(), Exit::from(&error)),
        Failed::Unavailable(text) => (text, Exit::TryAgain),
        Failed::Other(text) => (text, Exit::Failed),
    };
    let _ = writeln!(std::io::stderr(), "bookd: {text}");
    exit
}

fn told(file: &str, complaints: &[Complaint], untold: usize) -> String {
    let mut lines = vec![format!("nothing was imported, for {file} is wrong:")];
    lines.extend(complaints.iter().map(|it| match it.field.as_str() {
        "" => format!("  {file}:{}: {}", it.line, it.why),
        field => format!("  {file}:{}: {field}: {}", it.line, it.why),
    }));
    if untold > 0 {
        lines.push(format!("  and {untold} more"));
    }
    lines.join("\n")
}

fn import(config: &ImportConfig) -> Result<String, Failed> {
    let zones = Arc::new(config.store.load_zones().map_err(Failed::Other)?);
    let whole = contents(&config.file).map_err(Failed::Other)?;
    let mut text = Text::new(&whole);
    let calendars = calendars(config, &mut text, &zones);
    if !text.complaints.is_empty() {
        return Err(Failed::Wrong(text.complaints, text.untold));
    }
    let appointments = calendars.iter().map(|it| it.appointments.len()).sum();
    let counted = counted(calendars.len(), appointments);
    let answer = submit(config, &zones, calendars).map_err(|failed| match failed {
        NotDone::Refused(Refusal::FieldInvalid(found)) => {
            text.refused(found);
            Failed::Wrong(std::mem::take(&mut text.complaints), text.untold)
        }
        NotDone::Refused(Refusal::CalendarExists(id)) => {
            Failed::Exists(format!("calendar {id} exists already; nothing was imported"))
        }
        NotDone::Refused(other) => Failed::Other(format!("refused: {other:?}")),
        NotDone::Open(error) => Failed::Open(error),
        NotDone::Failed(error) => Failed::Unavailable(error),
    })?;
    let store = &config.store.store;
    Ok(match config.dry_run {
        true => format!("{counted} would be imported into {store}"),
        false => format!("{counted} imported into {store} at revision {}", answer.revision),
    })
}

/// The file's text, bounded.
fn contents(file: &Path) -> Result<String, String> {
    let shown = file.display();
    let mut bytes = Vec::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(file).and_then(|it| it.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(format!("{shown} has more than {} MiB; import it in parts", FILE_BYTES_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|it| **it == b'\n').count() + 1;
        format!("{shown}:{line}: is not UTF-8")
    })
}

fn calendars<'a>(config: &ImportConfig, text: &mut Text<'a>, zones: &Zones) -> Vec<ImportedCalendar> {
    let whole = text.whole;
    let Some(members) = text.read::<Members<'a>>(whole, "") else { return Vec::new() };
    if !members.0.iter().any(|(key, _)| slots::is_date_like(key)) {
        if members.0.iter().all(|(key, _)| key != "calendars") {
            text.wrong_at((whole, 0), String::new(), "must be {\"calendars\": [...]} or slots by date and type");
        }
        for (flag, is_given) in [("--calendar", config.calendar.is_some()), ("--zone", config.zone.is_some())] {
            if is_given {
                text.wrong_at((whole, 0), flag.to_owned(), "is for a file of slots; this one names its calendars");
            }
        }
        return file::calendars(text, &members, zones);
    }
    let Some(calendar) = &config.calendar else {
        let why = "is needed for a file of slots: which calendar it becomes";
        text.wrong_at((whole, 0), "--calendar".to_owned(), why);
        return Vec::new();
    };
    let durations: BTreeMap<String, u16> = config.duration.iter().cloned().collect();
    let unsaid = Unsaid { calendar: calendar.clone(), zone: config.zone.clone().unwrap_or_default(), durations };
    slots::calendar(text, &members, &unsaid, zones)
}

enum NotDone {
    Open(OpenError),
    Refused(Refusal),
    Failed(String),
}

/// Submits the import to an engine that lives as long as this.
fn submit(config: &ImportConfig, zones: &Arc<Zones>, calendars: Vec<ImportedCalendar>) -> Result<Answer, NotDone> {
    let file = config.store.file();
    let store: Box<dyn Store> = match config.dry_run && std::fs::metadata(file).map_or(0, |it| it.len()) == 0 {
        // Asking makes no file, and no store of an empty one.
        true => Box::new(Memory::new(0)),
        false => Box::new(open_sqlite(file, zones).map_err(NotDone::Open)?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| NotDone::Failed(format!("the runtime cannot start: {error}")))?;
    let settings = engine::Settings {
        layout: Layout::Inline,
        is_clock_confirmed: config.confirm_clock,
        ..engine::Settings::default()
    };
    let bar = progress("writing", None);
    bar.tick();
    let answer = runtime.block_on(async {
        let started = Engine::start(store, Arc::new(SystemClock), settings);
        let (engine, running) = started.map_err(|error| NotDone::Failed(error.to_string()))?;
        let terms = Terms { is_dry_run: config.dry_run, ..Terms::default() };
        let answer = engine.submit(Command::Import(calendars), terms).await;
        drop(engine);
        let stopped = running.stopped().await;
        match (answer, stopped) {
            (Ok(answer), Stopped::Done) => Ok(answer),
            (Err(Failure::Refused(refusal)), _) => Err(NotDone::Refused(*refusal)),
            (Err(other), Stopped::Done) => Err(NotDone::Failed(other.to_string())),
            (_, Stopped::Failed(why) | Stopped::FileGone(why)) => Err(NotDone::Failed(why)),
        }
    });
    bar.finish_and_clear();
    answer
}
