//! The door's question: who calls, and may they?

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::HeaderMap;
use tokio::sync::watch::{self, Receiver};

use super::credentials::{Presented, TokenHash};
use super::error::AuthError;
use super::fetched_keys::KeyFetches;
use super::grants::Grants;
use super::principal::{Credential, Principal, check};
use super::rates::{Rate, RateKey, Rates};
use super::refusal_log::RefusalLog;
use super::rights::Rights;
use super::scopes::MethodScopes;
use super::store_tokens::StoreTokens;
use crate::clock::Clock;
use bookd_core::ids::Caller;
use bookd_core::time::Instant;
use bookd_core::token::{Token, Tokens};

/// The connection of a call, as far as it tells who calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallOrigin<'a> {
    /// The name in its verified certificate; none without one.
    pub certificate: Option<&'a str>,
    /// Its address; none for a call within this process.
    pub address: Option<IpAddr>,
    /// The name of the method that is called.
    pub method: &'static str,
}

/// Who may call. Copies share the grants.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// None on a server without credentials.
    pub(super) grants: Option<Arc<watch::Sender<Arc<Grants>>>>,
    /// None without a store that has tokens, or may have.
    pub(super) tokens: Option<Arc<StoreTokens>>,
    /// None where nobody is counted.
    rates: Option<Arc<Rates>>,
    /// None on a server without credentials.
    refusals: Option<Arc<RefusalLog>>,
    /// The name of a caller without credentials. It is made once: a call needs a copy.
    nobody: Caller,
}

impl Access {
    /// Everybody may do everything: for a server without credentials.
    pub fn open() -> Self {
        Self::default()
    }

    /// Only what the grants allow.
    pub fn granted(grants: Grants) -> Self {
        Self {
            grants: Some(Arc::new(watch::Sender::new(Arc::new(grants)))),
            tokens: None,
            rates: Some(Arc::new(Rates::new(None))),
            refusals: Some(Arc::default()),
            ..Self::default()
        }
    }

    /// The same, where callers need credentials in any case.
    #[must_use]
    pub fn guarded(self) -> Self {
        if self.is_guarded() {
            return self;
        }
        let guarded = Self::granted(Grants::default());
        Self {
            rates: self.rates.or(guarded.rates),
            ..guarded
        }
    }

    /// The same, with the tokens of a store as they are published, which expire by this clock. A
    /// store that has ever had a token makes callers need credentials.
    #[must_use]
    pub fn with_store_tokens(self, published: Receiver<Tokens>, clock: Arc<dyn Clock>) -> Self {
        let is_guarded = published.borrow().is_guarded();
        let access = if is_guarded { self.guarded() } else { self };
        // On an open server no token is asked for.
        let tokens = access.is_guarded();
        let tokens = tokens.then(|| Arc::new(StoreTokens::new(published, clock)));
        Self { tokens, ..access }
    }

    /// Reads the name of the principal of a token of the store.
    ///
    /// # Errors
    ///
    /// It is no name, or that of another principal.
    pub fn token_name(&self, name: &str) -> Result<Caller, String> {
        match &self.grants {
            Some(grants) => grants.borrow().token_name(name),
            None => Grants::default().token_name(name),
        }
    }

    /// When a call last came with this token of the store, since the start.
    pub fn last_use(&self, token: &Token) -> Option<Instant> {
        self.tokens.as_ref()?.last_use(token)
    }

    /// The same, where each caller may call as often as these rates allow.
    #[must_use]
    pub fn with_rates(self, rates: Rates) -> Self {
        Self {
            rates: Some(Arc::new(rates)),
            ..self
        }
    }

    /// Whether callers need credentials.
    pub fn is_guarded(&self) -> bool {
        self.grants.is_some()
    }

    /// The same grants for another worker, which shares no memory with this one that each call
    /// writes.
    #[must_use]
    pub fn on_worker(&self) -> Self {
        Self {
            grants: self.grants.clone(),
            tokens: self.tokens.clone(),
            rates: self.rates.clone(),
            refusals: self.refusals.clone(),
            nobody: Caller::default(),
        }
    }

    /// Puts other grants in force, for calls that begin and for streams that are open. Keys of
    /// issuers that were fetched stay until they are fetched again, which is at once. Of an open
    /// server nothing changes.
    pub fn replace(&self, mut grants: Grants) {
        if let Some(sender) = &self.grants {
            grants.issuers.adopt(&sender.borrow().issuers);
            grants.issuers.fetched().for_each(|(keys, _)| keys.hurry());
            sender.send_replace(Arc::new(grants));
        }
    }

    /// Counts the calls of each caller under this rate from now on; none = not at all.
    pub fn set_call_rate(&self, rate: Option<Rate>) {
        if let Some(rates) = &self.rates {
            rates.set_calls(rate);
        }
    }

