//! JSON Web Tokens (RFC 7519) of the issuers that the configuration names.
//!
//! Issuer, audience and algorithms are pinned by the configuration; a token chooses none of them. A
//! verified token is remembered by its hash until it expires, because a signature costs more than
//! most calls.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::credentials::TokenHash;
use super::file::read_file;
use super::rights::Rights;
use crate::clock::{Clock, SystemClock};
use crate::fold::{email_key, is_address};
use bookd_core::appointment::EmailKey;
use bookd_core::ids::Caller;

/// The claim with a person's address, and the one that says whether the issuer has verified it.
const EMAIL: &str = "email";
pub(super) const EMAIL_VERIFIED: &str = "email_verified";
/// By how much the clocks of an issuer and this server may differ.
const SKEW_SECONDS: i64 = 30;
/// The largest file of keys, in bytes, and the most keys in it.
const KEYS_BYTES_MAX: u64 = 1_024 * 1_024;
const KEYS_MAX: usize = 100;
/// Verified tokens that are remembered.
const REMEMBERED_MAX: usize = 4_000;
/// The longest issuer and subject, in characters: their names stand in changes.
const NAME_CHARACTERS_MAX: usize = 500;

/// An `[[issuer]]` of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// `iss` of its tokens, such as `https://login.acme.example`.
    pub issuer: String,
    /// `aud` of its tokens: what it calls this server.
    pub audience: String,
    /// The algorithms of its signatures, such as `["ES256"]`: those with a public key only.
    pub algorithms: Vec<String>,
    /// A file with its public keys, as a JSON Web Key Set (RFC 7517).
    pub jwks_file: PathBuf,
}

/// A verified token.
#[derive(Clone, Debug)]
pub(super) struct VerifiedJwt {
    /// Issuer and subject.
    pub(super) name: Caller,
    pub(super) issuer: String,
    /// The claims that grants ask for.
    claims: Map<String, Value>,
    /// The token itself: when keys, audience or algorithms change, it is verified again.
    token: Box<str>,
    /// In seconds since 1970.
    expires: i64,
    /// What it is granted, once that was asked. It is remembered with the grants that it was asked
    /// of, and verified anew for others.
    pub(super) rights: OnceLock<Rights>,
}

impl VerifiedJwt {
    /// Whether a claim has this value: it is the text, or a list with it.
    pub(super) fn has(&self, claim: &str, value: &str) -> bool {
        let is_it = |it: &Value| it.as_str() == Some(value);
        match self.claims.get(claim) {
            Some(Value::Array(all)) => all.iter().any(is_it),
            Some(one) => is_it(one),
            None => false,
        }
    }

    /// The key of the e-mail address in a claim; none where there is none, or where it is `email` and
    /// the issuer does not say that it was verified (OpenID Connect Core 1.0, section 5.1).
    pub(super) fn address(&self, claim: &str) -> Option<EmailKey> {
        let is_verified =
            claim != EMAIL || self.claims.get(EMAIL_VERIFIED) == Some(&Value::Bool(true));
        let address = self.claims.get(claim)?.as_str()?;
        let key = email_key(address);
        // Folding has several spellings stand for one, such as ſ and s: good for a look-up, and
        // another person's mailbox here.
        let is_spelt_so = address.is_ascii() || key.as_str() == address;
        (is_verified && is_address(address) && is_spelt_so).then_some(key)
    }

    /// How long it is valid still, by this server's clock and what clocks may differ by; none when
    /// it has expired. It is the system's clock, by which the library verifies, too.
    pub(super) fn left(&self) -> Option<Duration> {
        let end = self.expires.saturating_add(SKEW_SECONDS);
        let left = end.saturating_sub(SystemClock.now().seconds());
        u64::try_from(left)
            .ok()
            .filter(|left| *left > 0)
            .map(Duration::from_secs)
    }
}

