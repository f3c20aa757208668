//! Why a call has no answer: the engine refused or failed, or the caller may not do it.

use bookd_core::prefixes::Prefixes;
use bookd_core::refusal::Refusal;

use crate::auth::AuthError;
use crate::engine::Failure;
use crate::store::StoreError;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NoAnswer {
    /// The engine refused or failed.
    Failed(Failure),
    /// The caller may not do it.
    NotAllowed(AuthError),
}

impl NoAnswer {
    /// What the caller may not do, if that is why: by its rights, or by those that a decision found
    /// lacking.
    pub(crate) fn not_allowed(&self) -> Option<AuthError> {
        match self {
            Self::NotAllowed(error) => Some(error.clone()),
            Self::Failed(Failure::Refused(refusal)) => lacking_right(refusal),
            Self::Failed(_) => None,
        }
    }
}

/// The right that a decision found lacking, if that is why it refused.
fn lacking_right(refusal: &Refusal) -> Option<AuthError> {
    match refusal {
        Refusal::OutOfReach(_) => Some(AuthError::OutOfReach {
            prefixes: Prefixes::nothing(),
        }),
        Refusal::CallerRevoked => Some(AuthError::InvalidCredentials),
        Refusal::InBatch { refusal, .. } | Refusal::OfSeries { refusal, .. } => {
            lacking_right(refusal)
        }
        _ => None,
    }
}

impl From<Failure> for NoAnswer {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Refusal> for NoAnswer {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal.into())
    }
}

impl From<StoreError> for NoAnswer {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<AuthError> for NoAnswer {
    fn from(error: AuthError) -> Self {
        Self::NotAllowed(error)
    }
}
