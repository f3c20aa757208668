//! AccessService: the tokens of the store, created, listed and revoked.
//!
//! Nobody gives, sees or revokes more rights than their own.

use crate::auth::{AuthError, Principal, Secret, bits_of};
use crate::engine::Failure;
use crate::proto::v1 as pb;
use crate::proto::v1::Scope;
use bookd_core::command::Command;
use bookd_core::ids::Caller;
use bookd_core::prefixes::Prefixes;
use bookd_core::refusal::Refusal;
use bookd_core::time::Seconds;
use bookd_core::token::{NewToken, Token, TokenExpiry, TokenId};

use crate::api::context::{Answered, Api, Call};
use crate::api::convert::page_token::{Page, PageToken};
use crate::api::convert::parse::Fields;
use crate::api::convert::render;

/// The most scopes that a request may list: each once, and some more.
const SCOPES_MAX: usize = 16;

/// What is kept of a token.
fn record(api: &Api, token: &Token) -> pb::TokenRecord {
    pb::TokenRecord {
        last_use_time: api.access.last_use(token).map(render::timestamp),
        ..render::token_record(token)
    }
}

/// The calendars whose tokens a caller creates, sees and revokes: those on which it has `admin`,
/// which has every other scope.
fn administered(principal: &Principal) -> Prefixes {
    principal.rights.reach_of(Scope::Admin).calendars
}

/// The fields of a token that is to be created.
struct TokenFields {
    name: Caller,
    scopes: Vec<Scope>,
    prefixes: Prefixes,
    expiry: TokenExpiry,
}

impl TokenFields {
    fn read(api: &Api, message: &pb::CreateTokenRequest, fields: &mut Fields) -> Option<Self> {
        let is_named = fields.request_id(&message.request_id);
        let name = fields.accept("name", api.access.token_name(&message.name));
        let scopes = scopes(&message.scopes, fields);
        let prefixes = fields.accept("prefix", Prefixes::parse(&message.prefix));
        let expiry = expiry(message, fields);
        is_named?;
        Some(Self {
            name: name?,
            scopes: scopes?,
            prefixes: prefixes?,
            expiry: expiry?,
        })
    }

    /// Refuses calendars that the caller does not administer, and of an administrator of some
    /// calendars alone a name of somebody else: request ids, page tokens and changes belong to names.
    fn expect_within(&self, principal: &Principal) -> Result<(), AuthError> {
        let own = administered(principal);
        if !own.include(&self.prefixes) {
            let what = "it would be for calendars that the caller does not administer".to_owned();
            return Err(AuthError::BeyondOwnRights { what });
        }
        if own.is_all() || own.has(&self.name.0) {
            return Ok(());
        }
        let what = format!("its name must begin with one of: {own}");
        Err(AuthError::BeyondOwnRights { what })
    }

    fn into_command(self, secret: &Secret, principal: &Principal) -> Command {
        Command::CreateToken(Box::new(NewToken {
            id: secret.id().clone(),
            hash: secret.hash(),
            name: self.name,
            scopes: bits_of(self.scopes),
            prefixes: self.prefixes,
            expiry: self.expiry,
            creator: principal.name.clone(),
            creator_token: principal.store_token().cloned(),
        }))
    }
}

fn scopes(scopes: &[i32], fields: &mut Fields) -> Option<Vec<Scope>> {
    if scopes.is_empty() || scopes.len() > SCOPES_MAX {
        return fields.wrong("scopes", format!("must be 1 to {SCOPES_MAX} scopes"));
    }
    let mut read = Vec::new();
    for (n, scope) in scopes.iter().enumerate() {
        match Scope::try_from(*scope) {
            Ok(scope) if scope != Scope::Unspecified => read.push(scope),
            _ => return fields.wrong(&format!("scopes[{n}]"), "is no scope"),
        }
    }
    Some(read)
}

