//! The credentials of a call: a bearer token, or the certificate of its connection.
//!
//! A token that is sent decides alone. It is never joined with the certificate, and a wrong one
//! does not fall back to it: a caller who means to act with less must not act with more.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

use bookd_core::token::SecretHash;

/// The least length of a token, in characters: 128 bits in base32.
pub const TOKEN_CHARACTERS_MIN: usize = 26;
/// The longest token, in characters.
pub const TOKEN_CHARACTERS_MAX: usize = 8_192;

/// The SHA-256 of a token. No token is kept itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl From<SecretHash> for TokenHash {
    fn from(hash: SecretHash) -> Self {
        Self(hash.0)
    }
}

impl From<TokenHash> for SecretHash {
    fn from(hash: TokenHash) -> Self {
        Self(hash.0)
    }
}

impl fmt::Debug for TokenHash {
    /// Not even a part of the hash: logs must not help to guess.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// What a call brings to tell who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    /// Neither token nor certificate.
    Nothing,
    /// A header `authorization` that is no usable bearer token.
    Unusable,
    /// A bearer token.
    Token(&'a str),
    /// A verified certificate with this name.
    Certificate(&'a str),
}

impl<'a> Presented<'a> {
    /// Reads the credentials of a call; `certificate` is the name in the verified certificate of
    /// its connection.
    pub(super) fn read(headers: &'a HeaderMap, certificate: Option<&'a str>) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => certificate.map_or(Self::Nothing, Self::Certificate),
            (Some(value), None) => value
                .to_str()
                .ok()
                .and_then(bearer)
                .map_or(Self::Unusable, Self::Token),
            // Of two tokens nobody can say which one counts.
            (Some(_), Some(_)) => Self::Unusable,
        }
    }
}

/// The token of a header such as `Bearer abc`; RFC 6750, section 2.1. The scheme has no case; RFC
/// 9110, section 11.1.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    let is_usable = scheme.eq_ignore_ascii_case("bearer")
        && !token.is_empty()
        && token.len() <= TOKEN_CHARACTERS_MAX
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    is_usable.then_some(token)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read<'a>(
        headers: &'a mut HeaderMap,
        values: &[&str],
        name: Option<&'a str>,
    ) -> Presented<'a> {
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        Presented::read(headers, name)
    }

    #[test]
    fn a_token_that_is_sent_decides_alone() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_CHARACTERS_MAX + 1));
        for (values, expected) in [
            (&[][..], Presented::Certificate("ada")),
            (&["Bearer abc"], Presented::Token("abc")),
            (&["bearer  abc "], Presented::Token("abc")),
            (&["Basic abc"], Presented::Unusable),
            (&["Bearer"], Presented::Unusable),
            (&["Bearer "], Presented::Unusable),
            (&["Bearer a b"], Presented::Unusable),
            (&["Bearer abc", "Bearer abc"], Presented::Unusable),
            (&[&long], Presented::Unusable),
        ] {
            let mut headers = HeaderMap::new();
            assert_eq!(read(&mut headers, values, Some("ada")), expected);
        }
        assert_eq!(read(&mut HeaderMap::new(), &[], None), Presented::Nothing);
    }

    #[test]
    fn a_hash_says_nothing_of_its_token() {
        assert_eq!(format!("{:?}", TokenHash::of("secret")), "TokenHash");
        assert_ne!(TokenHash::of("a"), TokenHash::of("b"));
    }
}
