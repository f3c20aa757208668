//! Tokens of the store: who sends one is the principal that it names, with its scopes on its
//! calendars.
//!
//! No secret is here: a token is known by a hash of it. A token never changes; it is created and
//! revoked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::ids::{Caller, Revision};
use crate::prefixes::Prefixes;
use crate::time::{DAY, Instant, Seconds};

/// The most tokens of a store, expired ones included: all of them are in memory.
pub const TOKENS_MAX: usize = 10_000;
/// The longest life of a token that expires, in seconds: ten years.
pub const TOKEN_SECONDS_MAX: i64 = 3_650 * DAY;

/// The id of a token: the beginning by which people and scanners of secrets recognise it, such as
/// `bookd_k7x2q9m4hb`. It opens nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(Arc<str>);

/// The text is not the id of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the id of a token: bookd_ and {} letters a to z or digits 2 to 7",
    TokenId::DISTINCT_CHARACTERS
)]
pub struct InvalidTokenId;

impl TokenId {
    /// The beginning of every token.
    pub const BEGINNING: &'static str = "bookd_";
    /// The characters after that beginning, each of 5 bits (base32, RFC 4648 §6, in lower case).
    pub const DISTINCT_CHARACTERS: usize = 10;

    /// Reads an id.
    ///
    /// # Errors
    ///
    /// The text is no id of a token.
    pub fn parse(text: &str) -> Result<Self, InvalidTokenId> {
        let is_distinct =
            |text: &str| text.len() == Self::DISTINCT_CHARACTERS && text.bytes().all(is_base32);
        text.strip_prefix(Self::BEGINNING)
            .filter(|rest| is_distinct(rest))
            .map(|_| Self(text.into()))
            .ok_or(InvalidTokenId)
    }

    /// The id as people write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a byte is a digit of base32 in lower case.
const fn is_base32(byte: u8) -> bool {
    byte.is_ascii_lowercase() || matches!(byte, b'2'..=b'7')
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The SHA-256 of a whole token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Debug for SecretHash {
    /// Not even a part of the hash: logs must not help to guess.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// Scopes by their numbers in the contract: bit n stands for the scope n. Only whoever lets calls in
/// knows what they mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScopeBits(pub u32);

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// The hash by which it is known.
    pub hash: SecretHash,
    /// The name of the principal who sends it. Several tokens may have one name, so that it stays
    /// when they are renewed.
    pub name: Caller,
    /// What the principal may do.
    pub scopes: ScopeBits,
    /// On which calendars.
    pub prefixes: Prefixes,
    /// The time of its creation.
    pub create_time: Instant,
    /// The time from which on it opens nothing; none = it does not expire.
    pub expire_time: Option<Instant>,
    /// Who created it; empty without a server.
    pub creator: Caller,
    /// The change that created it.
    pub revision: Revision,
}

/// When a new token expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenExpiry {
    /// Never.
    Never,
    /// At this time.
    At(Instant),
    /// So long after its creation.
    After(Seconds),
}

/// A request to create a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Its id, which no other token has.
    pub id: TokenId,
    /// The hash by which it is known.
    pub hash: SecretHash,
    /// The name of the principal who sends it.
    pub name: Caller,
    /// What the principal may do.
    pub scopes: ScopeBits,
    /// On which calendars.
    pub prefixes: Prefixes,
    /// When it expires.
    pub expiry: TokenExpiry,
    /// Who creates it; empty without a server.
    pub creator: Caller,
    /// The token by which the creator is known, if it is one of the store: it must be there still.
    pub creator_token: Option<TokenId>,
}

/// All tokens of a store. Copies share them until one changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    by_id: Arc<BTreeMap<TokenId, Arc<Token>>>,
    is_guarded: bool,
}

impl Tokens {
    /// The tokens of a store that was opened; `is_guarded` as [`Tokens::is_guarded`] tells.
    pub fn stored(tokens: impl IntoIterator<Item = Token>, is_guarded: bool) -> Self {
        let by_id = tokens
            .into_iter()
            .map(|token| (token.id.clone(), Arc::new(token)));
        Self {
            by_id: Arc::new(by_id.collect()),
            is_guarded,
        }
    }

    /// Whether a token was ever created in the store. From then on callers need credentials, also
    /// when there is no token any more: nothing that ends may open a store to all.
    pub const fn is_guarded(&self) -> bool {
        self.is_guarded
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The token of this id.
    pub fn find(&self, id: &TokenId) -> Option<&Arc<Token>> {
        self.by_id.get(id)
    }

    /// The tokens by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.by_id.values()
    }

    /// Whether both are the same copy, so that there is nothing to compare.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.by_id, &other.by_id)
    }

    pub(crate) fn add(&mut self, token: Arc<Token>) {
        self.is_guarded = true;
        let before = Arc::make_mut(&mut self.by_id).insert(token.id.clone(), token);
        assert!(before.is_none(), "no two tokens have one id");
    }

    pub(crate) fn remove(&mut self, id: &TokenId) {
        Arc::make_mut(&mut self.by_id).remove(id);
    }
}
