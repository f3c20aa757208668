//! Reloads of the files of TLS: what they change, and what files that cannot be used leave.

use rcgen::date_time_ymd;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::client;

use super::{Authority, ServerFolder, TestClient, Tls, TlsFiles, name};

#[tokio::test]
async fn a_reload_changes_the_certificate_of_new_connections_and_leaves_the_others() {
    let ours = Authority::new("ours");
    let (folder, tls) = ServerFolder::new(&ours.server("one"), None);
    assert_eq!(tls.certificate().subject, "CN=one");
    let (served, client) = TestClient::of(&ours).shake(&tls).await;
    let (mut served, _) = served.expect("it is served");
    let mut client = client.expect("it is a good server");
    let first = shown(&client);

    let other = Authority::new("other");
    assert_eq!(tls.reload_if_changed(), None);
    folder.write(&other.server("two"));
    let reloaded = tls.clone().reload().expect("the files are good");
    assert_eq!(
        (reloaded.subject.as_str(), &reloaded),
        ("CN=two", &tls.certificate())
    );
    assert_eq!(tls.reload_if_changed(), None, "they were read");

    client.write_all(b"still here").await.expect("it is open");
    client.flush().await.expect("it is open");
    let mut read = [0; 10];
    served.read_exact(&mut read).await.expect("it is open");
    assert_eq!(&read, b"still here");
    let (_, refuses) = TestClient::of(&ours).shake(&tls).await;
    assert!(
        refuses.is_err(),
        "the old authority is not that of the new certificate"
    );
    let (_, accepts) = TestClient::of(&other).shake(&tls).await;
    assert_ne!(shown(&accepts.expect("it is a good server")), first);
}

/// The certificate that a client was shown.
fn shown(client: &client::TlsStream<DuplexStream>) -> CertificateDer<'static> {
    let shown = client
        .get_ref()
        .1
        .peer_certificates()
        .expect("there is one");
    shown[0].clone().into_owned()
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_once_and_what_was_current_stays() {
    let ours = Authority::new("ours");
    let good = ours.server("one");
    let (folder, tls) = ServerFolder::new(&good, Some(&ours.pem()));
    let (before, other) = (tls.certificate(), ours.server("two"));
    let long = "a".repeat(1_024 * 1_024 + 1);
    let half = &good.certificate[..good.certificate.len() / 2];
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let faults: [(&str, Option<&str>, &str); 12] = [
        ("server.pem", None, "cannot be read"),
        ("server.pem", Some(""), "holds no certificate"),
        ("server.pem", Some(half), "is no PEM"),
        ("server.pem", Some(junk), "certificate number 1 is no X.509"),
        ("server.pem", Some(&long), "is longer than 1048576 bytes"),
        ("server.key", None, "cannot be read"),
        (
            "server.key",
            Some(&good.certificate),
            "holds no private key",
        ),
        (
            "server.key",
            Some(&other.key),
            "is not the key of the first certificate in",
        ),
        ("ca.pem", None, "cannot be read"),
        ("ca.pem", Some("nothing"), "holds no certificate"),
        ("ca.pem", Some(junk), "certificate number 1 is no X.509"),
        ("ca.pem", Some(half), "is no PEM"),
    ];
    for (file, contents, says) in faults {
        let path = folder.path(file);
        let kept = std::fs::read(&path).expect("it is there");
        match contents {
            Some(contents) => std::fs::write(&path, contents).expect("it is written"),
            None => std::fs::remove_file(&path).expect("it is removed"),
        }
        let error = tls
            .reload_if_changed()
            .expect("it is another file")
            .expect_err("it is a bad one");
        assert_eq!(
            (error.file.as_path(), error.what.contains(says)),
            (path.as_path(), true),
            "{error}"
        );
        assert!(error.what.contains(';'), "{error} does not say what next");
        let names_no_secret =
            |secret: &str| !error.what.contains(secret.lines().nth(1).expect("a line"));
        assert!(names_no_secret(&good.key) && names_no_secret(&other.key));
        assert_eq!(tls.reload_if_changed(), None, "it is said once");
        assert_eq!(
            tls.reload().expect_err("it is a bad one"),
            error,
            "but to whoever asks"
        );
        assert_eq!(tls.certificate(), before);
        assert!(
            name(TestClient::of(&ours).with(&ours.client("grace", &[])), &tls)
                .await
                .is_ok()
        );
        std::fs::write(&path, kept).expect("it is written");
        assert_eq!(tls.reload_if_changed(), Some(Ok(before.clone())));
    }
}

#[test]
fn only_a_file_that_is_there_is_read() {
    let ours = Authority::new("ours");
    let (folder, tls) = ServerFolder::new(&ours.server("one"), None);
    for (key, says) in [("none", "cannot be read"), ("", "is no regular file")] {
        let files = TlsFiles {
            key: folder.path(key),
            ..tls.files().clone()
        };
        let error = Tls::load(files).expect_err("it is no file");
        assert!(error.what.starts_with(says), "{error}");
    }
}

#[test]
fn the_dates_of_a_certificate_are_its_own() {
    let ours = Authority::new("ours");
    let dated = ours.issue(|params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 2);
    });
    let (_folder, tls) = ServerFolder::new(&dated, None);
    let certificate = tls.certificate();
    assert_eq!(
        (certificate.not_before, certificate.not_after),
        (978_307_200, 978_393_600)
    );
    assert!(!certificate.is_valid_at(978_307_199) && certificate.is_valid_at(978_307_200));
    assert!(certificate.is_valid_at(978_393_600) && !certificate.is_valid_at(978_393_601));
}