/// The issuers that are trusted, by `iss`, with their keys. They never change: a configuration that
/// is read again has others.
#[derive(Default)]
pub(super) struct Issuers {
    trusted: HashMap<String, Trusted>,
    remembered: Mutex<HashMap<TokenHash, Arc<VerifiedJwt>>>,
}

/// An issuer that is trusted.
struct Trusted {
    validation: Validation,
    keys: Vec<PublicKey>,
}

/// A token that is worth to verify: its issuer is trusted, and has the key that it names.
pub(super) struct Verifiable<'a> {
    token: &'a str,
    issuer: String,
    validation: Validation,
    key: &'a DecodingKey,
}

struct PublicKey {
    id: Option<String>,
    /// The only algorithm that it is for; none = all of its family.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

impl Issuers {
    /// Reads the issuers of a configuration, with the files of their keys.
    ///
    /// # Errors
    ///
    /// Which issuer cannot be used, by number, and why.
    pub(super) fn load(issuers: &[Issuer]) -> Result<Self, (usize, String)> {
        let mut all = Self::default();
        for (number, issuer) in (1..).zip(issuers) {
            let trusted = Trusted::new(issuer).map_err(|problem| (number, problem))?;
            if all.trusted.insert(issuer.issuer.clone(), trusted).is_some() {
                return Err((number, "another issuer has the same name".to_owned()));
            }
        }
        Ok(all)
    }

    pub(super) fn has(&self, issuer: &str) -> bool {
        self.trusted.contains_key(issuer)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.trusted.is_empty()
    }

    /// Whether a name is one that tokens of an issuer have.
    pub(super) fn owns(&self, name: &str) -> bool {
        name.split_once(' ')
            .is_some_and(|(issuer, _)| self.has(issuer))
    }

    /// A token that these issuers' keys have verified before, and that is still valid.
    pub(super) fn remembered(&self, hash: &TokenHash) -> Option<Arc<VerifiedJwt>> {
        self.memory()
            .get(hash)
            .filter(|it| it.left().is_some())
            .map(Arc::clone)
    }

    /// A token that was verified, by these issuers' keys; none where they would not verify it now.
    pub(super) fn renewed(
        &self,
        jwt: &Arc<VerifiedJwt>,
        is_kept: impl Fn(&str) -> bool,
    ) -> Option<Arc<VerifiedJwt>> {
        let hash = TokenHash::of(&jwt.token);
        self.remembered(&hash).or_else(|| {
            let verifiable = self.verifiable(&jwt.token)?;
            self.verify(verifiable, hash, is_kept)
        })
    }

    /// Reads of a token who is to verify it; none where nobody can.
    pub(super) fn verifiable<'a>(&'a self, token: &'a str) -> Option<Verifiable<'a>> {
        if self.trusted.is_empty() || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        // What it says of its issuer only chooses the keys by which it must be verified.
        let claimed: IssuerClaim = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        let trusted = self.trusted.get(&claimed.iss)?;
        if !trusted.validation.algorithms.contains(&header.alg) {
            return None;
        }
        // The library wants one family of keys at a time.
        let mut validation = trusted.validation.clone();
        validation.algorithms = vec![header.alg];
        Some(Verifiable {
            token,
            issuer: claimed.iss,
            validation,
            key: trusted.find(header.kid.as_deref(), header.alg)?,
        })
    }

    /// Verifies a token; none when anything about it is wrong. Of its claims those that `is_kept`
    /// wants are kept.
    pub(super) fn verify(
        &self,
        verifiable: Verifiable<'_>,
        hash: TokenHash,
        is_kept: impl Fn(&str) -> bool,
    ) -> Option<Arc<VerifiedJwt>> {
        let Verifiable {
            token,
            issuer,
            validation,
            key,
        } = verifiable;
        let claims = jsonwebtoken::decode(token, key, &validation).ok()?.claims;
        let verified = Arc::new(VerifiedJwt::new(issuer, token, claims, is_kept)?);
        let mut memory = self.memory();
        if memory.len() >= REMEMBERED_MAX {
            memory.retain(|_, it| it.left().is_some());
            if memory.len() >= REMEMBERED_MAX {
                memory.clear();
            }
        }
        memory.insert(hash, Arc::clone(&verified));
        Some(verified)
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<TokenHash, Arc<VerifiedJwt>>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.trusted.keys()).finish()
    }
}

