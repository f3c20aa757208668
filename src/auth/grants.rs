//! The grants of the operator: which credential is which principal, with which scopes.
//!
//! What no grant names has no rights.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::credentials::{TOKEN_CHARACTERS_MAX, TOKEN_CHARACTERS_MIN, TokenHash};
use super::file::read_file;
use super::granted_claim::{GrantedClaim, expect_narrow, has_same_prefix};
use super::jwt::{EMAIL_VERIFIED, Issuer, Issuers, VerifiedJwt};
use super::principal::principal_name;
use super::rights::Rights;
use super::scopes::Scopes;
use bookd_core::ids::Caller;
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;

/// Stands for any rest of a certificate's name, at the end of one.
const ANY: char = '*';
/// The claim that says who a token is about; RFC 7519, section 4.1.2.
const SUBJECT: &str = "sub";
/// The name of the principal of `--bootstrap-token-file`.
const BOOTSTRAP: &str = "bootstrap";

/// A `[[grant]]` of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The name of the principal: it stands in changes, and request ids belong to it. Several
    /// credentials may have one name, so that it stays when they are renewed. Required with a
    /// token; of a certificate it is its name by default.
    pub name: Option<String>,
    /// A certificate: the `spiffe://` URI in it, or else its subject such as `CN=front,O=acme`. A
    /// `*` at the end stands for any rest.
    pub certificate: Option<String>,
    /// A file with a token, which may be followed by a line break.
    pub token_file: Option<PathBuf>,
    /// The issuer of JSON Web Tokens, one of the `[[issuer]]`.
    pub issuer: Option<String>,
    /// The claim of such a token that `value` is compared with; default `sub`.
    pub claim: Option<String>,
    /// The value of the claim: a text, or one of a list in it.
    pub value: Option<String>,
    /// The scopes: slots, read, book, staff, manage, admin.
    pub scopes: Vec<String>,
    /// The calendars: those whose ids begin so. It ends in `/`; empty or left out = all calendars. A
    /// credential may have a grant for each of several prefixes.
    #[serde(default)]
    pub prefix: String,
    /// The claim with the e-mail address of the customer to whose appointments `read` and `book` are
    /// narrowed, of an issuer's tokens. The claim `email` counts with `email_verified` alone.
    pub own: Option<String>,
}

/// Why the grants cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{grant}: {problem}")]
pub struct GrantError {
    /// Which grant, such as `grant 2`.
    grant: String,
    problem: String,
}

/// What a credential is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// The principal's name; none = the name in the certificate.
    pub(super) name: Option<Caller>,
    pub(super) rights: Rights,
}

/// The problem of two grants that ought to be one.
const SAME_CREDENTIAL: &str =
    "another grant has the same credential and the same prefix: give it all scopes";

impl Granted {
    /// Adds a further grant of the same credential.
    fn add(&mut self, further: Self) -> Result<(), String> {
        if self.name != further.name {
            return Err("another grant gives the same credential another name".to_owned());
        }
        if has_same_prefix(&self.rights, &further.rights) {
            return Err(SAME_CREDENTIAL.to_owned());
        }
        self.rights = [self.rights.clone(), further.rights].into_iter().collect();
        Ok(())
    }
}

/// Puts a grant beside those of the same credential.
fn put<K>(entry: Entry<'_, K, Granted>, granted: Granted) -> Result<(), String> {
    match entry {
        Entry::Vacant(free) => drop(free.insert(granted)),
        Entry::Occupied(mut known) => known.get_mut().add(granted)?,
    }
    Ok(())
}

/// All grants, by credential.
#[derive(Debug, Default)]
pub struct Grants {
    tokens: HashMap<TokenHash, Granted>,
    certificates: HashMap<String, Granted>,
    /// Those of certificates whose names begin so.
    beginnings: HashMap<String, Granted>,
    pub(super) issuers: Issuers,
    claims: Vec<GrantedClaim>,
}

/// What the configuration file says of who may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantConfig {
    /// Each `[[grant]]`.
    pub grants: Vec<Grant>,
    /// Each `[[issuer]]`.
    pub issuers: Vec<Issuer>,
}

