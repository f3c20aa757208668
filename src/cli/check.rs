//! `bookd check`: checks a database that no server uses, and prints the findings as a table or as
//! JSON.

use clap::Args;
use serde_json::{Value, json};

use super::exit::Exit;
use super::output::{ended, say};
use super::progress::shown;
use super::store_options::StoreOptions;
use super::table::table;
use crate::admin::check::Checked;
use crate::admin::check::examine::Examined;
use crate::admin::check::offline::look;

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
        (
            Exit::Drifted,
            "sound, but people should know of something: drift, or two sessions at one time",
        ),
    ]);
    let examples = [
        "bookd check --store sqlite:bookd.db",
        "bookd check --store sqlite:copy.db --json",
    ];
    format!("Examples:\n  {}\n\n{exits}", examples.join("\n  "))
}

/// Runs the command; its help has the exit codes.
pub fn run(options: &CheckOptions, is_json: bool) -> Exit {
    match look(&options.store.file(), shown) {
        Ok(examined) => {
            let text = if is_json {
                format!("{:#}", as_json(&examined))
            } else {
                as_text(&examined)
            };
            say(text.trim_end());
            match (examined.is_damaged(), examined.report.has_news()) {
                (true, _) => Exit::Failed,
                (false, true) => Exit::Drifted,
                (false, false) => Exit::Done,
            }
        }
        Err(error) => ended(&error),
    }
}

fn as_text(examined: &Examined) -> String {
    let mut text = table(
        &["check", "promise", "examined", "found", "what"],
        examined.all().map(|check| {
            let promise = if check.promise.is_empty() {
                "-"
            } else {
                check.promise
            };
            [
                check.name,
                promise,
                &check.examined.to_string(),
                &check.found.to_string(),
                check.about,
            ]
            .map(str::to_owned)
            .into()
        }),
    );
    for check in examined.all() {
        let more = check.found.saturating_sub(check.findings.len() as u64);
        let more = (more > 0).then(|| format!("and {more} more"));
        for line in check.notes.iter().chain(&check.findings).chain(&more) {
            text.push_str(&format!("\n{}: {line}", check.name));
        }
    }
    text
}

fn as_json(examined: &Examined) -> Value {
    let promise = |check: &Checked| Some(check.promise).filter(|promise| !promise.is_empty());
    let checks = examined.all().map(|check| {
        let Checked { name, examined, found, findings, notes, .. } = check;
        let promise = promise(check);
        json!({ "check": name, "promise": promise, "examined": examined, "found": found, "findings": findings, "notes": notes })
    });
    json!({ "damaged": examined.is_damaged(), "checks": checks.collect::<Vec<_>>() })
}
