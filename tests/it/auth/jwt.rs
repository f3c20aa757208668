//! JSON Web Tokens: which are let in as whom, and that nothing else about a token may be wrong.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use bookd::auth::{
    Access, AuthError, CallOrigin, Grant, GrantConfig, Grants, Issuer, MethodScopes, Principal,
};
use bookd::proto::v1::CredentialKind;
use http::HeaderMap;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const ISSUER: &str = "https://login.acme.example";
pub const LIST_SLOTS: &str = "/bookd.v1.SlotsService/ListSlots";
const LIST: &str = "/bookd.v1.ListService/ListAppointments";

/// The keys of an issuer, and one that is not its.
pub static KEYS: LazyLock<[EncodingKey; 2]> = LazyLock::new(|| {
    [(), ()].map(|()| {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        EncodingKey::from_ec_der(key.as_ref())
    })
});

pub fn public(key: &EncodingKey, kid: &str) -> Jwk {
    let mut jwk = Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some(kid.to_owned());
    jwk
}

fn write_keys(file: &Path, keys: Vec<Jwk>) {
    let set = JwkSet { keys };
    std::fs::write(file, serde_json::to_vec(&set).unwrap()).unwrap();
}

/// These grants of claims of an issuer with one key.
pub fn grants_of(folder: &Path, grants: Vec<Grant>) -> Grants {
    let jwks_file = folder.join("keys.json");
    write_keys(&jwks_file, vec![public(&KEYS[0], "first")]);
    let grants = grants.into_iter().map(|grant| Grant {
        issuer: Some(ISSUER.to_owned()),
        ..grant
    });
    let config = GrantConfig {
        grants: grants.collect(),
        issuers: vec![issuer(jwks_file)],
    };
    Grants::load(&config, None).unwrap()
}

/// A token of this subject that is valid for an hour, with these claims besides.
pub fn token_of(subject: &str, further: &[(&str, Value)]) -> String {
    let mut claims = with("sub", json!(subject));
    for (claim, value) in further {
        claims[*claim] = value.clone();
    }
    signed(&claims)
}

/// Grants of an issuer with one key: `slots` for the subject page, `read` for the group desk.
fn granted(folder: &Path) -> Grants {
    granted_by(folder, &KEYS[0])
}

fn granted_by(folder: &Path, key: &EncodingKey) -> Grants {
    let jwks_file = folder.join("keys.json");
    write_keys(&jwks_file, vec![public(key, "first")]);
    let grant = |claim: Option<&str>, value: &str, scope: &str| Grant {
        issuer: Some(ISSUER.to_owned()),
        claim: claim.map(str::to_owned),
        value: Some(value.to_owned()),
        scopes: vec![scope.to_owned()],
        ..Grant::default()
    };
    let config = GrantConfig {
        grants: vec![
            grant(None, "page", "slots"),
            grant(Some("groups"), "desk", "read"),
        ],
        issuers: vec![issuer(jwks_file)],
    };
    Grants::load(&config, None).unwrap()
}

fn issuer(jwks_file: PathBuf) -> Issuer {
    Issuer {
        issuer: ISSUER.to_owned(),
        audience: "bookd".to_owned(),
        algorithms: vec!["ES256".to_owned()],
        jwks_file: Some(jwks_file),
        ..Issuer::default()
    }
}

/// The claims of a token of the subject page that is valid for an hour.
pub fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": ["bookd", "others"],
        "sub": "page",
        "exp": get_current_timestamp() + 3_600,
    })
}

pub fn header(kid: &str) -> Header {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    header
}

fn signed(claims: &Value) -> String {
    encode(&header("first"), claims, &KEYS[0]).unwrap()
}

pub fn admit(access: &Access, token: &str, path: &str) -> Result<Principal, AuthError> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    // Each from an address of its own, so that no count of wrong ones matters.
    let address = std::net::Ipv4Addr::from_bits(u32::try_from(token.len()).unwrap());
    let origin = CallOrigin {
        address: Some(address.into()),
        ..CallOrigin::default()
    };
    access.admit(&headers, origin, MethodScopes::of(path).unwrap())
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