    /// Fetches the keys of all issuers that have a URL, each once. It ends in seconds, whoever
    /// answers.
    pub async fn fetch_keys(&self) {
        if let Some(sender) = &self.grants {
            let grants = Arc::clone(&sender.borrow());
            let fetched = grants.issuers.fetched();
            let fetches = fetched
                .map(|(keys, client)| async move { keys.fetch_once(|| client.fetch()).await });
            if join_all(fetches).await.contains(&true) {
                sender.send_modify(|_| ());
            }
        }
    }

    /// Keeps the keys of all issuers that have a URL current, for ever.
    pub async fn keep_keys_current(&self) -> Infallible {
        let Some(sender) = &self.grants else {
            return std::future::pending().await;
        };
        let mut changes = sender.subscribe();
        loop {
            let grants = Arc::clone(&changes.borrow_and_update());
            // Streams look at their credentials again: a key may be gone.
            let changed = || sender.send_modify(|_| ());
            let fetched = grants.issuers.fetched();
            let keeping =
                fetched.map(|(keys, client)| keys.keep_current(|| client.fetch(), changed));
            let keeping = join_all(keeping);
            let replaced = async {
                // Fetches go on where only keys have changed.
                while changes.changed().await.is_ok() {
                    if !Arc::ptr_eq(&grants, &changes.borrow_and_update()) {
                        return;
                    }
                }
            };
            tokio::select! {
                _ = async { keeping.await; std::future::pending::<()>().await } => {}
                () = replaced => {}
            }
        }
    }

    /// Keeps the log of refused calls current, for ever.
    pub async fn keep_refusals_logged(&self) -> Infallible {
        match &self.refusals {
            Some(refusals) => refusals.keep_flushed().await,
            None => std::future::pending().await,
        }
    }

    /// Logs what was refused since its last line, at the end.
    pub fn flush_refusals(&self) {
        self.refusals.iter().for_each(|it| it.flush());
    }

    /// What the fetches of keys came to.
    pub fn key_fetches(&self) -> KeyFetches {
        let grants = self.grants.as_ref();
        grants.map_or_else(KeyFetches::default, |it| it.borrow().issuers.key_fetches())
    }

    /// Lets a call in whose method wants these scopes.
    ///
    /// # Errors
    ///
    /// Who calls is not known, calls too often, or has no right to the method.
    pub fn admit(
        &self,
        headers: &HeaderMap,
        origin: CallOrigin<'_>,
        wanted: MethodScopes,
    ) -> Result<Principal, AuthError> {
        let principal = match &self.grants {
            None => self.everybody(origin),
            Some(grants) => {
                // Not borrowed while a signature is verified: who replaces them would wait, and
                // every other call for that.
                let grants = Arc::clone(&grants.borrow());
                self.identify(&grants, headers, origin)
                    .map_err(|error| self.slowed_down(error, origin))
                    .inspect_err(|error| self.note("", origin.method, error))?
            }
        };
        self.expect_allowed(&principal, origin, wanted)
            .inspect_err(|error| self.note_refused(&principal, origin.method, error))?;
        Ok(principal)
    }

    /// Notes in the log that a call of this principal was refused.
    pub fn note_refused(&self, principal: &Principal, method: &'static str, error: &AuthError) {
        self.note(principal.logged_name(), method, error);
    }

    fn note(&self, caller: &str, method: &'static str, error: &AuthError) {
        if let Some(refusals) = &self.refusals {
            refusals.note(caller, method, error);
        }
    }

    /// Refuses a principal that calls too often, or has no right to the method.
    fn expect_allowed(
        &self,
        principal: &Principal,
        origin: CallOrigin<'_>,
        wanted: MethodScopes,
    ) -> Result<(), AuthError> {
        if let Some(rates) = self.rates.as_ref().filter(|it| it.counts_calls()) {
            let counted = match &principal.credential {
                Credential::None => RateKey::address(origin.address),
                Credential::Token(_)
                | Credential::Stored(_)
                | Credential::Certificate(_)
                | Credential::Jwt(_) => RateKey::Principal(Arc::clone(&principal.name.0)),
            };
            rates.call(&counted).map_err(too_often)?;
        }
        check(principal, wanted)
    }

    /// Who calls, as the grants are.
    fn identify(
        &self,
        grants: &Grants,
        headers: &HeaderMap,
        origin: CallOrigin<'_>,
    ) -> Result<Principal, AuthError> {
        match Presented::read(headers, origin.certificate) {
            Presented::Nothing => Ok(self.somebody(origin)),
            Presented::Unusable => Err(AuthError::InvalidCredentials),
            Presented::Token(token) => self.of_token(grants, token, origin),
            Presented::Certificate(name) => self.of(grants, &Credential::Certificate(name.into())),
        }
    }

