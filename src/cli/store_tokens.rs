//! `bookd token` with `--store`: works on the file of a store that no server holds, and answers as
//! the method of a server does.

use serde_json::{Value, json};

use super::commands::{CreateTokenArgs, ScopeWord, TokenCommand};
use super::exit::Exit;
use super::output::{complain, ended, say};
use super::table;
use super::words::seconds;
use crate::admin::tokens::{self, Listed};
use crate::admin::{AdminError, StoreFile};
use crate::auth::{Access, bits_of, named_by};
use crate::config::StoreUrl;
use crate::proto::v1::Scope;
use bookd_core::prefixes::Prefixes;
use bookd_core::time::Seconds;
use bookd_core::token::{Token, TokenExpiry, TokenId};

/// Runs the command on the store in this file; answers its exit code.
pub(super) fn run(command: &TokenCommand, store: &StoreUrl, is_json: bool) -> Exit {
    let StoreUrl::Sqlite(path) = store.clone();
    let file = StoreFile { path, zones: None };
    let (method, answered) = match command {
        TokenCommand::Create(create) => ("CreateToken", created(create, &file)),
        TokenCommand::List { limit, .. } => ("ListTokens", listed(&file, limit.limit)),
        TokenCommand::Revoke { token, safety, .. } => {
            ("RevokeToken", revoked(&file, token, safety.dry_run))
        }
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(TokenFailure::Usage(text)) => {
            complain(&text);
            return Exit::Usage;
        }
        Err(TokenFailure::Failed(error)) => return ended(&error),
    };
    let shown = if is_json {
        format!("{answer:#}")
    } else {
        table::show(method, None, &answer)
    };
    say(shown.trim_end());
    if method == "CreateToken" && !is_json && !answer["token"].is_null() {
        say("From now on every server on this store asks callers for credentials.");
    }
    Exit::Done
}

/// Why a command did nothing.
enum TokenFailure {
    /// An argument cannot be used.
    Usage(String),
    Failed(AdminError),
}

impl From<AdminError> for TokenFailure {
    fn from(error: AdminError) -> Self {
        Self::Failed(error)
    }
}

const fn scope(word: ScopeWord) -> Scope {
    match word {
        ScopeWord::Slots => Scope::Slots,
        ScopeWord::Read => Scope::Read,
        ScopeWord::Book => Scope::Book,
        ScopeWord::Staff => Scope::Staff,
        ScopeWord::Manage => Scope::Manage,
        ScopeWord::Admin => Scope::Admin,
    }
}

fn created(create: &CreateTokenArgs, file: &StoreFile) -> Result<Value, TokenFailure> {
    let wrong = |what: &str, why: String| TokenFailure::Usage(format!("{what}: {why}"));
    // The issuers of a configuration are not known here: a server refuses a token whose name is that
    // of an issuer's principal.
    let name = Access::open().token_name(&create.name);
    let name = name.map_err(|why| wrong("NAME", why))?;
    let prefixes = Prefixes::parse(&create.prefix);
    let prefixes = prefixes.map_err(|why| wrong("--prefix", why.to_string()))?;
    let expiry = match &create.expires {
        None => TokenExpiry::Never,
        Some(length) => {
            let length = seconds(length).ok().and_then(|it| i64::try_from(it).ok());
            let length = length.and_then(Seconds::new);
            let why = || wrong("--expires", "must be at most ten years".to_owned());
            TokenExpiry::After(length.ok_or_else(why)?)
        }
    };
    let scopes = bits_of(create.scopes.iter().map(|word| scope(*word)));
    let wanted = tokens::Wanted {
        name,
        scopes,
        prefixes,
        expiry,
    };
    let created = tokens::create(file, wanted, create.safety.dry_run)?;
    let mut answer = json!({
        "record": as_json(&created.token),
        "revision": created.revision.0,
    });
    if let Some(text) = created.text {
        answer["token"] = json!(text);
    }
    Ok(answer)
}

fn listed(file: &StoreFile, limit: usize) -> Result<Value, TokenFailure> {
    let Listed { tokens, revision } = tokens::list(file)?;
    let shown: Vec<Value> = tokens.iter().take(limit).map(as_json).collect();
    Ok(json!({ "tokens": shown, "revision": revision.0 }))
}

fn revoked(file: &StoreFile, token: &str, is_dry_run: bool) -> Result<Value, TokenFailure> {
    let id = TokenId::parse(token);
    let id = id.map_err(|why| TokenFailure::Usage(format!("TOKEN: {why}")))?;
    let revision = tokens::revoke(file, id, is_dry_run)?;
    Ok(json!({ "revision": revision.0 }))
}

/// A token as `TokenRecord` is in JSON.
fn as_json(token: &Token) -> Value {
    let scopes = named_by(token.scopes);
    let scopes: Vec<&str> = scopes.iter().map(Scope::as_str_name).collect();
    let mut record = json!({
        "token_id": token.id.as_str(),
        "name": &*token.name.0,
        "scopes": scopes,
        "prefix": token.prefixes.iter().next().unwrap_or_default(),
        "create_time": token.create_time.to_string(),
        "creator": &*token.creator.0,
    });
    if let Some(expire_time) = token.expire_time {
        record["expire_time"] = json!(expire_time.to_string());
    }
    record
}
