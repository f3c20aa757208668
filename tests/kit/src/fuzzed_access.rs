//! The fuzz targets of who may call: headers with credentials, JSON Web Tokens, key sets, and
//! configuration files. Nothing panics, and nobody is let in but who may be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bookd::auth::{Access, CallOrigin, Grant, GrantConfig, Grants, Issuer, MethodScopes};
use bookd::cli::config_file;
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;
use tempfile::TempDir;

/// The token that is granted something.
pub const TOKEN: &str = "q4q4q4q4q4q4q4q4q4q4q4q4q4q4q4q4";
/// The issuer whose tokens are verified, and what it calls the server.
pub const ISSUER: &str = "https://login.acme.example";
pub const AUDIENCE: &str = "bookd";
/// A method that is open to all: whoever is let in has credentials that are right, or none.
const METHOD: &str = "/bookd.v1.AccessService/GetPrincipal";
/// The most headers of one input.
const HEADERS_MAX: usize = 3;
/// The longest error: what a file holds is not repeated at any length.
const ERROR_BYTES_MAX: usize = 4_096;

/// What all inputs of a process share.
struct Shared {
    folder: TempDir,
    key: EncodingKey,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EncodingKey::from_ec_der(key.as_ref());
        let folder = tempfile::tempdir().unwrap();
        let public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        let set = serde_json::to_vec(&JwkSet { keys: vec![public] }).unwrap();
        std::fs::write(folder.path().join("keys.json"), set).unwrap();
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        Shared { folder, key }
    })
}

fn grants(jwks_file: PathBuf) -> GrantConfig {
    let scopes = vec!["slots".to_owned()];
    let token = Grant {
        name: Some("page".to_owned()),
        token_file: Some(shared().folder.path().join("token")),
        scopes: scopes.clone(),
        ..Grant::default()
    };
    let claim = Grant {
        issuer: Some(ISSUER.to_owned()),
        value: Some("page".to_owned()),
        scopes,
        ..Grant::default()
    };
    let issuer = Issuer {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        algorithms: vec!["ES256".to_owned(), "EdDSA".to_owned(), "RS256".to_owned()],
        jwks_file: Some(jwks_file),
        ..Issuer::default()
    };
    GrantConfig {
        grants: vec![token, claim],
        issuers: vec![issuer],
    }
}

/// Who sends these values of `authorization`; none where they are refused. Each input has counts of
/// its own, so that none is refused for the number of those before it.
fn let_in(values: &[HeaderValue]) -> Option<String> {
    let config = grants(shared().folder.path().join("keys.json"));
    let access = Access::granted(Grants::load(&config, None).unwrap());
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("authorization", value.clone());
    }
    let wanted = MethodScopes::of(METHOD).unwrap();
    let admitted = access.admit(&headers, CallOrigin::default(), wanted);
    admitted.ok().map(|it| it.name.0.to_string())
}

/// Bytes as values of the header `authorization`, each up to a zero.
pub fn tokens(bytes: &[u8]) {
    let values: Vec<HeaderValue> = bytes
        .split(|byte| *byte == 0)
        .take(HEADERS_MAX)
        .filter_map(|value| HeaderValue::from_bytes(value).ok())
        .collect();
    let name = let_in(&values);
    match (name.as_deref(), &values[..]) {
        (None, _) => {}
        // A name of nobody: there was no header.
        (Some(""), []) => {}
        (Some("page"), [one]) => {
            let text = one.to_str().unwrap();
            let (scheme, token) = text.split_once(' ').unwrap();
            assert!(scheme.eq_ignore_ascii_case("bearer") && token.trim_matches(' ') == TOKEN);
        }
        (Some(name), _) => panic!("{name:?} was let in by {values:?}"),
    }
}

/// Bytes as a JSON Web Token. The first byte says how the rest is one: as it is; or as header,
/// claims and signature in three lines; or as header and claims, signed by the key of the issuer.
pub fn jwt(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else {
        return;
    };
    let mut lines = rest.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let (token, signed) = match how % 3 {
        0 => (rest.to_vec(), None),
        1 => {
            let parts = [line(), line(), line()].map(encode);
            (parts.join(".").into_bytes(), None)
        }
        _ => {
            let (header, claims) = (line(), line());
            let message = [header, claims].map(encode).join(".");
            let key = &shared().key;
            let signature =
                jsonwebtoken::crypto::sign(message.as_bytes(), key, Algorithm::ES256).unwrap();
            (
                format!("{message}.{signature}").into_bytes(),
                Some(claims.to_vec()),
            )
        }
    };
    let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", &token[..]].concat()) else {
        return;
    };
    let Some(name) = let_in(&[value]) else {
        return;
    };
    if name == "page" {
        assert_eq!(token, TOKEN.as_bytes());
        return;
    }
    let claims = signed.expect("nobody else has the key");
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iss"], ISSUER);
    let audience = &claims["aud"];
    let is_meant = |it: &Value| it == AUDIENCE;
    assert!(is_meant(audience) || audience.as_array().unwrap().iter().any(is_meant));
    assert_eq!(
        name,
        format!("{ISSUER} {}", claims["sub"].as_str().unwrap())
    );
    assert!(claims["exp"].is_number());
}

/// Writes an input into the file of this name, which no other thread has.
fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let thread = format!("{name}-{:?}", std::thread::current().id());
    let file = shared().folder.path().join(thread);
    std::fs::write(&file, bytes).unwrap();
    file
}

/// Bytes as the key set of an issuer.
pub fn key_set(bytes: &[u8]) {
    let file = written("keys", bytes);
    if let Err(error) = Grants::load(&grants(file), None) {
        let error = error.to_string();
        assert!(error.starts_with("issuer 1: ") && error.len() <= ERROR_BYTES_MAX);
    }
}

/// Bytes as a configuration file.
pub fn configuration(bytes: &[u8]) {
    let file = written("bookd.toml", bytes);
    let arguments = ["bookd", "config", "check", "--config"].map(OsString::from);
    let arguments: Vec<OsString> = arguments
        .into_iter()
        .chain([Path::new(&file).as_os_str().to_owned()])
        .collect();
    if let Err(error) = config_file::parse(&arguments) {
        let error = error.to_string();
        assert!(error.contains(&*file.to_string_lossy()), "{error}");
    }
}