#[test]
fn a_token_is_who_its_issuer_says_with_the_scopes_of_every_claim_it_has() {
    let folder = TempDir::new().unwrap();
    let access = Access::granted(granted(folder.path()));
    let token = signed(&claims());
    // The first time it is verified, then it is remembered.
    for _ in 0..2 {
        let page = admit(&access, &token, LIST_SLOTS).unwrap();
        assert_eq!(&*page.name.0, "https://login.acme.example page");
        assert_eq!(page.kind(), CredentialKind::Jwt);
        assert_eq!(page.rights.scopes().to_string(), "slots");
        assert!(matches!(
            admit(&access, &token, LIST),
            Err(AuthError::Denied { .. })
        ));
    }
    for groups in [json!(["night", "desk"]), json!("desk")] {
        let both = signed(&with("groups", groups));
        assert_eq!(
            admit(&access, &both, LIST)
                .unwrap()
                .rights
                .scopes()
                .to_string(),
            "slots, read"
        );
    }
    // It is known, and has no rights.
    let nobody = signed(&with("sub", json!("nobody")));
    assert!(matches!(
        admit(&access, &nobody, LIST_SLOTS),
        Err(AuthError::Denied { .. })
    ));
}

#[test]
fn nothing_about_a_token_may_be_wrong() {
    let folder = TempDir::new().unwrap();
    let access = Access::granted(granted(folder.path()));
    let now = get_current_timestamp();
    let mut without_expiry = claims();
    without_expiry.as_object_mut().unwrap().remove("exp");
    let mut without_subject = claims();
    without_subject.as_object_mut().unwrap().remove("sub");
    for (what, claims) in [
        ("expired", with("exp", json!(now - 31))),
        ("not valid yet", with("nbf", json!(now + 60))),
        ("for another", with("aud", json!("others"))),
        (
            "of another issuer",
            with("iss", json!("https://evil.example")),
        ),
        (
            "of two issuers",
            with("iss", json!([ISSUER, "https://evil.example"])),
        ),
        ("for ever", without_expiry),
        ("about nobody", without_subject),
        ("about an empty name", with("sub", json!(""))),
        ("about two lines", with("sub", json!("page\nadmin"))),
        ("about a long name", with("sub", json!("x".repeat(500)))),
        ("an expiry that is none", with("exp", json!("soon"))),
    ] {
        let answer = admit(&access, &signed(&claims), LIST_SLOTS);
        assert_eq!(answer.unwrap_err(), AuthError::InvalidCredentials, "{what}");
    }
    // Clocks may differ by a little.
    for near in [with("exp", json!(now - 20)), with("nbf", json!(now + 20))] {
        admit(&access, &signed(&near), LIST_SLOTS).unwrap();
    }
}

#[test]
fn a_token_chooses_neither_its_algorithm_nor_its_key() {
    let folder = TempDir::new().unwrap();
    let access = Access::granted(granted(folder.path()));
    let right = signed(&claims());
    let parts: Vec<&str> = right.split('.').collect();
    // {"alg":"none","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let of_other = encode(&header("first"), &claims(), &KEYS[1]).unwrap();
    // The public key as the secret of a symmetric signature: the confusion of algorithms.
    let published = std::fs::read(folder.path().join("keys.json")).unwrap();
    let mut confused = Vec::new();
    for secret in [published, b"secret".to_vec()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("first".to_owned());
        let secret = EncodingKey::from_secret(&secret).unwrap();
        confused.push(encode(&header, &claims(), &secret).unwrap());
    }
    for (what, token) in [
        ("no signature", format!("{none}.{}.", parts[1])),
        (
            "the signature of another token",
            format!("{}.{}.{}", parts[0], parts[1], "AAAA"),
        ),
        ("an empty signature", format!("{}.{}.", parts[0], parts[1])),
        ("another key", of_other),
        (
            "an unknown key",
            encode(&header("second"), &claims(), &KEYS[0]).unwrap(),
        ),
        ("a symmetric key", confused.remove(0)),
        ("another symmetric key", confused.remove(0)),
        ("two dots", "..".to_owned()),
        ("no JSON", "YQ.YQ.YQ".to_owned()),
        ("more parts", format!("{right}.AAAA")),
        ("a space for a letter", right.replacen('A', "%", 1)),
    ] {
        let answer = admit(&access, &token, LIST_SLOTS);
        assert_eq!(answer.unwrap_err(), AuthError::InvalidCredentials, "{what}");
    }
    admit(&access, &right, LIST_SLOTS).unwrap();
}

