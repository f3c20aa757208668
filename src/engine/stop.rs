//! How the writer ends, and the one log line that says why.

use crate::store::{CommitError, StoreError};

/// How the actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every engine handle was dropped, or the grace period of a stop was over.
    Done,
    /// A failure after which the actor must not go on, such as a commit whose outcome is not known.
    Failed(String),
    /// The store's file was moved or removed while it was open.
    FileGone(String),
}

impl Stopped {
    /// After a fatal error of the store.
    pub(super) fn by(fatal: &StoreError) -> Self {
        let why = logged(fatal.to_string());
        if matches!(fatal, StoreError::Gone(_)) {
            Self::FileGone(why)
        } else {
            Self::Failed(why)
        }
    }

    /// After a commit whose outcome is not known.
    pub(super) fn unknown() -> Self {
        Self::Failed(logged(
            "what is on disk is not known for certain; a restart finds it".to_owned(),
        ))
    }

    /// After a panic, whose message the panic hook has written.
    pub(super) fn panicked() -> Self {
        Self::Failed("the writer met a broken invariant and stopped".to_owned())
    }
}

fn logged(why: String) -> String {
    tracing::error!(error = %why, "the writer stops");
    why
}

/// Whether the writer goes on after work between batches has failed; `work` names the failure in
/// the log. False when the outcome on disk is not known; an error when the failure is fatal.
pub(super) fn goes_on_after(error: CommitError, work: &str) -> Result<bool, StoreError> {
    let is_known = matches!(error, CommitError::Refused(_));
    let error = error.into_store_error();
    if !is_known {
        tracing::error!(%error, "{work}, and the disk failed");
    }
    if error.is_fatal() {
        Err(error)
    } else {
        Ok(is_known)
    }
}

/// As [`goes_on_after`], for work that the writer repeats later: a refusal is logged too.
pub(super) fn goes_on_without(error: CommitError, work: &str) -> Result<bool, StoreError> {
    if let CommitError::Refused(error) = &error {
        tracing::warn!(%error, "{work}");
    }
    goes_on_after(error, work)
}
