//! Administration of a whole store: check, backup, restore, import, export, clock reset.
//!
//! Nothing here knows a terminal: it prints nothing and ends no process. Long work reports its
//! progress to a function that the caller passes.

pub mod backup;
pub mod check;
pub mod clock_reset;
mod copy;
#[cfg(feature = "client")]
pub mod export;
#[cfg(feature = "client")]
pub mod import;
mod new_file;
pub mod restore;
pub mod tenant;
pub mod tenant_deletion;
pub mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::sqlite::is_there;
use crate::store::{OpenError, StoreError};
use crate::zones::Zones;

/// The most findings in an error message; the report of a check has more.
const FINDINGS_SHOWN_MAX: usize = 5;

/// Why a command of administration failed. The store is unchanged, unless the message says
/// otherwise.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed after it was opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file other than the store cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file or the request cannot be used: it is invalid, or of another kind.
    #[error("{0}")]
    Invalid(String),
    /// The named file does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A file or a calendar exists already.
    #[error("{0}")]
    Exists(String),
    /// The command may succeed later.
    #[error("{0}")]
    Later(String),
    /// Another failure: the store is damaged, or a disk failed.
    #[error("{0}")]
    Failed(String),
}

impl AdminError {
    /// The error of a database that exists and cannot be read.
    fn unreadable(file: &Path, error: &StoreError) -> Self {
        if error.is_damage() {
            return Self::damaged(file, &[error.to_string()]);
        }
        let text = format!("{}: {error}; nothing was written", file.display());
        if *error == StoreError::Busy {
            Self::Later(text)
        } else {
            Self::Failed(text)
        }
    }

    /// The error of a damaged database, with the first findings.
    fn damaged(file: &Path, damage: &[String]) -> Self {
        let file = file.display();
        Self::found(
            &format!("{file} is damaged, and nothing was written"),
            damage,
        )
    }

    /// An error with the first findings.
    fn found(what: &str, findings: &[String]) -> Self {
        let shown = findings
            .iter()
            .take(FINDINGS_SHOWN_MAX)
            .map(|finding| format!("\n  {finding}"));
        let more = findings.len().saturating_sub(FINDINGS_SHOWN_MAX);
        let more = if more > 0 {
            format!("\n  and {more} more")
        } else {
            String::new()
        };
        Self::Failed(format!("{what}:{}{more}", shown.collect::<String>()))
    }
}

/// A step of long work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Copies a database.
    Copying {
        /// The size of the database in bytes.
        bytes: u64,
    },
    /// Checks a database.
    Checking {
        /// The number of its appointments and changes.
        rows: u64,
    },
    /// Reads a file of an import, counted in appointments.
    Reading,
    /// Writes an import or an export, counted in appointments.
    Writing,
    /// Looks for what a store has of a tenant.
    Searching {
        /// The number of its appointments and changes.
        rows: u64,
    },
    /// Removes a tenant.
    Erasing {
        /// The number of its appointments and changes.
        rows: u64,
    },
}

/// Takes how much of a step is done, in the unit of the step: bytes, rows or appointments. The step
/// is over when this is dropped.
pub type Position = Box<dyn Fn(u64) + Send>;

/// Called when a step begins; answers the function that takes its position.
pub type Progress = fn(Step) -> Position;

/// The file of a store, and the time zones that it is read with.
#[derive(Clone, Debug)]
pub struct StoreFile {
    /// The path of the file.
    pub path: PathBuf,
    /// A folder of compiled time zones to use instead of the newer of the system's and the bundled
    /// release.
    pub zones: Option<PathBuf>,
}

impl StoreFile {
    fn load_zones(&self) -> Result<Arc<Zones>, AdminError> {
        let zones = Zones::load(self.zones.as_deref());
        zones
            .map(Arc::new)
            .map_err(|error| AdminError::Failed(error.to_string()))
    }

    /// # Errors
    ///
    /// `NotFound` if the file does not exist.
    fn must_be_there(&self) -> Result<(), AdminError> {
        if is_there(&self.path)? {
            return Ok(());
        }
        Err(AdminError::NotFound(format!(
            "{}: there is no such file",
            self.path.display()
        )))
    }
}
