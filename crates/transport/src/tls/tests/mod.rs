//! Handshakes of good and of hostile clients, over a connection in memory.

mod reloads;

use std::sync::Arc;

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client};

use super::authority::{Authority, Issued, describe_client};
use super::handshake::Shaken;
use super::*;

/// Bytes that wait between the two ends: more than any handshake has.
const PIPE_BYTES: usize = 1_024 * 1_024;

/// A folder with the files of a server.
struct ServerFolder(tempfile::TempDir);

impl ServerFolder {
    fn new(server: &Issued, client_ca: Option<&str>) -> (Self, Tls) {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write(server);
        if let Some(authorities) = client_ca {
            std::fs::write(folder.path("ca.pem"), authorities).expect("it is written");
        }
        let files = TlsFiles {
            certificate: folder.path("server.pem"),
            key: folder.path("server.key"),
            client_ca: client_ca.map(|_| folder.path("ca.pem")),
        };
        let tls = Tls::load(files).expect("the files are good");
        (folder, tls)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, server: &Issued) {
        std::fs::write(self.path("server.pem"), &server.certificate).expect("it is written");
        std::fs::write(self.path("server.key"), &server.key).expect("it is written");
    }
}

/// A client that trusts an authority.
struct TestClient<'a> {
    authority: &'a Authority,
    versions: &'a [&'static SupportedProtocolVersion],
    protocols: &'a [&'a [u8]],
    /// The chain and the key.
    identity: Option<(Vec<CertificateDer<'static>>, String)>,
}

impl<'a> TestClient<'a> {
    fn of(authority: &'a Authority) -> Self {
        Self {
            authority,
            versions: rustls::ALL_VERSIONS,
            protocols: &[b"h2"],
            identity: None,
        }
    }

    fn with(self, issued: &Issued) -> Self {
        let chain = chain(&issued.certificate);
        Self {
            identity: Some((chain, issued.key.clone())),
            ..self
        }
    }

