//! The statuses of calls that are not let in, or may not do what they ask.

use tonic::{Code, Status};

use super::error_answer::{Detail, ErrorAnswer};
use super::plain;
use crate::auth::AuthError;
use crate::proto::v1::ErrorReason;
use bookd_core::prefixes::Prefixes;

/// The status of a call that is not let in. It says nothing of what is stored.
pub(crate) fn not_allowed(error: &AuthError) -> Status {
    let unknown = |message: &str| {
        plain(
            Code::Unauthenticated,
            ErrorReason::CredentialsInvalid,
            message,
        )
    };
    let denied = |message: String, scopes: String| {
        ErrorAnswer::new(
            Code::PermissionDenied,
            ErrorReason::PermissionDenied,
            message,
        )
        .with("scopes", scopes)
        .status()
    };
    match error {
        AuthError::NoCredentials => unknown(
            "the call has no credentials: send `authorization: Bearer TOKEN`, or connect with a \
             client certificate",
        ),
        AuthError::InvalidCredentials => unknown(
            "the credentials are not valid, or are no longer: ask whoever runs the server for \
             others",
        ),
        AuthError::Denied { wanted } => denied(
            format!("the caller may not call this method: it needs one of the scopes {wanted}"),
            wanted.to_string(),
        ),
        AuthError::StaffOnly => denied(
            "the caller may not ignore rules: `ignore_rules` needs the scope staff".to_owned(),
            "staff".to_owned(),
        ),
        AuthError::OutOfReach { prefixes } => out_of_reach(prefixes),
        AuthError::OwnOnly => ErrorAnswer::new(
            Code::PermissionDenied,
            ErrorReason::PermissionDenied,
            "the caller may do this for its own appointments alone: leave out other customers, and \
             ask for single appointments",
        )
        .status(),
        AuthError::BeyondOwnRights { what } => ErrorAnswer::new(
            Code::PermissionDenied,
            ErrorReason::PermissionDenied,
            format!("the caller may not create this token: {what}"),
        )
        .status(),
        AuthError::NotAsked => plain(
            Code::FailedPrecondition,
            ErrorReason::CredentialsNotAskedFor,
            "the server asks nobody for credentials, and with the first token it would lock out \
             everybody else: start it with --bootstrap-token-file or a grant, or stop it and run \
             `bookd token create --store`",
        ),
        AuthError::TooOften { retry_after } => ErrorAnswer::new(
            Code::ResourceExhausted,
            ErrorReason::RateLimited,
            "the caller calls too often; nothing happened, retry after the delay that is told",
        )
        .detailed(Detail::RetryAfter(*retry_after))
        .status(),
    }
}

/// The status of a call about calendars on which the caller may not do it.
fn out_of_reach(prefixes: &Prefixes) -> Status {
    let message = if prefixes.is_all() {
        "the rights of the caller have changed; call again".to_owned()
    } else if prefixes.is_nothing() {
        "the caller may do this on no calendar".to_owned()
    } else {
        format!("the caller may do this only on calendars whose ids begin with one of: {prefixes}")
    };
    ErrorAnswer::new(
        Code::PermissionDenied,
        ErrorReason::PermissionDenied,
        message,
    )
    .with("prefixes", prefixes.to_string())
    .status()
}
