//! Looks at a whole database while nobody serves it, and writes nothing to it or beside it.
//!
//! A database of an older schema is looked at in a copy of it that is brought to this one, in the folder for temporary
//! files.

use std::path::PathBuf;
use std::sync::Arc;

use super::examine::{Examined, examine};
use crate::admin::copy::copy;
use crate::admin::new_file::until_done;
use crate::admin::{AdminError, Progress, StoreFile};
use crate::open_store::{lookup, open_sqlite};
use crate::store::StoreError;
use crate::store::sqlite::CopySource;
use crate::zones::Zones;

/// Looks at a store that must be there.
pub fn look(store: &StoreFile, progress: Progress) -> Result<Examined, AdminError> {
    store.must_be_there()?;
    let zones = store.load_zones()?;
    let source = CopySource::open_unwritten(&store.path)?;
    if source.is_older() {
        return look_at_copy(source, store.path.clone(), zones, progress);
    }
    let mut store = source.into_store(lookup(&zones))?;
    Ok(examine(
        &mut store,
        &zones,
        &std::env::temp_dir(),
        progress,
    )?)
}

/// Looks at a copy that is brought to this schema; it is gone afterwards.
fn look_at_copy(
    mut source: CopySource,
    path: PathBuf,
    zones: Arc<Zones>,
    progress: Progress,
) -> Result<Examined, AdminError> {
    let (_copy, examined) =
        until_done(&std::env::temp_dir().join("bookd-check.db"), move |made| {
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
