//! How the writer ends, and the one line of the log that says why.

use crate::store::{CommitError, StoreError};

/// How the actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nobody was left to send it anything.
    Done,
    /// It must not go on: the store is damaged, or a commit's outcome is not known.
    Failed(String),
    /// The file of the store was taken away from under it.
    FileGone(String),
}

impl Stopped {
    /// By an error after which the writer must not go on.
    pub(super) fn by(fatal: &StoreError) -> Self {
        let why = logged(fatal.to_string());
        if matches!(fatal, StoreError::Gone(_)) {
            Self::FileGone(why)
        } else {
            Self::Failed(why)
        }
    }

    /// By a commit of which nobody knows whether it happened.
    pub(super) fn unknown() -> Self {
        Self::Failed(logged(
            "what is on disk is not known for certain; a restart finds it".to_owned(),
        ))
    }

    /// By a panic, which has said itself what it is.
    pub(super) fn panicked() -> Self {
        Self::Failed("the writer met a broken invariant and stopped".to_owned())
    }
}

fn logged(why: String) -> String {
    tracing::error!(error = %why, "the writer stops");
    why
}

/// Whether the writer goes on after something that it does between batches has failed, which `work` names: not when nobody
/// knows what is on disk (false), and not after a fatal error.
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

/// The same where the writer comes back to the work later: the log tells what the store refused, too.
pub(super) fn goes_on_without(error: CommitError, work: &str) -> Result<bool, StoreError> {
    if let CommitError::Refused(error) = &error {
        tracing::warn!(%error, "{work}");
    }
    goes_on_after(error, work)
}
