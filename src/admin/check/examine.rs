//! The check of a SQLite store: of the file, and of its content.

use std::path::Path;
use std::sync::Arc;

use super::{Checked, Report, check_in};
use crate::admin::{Progress, Step};
use crate::clock::{Clock, SystemClock};
use crate::open_store::lookup;
use crate::store::StoreError;
use crate::store::sqlite::{Sqlite, SweptPages};
use crate::zones::Zones;

/// The results of a check of a database file.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The check of the file: its pages and checksums, and the integrity check of SQLite.
    pub file: Checked,
    /// The checks of the content; empty if it cannot be read.
    pub report: Report,
}

impl Examined {
    /// Whether the file or its content is damaged.
    pub fn is_damaged(&self) -> bool {
        self.file.found > 0 || self.report.is_damaged()
    }

    /// The results of all checks.
    pub fn all(&self) -> impl Iterator<Item = &Checked> {
        let Report {
            invariants,
            drift,
            sessions,
        } = &self.report;
        // A check that could not run has no name.
        [&self.file]
            .into_iter()
            .chain(invariants)
            .chain([sessions, drift])
            .filter(|check| !check.name.is_empty())
    }
}

/// Checks the file of a store and its content. Records that do not fit into memory are sorted in
/// `folder`.
pub(in crate::admin) fn examine(
    store: &mut Sqlite,
    zones: &Arc<Zones>,
    folder: &Path,
    progress: Progress,
) -> Result<Examined, StoreError> {
    let SweptPages {
        count,
        unsummed,
        findings,
    } = store.look_over()?;
    let mut file = Checked {
        name: "file",
        promise: "R2",
        about: "pages as they were written, and SQLite finds the file sound",
        examined: count,
        ..Checked::default()
    };
    file.notes.extend((unsummed > 0).then(|| {
        format!("{unsummed} of {count} pages carry no checksum: another program copied them in")
    }));
    (file.found, file.findings) = (findings.len() as u64, findings);
    match examine_content(store, zones, folder, progress) {
        Ok(report) => Ok(Examined { file, report }),
        // The findings of the file say what cannot be read.
        Err(error) if file.found > 0 && error.is_damage() => Ok(Examined {
            file,
            report: Report::default(),
        }),
        Err(error) => Err(error),
    }
}

fn examine_content(
    store: &mut Sqlite,
    zones: &Arc<Zones>,
    folder: &Path,
    progress: Progress,
) -> Result<Report, StoreError> {
    let oldest = store.oldest()?;
    let position = progress(Step::Checking {
        rows: store.count_rows()?,
    });
    let mut done = 0;
    check_in(
        folder,
        store,
        oldest,
        &lookup(zones),
        SystemClock.now(),
        |read| {
            done += read;
            position(done);
        },
    )
}
