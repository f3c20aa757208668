//! Administration: what a person does to a store as a whole, such as to check it, back it up, or import into it.
//!
//! Nothing here knows a terminal: it prints nothing and ends no process. How far long work is, it tells whoever asked for
//! that work.

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

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::sqlite::is_there;
use crate::store::{OpenError, StoreError};
use crate::zones::Zones;

/// How many findings a message tells; a check tells more of them.
const FINDINGS_TOLD_MAX: usize = 5;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store was opened, and then failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that is read or written beside the store.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What was named is nothing that this can be done to.
    #[error("{0}")]
    Invalid(String),
    /// What was named is not there.
    #[error("{0}")]
    NotFound(String),
    /// Something is there already.
    #[error("{0}")]
    Exists(String),
    /// Another time it may go well.
    #[error("{0}")]
    Later(String),
    /// Anything else: the store is damaged, or a disk failed.
    #[error("{0}")]
    Failed(String),
}

impl AdminError {
    /// A file is there to be read, and cannot be.
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

    /// Something is in a database that cannot be.
    fn damaged(file: &Path, damage: &[String]) -> Self {
        let told = damage
            .iter()
            .take(FINDINGS_TOLD_MAX)
            .map(|it| format!("\n  {it}"));
        let more = damage.len().saturating_sub(FINDINGS_TOLD_MAX);
        let more = if more > 0 {
            format!("\n  and {more} more")
        } else {
            String::new()
        };
        let file = file.display();
        Self::Failed(format!(
            "{file} is damaged, and nothing was written:{}{more}",
            told.collect::<String>()
        ))
    }
}

/// A step of long work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A database is copied.
    Copying {
        /// How many bytes it has.
        bytes: u64,
    },
    /// A database is looked over.
    Checking {
        /// How many appointments and changes it has.
        rows: u64,
    },
    /// A file is read, appointment by appointment.
    Reading,
    /// What was read is written, appointment by appointment.
    Writing,
}

/// Takes how much of a step is done, in what the step counts. The step is over when this is dropped.
pub type Position = Box<dyn Fn(u64) + Send>;

/// Is told when a step begins.
pub type Progress = fn(Step) -> Position;

/// The file of a store, and the time zones that it is read with.
#[derive(Clone, Debug)]
pub struct StoreFile {
    /// Where it is.
    pub path: PathBuf,
    /// A folder of compiled time zones to use instead of the newer of the system's and the bundled release.
    pub zones: Option<PathBuf>,
}

impl StoreFile {
    fn load_zones(&self) -> Result<Arc<Zones>, AdminError> {
        let zones = Zones::load(self.zones.as_deref());
        zones
            .map(Arc::new)
            .map_err(|error| AdminError::Failed(error.to_string()))
    }

    /// Refused when it is not there.
    fn must_be_there(&self) -> Result<(), AdminError> {
        match is_there(&self.path)? {
            true => Ok(()),
            false => Err(AdminError::NotFound(format!(
                "{}: there is no such file",
                self.path.display()
            ))),
        }
    }
}
