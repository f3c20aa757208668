//! TLS of the client commands: which server is trusted, and the certificate that it is shown.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// How the text of an error begins when the other side ended TLS.
const ALERT: &str = "received fatal alert";
/// How a certificate in PEM begins.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The error of a client certificate for a plain connection.
const NO_AUTHORITY: &str = "--client-cert and --client-key are shown inside TLS alone: name the authority of the \
     server's certificate with --server-ca";

/// Options of TLS, of every client command.
#[derive(Args, Clone, Debug, Default)]
pub struct ClientTlsOptions {
    /// Talk TLS, with a server whose certificate is of an authority in this file, in PEM
    #[arg(long, global = true, env = "BOOKD_SERVER_CA", value_name = "FILE")]
    pub server_ca: Option<PathBuf>,
    /// The name in the server's certificate, where it is not the host of --server
    #[arg(long, global = true, env = "BOOKD_SERVER_NAME", value_name = "NAME")]
    pub server_name: Option<String>,
    /// The certificate to show to the server, and its chain, in PEM
    #[arg(long, global = true, env = "BOOKD_CLIENT_CERT", value_name = "FILE")]
    pub client_cert: Option<PathBuf>,
    /// The private key of --client-cert, in PEM, not encrypted
    #[arg(long, global = true, env = "BOOKD_CLIENT_KEY", value_name = "FILE")]
    pub client_key: Option<PathBuf>,
}

impl ClientTlsOptions {
    /// The endpoint at an address, `HOST:PORT` with or without `http://` or `https://`. It talks TLS
    /// for `https://` and where an authority is named. Reads the files. The error says what is wrong
    /// with the options, and what next.
    pub(super) fn endpoint(&self, address: &str) -> Result<Endpoint, String> {
        let malformed = || format!("--server {address}: write HOST:PORT or https://HOST:PORT");
        let (scheme, host) = match address.split_once("://") {
            None if self.server_ca.is_some() => ("https", address),
            None => ("http", address),
            Some(("https", host)) => ("https", host),
            Some(("http", host)) if self.server_ca.is_none() => ("http", host),
            Some(("http", _)) => {
                return Err(format!(
                    "--server {address} is plain, and --server-ca is of TLS: write https://, or leave one out"
                ));
            }
            Some(_) => return Err(malformed()),
        };
        let endpoint =
            Endpoint::from_shared(format!("{scheme}://{host}")).map_err(|_| malformed())?;
        match (scheme, &self.server_ca) {
            ("https", Some(authority)) => self.secured(endpoint, authority),
            ("https", None) => Err(format!(
                "--server {address}: name the authority of its certificate with --server-ca; the system's are in a file \
                 such as /etc/ssl/certs/ca-certificates.crt"
            )),
            _ if self.client_cert.is_some() || self.client_key.is_some() => {
                Err(NO_AUTHORITY.to_owned())
            }
            _ => Ok(endpoint),
        }
    }

    fn secured(&self, endpoint: Endpoint, authority: &Path) -> Result<Endpoint, String> {
        let authorities = read("--server-ca", authority)?;
        if !authorities.contains(BEGIN) {
            let file = authority.display();
            return Err(format!(
                "--server-ca {file}: holds no certificate in PEM; name the file of the authority"
            ));
        }
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        let (certificate, key) = match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => {
                return endpoint.tls_config(config).map_err(|error| {
                    let why = innermost(&error);
                    format!("the server's name or --server-ca: {why}")
                });
            }
            (Some(_), None) => return Err(half("--client-cert", "--client-key")),
            (None, Some(_)) => return Err(half("--client-key", "--client-cert")),
        };
        let identity = Identity::from_pem(
            read("--client-cert", certificate)?,
            read("--client-key", key)?,
        );
        endpoint
            .tls_config(config.identity(identity))
            .map_err(|error| {
                let (certificate, key) = (certificate.display(), key.display());
                format!(
                    "{certificate} and {key} cannot be used: {}; name a certificate and its key, both in PEM and not \
                     encrypted",
                    innermost(&error)
                )
            })
    }
}

fn half(given: &str, lacking: &str) -> String {
    format!("{given} needs {lacking}: a certificate is shown with its key")
}

fn read(flag: &str, file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| {
        let file = file.display();
        format!("{flag} {file}: cannot be read: {error}; check the path and its permissions")
    })
}

/// The cause of an error that has none itself, as text.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        error.source()
    })
}

/// What failed inside TLS, if that is why a connection or a call failed, with what to do next.
pub(super) fn tls_failure(error: &(dyn Error + 'static)) -> Option<String> {
    // HTTP/2 passes on the text of an error alone.
    let is_of_tls = |error: &&(dyn Error + 'static)| {
        let io = error.downcast_ref::<io::Error>();
        io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData)
            || error.to_string().starts_with(ALERT)
    };
    let what = causes(error).filter(is_of_tls).last()?.to_string();
    let next = match &what {
        it if it.contains("CertificateRequired") => {
            "it asks for a certificate: name yours with --client-cert and --client-key"
        }
        it if it.starts_with(ALERT) => {
            "is the certificate of --client-cert of an authority that the server knows, and not expired?"
        }
        it if it.contains("UnknownIssuer") => {
            "is --server-ca the authority of the server's certificate?"
        }
        it if it.contains("not valid for name") => {
            "say the name in the certificate with --server-name if this is the right server"
        }
        it if it.contains("corrupt message") => "does the server talk TLS there?",
        _ => "look at the certificates of both sides",
    };
    Some(format!("{what}; {next}"))
}
