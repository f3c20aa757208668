//! The options of commands that open a store instead of calling a server: the store and the time
//! zones.

use std::path::PathBuf;

use clap::Args;

use crate::admin::StoreFile;
use crate::config::StoreUrl;

/// Which store, and by which time zones.
#[derive(Args, Clone, Debug)]
pub struct StoreOptions {
    /// The store; no server may be running on it
    #[arg(
        long,
        env = "BOOKD_STORE",
        default_value = "sqlite:bookd.db",
        value_name = "URL"
    )]
    pub store: StoreUrl,
    /// A folder of compiled time zones to use instead of the newer of the system's and the bundled
    /// release
    #[arg(long, env = "BOOKD_ZONES", value_name = "FOLDER")]
    pub zones: Option<PathBuf>,
}

impl StoreOptions {
    /// The file of the store.
    pub fn file(&self) -> StoreFile {
        let StoreUrl::Sqlite(path) = self.store.clone();
        StoreFile {
            path,
            zones: self.zones.clone(),
        }
    }
}