    fn config(self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for certificate in chain(&self.authority.pem()) {
            roots.add(certificate).expect("it is an authority");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(self.versions)
            .expect("there are such versions")
            .with_root_certificates(roots);
        let mut config = match self.identity {
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it is a key");
                config
                    .with_client_auth_cert(chain, key)
                    .expect("they match")
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols.iter().map(|it| it.to_vec()).collect();
        config
    }

    /// Shakes hands; answers what the server has, and what the client has.
    async fn shake(self, tls: &Tls) -> (Result<Shaken<DuplexStream>, String>, TestClientEnd) {
        let (near, far) = duplex(PIPE_BYTES);
        let name = ServerName::try_from("localhost").expect("it is a name");
        let connector = TlsConnector::from(Arc::new(self.config()));
        tokio::join!(serve(far, tls), connector.connect(name, near))
    }
}

type TestClientEnd = std::io::Result<client::TlsStream<DuplexStream>>;

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .expect("it is PEM")
}

fn pool() -> Arc<crate::header_blocks::BlockBytes> {
    Arc::new(crate::header_blocks::BlockBytes::new(PIPE_BYTES))
}

async fn serve(io: DuplexStream, tls: &Tls) -> Result<Shaken<DuplexStream>, String> {
    shake_hands(io, tls.config(), pool())
        .await
        .map_err(|error| match error {
            HandshakeError::NeverBegun => "never begun".to_owned(),
            HandshakeError::Failed(error, _) => error.to_string(),
        })
}

/// The name of a client, or why it is refused.
async fn name(client: TestClient<'_>, tls: &Tls) -> Result<Option<CertificateName>, String> {
    let (served, _) = client.shake(tls).await;
    served.map(|(_, name)| name.map(|name| (*name).clone()))
}

/// Whether a refusal says this. An accepted client is none.
fn says(refused: Result<Option<CertificateName>, String>, text: &str) -> bool {
    let message = refused.expect_err("the client is refused");
    message.contains(text) || panic!("{message} does not say {text}")
}

#[tokio::test]
async fn a_client_that_speaks_http_2_is_served_and_one_that_offers_only_others_is_not() {
    let authority = Authority::new("ours");
    let (_folder, tls) = ServerFolder::new(&authority.server("one"), None);
    for versions in [&[&TLS13][..], &[&TLS12]] {
        for protocols in [&[&b"h2"[..]][..], &[b"http/1.1", b"h2"], &[]] {
            let client = TestClient {
                versions,
                protocols,
                ..TestClient::of(&authority)
            };
            let (served, client) = client.shake(&tls).await;
            let (mut served, name) = served.expect("the client is served");
            assert_eq!(name, None, "no certificate was asked for");
            let mut client = client.expect("it is a good server");
            let agreed = client.get_ref().1.alpn_protocol();
            assert_eq!(agreed, protocols.last().copied());
            client.write_all(b"ping").await.expect("it is open");
            client.flush().await.expect("it is open");
            let mut read = [0; 4];
            served.read_exact(&mut read).await.expect("it is open");
            assert_eq!(&read, b"ping");
        }
        let client = TestClient {
            versions,
            protocols: &[b"http/1.1"],
            ..TestClient::of(&authority)
        };
        assert!(says(name(client, &tls).await, "any known protocol"));
    }
}

#[tokio::test]
async fn a_client_without_a_good_certificate_is_refused_where_one_is_required() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let (_folder, tls) = ServerFolder::new(&ours.server("one"), Some(&ours.pem()));
    let expired = ours.issue(|params| {
        describe_client(params, "late", &[]);
        params.not_after = date_time_ymd(2001, 1, 1);
    });
    let not_yet = ours.issue(|params| {
        describe_client(params, "early", &[]);
        params.not_before = date_time_ymd(4_000, 1, 1);
    });
    let of_server = ours.issue(|params| {
        describe_client(params, "server", &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let client = || TestClient {
            versions,
            ..TestClient::of(&ours)
        };
        let refused = async |issued: Issued| name(client().with(&issued), &tls).await;
        assert!(says(
            name(client(), &tls).await,
            "peer sent no certificates"
        ));
        assert!(says(
            refused(foreign.client("grace", &[])).await,
            "UnknownIssuer"
        ));
        assert!(says(refused(expired.clone()).await, "expired"));
        assert!(says(refused(not_yet.clone()).await, "not valid yet"));
        assert!(says(refused(of_server.clone()).await, "extended key usage"));
        let good = name(client().with(&ours.client("grace", &[])), &tls).await;
        let subject = CertificateName::Subject("CN=grace".to_owned());
        assert_eq!(good, Ok(Some(subject)));
    }
}

#[tokio::test]
async fn a_client_is_known_by_its_spiffe_id_or_else_by_its_subject() {
    let ours = Authority::new("ours");
    let (_folder, tls) = ServerFolder::new(&ours.server("one"), Some(&ours.pem()));
    let name = async |issued: Issued| name(TestClient::of(&ours).with(&issued), &tls).await;
    let (booker, other) = ("spiffe://example.org/booker", "spiffe://example.org/other");
    let spiffe = |id: &str| Ok(Some(CertificateName::Spiffe(id.to_owned())));
    let subject = |text: &str| Ok(Some(CertificateName::Subject(text.to_owned())));
    assert_eq!(name(ours.client("grace", &[booker])).await, spiffe(booker));
    let mixed = ours.client("", &["https://example.org/", booker]);
    assert_eq!(name(mixed).await, spiffe(booker));
    let two = ours.client("grace", &[booker, other]);
    assert_eq!(name(two).await, subject("CN=grace"));
    let web = ours.client("grace", &["https://example.org/"]);
    assert_eq!(name(web).await, subject("CN=grace"));
    let awkward = ours.issue(|params| {
        describe_client(params, "Hopper, Grace", &[]);
        let (organisation, country) = (rcgen::DnType::OrganizationName, rcgen::DnType::CountryName);
        params.distinguished_name.push(organisation, "Navy+Co");
        params.distinguished_name.push(country, "US");
    });
    assert_eq!(
        name(awkward).await,
        subject("C=US,O=Navy\\+Co,CN=Hopper\\, Grace")
    );
    assert_eq!(name(ours.client("", &[])).await, Ok(None));
    let long = format!("spiffe://example.org/{}", "a".repeat(2_048));
    assert_eq!(name(ours.client("grace", &[&long])).await, Ok(None));
    let spaced = ours.client("grace", &["spiffe://example.org/a b"]);
    assert_eq!(name(spaced).await, Ok(None));
}

#[tokio::test]
async fn a_chain_of_certificates_above_64_kib_is_refused() {
    let ours = Authority::new("ours");
    let (_folder, tls) = ServerFolder::new(&ours.server("one"), Some(&ours.pem()));
    let padding = format!("https://example.org/{}", "a".repeat(7_000));
    let large = ours.client("grace", &[&padding]);
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let mut results = Vec::new();
        for count in [7, 10] {
            let mut certificates = chain(&ours.client("grace", &[]).certificate);
            certificates.resize_with(count, || chain(&large.certificate)[0].clone());
            let grace = ours.client("grace", &[]);
            certificates[0] = chain(&grace.certificate)[0].clone();
            let client = TestClient {
                versions,
                identity: Some((certificates, grace.key)),
                ..TestClient::of(&ours)
            };
            results.push(name(client, &tls).await);
        }
        assert!(results[0].is_ok(), "{results:?}");
        let refused = results[1].as_ref().expect_err("it is too long");
        assert!(refused.contains("TooLarge"), "{refused}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_tls_are_refused_and_a_silent_peer_is_no_failure() {
    let ours = Authority::new("ours");
    let (_folder, tls) = ServerFolder::new(&ours.server("one"), None);
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 64],
    ] {
        let (mut near, far) = duplex(PIPE_BYTES);
        near.write_all(bytes).await.expect("there is room");
        let refused = serve(far, &tls).await.err().expect("it is no TLS");
        assert!(refused.contains("corrupt message"), "{refused}");
    }
    let (near, far) = duplex(PIPE_BYTES);
    drop(near);
    assert_eq!(serve(far, &tls).await.err().as_deref(), Some("never begun"));
    let (mut near, far) = duplex(PIPE_BYTES);
    near.write_all(&[0x16, 3, 1]).await.expect("there is room");
    drop(near);
    assert_eq!(
        serve(far, &tls).await.err().as_deref(),
        Some("tls handshake eof")
    );
}

#[tokio::test]
async fn a_connection_whose_handshake_failed_is_read_to_its_end_and_no_further_than_96_kib() {
    let ours = Authority::new("ours");
    let (_folder, tls) = ServerFolder::new(&ours.server("one"), None);
    for (further, is_open) in [(10 * 1_024, true), (200 * 1_024, false)] {
        let (mut near, far) = duplex(PIPE_BYTES);
        near.write_all(&[0; 64]).await.expect("there is room");
        let Err(HandshakeError::Failed(_, io)) = shake_hands(far, tls.config(), pool()).await
        else {
            panic!("it is no TLS")
        };
        near.write_all(&vec![0; further])
            .await
            .expect("there is room");
        let mut closing = Box::pin(io.close());
        let is_waiting = tokio::select! {
            biased;
            () = &mut closing => false,
            () = std::future::ready(()) => true,
        };
        assert_eq!(is_waiting, is_open, "{further} bytes after it failed");
        near.shutdown().await.expect("it is open");
        if is_waiting {
            closing.await;
        }
        let mut alert = Vec::new();
        near.read_to_end(&mut alert).await.expect("it is closed");
        assert_eq!(&alert[..1], [0x15], "an alert was sent first");
    }
}

/// A handshake record that announces a ClientHello of 60 KiB and brings this many bytes of it.
fn endless_hello(bytes: usize) -> Vec<u8> {
    let mut hello = vec![1, 0, 0xf0, 0];
    hello.resize(bytes, 0);
    let record = |piece: &[u8]| {
        let length = u16::try_from(piece.len()).expect("a piece is short");
        [&[0x16, 3, 1], &length.to_be_bytes()[..], piece].concat()
    };
    hello.chunks(16 * 1_024).flat_map(record).collect()
}

#[tokio::test]
async fn unfinished_handshakes_hold_at_most_so_many_bytes_together_and_give_them_back() {
    let ours = Authority::new("ours");
    let (_folder, tls) = ServerFolder::new(&ours.server("one"), None);
    let held = Arc::new(crate::header_blocks::BlockBytes::new(100 * 1_024));
    let mut waiting = Vec::new();
    let mut failures = 0;
    for _ in 0..8 {
        let (mut near, far) = duplex(PIPE_BYTES);
        near.write_all(&endless_hello(40 * 1_024))
            .await
            .expect("there is room");
        let mut handshake = Box::pin(shake_hands(far, tls.config(), Arc::clone(&held)));
        tokio::select! {
            biased;
            ended = &mut handshake => {
                assert!(matches!(ended, Err(HandshakeError::Failed(..))));
                failures += 1;
            }
            // The handshake has read everything when it is pending.
            () = std::future::ready(()) => waiting.push((near, handshake)),
        }
    }
    assert_eq!((waiting.len(), failures), (2, 6), "two times 40 KiB fit");
    // Short ones are let in all the same.
    let (mut near, far) = duplex(PIPE_BYTES);
    near.write_all(&endless_hello(20 * 1_024))
        .await
        .expect("there is room");
    let mut short = Box::pin(shake_hands(far, tls.config(), Arc::clone(&held)));
    let is_pending = tokio::select! {
        biased;
        _ = &mut short => false,
        () = std::future::ready(()) => true,
    };
    assert!(is_pending);
    drop((waiting, short));
    assert!(
        held.add(100 * 1_024, usize::MAX),
        "all bytes were given back"
    );
}
