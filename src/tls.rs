//! Keeps the certificate of a running server current: its files are read again on SIGHUP and when
//! their contents change.
//!
//! What is read is compared by content: the secrets of Kubernetes are links that are replaced, and
//! their times say nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bookd_transport::{ServerCertificate, Tls, TlsError};
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::signals::Hangups;

/// How often the files are looked at: authorities that issue for an hour replace certificates long
/// before their end.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Reads the files again, for ever. What cannot be used is logged, and the certificate before it is
/// served on.
pub async fn keep_current(tls: Tls, mut hangups: Hangups, clock: Arc<dyn Clock>) -> Infallible {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The certificate whose dates were complained of.
    let mut complained = None;
    loop {
        let is_asked = tokio::select! {
            () = hangups.next() => true,
            _ = looks.tick() => false,
        };
        let files = tls.clone();
        let read = move || {
            if is_asked {
                Some(files.reload())
            } else {
                files.reload_if_changed()
            }
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Some(loaded)) => log(&loaded),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the files of TLS were not read"),
        }
        let certificate = tls.certificate();
        let is_valid = certificate.is_valid_at(clock.now().seconds());
        if !is_valid && complained.as_ref() != Some(&certificate) {
            warn_of_dates(&certificate);
            complained = Some(certificate);
        }
    }
}

fn log(loaded: &Result<ServerCertificate, TlsError>) {
    match loaded {
        Ok(certificate) => tracing::info!(
            subject = certificate.subject,
            serial = certificate.serial,
            not_after = date(certificate.not_after),
            "the files of TLS were read again: new connections get this certificate"
        ),
        Err(error) => tracing::error!(
            file = %error.file.display(),
            what = error.what,
            "the files of TLS cannot be used: the certificate and the authorities of before are served on"
        ),
    }
}

fn warn_of_dates(certificate: &ServerCertificate) {
    tracing::warn!(
        subject = certificate.subject,
        serial = certificate.serial,
        not_before = date(certificate.not_before),
        not_after = date(certificate.not_after),
        "the certificate of TLS is not valid now, and clients refuse it: replace its files"
    );
}

/// An instant as text; the number of seconds where there is no such year.
fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |it| it.to_string())
}

#[cfg(test)]
mod tests {
    use bookd_transport::TlsFiles;

    use super::*;
    use crate::clock::ManualClock;
    use bookd_core::time::Instant;

    fn write(folder: &std::path::Path, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("it is a name");
        std::fs::write(folder.join("a.pem"), made.cert.pem()).expect("it is written");
        let key = made.signing_key.serialize_pem();
        std::fs::write(folder.join("a.key"), key).expect("it is written");
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_changed_are_read_again_within_half_a_minute_without_a_signal() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "one.example");
        let files = TlsFiles {
            certificate: folder.path().join("a.pem"),
            key: folder.path().join("a.key"),
            client_ca: None,
        };
        let tls = Tls::load(files).expect("they are good");
        let hangups = Hangups::new().expect("there are descriptors");
        let clock = Arc::new(ManualClock::new(Instant::from_seconds(1_800_000_000)));
        let keeping = keep_current(tls.clone(), hangups, clock);
        let changing = async {
            tokio::time::sleep(LOOK_EVERY / 2).await;
            let first = tls.certificate();
            write(folder.path(), "two.example");
            tokio::time::sleep(LOOK_EVERY).await;
            let second = tls.certificate();
            assert_ne!(first, second);
            std::fs::write(folder.path().join("a.key"), "nothing").expect("it is written");
            tokio::time::sleep(LOOK_EVERY).await;
            assert_eq!(tls.certificate(), second);
        };
        tokio::select! {
            never = keeping => match never {},
            () = changing => {}
        }
    }
}
