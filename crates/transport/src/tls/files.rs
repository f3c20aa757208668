//! The files of a server's TLS, and the configuration that they make.
//!
//! No error shows a byte of a file: one of the files holds the private key.

use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};

use super::certificate::ServerCertificate;

/// The protocol that ALPN offers: a client that offers others alone is refused, a client without
/// ALPN is taken to speak HTTP/2.
const PROTOCOL: &[u8] = b"h2";
/// Bytes of one file: a bundle of all public authorities has a quarter.
const FILE_BYTES_MAX: u64 = 1_024 * 1_024;

/// The files of a server's TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the server, and then those between it and its authority.
    pub certificate: PathBuf,
    /// The private key of the certificate: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// The authorities of clients. With it every client must show a certificate of one of them.
    pub client_ca: Option<PathBuf>,
}

/// A file of a server's TLS that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, and what to do next.
    pub what: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.what)
    }
}

impl std::error::Error for TlsError {}

fn wrong(file: &Path, what: impl Into<String>) -> TlsError {
    TlsError {
        file: file.to_owned(),
        what: what.into(),
    }
}

/// What the files held when they were read.
#[derive(Hash)]
pub(super) struct TlsContents {
    certificate: Result<Vec<u8>, TlsError>,
    key: Result<Vec<u8>, TlsError>,
    client_ca: Option<Result<Vec<u8>, TlsError>>,
}

impl TlsContents {
    /// A number that differs when the contents do, errors included.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl TlsFiles {
    pub(super) fn read(&self) -> TlsContents {
        TlsContents {
            certificate: read(&self.certificate),
            key: read(&self.key),
            client_ca: self.client_ca.as_deref().map(read),
        }
    }

    /// The configuration that the contents of these files make, and its certificate.
    pub(super) fn parse(
        &self,
        contents: TlsContents,
    ) -> Result<(ServerConfig, ServerCertificate), TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&self.certificate, &contents.certificate?)?;
        let certificate = ServerCertificate::of(&chain[0])
            .ok_or_else(|| wrong(&self.certificate, unreadable(1)))?;
        let key = self.key(&contents.key?, &provider)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Of a key whose public half is unknown the first handshake tells.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => {
                let of = self.certificate.display();
                return Err(wrong(
                    &self.key,
                    format!(
                        "is not the key of the first certificate in {of}; write both files of one certificate"
                    ),
                ));
            }
        }
        let verifier = match (&self.client_ca, contents.client_ca) {
            (Some(file), Some(contents)) => verifier(file, &contents?, &provider)?,
            _ => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has cipher suites of both versions")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Sessions are not resumed: connections last long, and a resumed session would be that of a
        // client whose certificate nobody verifies again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok((config, certificate))
    }

    fn key(
        &self,
        contents: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Arc<dyn SigningKey>, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(contents).map_err(|_| {
            wrong(
                &self.key,
                "holds no private key in PEM that is not encrypted; write PKCS #8, as `openssl genpkey` does",
            )
        })?;
        provider.key_provider.load_private_key(key).map_err(|_| {
            wrong(
                &self.key,
                "holds a private key that cannot be used; write an ECDSA key (P-256 or P-384), Ed25519, or RSA of 2048 bits or more",
            )
        })
    }
}

/// The certificates of a file, at least one.
fn certificates(file: &Path, contents: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(contents)
        .collect::<Result<_, _>>()
        .map_err(|_| {
            wrong(
                file,
                "is no PEM; write certificates between BEGIN and END lines",
            )
        })?;
    if certificates.is_empty() {
        return Err(wrong(
            file,
            "holds no certificate in PEM; write at least one",
        ));
    }
    for (number, certificate) in (1..).zip(&certificates) {
        ParsedCertificate::try_from(certificate).map_err(|_| wrong(file, unreadable(number)))?;
    }
    Ok(certificates)
}

fn unreadable(number: usize) -> String {
    format!("its certificate number {number} is no X.509 certificate of version 3; replace it")
}

/// Requires of clients a certificate of one of the authorities in the file.
fn verifier(
    file: &Path,
    contents: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates(file, contents)?) {
        roots
            .add(certificate)
            .map_err(|_| wrong(file, unreadable(number)))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| wrong(file, format!("clients cannot be verified by it: {error}")))
}

/// Reads a whole file.
fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error: std::io::Error| {
        wrong(
            file,
            format!("cannot be read: {error}; check the path and its permissions"),
        )
    };
    // Another kind of file may never end, or be there only once.
    if !std::fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(wrong(
            file,
            "is no regular file; name one, or a link to one",
        ));
    }
    let mut contents = Vec::new();
    let mut limited = File::open(file)
        .map_err(unreadable)?
        .take(FILE_BYTES_MAX + 1);
    limited.read_to_end(&mut contents).map_err(unreadable)?;
    if contents.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(
            file,
            format!("is longer than {FILE_BYTES_MAX} bytes; keep only what is needed in it"),
        ));
    }
    Ok(contents)
}
