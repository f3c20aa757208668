//! The tokens of the store as calls come with them: found by their hash, with the rights that they
//! give and when they were last used.
//!
//! The writer publishes all tokens with each commit that changes one, before it answers: whoever was
//! told that a token is revoked finds it refused.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch::Receiver;

use super::credentials::TokenHash;
use super::rights::Rights;
use super::scopes::Scopes;
use crate::clock::Clock;
use bookd_core::reach::Reach;
use bookd_core::time::Instant;
use bookd_core::token::{Token, Tokens};

/// A time before every use.
const UNUSED: i64 = i64::MIN;

/// A token of the store.
#[derive(Debug)]
pub(super) struct StoreToken {
    pub(super) token: Arc<Token>,
    pub(super) rights: Rights,
    /// In seconds since 1970.
    last_use: AtomicI64,
}

/// The tokens of the store by the hash of each.
#[derive(Debug, Default)]
struct ByHash {
    /// Those of which this is made.
    tokens: Tokens,
    by_hash: HashMap<TokenHash, Arc<StoreToken>>,
}

/// The tokens of the store, as they were last published.
pub(super) struct StoreTokens {
    published: Receiver<Tokens>,
    known: RwLock<Arc<ByHash>>,
    /// The clock by which they expire: that of the writer.
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for StoreTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreTokens")
            .field(&*self.published.borrow())
            .finish()
    }
}

/// The rights that a token of the store gives.
fn rights_of(token: &Token) -> Rights {
    Rights::of(
        Scopes::of_bits(token.scopes),
        Reach::on(token.prefixes.clone()),
    )
}

impl StoreTokens {
    pub(super) fn new(published: Receiver<Tokens>, clock: Arc<dyn Clock>) -> Self {
        Self {
            published,
            known: RwLock::default(),
            clock,
        }
    }

    /// Tells of each publication.
    pub(super) fn publications(&self) -> Receiver<Tokens> {
        self.published.clone()
    }

    /// The token with this hash, if it is there and has not expired.
    pub(super) fn find(&self, hash: &TokenHash) -> Option<Arc<StoreToken>> {
        let known = self.current();
        let found = known.by_hash.get(hash).map(Arc::clone);
        found.filter(|it| !self.is_expired(it))
    }

    /// Notes that a call came with a token.
    pub(super) fn note_use(&self, used: &StoreToken) {
        let now = self.clock.now().seconds();
        // Written once a second at most: workers share it.
        if used.last_use.load(Ordering::Relaxed) != now {
            used.last_use.store(now, Ordering::Relaxed);
        }
    }

    /// When a call last came with a token, since the start.
    pub(super) fn last_use(&self, token: &Token) -> Option<Instant> {
        let known = self.current();
        let used = known.by_hash.get(&TokenHash::from(token.hash))?;
        let seconds = used.last_use.load(Ordering::Relaxed);
        (seconds != UNUSED).then(|| Instant::from_seconds(seconds))
    }

    /// How long a token is valid still; none when it does not expire.
    pub(super) fn left(&self, of: &StoreToken) -> Option<Duration> {
        let left = of.token.expire_time?.since(self.clock.now());
        Some(Duration::from_secs(u64::try_from(left).unwrap_or_default()))
    }

    fn is_expired(&self, it: &StoreToken) -> bool {
        it.token
            .expire_time
            .is_some_and(|expire_time| expire_time <= self.clock.now())
    }

    /// The tokens by hash, made anew where others were published since.
    fn current(&self) -> Arc<ByHash> {
        // Neither lock is held while the other is waited for: the writer waits for the first one, and
        // whoever comes after it waits for the writer.
        let known = Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        let tokens = self.published.borrow().clone();
        if known.tokens.is_same(&tokens) {
            return known;
        }
        let renewed = Arc::new(known.renewed(tokens));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::clone(&renewed);
        renewed
    }
}

impl ByHash {
    /// The same of these tokens. What is known of the use of those that stay is kept.
    fn renewed(&self, tokens: Tokens) -> Self {
        let of = |token: &Arc<Token>| {
            let hash = TokenHash::from(token.hash);
            let known = self.by_hash.get(&hash).map(Arc::clone);
            let is_it = |known: &Arc<StoreToken>| known.token == *token;
            let known = known.filter(is_it).unwrap_or_else(|| {
                Arc::new(StoreToken {
                    token: Arc::clone(token),
                    rights: rights_of(token),
                    last_use: AtomicI64::new(UNUSED),
                })
            });
            (hash, known)
        };
        let by_hash = tokens.iter().map(of).collect();
        Self { tokens, by_hash }
    }
}
