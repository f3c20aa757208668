//! All that can be looked at of a SQLite store: whether the file is sound, and whether what is in it is as it must be.

use std::path::Path;
use std::sync::Arc;

use super::{Checked, Report, check_in};
use crate::admin::{Progress, Step};
use crate::clock::{Clock, SystemClock};
use crate::open_store::lookup;
use crate::store::StoreError;
use crate::store::sqlite::{Sqlite, SweptPages};
use crate::zones::Zones;

/// What was looked at of a file, and what was found.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The file itself.
    pub file: Checked,
    /// What is in it; empty where that cannot be read.
    pub report: Report,
}

impl Examined {
    /// Whether something is there that cannot be.
    pub fn is_damaged(&self) -> bool {
        self.file.found > 0 || self.report.is_damaged()
    }

    /// Everything that was checked.
    pub fn all(&self) -> impl Iterator<Item = &Checked> {
        let Report {
            invariants,
            drift,
            sessions,
        } = &self.report;
        // What could not be looked at has no name.
        [&self.file]
            .into_iter()
            .chain(invariants)
            .chain([sessions, drift])
            .filter(|it| !it.name.is_empty())
    }
}

/// Looks at all of a store: what SQLite says of the file, and what must be true of what is in it. What does not fit into
/// memory is sorted in this folder.
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
        examined: count,
        ..Checked::default()
    };
    file.notes.extend((unsummed > 0).then(|| {
        format!("{unsummed} of {count} pages carry no checksum: another program copied them in")
    }));
    (file.found, file.findings) = (findings.len() as u64, findings);
    match examine_content(store, zones, folder, progress) {
        Ok(report) => Ok(Examined { file, report }),
        // What cannot be read is named above.
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
