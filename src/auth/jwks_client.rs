//! The HTTP client that fetches a key set: HTTPS, or HTTP from this machine.
//!
//! Whatever answers, a fetch is bounded in time and memory, follows no redirect, and brings keys or
//! an error.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::file::read_file;
use super::jwks::{KEYS_BYTES_MAX, PublicKeys};

/// How long a fetch may take, from looking up the name to the end of the answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes that are read before the head of an answer must have ended.
const HEAD_BYTES_MAX: usize = 64 * 1_024;
/// The largest file of authorities, in bytes.
const AUTHORITIES_BYTES_MAX: u64 = 1_024 * 1_024;

/// Why a fetch brought no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0}")]
    Connection(String),
    #[error("there was no whole answer within {0:?}")]
    NoAnswer(Duration),
    #[error(
        "it answers {status} and leads to another address, which is not followed: name the right one in `jwks_url`"
    )]
    Redirect { status: u16 },
    #[error("it answers {status}, and 200 is needed")]
    Status { status: u16 },
    #[error("what it answers {0}")]
    Keys(String),
}

/// Fetches the keys of one issuer.
pub(super) struct JwksClient {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    timeout: Duration,
}

impl JwksClient {
    /// A client for this URL. The certificate of the server must be of an authority in the file, or
    /// else of one that the system trusts.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL or the file, by the names of the settings.
    pub(super) fn new(url: &str, authorities: Option<&PathBuf>) -> Result<Self, String> {
        let url = allowed(url)?;
        let roots = match authorities {
            Some(file) => authorities_of(file)?,
            None if url.scheme() == Some(&Scheme::HTTPS) => authorities_of_system()?,
            None => RootCertStore::empty(),
        };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be used: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            // Fetches are minutes apart: no connection is kept for the next one.
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self {
            url,
            client,
            timeout: FETCH_TIMEOUT,
        })
    }

    /// Fetches the keys.
    ///
    /// # Errors
    ///
    /// There is no answer in time, or not the one that is wanted. Nothing of the answer is told but
    /// its status.
    pub(super) async fn fetch(&self) -> Result<PublicKeys, FetchError> {
        let text = tokio::time::timeout(self.timeout, self.text())
            .await
            .map_err(|_| FetchError::NoAnswer(self.timeout))??;
        PublicKeys::parse(&text).map_err(FetchError::Keys)
    }

    async fn text(&self) -> Result<Bytes, FetchError> {
        let request = Request::get(&self.url)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, concat!("bookd/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .expect("the parts are valid");
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| FetchError::Connection(with_causes(&error)))?;
        let status = answer.status();
        if status.is_redirection() {
            let status = status.as_u16();
            return Err(FetchError::Redirect { status });
        }
        if status != StatusCode::OK {
            let status = status.as_u16();
            return Err(FetchError::Status { status });
        }
        body(answer).await
    }
}

/// The whole body of an answer, unless it is too long.
async fn body(answer: Response<Incoming>) -> Result<Bytes, FetchError> {
    let limited = Limited::new(answer.into_body(), KEYS_BYTES_MAX);
    match limited.collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::Keys(format!(
            "is larger than {KEYS_BYTES_MAX} bytes"
        ))),
        Err(error) => Err(FetchError::Connection(with_causes(&*error))),
    }
}

/// The URL, if keys may be fetched from it.
fn allowed(url: &str) -> Result<Uri, String> {
    let wrong = |what: &str| format!("`jwks_url` {what}");
    let parsed: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
    let (Some(scheme), Some(host)) = (parsed.scheme(), parsed.host()) else {
        return Err(wrong(
            "must be whole, such as https://login.acme.example/keys",
        ));
    };
    let has_user = parsed
        .authority()
        .is_some_and(|it| it.as_str().contains('@'));
    if has_user {
        return Err(wrong(
            "must have no user and no password: secrets are in files of their own",
        ));
    }
    if *scheme == Scheme::HTTPS || (*scheme == Scheme::HTTP && is_this_machine(host)) {
        return Ok(parsed);
    }
    Err(wrong(
        "must begin with https://: whoever is between could send keys of their own; http:// is for \
         this machine alone, such as http://127.0.0.1:8080/keys",
    ))
}