    /// Who sends this token: one of a grant, or one of an issuer.
    fn of_token(
        &self,
        grants: &Grants,
        token: &str,
        origin: CallOrigin<'_>,
    ) -> Result<Principal, AuthError> {
        let hash = TokenHash::of(token);
        let known = self.of(grants, &Credential::Token(hash));
        if known.is_ok() {
            return known;
        }
        if let Some(tokens) = &self.tokens
            && let Some(stored) = tokens.find(&hash)
        {
            tokens.note_use(&stored);
            return self.of(grants, &Credential::Stored(stored));
        }
        let jwt = match grants.issuers.remembered(&hash) {
            Some(remembered) => remembered,
            None => {
                let verifiable = grants.issuers.verifiable(token);
                let verifiable = verifiable.ok_or(AuthError::InvalidCredentials)?;
                if let Some(rates) = &self.rates {
                    let address = RateKey::address(origin.address);
                    rates.verification(&address).map_err(too_often)?;
                }
                let is_kept = |claim: &str| grants.asks_for(claim);
                let verified = grants.issuers.verify(verifiable, hash, is_kept);
                verified.ok_or(AuthError::InvalidCredentials)?
            }
        };
        let (name, rights) = (jwt.name.clone(), grants.of_jwt(&jwt));
        Ok(Principal {
            name,
            rights,
            credential: Credential::Jwt(jwt),
        })
    }

    /// The error of wrong credentials; that of calling too often where they come too often from one
    /// address. Right ones are let in all the same, so that nobody is kept out by a neighbour.
    fn slowed_down(&self, error: AuthError, origin: CallOrigin<'_>) -> AuthError {
        let (AuthError::InvalidCredentials, Some(rates)) = (&error, &self.rates) else {
            return error;
        };
        match rates.failure(&RateKey::address(origin.address)) {
            Ok(()) => error,
            Err(retry_after) => too_often(retry_after),
        }
    }

    /// Everybody, on a server without grants. A client with a certificate has its name all the same.
    fn everybody(&self, origin: CallOrigin<'_>) -> Principal {
        let (name, credential) = match origin.certificate {
            Some(name) => {
                let name: Arc<str> = name.into();
                (Caller(Arc::clone(&name)), Credential::Certificate(name))
            }
            None => (self.nobody.clone(), Credential::None),
        };
        Principal {
            name,
            rights: Rights::all(),
            credential,
        }
    }

    /// A caller without credentials, on a server that has some: they may call what is open to all.
    fn somebody(&self, origin: CallOrigin<'_>) -> Principal {
        Principal {
            rights: Rights::default(),
            ..self.everybody(origin)
        }
    }

    /// The principal of a credential, as grants and tokens are.
    pub(super) fn of(
        &self,
        grants: &Grants,
        credential: &Credential,
    ) -> Result<Principal, AuthError> {
        let (name, rights) = match credential {
            Credential::None => (Caller::default(), Rights::default()),
            Credential::Token(hash) => {
                let granted = grants.of_token(hash).ok_or(AuthError::InvalidCredentials)?;
                (
                    granted.name.clone().unwrap_or_default(),
                    granted.rights.clone(),
                )
            }
            Credential::Stored(stored) => {
                // The grants may have made the name that of another principal since.
                let tokens = self.tokens.as_ref().ok_or(AuthError::InvalidCredentials)?;
                let found = tokens.find(&TokenHash::from(stored.token.hash));
                let found = found.filter(|it| !grants.issuers.owns(&it.token.name.0));
                let found = found.ok_or(AuthError::InvalidCredentials)?;
                (found.token.name.clone(), found.rights.clone())
            }
            Credential::Certificate(own) => {
                let granted = grants.of_certificate(own);
                let name = granted.and_then(|it| it.name.clone());
                (
                    name.unwrap_or_else(|| Caller(Arc::clone(own))),
                    granted.map_or_else(Rights::default, |it| it.rights.clone()),
                )
            }
            Credential::Jwt(jwt) => {
                // The keys, the audience or the claims that count may be others than when it came.
                let renewed = grants.issuers.renewed(jwt, |claim| grants.asks_for(claim));
                let jwt = renewed.ok_or(AuthError::InvalidCredentials)?;
                (jwt.name.clone(), grants.of_jwt(&jwt))
            }
        };
        Ok(Principal {
            name,
            rights,
            credential: credential.clone(),
        })
    }

    /// How long a credential is valid still; none when it never ends by itself.
    pub(super) fn left(&self, credential: &Credential) -> Option<Duration> {
        match credential {
            Credential::None | Credential::Token(_) | Credential::Certificate(_) => None,
            Credential::Stored(stored) => self.tokens.as_ref()?.left(stored),
            Credential::Jwt(jwt) => Some(jwt.left().unwrap_or_default()),
        }
    }
}

fn too_often(retry_after: Duration) -> AuthError {
    AuthError::TooOften { retry_after }
}