#[derive(Deserialize)]
struct IssuerClaim {
    iss: String,
}

impl VerifiedJwt {
    fn new(
        issuer: String,
        token: &str,
        mut claims: Map<String, Value>,
        is_kept: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let subject = claims.get("sub")?.as_str().filter(|it| !it.is_empty())?;
        let name = format!("{issuer} {subject}");
        let is_name =
            name.chars().count() <= NAME_CHARACTERS_MAX && !name.chars().any(char::is_control);
        // RFC 7519, section 2: seconds since 1970, which may have a fraction. The conversion keeps
        // what does not fit at the largest number, which is never.
        let expires = claims.get("exp")?.as_f64()?.floor() as i64;
        claims.retain(|claim, _| is_kept(claim));
        is_name.then_some(Self {
            token: token.into(),
            name: Caller(name.into()),
            issuer,
            expires,
            claims,
            rights: OnceLock::new(),
        })
    }
}

impl Trusted {
    fn new(issuer: &Issuer) -> Result<Self, String> {
        if issuer.issuer.is_empty() || issuer.audience.is_empty() {
            return Err("`issuer` and `audience` must not be empty".to_owned());
        }
        if issuer.issuer.contains(char::is_whitespace) {
            return Err(
                "`issuer` must have no space: names of principals are issuer, space, subject"
                    .to_owned(),
            );
        }
        let algorithms: Vec<Algorithm> = issuer
            .algorithms
            .iter()
            .map(|name| public_algorithm(name))
            .collect::<Result<_, _>>()?;
        let Some(first) = algorithms.first() else {
            return Err("`algorithms` is empty: name those of its signatures".to_owned());
        };
        let mut validation = Validation::new(*first);
        validation.algorithms = algorithms;
        validation.leeway = SKEW_SECONDS.unsigned_abs();
        validation.validate_nbf = true;
        validation.set_issuer(&[&issuer.issuer]);
        validation.set_audience(&[&issuer.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self {
            validation,
            keys: read_keys(&issuer.jwks_file)?,
        })
    }

    /// The key with this id; without an id the only key that is for the algorithm.
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
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

/// The algorithm of this name, if its keys are public: whoever can verify a token of a shared
/// secret can make one, too.
fn public_algorithm(name: &str) -> Result<Algorithm, String> {
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

/// Reads the keys in a file that signatures can be verified by.
fn read_keys(file: &Path) -> Result<Vec<PublicKey>, String> {
    let shown = file.display();
    let text = read_file(file, KEYS_BYTES_MAX + 1)
        .map_err(|error| format!("the key file {shown} cannot be read: {error}"))?;
    if text.len() as u64 > KEYS_BYTES_MAX {
        return Err(format!(
            "the key file {shown} is larger than {KEYS_BYTES_MAX} bytes"
        ));
    }
    let set: JwkSet = serde_json::from_str(&text)
        .map_err(|error| format!("the key file {shown} is no JSON Web Key Set: {error}"))?;
    let keys: Vec<PublicKey> = set.keys.iter().filter_map(public_key).collect();
    if keys.is_empty() || keys.len() > KEYS_MAX {
        let count = keys.len();
        return Err(format!(
            "the key file {shown} has {count} public keys for signatures; it must have 1 to {KEYS_MAX}"
        ));
    }
    Ok(keys)
}

/// A key that signatures can be verified by; none for other keys, which a set may have too.
fn public_key(jwk: &Jwk) -> Option<PublicKey> {
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
        key: DecodingKey::from_jwk(jwk).ok()?,
    })
}
