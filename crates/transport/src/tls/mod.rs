//! TLS on the server's port: the certificate in use, and its replacement while the server runs.
//!
//! A handshake takes the configuration that is current when it begins, and its connection keeps it.
//! Only a set of files that is whole and consistent becomes current.

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod authority;
mod certificate;
mod files;
mod handshake;
mod secured;
#[cfg(test)]
#[allow(clippy::panic, reason = "a test that cannot go on has failed")]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;

pub use certificate::{CertificateName, ServerCertificate};
pub use files::{TlsError, TlsFiles};
pub(crate) use handshake::{HandshakeError, shake_hands};
pub(crate) use secured::Secured;

/// The TLS of a server. Clones share the certificate, and a reload by one reloads all.
#[derive(Clone, Debug)]
pub struct Tls {
    state: Arc<TlsState>,
}

#[derive(Debug)]
struct TlsState {
    files: TlsFiles,
    current: RwLock<CurrentTls>,
    /// The fingerprint of the contents that were read last, whether they became current or not.
    /// Whoever reloads holds this lock.
    seen: Mutex<u64>,
}

/// The configuration that handshakes take now.
#[derive(Clone, Debug)]
struct CurrentTls {
    config: Arc<ServerConfig>,
    certificate: ServerCertificate,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or the files together make no configuration.
    pub fn load(files: TlsFiles) -> Result<Tls, TlsError> {
        let contents = files.read();
        let seen = contents.fingerprint();
        let (config, certificate) = files.parse(contents)?;
        Ok(Tls {
            state: Arc::new(TlsState {
                files,
                current: RwLock::new(CurrentTls {
                    config: Arc::new(config),
                    certificate,
                }),
                seen: Mutex::new(seen),
            }),
        })
    }

    /// Reads the files again. Handshakes that begin from now on take what they hold. Blocks while
    /// the files are read.
    ///
    /// # Errors
    ///
    /// As those of [`Tls::load`]; what was current stays current.
    pub fn reload(&self) -> Result<ServerCertificate, TlsError> {
        let mut seen = lock(&self.state.seen);
        let contents = self.state.files.read();
        *seen = contents.fingerprint();
        self.replace(self.state.files.parse(contents))
    }

    /// Reloads if the files do not hold what they held when they were read last. None if they do,
    /// so that a fault of the files is reported once. Blocks while the files are read.
    pub fn reload_if_changed(&self) -> Option<Result<ServerCertificate, TlsError>> {
        let mut seen = lock(&self.state.seen);
        let contents = self.state.files.read();
        let fingerprint = contents.fingerprint();
        if std::mem::replace(&mut *seen, fingerprint) == fingerprint {
            return None;
        }
        Some(self.replace(self.state.files.parse(contents)))
    }

    /// The certificate that handshakes take now.
    pub fn certificate(&self) -> ServerCertificate {
        self.current().certificate
    }

    /// The files that are read.
    pub fn files(&self) -> &TlsFiles {
        &self.state.files
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.current().config
    }

    fn current(&self) -> CurrentTls {
        // The lock is held for one assignment, which cannot panic.
        self.state
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn replace(
        &self,
        parsed: Result<(ServerConfig, ServerCertificate), TlsError>,
    ) -> Result<ServerCertificate, TlsError> {
        let (config, certificate) = parsed?;
        let mut current = self
            .state
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = CurrentTls {
            config: Arc::new(config),
            certificate: certificate.clone(),
        };
        Ok(certificate)
    }
}

fn lock(seen: &Mutex<u64>) -> std::sync::MutexGuard<'_, u64> {
    // A number is whole whoever panicked.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
