//! `bookd check`: looks at a whole database while nobody serves it, and writes nothing to it or beside it.
//!
//! A database of an older schema is looked at in a copy of it that is brought to this one, in the folder for temporary
//! files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::exit::Exit;
use super::part::{Failed, copy, damaged, until_done};
use super::progress::bar;
use super::transfer::StoreOptions;
use crate::admin::check::{Checked, Report, check_in};
use crate::clock::{Clock, SystemClock};
use crate::open_store::{lookup, open_sqlite};
use crate::store::StoreError;
use crate::store::sqlite::{Pages, Source, Sqlite, is_there};
use crate::zones::Zones;

/// What to check.
#[derive(Args, Clone, Debug)]
#[command(after_help = help())]
pub struct CheckOptions {
    /// The store
    #[command(flatten)]
    pub store: StoreOptions,
}

fn help() -> String {
    let exits = Exit::some(&[
        (Exit::Done, "sound"),
        (Exit::Failed, "damaged or cannot be read"),
        (Exit::Invalid, "it is not a bookd database of this version"),
        (Exit::NotFound, "there is none"),
        (Exit::TryAgain, "in use, try again"),
        (Exit::Drifted, "sound, but people should know of something: drift, or two sessions at one time"),
    ]);
    let examples = ["bookd check --store sqlite:bookd.db", "bookd check --store sqlite:copy.db --json"];
    format!("Examples:\n  {}\n\n{exits}", examples.join("\n  "))
}

/// Runs it; the exit code tells what was found.
pub fn run(options: &CheckOptions, is_json: bool) -> Exit {
    match look(options) {
        Ok((file, report)) => {
            let shown = if is_json { format!("{:#}", as_json(&file, &report)) } else { as_text(&file, &report) };
            // A closed pipe is the reader's way to say that it has seen enough.
            let _ = writeln!(std::io::stdout(), "{}", shown.trim_end());
            match (file.found > 0 || report.is_damaged(), report.has_news()) {
                (true, _) => Exit::Failed,
                (false, true) => Exit::Drifted,
                (false, false) => Exit::Done,
            }
        }
        Err(failed) => failed.complain(),
    }
}

fn look(options: &CheckOptions) -> Result<(Checked, Report), Failed> {
    let path = options.store.file();
    if !is_there(path)? {
        return Err(Failed::not_found(format!("{}: there is no such file", path.display())));
    }
    let zones = Arc::new(options.store.load_zones().map_err(Failed::other)?);
    let source = Source::open_unwritten(path)?;
    if source.is_older() {
        return look_at_copy(source, path.to_owned(), zones);
    }
    let folder = std::env::temp_dir();
    let examined = source.into_store(lookup(&zones)).and_then(|mut store| examine(&mut store, &zones, &folder));
    examined.map_err(|error| Failed::other(error.to_string()))
}

/// Looks at a copy that is brought to this schema; it is gone afterwards.
fn look_at_copy(mut source: Source, path: PathBuf, zones: Arc<Zones>) -> Result<(Checked, Report), Failed> {
    let (_copy, looked) = until_done(&std::env::temp_dir().join("bookd-check.db"), move |made| {
        let of_file = |error: StoreError| Failed::other(format!("{}: {error}", path.display()));
        let findings = source.integrity().map_err(of_file)?;
        if !findings.is_empty() {
            return Err(damaged(&path, &findings));
        }
        copy(&mut source, made, made)?;
        let mut store = open_sqlite(made, &zones)?;
        examine(&mut store, &zones, &std::env::temp_dir()).map_err(of_file)
    })?;
    Ok(looked)
}

/// Looks at all of a store: what SQLite says of the file, and what must be true of what is in it. What does not fit into
/// memory is sorted in this folder.
pub(super) fn examine(store: &mut Sqlite, zones: &Arc<Zones>, folder: &Path) -> Result<(Checked, Report), StoreError> {
    let Pages { count, unsummed, findings } = store.look_over()?;
    let mut file = Checked { name: "file", promise: "R2", examined: count, ..Checked::default() };
    file.notes.extend(
        (unsummed > 0)
            .then(|| format!("{unsummed} of {count} pages carry no checksum: another program copied them in")),
    );
    (file.found, file.findings) = (findings.len() as u64, findings);
    match examine_content(store, zones, folder) {
        Ok(report) => Ok((file, report)),
        // What cannot be read is named above.
        Err(error) if file.found > 0 && error.is_damage() => Ok((file, Report::default())),
        Err(error) => Err(error),
    }
}

fn examine_content(store: &mut Sqlite, zones: &Arc<Zones>, folder: &Path) -> Result<Report, StoreError> {
    let oldest = store.oldest()?;
    let bar = bar(store.count_rows()?, "checking");
    let report = check_in(folder, store, oldest, &lookup(zones), SystemClock.now(), |read| bar.inc(read));
    bar.finish_and_clear();
    report
}

fn all<'a>(file: &'a Checked, report: &'a Report) -> impl Iterator<Item = &'a Checked> {
    // What could not be looked at has no name.
    [file]
        .into_iter()
        .chain(&report.invariants)
        .chain([&report.sessions, &report.drift])
        .filter(|it| !it.name.is_empty())
}

fn about(name: &str) -> &'static str {
    match name {
        "file" => "pages as they were written, and SQLite finds the file sound",
        "log" => "changes without gap, each from what was there",
        "lives" => "what happened to appointments, by what may follow what",
        "rows" => "appointments as the log made them",
        "derived" => "what is kept beside rows and log, as it follows from them",
        "sessions" => "sessions that share a calendar at one time, as files of before schema 4 may have them",
        "conflicts" => "claims of time, never two of them on one time",
        _ => "upcoming appointments with the wall time they were booked for",
    }
}

fn as_text(file: &Checked, report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["CHECK", "PROMISE", "EXAMINED", "FOUND", "WHAT"]);
    for it in all(file, report) {
        let promise = if it.promise.is_empty() { "-" } else { it.promise };
        table.add_row([it.name, promise, &it.examined.to_string(), &it.found.to_string(), about(it.name)]);
    }
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    for it in all(file, report) {
        lines.extend(it.notes.iter().map(|note| format!("{}: {note}", it.name)));
        lines.extend(it.findings.iter().map(|finding| format!("{}: {finding}", it.name)));
        let more = it.found.saturating_sub(it.findings.len() as u64);
        lines.extend((more > 0).then(|| format!("{}: and {more} more", it.name)));
    }
    lines.join("\n")
}

fn as_json(file: &Checked, report: &Report) -> Value {
    let promise = |it: &Checked| Some(it.promise).filter(|it| !it.is_empty());
    let checks = all(file, report).map(|it| {
        let Checked { name, examined, found, findings, notes, .. } = it;
        let promise = promise(it);
        json!({ "check": name, "promise": promise, "examined": examined, "found": found, "findings": findings, "notes": notes })
    });
    json!({ "damaged": file.found > 0 || report.is_damaged(), "checks": checks.collect::<Vec<_>>() })
}
