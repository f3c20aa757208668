//! Why a call is not let in, or may not do what it asks for.

use std::time::Duration;

use super::scopes::MethodScopes;
use bookd_core::prefixes::Prefixes;

/// Why a call is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// The call has no credentials, and its method wants some.
    NoCredentials,
    /// The credentials are unknown, unreadable or no longer valid. Which of these is not told.
    InvalidCredentials,
    /// The caller is known, and has none of the wanted scopes.
    Denied {
        /// What is wanted of a caller.
        wanted: MethodScopes,
    },
    /// The caller may not ignore rules, which is for staff.
    StaffOnly,
    /// The caller may not do this on a calendar that the call names, or on any that it would show.
    OutOfReach {
        /// The calendars on which it may.
        prefixes: Prefixes,
    },
    /// The caller may do this for its own appointments alone, and names another customer or asks for
    /// everybody's.
    OwnOnly,
    /// The caller has not all rights that a token is to have, or may not give it this name.
    BeyondOwnRights {
        /// What is beyond them.
        what: String,
    },
    /// The server asks nobody for credentials.
    NotAsked,
    /// The caller calls too often, or sends wrong credentials too often.
    TooOften {
        /// When it may come again.
        retry_after: Duration,
    },
}

impl AuthError {
    /// The reason in few words.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::NoCredentials => "no credentials",
            Self::InvalidCredentials => "wrong credentials",
            Self::Denied { .. } => "scope",
            Self::StaffOnly => "for staff",
            Self::OutOfReach { .. } => "calendars",
            Self::OwnOnly => "own appointments alone",
            Self::BeyondOwnRights { .. } => "rights of a token",
            Self::NotAsked => "an open server",
            Self::TooOften { .. } => "too often",
        }
    }
}
