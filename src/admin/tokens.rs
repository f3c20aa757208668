//! Tokens of a store that no server holds: created, listed and revoked in its file.
//!
//! Each change goes into the log as if a server had made it, without a caller.

use std::path::Path;

use super::{AdminError, StoreFile};
use crate::auth::Secret;
use crate::clock::{Clock, SystemClock};
use crate::ids::Ids;
use crate::open_store::open_existing_sqlite;
use crate::store::sqlite::Sqlite;
use crate::store::{Boot, CommitBatch, CommitError, Store};
use bookd_core::command::Command;
use bookd_core::decide::{Outcome, decide};
use bookd_core::ids::{Caller, Revision};
use bookd_core::prefixes::Prefixes;
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::token::{NewToken, ScopeBits, TOKENS_MAX, Token, TokenExpiry, TokenId, Tokens};

/// A token that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name of the principal who sends it.
    pub name: Caller,
    /// What the principal may do.
    pub scopes: ScopeBits,
    /// On which calendars.
    pub prefixes: Prefixes,
    /// When it expires.
    pub expiry: TokenExpiry,
}

/// A token that was created.
pub struct Created {
    /// The token itself, to be shown once; none where nothing was changed.
    pub text: Option<String>,
    /// What is kept of it.
    pub token: Token,
    /// The revision of the change.
    pub revision: Revision,
}

/// The tokens of a store.
pub struct Listed {
    /// By id.
    pub tokens: Vec<Token>,
    /// The revision that they are as of.
    pub revision: Revision,
}

/// Creates a token; a dry run changes nothing.
///
/// # Errors
///
/// The store is in use, missing or damaged, or refuses; there are too many tokens, or the expiry is
/// not possible.
pub fn create(file: &StoreFile, wanted: Wanted, is_dry_run: bool) -> Result<Created, AdminError> {
    let secret: Secret = Ids::Random.secret().map_err(AdminError::Failed)?;
    let command = Command::CreateToken(Box::new(NewToken {
        id: secret.id().clone(),
        hash: secret.hash(),
        name: wanted.name,
        scopes: wanted.scopes,
        prefixes: wanted.prefixes,
        expiry: wanted.expiry,
        creator: Caller::default(),
        creator_token: None,
    }));
    let (outcome, revision) = change(file, &command, is_dry_run)?;
    let token = outcome.token.expect("who creates a token answers it");
    Ok(Created {
        text: (!is_dry_run).then(|| secret.into_text()),
        token: Token::clone(&token),
        revision,
    })
}

/// Revokes a token; a dry run changes nothing. Returns the revision of the change.
///
/// # Errors
///
/// The store is in use, missing or damaged, or refuses; there is no such token.
pub fn revoke(file: &StoreFile, id: TokenId, is_dry_run: bool) -> Result<Revision, AdminError> {
    change(file, &Command::RevokeToken(id), is_dry_run).map(|(_, revision)| revision)
}

/// Lists the tokens.
///
/// # Errors
///
/// The store is in use, missing or damaged.
pub fn list(file: &StoreFile) -> Result<Listed, AdminError> {
    let (_store, boot) = open(file)?;
    let tokens = boot.tokens.iter().map(|it| Token::clone(it));
    Ok(Listed {
        tokens: tokens.collect(),
        revision: boot.revision,
    })
}

fn open(file: &StoreFile) -> Result<(Sqlite, Boot), AdminError> {
    file.must_be_there()?;
    let mut store = open_existing_sqlite(&file.path, &file.load_zones()?)?;
    let boot = store.boot();
    let boot = boot.map_err(|error| AdminError::unreadable(&file.path, &error))?;
    Ok((store, boot))
}

/// Decides a command about tokens and commits it; answers the outcome and the revision.
fn change(
    file: &StoreFile,
    command: &Command,
    is_dry_run: bool,
) -> Result<(Outcome, Revision), AdminError> {
    let (mut store, boot) = open(file)?;
    let now = SystemClock.now().max(boot.last_time);
    let state = State {
        revision: boot.revision,
        last_time: boot.last_time,
        tokens: boot.tokens,
        ..State::default()
    };
    let decision = decide(&state, command, now).map_err(|it| refused(&it, &state.tokens))?;
    let change = decision.change(&state, now, Caller::default());
    let Some(change) = change.filter(|_| !is_dry_run) else {
        return Ok((decision.outcome, state.revision));
    };
    let batch = CommitBatch {
        changes: std::slice::from_ref(&change),
        requests: &[],
        expected: &[],
    };
    let committed = store.commit(&batch);
    committed.map_err(|error| uncommitted(&file.path, error))?;
    Ok((decision.outcome, change.revision))
}

fn uncommitted(path: &Path, error: CommitError) -> AdminError {
    match error {
        CommitError::Refused(error) => AdminError::unreadable(path, &error),
        CommitError::Unknown(error) => {
            let unknown = "whether the token was written is not known; list them to see";
            AdminError::Failed(format!("{}: {error}; {unknown}", path.display()))
        }
    }
}

fn refused(refusal: &Refusal, tokens: &Tokens) -> AdminError {
    match refusal {
        Refusal::TokenNotFound(id) => AdminError::NotFound(format!(
            "there is no token {id} among the {}; list them with `bookd token list`",
            tokens.len()
        )),
        Refusal::TooManyTokens => AdminError::Invalid(format!(
            "there are {TOKENS_MAX} tokens already: revoke those that nobody uses"
        )),
        Refusal::FieldInvalid(violations) => {
            let all: Vec<_> = violations
                .iter()
                .map(|it| format!("{}: {}", it.field, it.description))
                .collect();
            AdminError::Invalid(all.join("; "))
        }
        other => AdminError::Failed(format!("{other:?}")),
    }
}