fn expiry(message: &pb::CreateTokenRequest, fields: &mut Fields) -> Option<TokenExpiry> {
    let time = fields.optional_bound("expire_time", message.expire_time.as_ref());
    let ttl = fields.seconds("ttl", message.ttl.as_ref(), Seconds::MAX);
    match (time?, ttl?) {
        (None, None) => Some(TokenExpiry::Never),
        (Some(time), None) => Some(TokenExpiry::At(time)),
        (None, Some(ttl)) => Some(TokenExpiry::After(ttl)),
        (Some(_), Some(_)) => fields.wrong("ttl", "cannot stand beside expire_time"),
    }
}

pub(crate) async fn create_token(
    api: &Api,
    call: Call<pb::CreateTokenRequest>,
) -> Answered<pb::CreateTokenResponse> {
    let mut fields = Fields::default();
    let read = TokenFields::read(api, &call.message, &mut fields);
    let read = fields.finish(read)?;
    if !api.access.is_guarded() {
        return Err(AuthError::NotAsked.into());
    }
    let principal = &call.context.principal;
    read.expect_within(principal)?;
    let is_dry_run = call.message.validate_only;
    let secret = api.ids.secret().map_err(Failure::StoreUnavailable)?;
    let command = read.into_command(&secret, principal);
    let answer = api.mutate(call, |_, _| Some(command)).await?;
    let token = answer.outcome.token.as_deref();
    // A repeat answers the token of the first request, whose secret nobody has any more.
    let is_new = !is_dry_run && token.is_some_and(|it| it.id == *secret.id());
    Ok(pb::CreateTokenResponse {
        record: token.map(|it| record(api, it)),
        token: if is_new {
            secret.into_text()
        } else {
            String::new()
        },
        revision: render::revision(answer.revision),
    })
}

pub(crate) async fn list_tokens(
    api: &Api,
    call: Call<pb::ListTokensRequest>,
) -> Answered<pb::ListTokensResponse> {
    let Call { context, message } = call;
    let mut fields = Fields::default();
    let read = fields.page_after(&message, &context.principal.name, |id| {
        TokenId::parse(id).ok()
    });
    let (limit, after) = fields.finish(read)?;
    let (revision, tokens) = (api.engine.revision(), api.engine.tokens().borrow().clone());
    let is_further = |it: &Token| after.as_ref().is_none_or(|after| it.id > *after);
    let own = administered(&context.principal);
    let is_seen = |it: &Token| own.include(&it.prefixes);
    let mut page: Vec<_> = tokens
        .iter()
        .filter(|it| is_further(it) && is_seen(it))
        .take(limit + 1)
        .collect();
    let has_more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| has_more).map(|last| PageToken {
        id: last.id.as_str().as_bytes().to_vec(),
        ..PageToken::default()
    });
    Ok(pb::ListTokensResponse {
        tokens: page.iter().map(|it| record(api, it)).collect(),
        next_page_token: Page::next(&message, &context.principal.name, next),
        revision: render::revision(revision),
    })
}

pub(crate) async fn revoke_token(
    api: &Api,
    call: Call<pb::RevokeTokenRequest>,
) -> Answered<pb::RevokeTokenResponse> {
    let mut fields = Fields::default();
    let is_named = fields.request_id(&call.message.request_id);
    let id = fields.accept("token_id", TokenId::parse(&call.message.token_id));
    let id = fields.finish(is_named.and(id))?;
    // A token never changes, and nobody knows the id of one that is not there yet: what is found
    // here is what the writer finds, or it is gone.
    let found = api.engine.tokens().borrow().find(&id).cloned();
    let own = administered(&call.context.principal);
    if found.is_some_and(|it| !own.include(&it.prefixes)) {
        return Err(Refusal::TokenNotFound(id).into());
    }
    let command = Command::RevokeToken(id);
    let answer = api.mutate(call, |_, _| Some(command)).await?;
    Ok(pb::RevokeTokenResponse {
        revision: render::revision(answer.revision),
    })
}
