//! `bookd export`: writes the calendars and appointments of a store as JSON, to a file or to
//! standard output.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::output::{counted_together, ended, say};
use super::progress::shown;
use super::store_options::StoreOptions;
use crate::admin::export::{Exported, Output, Selection, export};

/// What `bookd export` needs to know.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bookd export calendars.json --store sqlite:bookd.db")]
pub struct ExportConfig {
    /// Where to; default standard output
    pub file: Option<PathBuf>,
    /// The store
    #[command(flatten)]
    pub store: StoreOptions,
    /// Write confirmation codes too, to look up by what people were told; an import gives new ones
    #[arg(long)]
    pub codes: bool,
}

/// Runs the command; the exit code says why the store cannot be read.
pub fn run(config: &ExportConfig) -> Exit {
    let selection = Selection {
        has_codes: config.codes,
        tenant: None,
        has_history: false,
    };
    run_selected(config, &selection)
}

/// Writes what is selected where the command says.
pub(super) fn run_selected(config: &ExportConfig, selection: &Selection) -> Exit {
    let mut stdout = std::io::stdout();
    let output = config
        .file
        .as_deref()
        .map_or(Output::Stream(&mut stdout), Output::File);
    match export(&config.store.file(), selection, output, shown) {
        Ok(Exported {
            calendars,
            appointments,
        }) => {
            if let Some(file) = &config.file {
                say(&format!(
                    "{} exported to {}",
                    counted_together(calendars, appointments),
                    file.display()
                ));
            }
            Exit::Done
        }
        Err(error) => ended(&error),
    }
}
