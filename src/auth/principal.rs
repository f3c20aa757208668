//! Who calls, by which credential, and with which rights.

use std::sync::Arc;

use super::credentials::TokenHash;
use super::error::AuthError;
use super::jwt::VerifiedJwt;
use super::rights::Rights;
use super::scopes::{MethodScopes, Scopes};
use super::store_tokens::StoreToken;
use crate::proto::v1::{CredentialKind, Scope};
use bookd_core::ids::Caller;
use bookd_core::reach::Reach;
use bookd_core::token::TokenId;

/// The longest name of a principal, in characters.
const NAME_CHARACTERS_MAX: usize = 200;
/// The caller in the log in place of a person's name.
const PERSON: &str = "a person";

/// Who calls.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The name; empty without credentials.
    pub name: Caller,
    /// What they may do, and on which calendars.
    pub rights: Rights,
    pub(super) credential: Credential,
}

/// By which credential a principal is known.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    None,
    Token(TokenHash),
    Stored(Arc<StoreToken>),
    Certificate(Arc<str>),
    Jwt(Arc<VerifiedJwt>),
}

impl Principal {
    /// The token of the store by which it is known.
    pub fn store_token(&self) -> Option<&TokenId> {
        match &self.credential {
            Credential::Stored(stored) => Some(&stored.token.id),
            Credential::None
            | Credential::Token(_)
            | Credential::Certificate(_)
            | Credential::Jwt(_) => None,
        }
    }

    /// The name that stands in the changes of a call with this reach. A customer is not named: its
    /// appointments can be erased, and nothing of it is left then.
    pub fn recorded_name(&self, reach: &Reach) -> Caller {
        match &self.credential {
            Credential::Jwt(jwt) if reach.customer.is_some() => {
                Caller(format!("{} (a customer)", jwt.issuer).into())
            }
            _ => self.name.clone(),
        }
    }

    /// The name for the log, unless it may be that of a customer: of who is narrowed to one, or is
    /// named by somebody else than the operator and has no rights.
    pub(super) fn logged_name(&self) -> &str {
        let is_named_elsewhere = match self.credential {
            Credential::Certificate(_) | Credential::Jwt(_) => true,
            Credential::None | Credential::Token(_) | Credential::Stored(_) => false,
        };
        let has_rights = self.rights.scopes() != Scopes::default();
        if self.rights.is_of_customer() || (is_named_elsewhere && !has_rights) {
            PERSON
        } else {
            &self.name.0
        }
    }

    /// What told who it is.
    pub fn kind(&self) -> CredentialKind {
        match self.credential {
            Credential::None => CredentialKind::Unspecified,
            Credential::Token(_) | Credential::Stored(_) => CredentialKind::Token,
            Credential::Certificate(_) => CredentialKind::Certificate,
            Credential::Jwt(_) => CredentialKind::Jwt,
        }
    }

    /// Whether they have this scope.
    pub fn has(&self, scope: Scope) -> bool {
        self.rights.scopes().has(scope)
    }
}

/// Refuses a principal that has none of the scopes that a method wants.
pub(super) fn check(principal: &Principal, wanted: MethodScopes) -> Result<(), AuthError> {
    if wanted.is_met_by(principal.rights.scopes()) {
        return Ok(());
    }
    match principal.credential {
        Credential::None => Err(AuthError::NoCredentials),
        Credential::Token(_)
        | Credential::Stored(_)
        | Credential::Certificate(_)
        | Credential::Jwt(_) => Err(AuthError::Denied { wanted }),
    }
}

/// Reads the name of a principal.
pub(super) fn principal_name(name: &str) -> Result<Caller, String> {
    let length = name.chars().count();
    let is_name = (1..=NAME_CHARACTERS_MAX).contains(&length)
        && name.trim() == name
        && !name.chars().any(char::is_control);
    is_name.then(|| Caller(Arc::from(name))).ok_or_else(|| {
        format!(
            "`name` must have 1 to {NAME_CHARACTERS_MAX} characters, no control characters, and no \
             space at its ends"
        )
    })
}