/// Whether a host is this machine by its own name or address: no other name is looked up for that.
fn is_this_machine(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<std::net::IpAddr, _> = address.parse();
    address.is_ok_and(|it| it.to_canonical().is_loopback())
}

fn authorities_of(file: &Path) -> Result<RootCertStore, String> {
    let shown = file.display();
    let text = read_file(file, AUTHORITIES_BYTES_MAX)
        .map_err(|error| format!("the file of `jwks_ca`, {shown}, cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let added = certificate.map_err(|error| error.to_string());
        added
            .and_then(|it| roots.add(it).map_err(|error| error.to_string()))
            .map_err(|error| {
                format!(
                    "the file of `jwks_ca`, {shown}, has a certificate that cannot be used: {error}"
                )
            })?;
    }
    if roots.is_empty() {
        return Err(format!(
            "the file of `jwks_ca`, {shown}, has no certificate in PEM"
        ));
    }
    Ok(roots)
}

/// The authorities that the system trusts: those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, or of the
/// usual places.
fn authorities_of_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // A system may have certificates that no library reads any more.
    let (added, _passed_over) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(
            "the system has no authorities that could vouch for `jwks_url`: name those of the \
             issuer in `jwks_ca`, or install the package ca-certificates"
                .to_owned(),
        );
    }
    Ok(roots)
}