impl Grants {
    /// Reads the grants of a configuration, with the files that they name; and the file of the
    /// first administrator's token, if there is one.
    ///
    /// # Errors
    ///
    /// The first grant that cannot be used, with what is wrong with it.
    pub fn load(config: &GrantConfig, bootstrap_token: Option<&Path>) -> Result<Self, GrantError> {
        let issuers = Issuers::load(&config.issuers).map_err(|(number, problem)| GrantError {
            grant: format!("issuer {number}"),
            problem,
        })?;
        let mut all = Self {
            issuers,
            ..Self::default()
        };
        for (number, grant) in (1..).zip(&config.grants) {
            let error = |problem| GrantError {
                grant: format!("grant {number}"),
                problem,
            };
            all.add(grant).map_err(error)?;
        }
        if let Some(file) = bootstrap_token {
            let granted = Granted {
                name: Some(Caller(BOOTSTRAP.into())),
                rights: Rights::all(),
            };
            let error = |problem| GrantError {
                grant: "--bootstrap-token-file".to_owned(),
                problem,
            };
            let hash = TokenHash::of(&read_token(file).map_err(error)?);
            if all.tokens.insert(hash, granted).is_some() {
                return Err(error("a grant has the same token".to_owned()));
            }
        }
        Ok(all)
    }

    /// Whether there is neither a grant nor an issuer, so that callers need no credentials.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.issuers.is_empty() && !self.has_certificates()
    }

    /// Reads the name of the principal of a token of the store, which is not one that another kind of
    /// credential gives.
    pub(super) fn token_name(&self, name: &str) -> Result<Caller, String> {
        if name == BOOTSTRAP || self.issuers.owns(name) {
            return Err("is the name of another principal".to_owned());
        }
        principal_name(name).map_err(|problem| problem.replace("`name` ", ""))
    }

    /// Whether some certificate is granted something.
    pub fn has_certificates(&self) -> bool {
        !self.certificates.is_empty() || !self.beginnings.is_empty()
    }

    fn add(&mut self, grant: &Grant) -> Result<(), String> {
        if grant.scopes.is_empty() {
            return Err("`scopes` is empty: it grants nothing".to_owned());
        }
        let scopes = grant.scopes.iter().map(|name| name.parse::<Scopes>());
        if let Some(name) = &grant.name
            && (name == BOOTSTRAP || self.issuers.owns(name))
        {
            return Err(format!("the name `{name}` is that of another principal"));
        }
        let prefixes = Prefixes::parse(&grant.prefix).map_err(|it| format!("`prefix` {it}"))?;
        let granted = Granted {
            name: grant.name.as_deref().map(principal_name).transpose()?,
            rights: Rights::of(scopes.collect::<Result<_, _>>()?, Reach::on(prefixes)),
        };
        if grant.own.is_some() {
            expect_narrow(grant.issuer.is_some(), &granted.rights)?;
        }
        if grant.issuer.is_none() && (grant.claim.is_some() || grant.value.is_some()) {
            return Err("`claim` and `value` want an `issuer`".to_owned());
        }
        match (&grant.certificate, &grant.token_file, &grant.issuer) {
            (Some(certificate), None, None) => self.add_certificate(certificate, granted),
            (None, Some(file), None) => {
                if granted.name.is_none() {
                    return Err(
                        "a token needs a `name`, which stands in what it changes".to_owned()
                    );
                }
                let hash = TokenHash::of(&read_token(file)?);
                put(self.tokens.entry(hash), granted)
            }
            (None, None, Some(issuer)) => self.add_claim(issuer, grant, granted),
            _ => Err(
                "it needs one of `certificate`, `token_file` and `issuer`, and only one".to_owned(),
            ),
        }
    }

    fn add_certificate(&mut self, name: &str, granted: Granted) -> Result<(), String> {
        match name.find(ANY) {
            None if name.is_empty() => Err("`certificate` is empty".to_owned()),
            None => put(self.certificates.entry(name.to_owned()), granted),
            Some(at) if at + ANY.len_utf8() == name.len() => {
                put(self.beginnings.entry(name[..at].to_owned()), granted)
            }
            Some(_) => Err(format!("`{ANY}` may only be at the end of `certificate`")),
        }
    }

    fn add_claim(&mut self, issuer: &str, grant: &Grant, granted: Granted) -> Result<(), String> {
        if granted.name.is_some() {
            return Err("tokens of an issuer have their own names: leave `name` out".to_owned());
        }
        if !self.issuers.has(issuer) {
            return Err(format!("there is no [[issuer]] `{issuer}`"));
        }
        let Some(value) = grant.value.clone() else {
            return Err("a grant of an issuer needs a `value` of its `claim`".to_owned());
        };
        let added = GrantedClaim {
            issuer: issuer.to_owned(),
            claim: grant.claim.clone().unwrap_or_else(|| SUBJECT.to_owned()),
            value,
            own: grant.own.clone(),
            rights: granted.rights,
        };
        if self.claims.iter().any(|it| it.is_same(&added)) {
            return Err(SAME_CREDENTIAL.to_owned());
        }
        self.claims.push(added);
        Ok(())
    }

    /// The rights of a verified token: those of every grant whose claim it has.
    pub(super) fn of_jwt(&self, jwt: &VerifiedJwt) -> Rights {
        let granted = || {
            let suits =
                |it: &&GrantedClaim| it.issuer == jwt.issuer && jwt.has(&it.claim, &it.value);
            let granted = self.claims.iter().filter(suits);
            granted.filter_map(|it| it.rights_of(jwt)).collect()
        };
        jwt.rights.get_or_init(granted).clone()
    }

    /// Whether a grant asks for this claim.
    pub(super) fn asks_for(&self, claim: &str) -> bool {
        claim == EMAIL_VERIFIED || self.claims.iter().any(|it| it.asks_for(claim))
    }

    /// What a token is granted. Its hash is looked up, so that the time that this takes says
    /// nothing of any token.
    pub(super) fn of_token(&self, hash: &TokenHash) -> Option<&Granted> {
        self.tokens.get(hash)
    }

    /// What the certificate with this name is granted: by its whole name, or else by the longest
    /// beginning of it.
    pub(super) fn of_certificate(&self, name: &str) -> Option<&Granted> {
        self.certificates.get(name).or_else(|| {
            let beginning = self.beginnings.iter();
            let beginning = beginning.filter(|(it, _)| name.starts_with(it.as_str()));
            let longest = beginning.max_by_key(|(it, _)| it.len());
            longest.map(|(_, granted)| granted)
        })
    }
}

