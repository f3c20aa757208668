//! The decisions about tokens of the store.
//!
//! Who may create and revoke which token is decided before: the core does not know what scopes mean.

use std::sync::Arc;

use super::{At, Decision, Outcome};
use crate::change::{Cause, Event};
use crate::field_violation::FieldViolation;
use crate::refusal::Refusal;
use crate::time::Instant;
use crate::token::{NewToken, TOKEN_SECONDS_MAX, TOKENS_MAX, Token, TokenExpiry, TokenId};

impl At<'_> {
    /// Creates a token.
    pub(super) fn create_token(self, new: &NewToken) -> Result<Decision, Refusal> {
        let tokens = &self.state.tokens;
        // What was asked for by a token that is revoked meanwhile must not outlive it.
        let is_revoked = |it: &TokenId| tokens.find(it).is_none();
        if new.creator_token.as_ref().is_some_and(is_revoked) {
            return Err(Refusal::CallerRevoked);
        }
        if tokens.find(&new.id).is_some() {
            // Ids are random: who sends the request again gets another one.
            return Err(invalid("token_id", "another token has it; call again"));
        }
        let expire_time = self.expire_time(new.expiry)?;
        if tokens.len() >= TOKENS_MAX {
            return Err(Refusal::TooManyTokens);
        }
        let token = Arc::new(Token {
            id: new.id.clone(),
            hash: new.hash,
            name: new.name.clone(),
            scopes: new.scopes,
            prefixes: new.prefixes.clone(),
            create_time: self.now,
            expire_time,
            creator: new.creator.clone(),
            revision: self.revision(),
        });
        let created = Event::TokenCreated {
            token: Arc::clone(&token),
        };
        Ok(Decision {
            cause: Cause::CreateToken,
            events: vec![created],
            outcome: Outcome {
                token: Some(token),
                ..Outcome::default()
            },
        })
    }

    fn expire_time(self, expiry: TokenExpiry) -> Result<Option<Instant>, Refusal> {
        let at = match expiry {
            TokenExpiry::Never => return Ok(None),
            TokenExpiry::At(time) => time,
            TokenExpiry::After(seconds) => self.now.plus(seconds.seconds()),
        };
        if at <= self.now {
            return Err(invalid("expire_time", "must be after now"));
        }
        if at.since(self.now) > TOKEN_SECONDS_MAX {
            return Err(invalid("expire_time", "must be at most ten years from now"));
        }
        Ok(Some(at))
    }

    /// Revokes a token.
    pub(super) fn revoke_token(self, id: &TokenId) -> Result<Decision, Refusal> {
        let found = self.state.tokens.find(id);
        let token = found.ok_or_else(|| Refusal::TokenNotFound(id.clone()))?;
        Ok(Decision {
            cause: Cause::RevokeToken,
            events: vec![Event::TokenRevoked { id: id.clone() }],
            outcome: Outcome {
                token: Some(Arc::clone(token)),
                ..Outcome::default()
            },
        })
    }
}

fn invalid(field: &str, description: &str) -> Refusal {
    Refusal::FieldInvalid(vec![FieldViolation::new(field, description)])
}
