//! JSON Web Tokens (RFC 7519) of the issuers that the configuration names.
//!
//! Issuer, audience and algorithms are pinned by the configuration; a token chooses none of them. A
//! verified token is remembered by its hash until it expires, because a signature costs more than
//! most calls.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::credentials::TokenHash;
use super::fetched_keys::{FetchedKeys, KeyFetches};
use super::file::read_file;
use super::jwks::{KEYS_BYTES_MAX, PublicKeys, public_algorithm};
use super::jwks_client::JwksClient;
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
    pub jwks_file: Option<PathBuf>,
    /// Where its public keys are fetched instead: `https://`, or `http://` of this machine.
    pub jwks_url: Option<String>,
    /// A file with the authorities that vouch for the server of `jwks_url`, in PEM; by default
    /// those of the system do.
    pub jwks_ca: Option<PathBuf>,
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
    verified_by: Generation,
}

/// The keys that have verified a token: it counts for as long as they do.
#[derive(Clone)]
enum Generation {
    /// Those of a file, which stay as they are.
    File,
    /// Those of a URL, after so many changes.
    Fetched(Arc<FetchedKeys>, u64),
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Generation")
    }
}

impl VerifiedJwt {
    /// Whether the keys that have verified it are those of now.
    fn is_of_current_keys(&self) -> bool {
        match &self.verified_by {
            Generation::File => true,
            Generation::Fetched(keys, generation) => keys.generation() == *generation,
        }
    }

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

/// The issuers that are trusted, by `iss`, with their keys. They never change, but for keys that are
/// fetched: a configuration that is read again has others.
#[derive(Default)]
pub(super) struct Issuers {
    trusted: HashMap<String, Trusted>,
    remembered: Mutex<HashMap<TokenHash, Arc<VerifiedJwt>>>,
}

/// An issuer that is trusted.
struct Trusted {
    validation: Validation,
    keys: KeySource,
}

/// Where the keys of an issuer are from.
enum KeySource {
    File(Arc<PublicKeys>),
    Url {
        url: String,
        keys: Arc<FetchedKeys>,
        client: JwksClient,
    },
}

/// A token that is worth to verify: its issuer is trusted, and has the key that it names.
pub(super) struct Verifiable<'a> {
    token: &'a str,
    issuer: String,
    validation: Validation,
    key: Arc<DecodingKey>,
    verified_by: Generation,
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
            .filter(|it| it.left().is_some() && it.is_of_current_keys())
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
        let (key, verified_by) = trusted.keys.find(header.kid.as_deref(), header.alg)?;
        Some(Verifiable {
            token,
            issuer: claimed.iss,
            validation,
            key,
            verified_by,
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
            verified_by,
        } = verifiable;
        let claims = jsonwebtoken::decode(token, &key, &validation).ok()?.claims;
        let verified = VerifiedJwt::new(issuer, token, claims, is_kept)?;
        let verified = Arc::new(VerifiedJwt {
            verified_by,
            ..verified
        });
        let mut memory = self.memory();
        if memory.len() >= REMEMBERED_MAX {
            memory.retain(|_, it| it.left().is_some() && it.is_of_current_keys());
            if memory.len() >= REMEMBERED_MAX {
                memory.clear();
            }
        }
        memory.insert(hash, Arc::clone(&verified));
        Some(verified)
    }

    /// Takes over what earlier issuers have fetched, where issuer and URL are the same.
    pub(super) fn adopt(&mut self, earlier: &Self) {
        for (issuer, trusted) in &mut self.trusted {
            let before = earlier.trusted.get(issuer).map(|it| &it.keys);
            if let KeySource::Url { url, keys, .. } = &mut trusted.keys
                && let Some(KeySource::Url {
                    url: url_before,
                    keys: keys_before,
                    ..
                }) = before
                && url == url_before
            {
                *keys = Arc::clone(keys_before);
            }
        }
    }

    /// The keys that are fetched, each with who fetches them.
    pub(super) fn fetched(&self) -> impl Iterator<Item = (&Arc<FetchedKeys>, &JwksClient)> {
        let sources = self.trusted.values().map(|it| &it.keys);
        sources.filter_map(|source| match source {
            KeySource::File(_) => None,
            KeySource::Url { keys, client, .. } => Some((keys, client)),
        })
    }

    /// What the fetches of their keys came to.
    pub(super) fn key_fetches(&self) -> KeyFetches {
        let mut all = KeyFetches::default();
        self.fetched().for_each(|(keys, _)| keys.add_to(&mut all));
        all
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
            verified_by: Generation::File,
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
            keys: KeySource::of(issuer)?,
        })
    }
}

impl KeySource {
    fn of(issuer: &Issuer) -> Result<Self, String> {
        match (&issuer.jwks_file, &issuer.jwks_url, &issuer.jwks_ca) {
            (Some(file), None, None) => Ok(Self::File(Arc::new(read_keys(file)?))),
            (Some(_), None, Some(_)) => Err("`jwks_ca` is for `jwks_url`".to_owned()),
            (None, Some(url), authorities) => Ok(Self::Url {
                client: JwksClient::new(url, authorities.as_ref())?,
                url: url.clone(),
                keys: Arc::new(FetchedKeys::new(issuer.issuer.clone())),
            }),
            (None, None, _) | (Some(_), Some(_), _) => {
                Err("it needs one of `jwks_file` and `jwks_url`, and only one".to_owned())
            }
        }
    }

    /// The key that a token names. Where a key that is named is not there, the keys are fetched
    /// again, soon: the call is refused at once, and one that comes afterwards is let in.
    fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Option<(Arc<DecodingKey>, Generation)> {
        match self {
            Self::File(keys) => Some((Arc::clone(keys.find(kid, algorithm)?), Generation::File)),
            Self::Url { keys, .. } => {
                // Before the keys: a token that earlier ones verify must not count as of these.
                let generation = keys.generation();
                let current = keys.current();
                let is_known = |it: &Arc<PublicKeys>| kid.is_none_or(|kid| it.has(kid));
                if !current.as_ref().is_some_and(is_known) {
                    keys.ask();
                }
                let key = Arc::clone(current?.find(kid, algorithm)?);
                Some((key, Generation::Fetched(Arc::clone(keys), generation)))
            }
        }
    }
}

/// Reads the keys in a file that signatures can be verified by.
fn read_keys(file: &Path) -> Result<PublicKeys, String> {
    let shown = file.display();
    let text = read_file(file, KEYS_BYTES_MAX as u64 + 1)
        .map_err(|error| format!("the key file {shown} cannot be read: {error}"))?;
    PublicKeys::parse(text.as_bytes()).map_err(|problem| format!("the key file {shown} {problem}"))
}