/// Reads the token in a file. No error has anything of what the file contains.
fn read_token(file: &Path) -> Result<String, String> {
    let shown = file.display();
    let text = read_file(file, TOKEN_CHARACTERS_MAX as u64 + 2)
        .map_err(|error| format!("the token file {shown} cannot be read: {error}"))?;
    let token = text.trim_end_matches(['\n', '\r']);
    let is_token = (TOKEN_CHARACTERS_MIN..=TOKEN_CHARACTERS_MAX).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token {
        return Ok(token.to_owned());
    }
    Err(format!(
        "the token file {shown} must have one token of {TOKEN_CHARACTERS_MIN} to \
         {TOKEN_CHARACTERS_MAX} letters, digits and signs, such as `openssl rand -base64 32` makes"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::proto::v1::Scope;

    const TOKEN: &str = "kpr8Q2vL5nYx7cWb3hJm9dRt4s";

    fn certificate(name: &str, scopes: &[&str]) -> Grant {
        Grant {
            certificate: Some(name.to_owned()),
            scopes: scopes.iter().map(|it| (*it).to_owned()).collect(),
            ..Grant::default()
        }
    }

    fn claiming(value: Option<&str>) -> Grant {
        Grant {
            issuer: Some("https://acme".to_owned()),
            value: value.map(str::to_owned),
            scopes: vec!["read".to_owned()],
            ..Grant::default()
        }
    }

    fn token(file: &Path) -> Grant {
        Grant {
            name: Some("page".to_owned()),
            token_file: Some(file.to_owned()),
            scopes: vec!["slots".to_owned()],
            ..Grant::default()
        }
    }

    fn load(grants: &[Grant]) -> Result<Grants, GrantError> {
        let config = GrantConfig {
            grants: grants.to_vec(),
            ..GrantConfig::default()
        };
        Grants::load(&config, None)
    }

    fn problem(grants: &[Grant]) -> String {
        load(grants).unwrap_err().to_string()
    }

    #[test]
    fn the_whole_name_counts_before_a_beginning_and_a_long_beginning_before_a_short_one() {
        let grants = load(&[
            certificate("spiffe://acme/*", &["slots"]),
            certificate("spiffe://acme/front/desk", &["staff"]),
            certificate("spiffe://acme/front/*", &["read"]),
        ])
        .unwrap();
        let has = |name: &str, scope| {
            let granted = grants.of_certificate(name);
            granted.is_some_and(|it| it.rights.scopes() == Scopes::of(scope))
        };
        assert!(has("spiffe://acme/front/desk", Scope::Staff));
        assert!(has("spiffe://acme/front/desks", Scope::Read));
        assert!(has("spiffe://acme/back", Scope::Slots));
        assert!(grants.of_certificate("spiffe://acme").is_none());
        assert!(!grants.is_empty() && grants.has_certificates());
    }

    #[test]
    fn a_credential_may_have_a_grant_for_each_of_several_prefixes() {
        let on = |prefix: &str, name: &str| Grant {
            prefix: prefix.to_owned(),
            name: Some(name.to_owned()),
            ..certificate("CN=ada", &["read"])
        };
        let grants = load(&[on("acme/", "ada"), on("beta/", "ada")]).unwrap();
        let rights = &grants.of_certificate("CN=ada").unwrap().rights;
        assert_eq!(
            rights.reach_of(Scope::Read).calendars.to_string(),
            "acme/, beta/"
        );
        assert!(problem(&[on("acme/", "ada"), on("acme/", "ada")]).contains("same prefix"));
        assert!(problem(&[on("acme/", "ada"), on("beta/", "bob")]).contains("another name"));
    }

    #[test]
    fn a_token_is_read_from_its_file_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
        let grants = load(&[token(&file)]).unwrap();
        let granted = grants.of_token(&TokenHash::of(TOKEN)).unwrap();
        assert_eq!(granted.name, Some(Caller("page".into())));
        assert!(!format!("{grants:?}").contains(TOKEN));
        let own_name = Grant {
            name: Some("bootstrap".to_owned()),
            ..token(&file)
        };
        assert!(problem(&[own_name]).contains("another principal"));
        assert!(problem(&[token(folder.path())]).contains("no regular file"));
        let bootstrap = Grants::load(&GrantConfig::default(), Some(&file)).unwrap();
        assert_eq!(
            bootstrap.of_token(&TokenHash::of(TOKEN)).unwrap().rights,
            Rights::all()
        );
        assert!(!bootstrap.has_certificates() && !bootstrap.is_empty());

        for wrong in ["short", &format!("two words {TOKEN}"), &"x".repeat(9_000)] {
            std::fs::write(&file, wrong).unwrap();
            let problem = problem(&[token(&file)]);
            assert!(
                problem.contains("must have one token") && !problem.contains(wrong),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_grant_that_cannot_be_used_is_named_with_what_is_wrong() {
        let missing = Path::new("/nowhere/token");
        let unnamed = Grant {
            name: None,
            ..token(missing)
        };
        let both = Grant {
            certificate: Some("a".to_owned()),
            ..token(missing)
        };
        for (grant, said) in [
            (certificate("a", &[]), "grants nothing"),
            (certificate("a", &["raed"]), "`raed` is no scope"),
            (certificate("", &["read"]), "is empty"),
            (certificate("a*b", &["read"]), "only be at the end"),
            (
                Grant {
                    name: Some(" ".to_owned()),
                    ..certificate("a", &["read"])
                },
                "1 to 200",
            ),
            (
                Grant {
                    prefix: "acme".to_owned(),
                    ..certificate("a", &["read"])
                },
                "`prefix` must be empty",
            ),
            (
                Grant {
                    own: Some("email".to_owned()),
                    ..certificate("a", &["read"])
                },
                "wants an `issuer`",
            ),
            (
                Grant {
                    own: Some("email".to_owned()),
                    scopes: vec!["book".to_owned(), "staff".to_owned()],
                    ..claiming(Some("ada"))
                },
                "slots, read and book alone",
            ),
            (unnamed, "needs a `name`"),
            (both, "and only one"),
            (claiming(None), "there is no [[issuer]] `https://acme`"),
            (
                Grant {
                    issuer: None,
                    ..claiming(Some("ada"))
                },
                "want an `issuer`",
            ),
            (token(missing), "/nowhere/token"),
        ] {
            let problem = problem(&[certificate("ok", &["read"]), grant]);
            assert!(
                problem.starts_with("grant 2: ") && problem.contains(said),
                "{problem}"
            );
        }
        for twice in ["a", "a*"] {
            let grant = certificate(twice, &["read"]);
            assert!(problem(&[grant.clone(), grant]).contains("same credential"));
        }
    }
}
