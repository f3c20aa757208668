//! The making of a token: an id by which people recognise it, and a secret of 160 random bits.
//!
//! The text of it is `bookd_`, 10 letters and digits, `_`, 32 letters and digits. Up to the second
//! `_` it is the id.

use std::fmt;

use super::credentials::TokenHash;
use bookd_core::token::{SecretHash, TokenId};

/// The digits of base32 (RFC 4648 §6) in lower case, each of 5 bits.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The digits of the secret: 160 bits.
const SECRET_DIGITS: usize = 32;
/// The random bytes that a token takes, one for each digit.
pub const RANDOM_BYTES: usize = TokenId::DISTINCT_CHARACTERS + SECRET_DIGITS;

/// A token that is to be created.
pub struct Secret {
    id: TokenId,
    text: String,
}

impl Secret {
    /// The token that these random bytes make.
    pub fn of(random: [u8; RANDOM_BYTES]) -> Self {
        let digits: String = random
            .iter()
            .map(|byte| char::from(DIGITS[usize::from(byte & 31)]))
            .collect();
        let (distinct, secret) = digits.split_at(TokenId::DISTINCT_CHARACTERS);
        let id = format!("{}{distinct}", TokenId::BEGINNING);
        let text = format!("{id}_{secret}");
        let id = TokenId::parse(&id).expect("it is made as an id must be");
        Self { id, text }
    }

    /// The id of the token.
    pub const fn id(&self) -> &TokenId {
        &self.id
    }

    /// What is kept of it.
    pub fn hash(&self) -> SecretHash {
        TokenHash::of(&self.text).into()
    }

    /// The token itself, to be shown once.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl fmt::Debug for Secret {
    /// No log has the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&self.id).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_token_begins_with_its_id_and_shows_itself_to_nobody_else() {
        let random: [u8; RANDOM_BYTES] =
            std::array::from_fn(|at| u8::try_from(at * 7).unwrap_or(0));
        let secret = Secret::of(random);
        assert!(!format!("{secret:?}").contains("bookd_ahov4dkryf_"));
        assert_eq!(secret.id().as_str().len(), 16);
        let (id, hash) = (secret.id().clone(), secret.hash());
        let text = secret.into_text();
        assert_eq!(text.rsplit_once('_').unwrap().0, id.as_str());
        assert_eq!(text.len(), 16 + 1 + SECRET_DIGITS);
        assert_eq!(SecretHash::from(TokenHash::of(&text)), hash);
        // Each bit of the last byte that a digit has counts.
        let mut other = random;
        other[RANDOM_BYTES - 1] ^= 1;
        assert_ne!(Secret::of(other).into_text(), text);
    }
}
