//! The failures of the engine. Each variant says whether something may have happened.

use bookd_core::ids::Revision;
use bookd_core::refusal::Refusal;

use super::settings::MAILBOX_MAX;
use crate::store::StoreError;

/// Why a call to the engine has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The command was decided, and refused.
    #[error("refused: {0:?}")]
    Refused(Box<Refusal>),
    /// The mailbox is full. Nothing happened.
    #[error("{MAILBOX_MAX} commands are waiting already")]
    Overloaded,
    /// The engine is stopping. Nothing happened.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store refused before the commit. Nothing happened.
    #[error("{0}")]
    StoreUnavailable(String),
    /// The stored data that the call needs is damaged. Nothing happened.
    #[error("what is stored of this is damaged")]
    Damaged,
    /// The store failed within the commit: the change may or may not have happened.
    #[error("the outcome of the commit is not known")]
    CommitUnknown,
    /// The deadline passed before the work began. Nothing happened.
    #[error("the deadline passed before the work began")]
    ExpiredInQueue,
    /// Paging or watching at a revision that is no longer kept; carries the oldest revision that is
    /// kept.
    #[error("history before revision {0} is compacted")]
    Compacted(Revision),
    /// Watching from a revision that does not exist yet.
    #[error("the newest revision is {newest}")]
    InFuture {
        /// The newest revision.
        newest: Revision,
        /// The oldest revision that is kept.
        oldest: Revision,
    },
    /// The watcher was too slow.
    #[error("the watcher was too slow; it was told of everything up to revision {last}")]
    Lagged {
        /// The last revision that the watcher received.
        last: Revision,
        /// The oldest revision that is kept.
        oldest: Revision,
    },
    /// The limit of open watches is reached; carries the limit.
    #[error("{0} watches are open already")]
    TooManyWatches(usize),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Compacted { oldest } => Self::Compacted(oldest),
            StoreError::Damaged(_) => Self::Damaged,
            other => Self::StoreUnavailable(other.to_string()),
        }
    }
}
