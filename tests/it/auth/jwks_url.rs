//! The keys of an issuer that are fetched: which tokens they let in while keys come, go and cannot
//! be had.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bookd::auth::{
    Access, AuthError, Grant, GrantConfig, Grants, Issuer, KeyFetches, MethodScopes,
};
use jsonwebtoken::encode;
use jsonwebtoken::jwk::JwkSet;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::auth_jwt::{ISSUER, KEYS, LIST_SLOTS, admit, claims, header, public};
use crate::harness::connect;
use crate::kill::{Process, command};
use bookd::proto::v1 as pb;
use bookd::proto::v1::server_info_service_client::ServerInfoServiceClient;

/// The server of an issuer. Its key set can be changed; without one it answers nobody.
struct Login {
    address: SocketAddr,
    set: Arc<Mutex<Option<String>>>,
}

impl Login {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let set = Arc::<Mutex<Option<String>>>::default();
        let answer = Arc::clone(&set);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.lock().unwrap().clone();
                if let Some(body) = answer {
                    let _length = stream.read(&mut [0; 4_096]).await;
                    let length = body.len();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                    let _written = stream.write_all(format!("{head}{body}").as_bytes()).await;
                }
            }
        });
        Self { address, set }
    }

    /// Its keys from now on: those of `KEYS` with these numbers, by their ids.
    fn set(&self, keys: &[(usize, &str)]) {
        let keys = keys.iter().map(|(key, kid)| public(&KEYS[*key], kid));
        let set = JwkSet {
            keys: keys.collect(),
        };
        *self.set.lock().unwrap() = Some(serde_json::to_string(&set).unwrap());
    }

    fn issuer(&self) -> Issuer {
        Issuer {
            issuer: ISSUER.to_owned(),
            audience: "bookd".to_owned(),
            algorithms: vec!["ES256".to_owned()],
            jwks_url: Some(format!("http://{}/keys", self.address)),
            ..Issuer::default()
        }
    }

    /// Grants `slots` to the subject page.
    fn grants(&self) -> Grants {
        let page = Grant {
            issuer: Some(ISSUER.to_owned()),
            value: Some("page".to_owned()),
            scopes: vec!["slots".to_owned()],
            ..Grant::default()
        };
        let config = GrantConfig {
            grants: vec![page],
            issuers: vec![self.issuer()],
        };
        Grants::load(&config, None).unwrap()
    }
}

fn token(key: usize, kid: &str) -> String {
    encode(&header(kid), &claims(), &KEYS[key]).unwrap()
}

fn is_let_in(access: &Access, token: &str) -> bool {
    match admit(access, token, LIST_SLOTS) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error, AuthError::InvalidCredentials);
            false
        }
    }
}

#[tokio::test]
async fn keys_rotate_and_what_an_old_one_let_in_ends() {
    let login = Login::start().await;
    let access = Access::granted(login.grants());
    let (first, second) = (token(0, "first"), token(1, "second"));
    assert!(!is_let_in(&access, &first), "no key is known yet");
    login.set(&[(0, "first")]);
    access.fetch_keys().await;
    assert!(is_let_in(&access, &first) && !is_let_in(&access, &second));
    login.set(&[(0, "first"), (1, "second")]);
    access.fetch_keys().await;
    assert!(is_let_in(&access, &first) && is_let_in(&access, &second));

    let page = admit(&access, &first, LIST_SLOTS).unwrap();
    let wanted = MethodScopes::of(LIST_SLOTS).unwrap();
    let stream = access.unless_revoked(&page, wanted, std::future::pending::<()>());
    let rotating = async {
        login.set(&[(1, "second")]);
        access.fetch_keys().await;
        std::future::pending::<()>().await
    };
    tokio::select! {
        ended = stream => assert_eq!(ended, Err(AuthError::InvalidCredentials)),
        () = rotating => {}
    }
    assert!(!is_let_in(&access, &first), "it was remembered");
    assert!(is_let_in(&access, &second));
}

#[tokio::test]
async fn an_unknown_key_is_refused_at_once_and_the_token_let_in_when_the_keys_have_come() {
    let login = Login::start().await;
    login.set(&[(0, "first")]);
    let access = Access::granted(login.grants());
    access.fetch_keys().await;
    login.set(&[(0, "first"), (1, "second")]);
    assert!(!is_let_in(&access, &token(1, "second")));
    // A configuration that is read again has the keys fetched at once.
    access.replace(login.grants());
    let let_in = async {
        while !is_let_in(&access, &token(1, "second")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        never = access.keep_keys_current() => match never {},
        () = let_in => {}
    }
}

#[tokio::test]
async fn fetched_keys_outlive_a_configuration_that_is_read_again_and_a_server_that_is_gone() {
    let login = Login::start().await;
    login.set(&[(0, "first")]);
    let access = Access::granted(login.grants());
    access.fetch_keys().await;
    *login.set.lock().unwrap() = None;
    access.replace(login.grants());
    access.fetch_keys().await;
    assert!(is_let_in(&access, &token(0, "first")));
    let KeyFetches {
        done,
        failed,
        issuers_without_keys,
    } = access.key_fetches();
    assert_eq!((done, failed, issuers_without_keys), (1, 1, 0));
}

#[tokio::test]
async fn an_issuer_has_one_source_of_keys() {
    let right = Login::start().await.issuer();
    type Spoil = fn(&mut Issuer);
    let cases: [(Spoil, &str); 5] = [
        (|it| it.jwks_url = None, "one of `jwks_file` and `jwks_url`"),
        (|it| it.jwks_file = Some("keys.json".into()), "and only one"),
        (
            |it| it.jwks_ca = Some("/nowhere/ca.pem".into()),
            "/nowhere/ca.pem, cannot be read",
        ),
        (
            |it| {
                it.jwks_file = it.jwks_url.take().map(Into::into);
                it.jwks_ca = Some("ca.pem".into());
            },
            "`jwks_ca` is for `jwks_url`",
        ),
        (
            |it| it.jwks_url = Some("http://acme.example/keys".to_owned()),
            "must begin with https://",
        ),
    ];
    for (spoil, said) in cases {
        let mut issuer = right.clone();
        spoil(&mut issuer);
        let config = GrantConfig {
            grants: vec![],
            issuers: vec![issuer],
        };
        let problem = Grants::load(&config, None).unwrap_err().to_string();
        assert!(problem.contains(said), "{problem}");
    }
}

#[tokio::test]
async fn a_server_starts_without_the_keys_of_an_issuer_that_cannot_be_reached() {
    let login = Login::start().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bookd.toml");
    let url = format!("http://{}/keys", login.address);
    let text = format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudience = \"bookd\"\nalgorithms = [\"ES256\"]\njwks_url = \"{url}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = command(&folder.path().join("bookd.db"));
    command.arg("--config").arg(&file);
    let process = Process::spawn(command, "with this program");
    let channel = connect(process.address).await;
    let mut info = ServerInfoServiceClient::new(channel);
    info.get_server_info(pb::GetServerInfoRequest::default())
        .await
        .unwrap();
    drop(info);
    assert!(process.terminate_beside_clients().await.success());
}
