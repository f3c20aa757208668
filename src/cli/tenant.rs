//! `bookd tenant`: writes everything of a tenant as JSON, and deletes a tenant from a store.

use std::io::{BufRead, IsTerminal, Write};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::Exit;
use super::export::{ExportConfig, run_selected};
use super::output::{complain, counted, ended, say};
use super::progress::shown;
use super::store_options::StoreOptions;
use super::table::table;
use crate::admin::export::Selection;
use crate::admin::export::tenant::MEMBERS;
use crate::admin::tenant::TenantPrefix;
use crate::admin::tenant_deletion::{DeletedTenant, delete, look};
use crate::store::sqlite::TenantSize;

/// What to do with a tenant.
#[derive(Subcommand, Clone, Debug)]
pub enum TenantCommand {
    /// Write everything of a tenant as a file that import reads; no server may be running on the
    /// store
    #[command(after_help = help_of_export())]
    Export(TenantExportOptions),
    /// Delete everything of a tenant from the file, beyond recovery; no server may be running on it
    #[command(after_help = help_of_delete())]
    Delete(TenantDeleteOptions),
}

/// Which tenant to export, and where to.
#[derive(Args, Clone, Debug)]
pub struct TenantExportOptions {
    /// How the ids of its calendars begin, such as acme/
    #[arg(value_parser = TenantPrefix::parse)]
    pub prefix: TenantPrefix,
    /// The file, the store and what is written, as of `bookd export`
    #[command(flatten)]
    pub export: ExportConfig,
    /// Leave out `changes`, the history: a file of more than 512 MiB is not imported
    #[arg(long)]
    pub without_history: bool,
}

fn help_of_export() -> String {
    let exits = Exit::some(&[
        (Exit::Done, "written"),
        (
            Exit::Failed,
            "the store is damaged or the file cannot be written",
        ),
        (Exit::Invalid, "it is not a bookd database of this version"),
        (
            Exit::NotFound,
            "there is no store, or nothing of the tenant in it",
        ),
        (Exit::TryAgain, "in use, try again"),
    ]);
    format!(
        "The file has the calendars and appointments as `bookd export` writes them, and beside them {}, which import \
         passes over. Of an appointment shared with other tenants it has what the tenant is shown: its own calendars, \
         and no person. It has no remembered requests, no etags, and of `calendars` no create and update times.\n\nExample:\n  bookd tenant export acme/ acme.json --store sqlite:bookd.db\n\n{exits}",
        MEMBERS.join(", ")
    )
}

/// Which tenant to delete, and whether to do it.
#[derive(Args, Clone, Debug)]
pub struct TenantDeleteOptions {
    /// How the ids of its calendars begin, such as acme/
    #[arg(value_parser = TenantPrefix::parse)]
    pub prefix: TenantPrefix,
    /// The store
    #[command(flatten)]
    pub store: StoreOptions,
    /// Do it without asking, for scripts
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Show what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The clock is right, though it is more than a day after the last commit
    #[arg(long, env = "BOOKD_CONFIRM_CLOCK")]
    pub confirm_clock: bool,
}

fn help_of_delete() -> String {
    let exits = Exit::some(&[
        (Exit::Done, "deleted, or shown with --dry-run"),
        (Exit::Failed, "the store is damaged or cannot be written"),
        (Exit::Usage, "shown and not deleted, for want of --yes"),
        (Exit::Invalid, "it is not a bookd database of this version"),
        (
            Exit::NotFound,
            "there is no store, or nothing of the tenant in it",
        ),
        (
            Exit::TryAgain,
            "no room, in use, or the clock is in doubt; try again",
        ),
    ]);
    let examples = [
        "bookd tenant delete acme/ --store sqlite:bookd.db --dry-run",
        "bookd tenant delete acme/ --store sqlite:bookd.db --yes",
    ];
    format!(
        "Calendars whose ids begin with the prefix go with their types, hours, busy time, appointments, changes, tokens \
         and remembered requests. Appointments that are or were on calendars of other tenants as well stay theirs: those \
         on a calendar of the prefix lose their person, and are cancelled if they are upcoming. `bookd tenant export` writes \
         most of what goes; its help says what is not in its file.\n\nExamples:\n  {}\n\n{exits}",
        examples.join("\n  ")
    )
}

/// Runs the command; its help has the exit codes.
pub fn run(command: &TenantCommand, is_json: bool) -> Exit {
    match command {
        TenantCommand::Export(options) => run_export(options),
        TenantCommand::Delete(options) => run_delete(options, is_json),
    }
}

fn run_export(options: &TenantExportOptions) -> Exit {
    let selection = Selection {
        has_codes: options.export.codes,
        tenant: Some(options.prefix.clone()),
        has_history: !options.without_history,
    };
    match look(&options.export.store.file(), &options.prefix, shown) {
        Ok(_) => run_selected(&options.export, &selection),
        Err(error) => ended(&error),
    }
}

