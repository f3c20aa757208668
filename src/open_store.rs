//! Opens the store in a file, with the time zones in use.

use std::path::Path;
use std::sync::Arc;

use crate::store::sqlite::Sqlite;
use crate::store::{OpenError, ZoneLookup};
use crate::zones::Zones;

/// Opens the SQLite store in this file, and creates it if there is none, with a new secret for its
/// confirmation codes.
pub fn open_sqlite(file: &Path, zones: &Arc<Zones>) -> Result<Sqlite, OpenError> {
    let (high, low) = uuid::Uuid::now_v7().as_u64_pair();
    Sqlite::open(file, lookup(zones), high.rotate_left(17) ^ low)
}

/// Opens the SQLite store in this file; an error if there is none.
pub fn open_existing_sqlite(file: &Path, zones: &Arc<Zones>) -> Result<Sqlite, OpenError> {
    Sqlite::open_existing(file, lookup(zones))
}

/// The lookup of these zones, for a store.
pub fn lookup(zones: &Arc<Zones>) -> ZoneLookup {
    let zones = Arc::clone(zones);
    Arc::new(move |name| zones.zone(name).ok())
}
