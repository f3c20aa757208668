//! Checks a whole database that no server uses, and writes nothing to it or next to it.
//!
//! A database of an older schema is copied to the folder for temporary files, and the copy is
//! migrated and checked.

use std::path::PathBuf;
use std::sync::Arc;

use super::examine::{Examined, examine};
use crate::admin::copy::copy;
use crate::admin::new_file;
use crate::admin::{AdminError, Progress, StoreFile};
use crate::open_store::{lookup, open_sqlite};
use crate::store::StoreError;
use crate::store::sqlite::CopySource;
use crate::zones::Zones;

/// Checks a store that must exist.
pub fn look(store: &StoreFile, progress: Progress) -> Result<Examined, AdminError> {
    store.must_be_there()?;
    let zones = store.load_zones()?;
    let source = CopySource::open_unwritten(&store.path)?;
    if source.is_older() {
        return check_migrated_copy(source, store.path.clone(), zones, progress);
    }
    let mut store = source.into_store(lookup(&zones))?;
    Ok(examine(
        &mut store,
        &zones,
        &std::env::temp_dir(),
        progress,
    )?)
}

/// Checks a migrated copy, which is removed afterwards.
fn check_migrated_copy(
    mut source: CopySource,
    path: PathBuf,
    zones: Arc<Zones>,
    progress: Progress,
) -> Result<Examined, AdminError> {
    let (_copy, examined) =
        new_file::make(&std::env::temp_dir().join("bookd-check.db"), move |made| {
            let of_file =
                |error: StoreError| AdminError::Failed(format!("{}: {error}", path.display()));
            let findings = source.integrity().map_err(of_file)?;
            if !findings.is_empty() {
                return Err(AdminError::damaged(&path, &findings));
            }
            copy(&mut source, made, made, progress)?;
            let mut store = open_sqlite(made, &zones)?;
            examine(&mut store, &zones, &std::env::temp_dir(), progress).map_err(of_file)
        })?;
    Ok(examined)
}