#[test]
fn without_a_key_id_the_only_key_is_meant_and_of_two_none() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("keys.json");
    let unnamed = encode(&Header::new(Algorithm::ES256), &claims(), &KEYS[0]).unwrap();
    let access = Access::granted(granted(folder.path()));
    admit(&access, &unnamed, LIST_SLOTS).unwrap();
    let config = GrantConfig {
        grants: vec![],
        issuers: vec![issuer(file.clone())],
    };
    write_keys(
        &file,
        vec![public(&KEYS[0], "first"), public(&KEYS[1], "second")],
    );
    let two = Access::granted(Grants::load(&config, None).unwrap());
    assert_eq!(
        admit(&two, &unnamed, LIST_SLOTS).unwrap_err(),
        AuthError::InvalidCredentials
    );
    let second = encode(&header("second"), &claims(), &KEYS[1]).unwrap();
    assert!(matches!(
        admit(&two, &second, LIST_SLOTS),
        Err(AuthError::Denied { .. })
    ));
}

#[test]
fn an_issuer_that_cannot_be_used_is_named_with_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("keys.json");
    write_keys(&file, vec![public(&KEYS[0], "first")]);
    let right = issuer(file.clone());
    let secret = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "first"}]});
    let symmetric = folder.path().join("secret.json");
    std::fs::write(&symmetric, secret.to_string()).unwrap();
    let problem = |issuer: Issuer| {
        let config = GrantConfig {
            grants: vec![],
            issuers: vec![right.clone(), issuer],
        };
        Grants::load(&config, None).unwrap_err().to_string()
    };
    type Spoil = fn(&mut Issuer);
    let cases: [(Spoil, &str); 8] = [
        (
            |it| it.issuer = ISSUER.to_owned(),
            "another issuer has the same name",
        ),
        (
            |it| it.issuer = "two words".to_owned(),
            "must have no space",
        ),
        (|it| it.audience.clear(), "must not be empty"),
        (|it| it.algorithms.clear(), "`algorithms` is empty"),
        (
            |it| it.algorithms = vec!["HS256".to_owned()],
            "`HS256` is no algorithm with public keys",
        ),
        (
            |it| it.algorithms = vec!["none".to_owned()],
            "`none` is no algorithm",
        ),
        (
            |it| it.jwks_file = Some("/nowhere/keys.json".into()),
            "/nowhere/keys.json cannot be read",
        ),
        (
            |it| it.jwks_file.as_mut().unwrap().set_file_name("secret.json"),
            "has no public key",
        ),
    ];
    for (spoil, said) in cases {
        let mut issuer = Issuer {
            issuer: "https://other".to_owned(),
            ..right.clone()
        };
        spoil(&mut issuer);
        let problem = problem(issuer);
        assert!(
            problem.starts_with("issuer 2: ") && problem.contains(said),
            "{problem}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_token_reads_ends_when_it_expires() {
    let folder = TempDir::new().unwrap();
    let access = Access::granted(granted(folder.path()));
    let wanted = MethodScopes::of(LIST_SLOTS).unwrap();
    // It has expired, and is valid for the second that is left of what clocks may differ by.
    let last = with("exp", json!(get_current_timestamp() - 29));
    let page = admit(&access, &signed(&last), LIST_SLOTS).unwrap();
    let read = access.unless_revoked(&page, wanted, std::future::pending::<()>());
    assert_eq!(read.await, Err(AuthError::InvalidCredentials));
}

#[tokio::test(start_paused = true)]
async fn what_a_token_reads_ends_when_its_key_or_its_issuer_is_taken_away() {
    let folder = TempDir::new().unwrap();
    let access = Access::granted(granted(folder.path()));
    let wanted = MethodScopes::of(LIST_SLOTS).unwrap();
    let token = signed(&claims());
    let day = std::time::Duration::from_secs(1_000);
    for (taken, is_over) in [
        (granted(folder.path()), false),
        (granted_by(folder.path(), &KEYS[1]), true),
        (Grants::default(), true),
    ] {
        access.replace(granted(folder.path()));
        let page = admit(&access, &token, LIST_SLOTS).unwrap();
        let read = access.unless_revoked(&page, wanted, std::future::pending::<()>());
        let mut read = std::pin::pin!(read);
        assert!(
            tokio::time::timeout(day, &mut read).await.is_err(),
            "it is valid"
        );
        access.replace(taken);
        let ended = tokio::time::timeout(day, &mut read).await;
        assert_eq!(ended.is_ok(), is_over);
        if is_over {
            assert_eq!(ended.unwrap(), Err(AuthError::InvalidCredentials));
            let refused = admit(&access, &token, LIST_SLOTS).unwrap_err();
            assert_eq!(refused, AuthError::InvalidCredentials);
        }
    }
}
