//! What certificates say: the name of a client, and the dates of the server's own.
//!
//! Only certificates that were verified, or that the operator named, are read here.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// How a SPIFFE id begins.
const SPIFFE: &str = "spiffe://";
/// Bytes of a name: as many as a SPIFFE id may have. A certificate with a longer name has none.
const NAME_BYTES_MAX: usize = 2_048;

/// The name of a client, as its certificate says it. The certificate was verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// The SPIFFE id: the only `spiffe://` URI among the alternative names of the subject. Printable
    /// ASCII without spaces, at most 2,048 bytes.
    Spiffe(String),
    /// The subject as text, by RFC 4514, where the certificate has no SPIFFE id or several. At least
    /// one byte, at most 2,048.
    Subject(String),
}

impl CertificateName {
    /// The name as text. A subject never looks like a SPIFFE id: it begins with an attribute.
    pub fn as_str(&self) -> &str {
        match self {
            CertificateName::Spiffe(name) | CertificateName::Subject(name) => name,
        }
    }

    /// The name that a certificate has. None if it is empty, too long or unreadable: a client
    /// without a name is no other client than the next one without.
    pub(super) fn of(der: &CertificateDer<'_>) -> Option<CertificateName> {
        let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
        let names = certificate.get::<SubjectAltName>().ok()?;
        let names = names.iter().flat_map(|(_, names)| &names.0);
        let mut ids = names.filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => {
                Some(uri.as_str()).filter(|uri| uri.starts_with(SPIFFE))
            }
            _ => None,
        });
        if let (Some(id), None) = (ids.next(), ids.next()) {
            let is_name = id.len() <= NAME_BYTES_MAX && id.bytes().all(|it| it.is_ascii_graphic());
            return is_name.then(|| CertificateName::Spiffe(id.to_owned()));
        }
        let subject = certificate.subject.to_string();
        let is_name = !subject.is_empty() && subject.len() <= NAME_BYTES_MAX;
        is_name.then_some(CertificateName::Subject(subject))
    }
}

/// The certificate that a server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificate {
    /// The subject as text, by RFC 4514. It may be empty.
    pub subject: String,
    /// The serial number as bytes in hexadecimal.
    pub serial: String,
    /// The first second of its validity, in seconds since 1970 UTC.
    pub not_before: i64,
    /// The last second of its validity, in seconds since 1970 UTC.
    pub not_after: i64,
}

impl ServerCertificate {
    /// None if the certificate cannot be read.
    pub(super) fn of(der: &CertificateDer<'_>) -> Option<ServerCertificate> {
        let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
        let seconds = |time: x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
        };
        Some(ServerCertificate {
            subject: certificate.subject.to_string(),
            serial: certificate.serial_number.to_string(),
            not_before: seconds(certificate.validity.not_before),
            not_after: seconds(certificate.validity.not_after),
        })
    }

    /// Whether clients whose clocks show `now`, in seconds since 1970 UTC, accept its dates.
    pub fn is_valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}
