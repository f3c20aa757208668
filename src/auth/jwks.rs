//! JSON Web Key Sets (RFC 7517): the public keys of an issuer, of a file or of an answer.
//!
//! Only keys that signatures can be verified by are kept, and never one that is a shared secret:
//! whoever can verify a token by a secret can make one, too.

use std::str::FromStr;
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The longest key set, in bytes.
pub(super) const KEYS_BYTES_MAX: usize = 1_024 * 1_024;
/// The most keys of a set that signatures can be verified by.
const KEYS_MAX: usize = 100;

/// The public keys of an issuer: 1 to [`KEYS_MAX`].
pub(super) struct PublicKeys {
    keys: Vec<PublicKey>,
}

/// A key set, whatever its keys are.
#[derive(Deserialize)]
struct AnyKeys {
    keys: Vec<Value>,
}

struct PublicKey {
    /// The key as it was read, to compare it with a later one.
    jwk: Jwk,
    id: Option<String>,
    /// The only algorithm that it is for; none = all of its family.
    algorithm: Option<Algorithm>,
    key: Arc<DecodingKey>,
}

impl PublicKeys {
    /// Reads a key set.
    ///
    /// # Errors
    ///
    /// What is wrong, as the end of a sentence that begins with where the set is from. Nothing of
    /// the text is in it but a place: the text may be anybody's, and of any length.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > KEYS_BYTES_MAX {
            return Err(format!("is larger than {KEYS_BYTES_MAX} bytes"));
        }
        let set: AnyKeys = serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("is no JSON Web Key Set: see line {line}, column {column}")
        })?;
        // RFC 7517, section 5: keys of kinds that are not known are passed over.
        let keys: Vec<PublicKey> = set
            .keys
            .into_iter()
            .filter_map(|key| public_key(Jwk::deserialize(key).ok()?))
            .take(KEYS_MAX + 1)
            .collect();
        match keys.len() {
            0 => Err("has no public key for signatures".to_owned()),
            1..=KEYS_MAX => Ok(Self { keys }),
            _ => Err(format!(
                "has more than {KEYS_MAX} public keys for signatures"
            )),
        }
    }

    /// How many keys there are.
    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// Whether another set has the same keys in the same order.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.jwks().eq(other.jwks())
    }

    fn jwks(&self) -> impl Iterator<Item = &Jwk> {
        self.keys.iter().map(|it| &it.jwk)
    }

    /// Whether some key has this id.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(kid))
    }

    /// The key with this id; without an id the only key that is for the algorithm.
    pub(super) fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Option<&Arc<DecodingKey>> {
        let family = family_of(algorithm)?;
        let suits = |key: &&PublicKey| {
            key.key.family() == family && key.algorithm.is_none_or(|it| it == algorithm)
        };
        let mut found = self
            .keys
            .iter()
            .filter(suits)
            .filter(|key| kid.is_none_or(|kid| key.id.as_deref() == Some(kid)));
        match (found.next(), found.next()) {
            (Some(key), None) => Some(&key.key),
            _ => None,
        }
    }
}

/// The family of an algorithm with public keys; none of any other algorithm.
fn family_of(algorithm: Algorithm) -> Option<AlgorithmFamily> {
    [
        AlgorithmFamily::Rsa,
        AlgorithmFamily::Ec,
        AlgorithmFamily::Ed,
    ]
    .into_iter()
    .find(|family| family.algorithms().contains(&algorithm))
}

/// The algorithm of this name, if its keys are public.
///
/// # Errors
///
/// The name is of no algorithm, or of one with a shared secret; with the names that there are.
pub(super) fn public_algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_str(name)
        .ok()
        .filter(|it| family_of(*it).is_some())
        .ok_or_else(|| {
            format!(
                "`{name}` is no algorithm with public keys; there are RS256, RS384, RS512, PS256, \
                 PS384, PS512, ES256, ES384 and EdDSA"
            )
        })
}

/// A key that signatures can be verified by; none for other keys, which a set may have too.
fn public_key(jwk: Jwk) -> Option<PublicKey> {
    let is_public = matches!(
        jwk.algorithm,
        AlgorithmParameters::RSA(_)
            | AlgorithmParameters::EllipticCurve(_)
            | AlgorithmParameters::OctetKeyPair(_)
    );
    let is_for_signatures = jwk
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|it| *it == PublicKeyUse::Signature);
    let algorithm = match jwk.common.key_algorithm {
        Some(named) => Some(named.to_string().parse().ok()?),
        None => None,
    };
    (is_public && is_for_signatures).then_some(())?;
    Some(PublicKey {
        id: jwk.common.key_id.clone(),
        algorithm,
        key: Arc::new(DecodingKey::from_jwk(&jwk).ok()?),
        jwk,
    })
}