/// An error with its causes: the outer one of hyper says little.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |it| it.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const SET: &str = r#"{"keys": [{"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}, {"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn answer(status: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
    }

    /// A server that answers every request with `first`, then with `again` for ever, and what it
    /// has counted: connections, and bytes that were taken from it.
    struct Peer {
        address: SocketAddr,
        connections: Arc<AtomicUsize>,
        bytes: Arc<AtomicUsize>,
    }

    impl Peer {
        async fn start(first: Vec<u8>, again: &'static [u8]) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (connections, bytes) = (Arc::<AtomicUsize>::default(), Arc::default());
            let peer = Self {
                address,
                connections: Arc::clone(&connections),
                bytes: Arc::clone(&bytes),
            };
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::Relaxed);
                    let (first, bytes) = (first.clone(), Arc::clone(&bytes));
                    tokio::spawn(async move {
                        let mut request = [0; 4_096];
                        let _length = stream.read(&mut request).await?;
                        stream.write_all(&first).await?;
                        while !again.is_empty() {
                            stream.write_all(again).await?;
                            bytes.fetch_add(again.len(), Ordering::Relaxed);
                        }
                        // Nothing more comes until the client goes away.
                        let _none = stream.read(&mut request).await?;
                        std::io::Result::Ok(())
                    });
                }
            });
            peer
        }

        async fn fetched(&self, timeout: Duration) -> Result<PublicKeys, FetchError> {
            let url = format!("http://{}/keys", self.address);
            let client = JwksClient::new(&url, None).unwrap();
            JwksClient { timeout, ..client }.fetch().await
        }
    }

    async fn error_of(first: &[u8], again: &'static [u8], timeout: Duration) -> String {
        let peer = Peer::start(first.to_vec(), again).await;
        let error = peer.fetched(timeout).await.err().unwrap().to_string();
        // What a socket holds, and what the client takes.
        let taken = peer.bytes.load(Ordering::Relaxed);
        assert!(taken < 32 * KEYS_BYTES_MAX, "{taken}");
        error
    }

    #[tokio::test]
    async fn keys_are_fetched_and_those_of_unknown_kinds_are_passed_over() {
        let peer = Peer::start(answer("200 OK", SET), b"").await;
        let keys = peer.fetched(FETCH_TIMEOUT).await.unwrap();
        assert!(keys.has("one") && keys.count() == 1);
    }

    #[tokio::test]
    async fn whatever_else_is_answered_is_an_error_that_shows_nothing_of_it() {
        let other = Peer::start(answer("200 OK", SET), b"").await;
        let moved = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://{}/keys\r\ncontent-length: 0\r\n\r\n",
            other.address
        );
        let secret = r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#;
        let many = format!(
            "{{\"keys\": [{}]}}",
            [&SET[10..SET.len() - 2]; 101].join(",")
        );
        let shown = "<b>shown</b>";
        for (first, said) in [
            (answer("200 OK", shown), "no JSON Web Key Set: see line 1"),
            (answer("200 OK", "{\"keys\": 1}"), "no JSON Web Key Set"),
            (answer("200 OK", "{\"keys\": []}"), "no public key"),
            (answer("200 OK", secret), "no public key"),
            (answer("200 OK", &many), "more than 100 public keys"),
            (answer("404 Not Found", shown), "it answers 404"),
            (answer("204 No Content", ""), "it answers 204"),
            (moved.into_bytes(), "it answers 302 and leads to another"),
            (b"\0\x01\x02 shown\r\n\r\n".to_vec(), "HTTP"),
        ] {
            let error = error_of(&first, b"", FETCH_TIMEOUT).await;
            assert!(error.contains(said) && !error.contains("shown"), "{error}");
        }
        assert_eq!(other.connections.load(Ordering::Relaxed), 0, "not followed");
    }

    #[tokio::test]
    async fn an_answer_that_never_ends_is_bounded_in_time_and_memory() {
        let short = Duration::from_millis(200);
        let head = b"HTTP/1.1 200 OK\r\n";
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for (first, again, timeout, said) in [
            (&b""[..], &b""[..], short, "no whole answer within 200ms"),
            (head, b"", short, "no whole answer"),
            (
                chunked,
                b"4\r\n    \r\n",
                FETCH_TIMEOUT,
                "is larger than 1048576",
            ),
            (
                head,
                b"x-more: 1234567890\r\n",
                FETCH_TIMEOUT,
                "head is too large",
            ),
            (head, b"x", FETCH_TIMEOUT, "message head is too large"),
        ] {
            let error = error_of(first, again, timeout).await;
            assert!(error.contains(said), "{said}: {error}");
        }
    }

    #[tokio::test]
    async fn over_tls_the_server_must_be_one_of_the_named_authority() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _length = stream.read(&mut [0; 4_096]).await;
                    let _written = stream.write_all(&answer("200 OK", SET)).await;
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        for (pem, is_trusted) in [(made.cert.pem(), true), (other.cert.pem(), false)] {
            std::fs::write(&file, pem).unwrap();
            let url = format!("https://localhost:{port}/keys");
            let fetched = JwksClient::new(&url, Some(&file)).unwrap().fetch().await;
            assert_eq!(fetched.is_ok(), is_trusted);
            if let Err(error) = fetched {
                assert!(error.to_string().contains("certificate"), "{error}");
            }
        }
        std::fs::write(&file, "nothing").unwrap();
        let error = JwksClient::new("https://localhost/keys", Some(&file));
        assert!(error.err().unwrap().contains("has no certificate in PEM"));
    }

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for url in [
            "https://login.acme.example/keys",
            "https://10.0.0.1:8443/a?b=c",
            "http://127.0.0.1:8080/keys",
            "http://[::1]/keys",
            "http://LOCALHOST/keys",
        ] {
            assert!(allowed(url).is_ok(), "{url}");
        }
        for (url, said) in [
            ("http://login.acme.example/keys", "must begin with https://"),
            ("http://127.0.0.1.example/keys", "must begin with https://"),
            ("http://10.0.0.1/keys", "must begin with https://"),
            ("file:///etc/keys", "is no URL"),
            ("ftp://127.0.0.1/keys", "must begin with https://"),
            ("/keys", "must be whole"),
            ("login.acme.example", "must be whole"),
            ("https://a b/keys", "is no URL"),
            ("https://me:secret@acme.example/keys", "no password"),
            ("http://me@127.0.0.1/keys", "no user"),
        ] {
            let error = allowed(url).unwrap_err();
            assert!(
                error.contains(said) && !error.contains("secret@"),
                "{error}"
            );
        }
    }
}
