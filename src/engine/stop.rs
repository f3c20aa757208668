//! How the writer ends, and the one line of the log that says why.

use crate::store::StoreError;

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
        if matches!(fatal, StoreError::Gone(_)) { Self::FileGone(why) } else { Self::Failed(why) }
    }

    /// By a commit of which nobody knows whether it happened.
    pub(super) fn unknown() -> Self {
        Self::Failed(logged("what is on disk is not known for certain; a restart finds it".to_owned()))
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