fn run_delete(options: &TenantDeleteOptions, is_json: bool) -> Exit {
    let store = options.store.file();
    if !options.yes {
        let size = match look(&store, &options.prefix, shown) {
            Ok(size) => size,
            Err(error) => return ended(&error),
        };
        if options.dry_run {
            say(&if is_json {
                as_json(options, size, None)
            } else {
                as_text(options, size)
            });
            return Exit::Done;
        }
        if !is_confirmed(options, size, is_json) {
            complain("nothing was deleted: type the prefix when asked, or say --yes");
            return Exit::Usage;
        }
    }
    match delete(&store, &options.prefix, options.confirm_clock, shown) {
        Ok(deleted) => {
            say(&if is_json {
                as_json(options, deleted.size, Some(&deleted))
            } else {
                deleted_as_text(options, &deleted)
            });
            Exit::Done
        }
        Err(error) => ended(&error),
    }
}

/// Shows what would go, and asks for the prefix where somebody is there to type it. Standard output
/// is for the JSON of the result, if that is wanted.
fn is_confirmed(options: &TenantDeleteOptions, size: TenantSize, is_json: bool) -> bool {
    let mut errors = std::io::stderr();
    if is_json {
        // Whoever closed standard error does not want to be told.
        let _ = writeln!(errors, "{}", as_text(options, size));
    } else {
        say(&as_text(options, size));
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        return false;
    }
    let prefix = options.prefix.as_str();
    // A question that cannot be shown is not answered either.
    let _ = write!(errors, "Type {prefix} to delete all of it: ").and_then(|()| errors.flush());
    let mut typed = String::new();
    let read = input.lock().read_line(&mut typed);
    read.is_ok() && typed.trim_end_matches(['\n', '\r']) == prefix
}

/// The counts, each with its noun.
const fn counts(size: &TenantSize) -> [(&'static str, u64); 6] {
    let TenantSize {
        calendars,
        deleted_calendars,
        appointments,
        shared_appointments,
        changes,
        tokens,
    } = *size;
    [
        ("calendars", calendars),
        ("deleted calendars", deleted_calendars),
        ("appointments", appointments),
        ("shared appointments", shared_appointments),
        ("changes", changes),
        ("tokens", tokens),
    ]
}

fn as_text(options: &TenantDeleteOptions, size: TenantSize) -> String {
    let (prefix, store) = (options.prefix.as_str(), options.store.file());
    let rows = counts(&size).map(|(what, count)| vec![what.to_owned(), count.to_string()]);
    let mut text = table(&["what", "count"], rows.into_iter());
    if size.shared_appointments > 0 {
        let shared = counted(size.shared_appointments, "appointment");
        text.push_str(&format!(
            "\n{shared} shared with other tenants would stay theirs: without its person on a calendar of {prefix}, and cancelled if it is upcoming there."
        ));
    }
    let everything = if size.shared_appointments > 0 {
        "Everything else"
    } else {
        "Everything"
    };
    text.push_str(&format!(
        "\n{everything} of {prefix} would go from {}. Backups and replicas keep it until you remove them.",
        store.path.display()
    ));
    text
}

fn deleted_as_text(options: &TenantDeleteOptions, deleted: &DeletedTenant) -> String {
    let DeletedTenant {
        size,
        revision,
        had_leftover,
        ..
    } = deleted;
    let counted = [
        counted(size.calendars + size.deleted_calendars, "calendar"),
        counted(size.appointments, "appointment"),
        counted(size.changes, "change"),
        counted(size.tokens, "token"),
    ];
    let mut text = format!(
        "{} is gone from {}: {}. Revision {revision} is the mark of it.",
        options.prefix.as_str(),
        options.store.file().path.display(),
        counted.join(", "),
    );
    if size.shared_appointments > 0 {
        let shared = size.shared_appointments;
        text.push_str(&format!(
            "\nAppointments shared with other tenants, {shared} of them, stay theirs."
        ));
    }
    if *had_leftover {
        text.push_str("\nThe copy that a deletion which was cut short had left was removed.");
    }
    text.push_str("\nBackups and replicas keep it until you remove them.");
    text
}

fn as_json(
    options: &TenantDeleteOptions,
    size: TenantSize,
    deleted: Option<&DeletedTenant>,
) -> String {
    let mut value: Value = json!({
        "store": options.store.file().path.display().to_string(),
        "prefix": options.prefix.as_str(),
        "deleted": deleted.is_some(),
    });
    for (what, count) in counts(&size) {
        value[what.replace(' ', "_")] = json!(count);
    }
    if let Some(deleted) = deleted {
        value["revision"] = json!(deleted.revision.0);
        value["bytes"] = json!(deleted.bytes);
        value["leftover_removed"] = json!(deleted.had_leftover);
    }
    format!("{value:#}")
}
