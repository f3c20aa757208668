//! An email address is found in every spelling, outside ASCII too, and shown as it was written.
//!
//! Spellings differ in case and in Unicode composition; accents distinguish addresses.

use bookd::proto::v1 as pb;

use crate::harness::{Bookd, at};
use crate::stored::raw;

const WRITTEN: &str = "jürgen@example.com";
/// Lower and upper case, with ü as one character and as u with a combining diaeresis.
const SPELT: [&str; 4] = [
    WRITTEN,
    "JÜRGEN@EXAMPLE.COM",
    "ju\u{308}rgen@Example.com",
    "JU\u{308}RGEN@example.com",
];

fn by(email: &str, address: &str, clock: &str) -> pb::BookAppointmentRequest {
    let invitee = pb::Invitee {
        name: email.to_owned(),
        email: address.to_owned(),
        ..Default::default()
    };
    pb::BookAppointmentRequest {
        invitee: Some(invitee),
        ..at("ada", clock)
    }
}

impl Bookd {
    async fn of_address(&self, address: &str) -> Vec<String> {
        let request = pb::ListAppointmentsRequest {
            invitee_email: address.into(),
            ..Default::default()
        };
        let listed = self
            .lists()
            .list_appointments(request)
            .await
            .unwrap()
            .into_inner();
        listed
            .appointments
            .into_iter()
            .map(|it| it.invitee.unwrap().email)
            .collect()
    }

    async fn redact_address(&self, address: &str) -> i32 {
        let request = pb::RedactInviteeRequest {
            invitee_email: address.into(),
            ..Default::default()
        };
        self.booking()
            .redact_invitee(request)
            .await
            .unwrap()
            .into_inner()
            .appointments_redacted
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_found_in_every_spelling_and_kept_as_it_was_written() {
    let mut bookd = Bookd::start().await;
    bookd.open("ada", "08:00", "18:00").await;
    bookd.book(by("one", WRITTEN, "09:00")).await.unwrap();
    bookd
        .book(by("two", "JÜRGEN@example.com", "10:00"))
        .await
        .unwrap();
    bookd
        .book(by("another", "jurgen@example.com", "11:00"))
        .await
        .unwrap();
    for _ in 0..2 {
        for spelt in SPELT {
            assert_eq!(
                bookd.of_address(spelt).await,
                [WRITTEN, "JÜRGEN@example.com"],
                "{spelt}"
            );
        }
        assert_eq!(
            bookd.of_address("Jurgen@example.com").await,
            ["jurgen@example.com"],
            "accents count"
        );
        bookd = bookd.restart().await;
    }
    assert_eq!(bookd.redact_address("JU\u{308}RGEN@EXAMPLE.COM").await, 2);
    assert!(bookd.of_address(WRITTEN).await.is_empty());
    assert_eq!(bookd.of_address("jurgen@example.com").await.len(), 1);
    assert_eq!(
        bookd.redact_address(WRITTEN).await,
        0,
        "a redaction that finds nobody is no error"
    );
    bookd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_older_files_and_of_another_release_of_unicode_are_made_anew() {
    // At this time the appointments of the file are upcoming.
    let now = "2026-12-01T00:00:00Z";
    let bookd = Bookd::start_from("schema-3.db", now).await;
    assert_eq!(bookd.of_address("JÜRGEN@EXAMPLE.COM").await, [WRITTEN]);
    let folder = bookd.stop_and_keep().await;
    let file = folder.path().join("bookd.db");
    let other_release = "update meta set value = value - 1 where name = 'unicode'; \
        update appointments set email_key = 'folded otherwise' where invitee_email is not null";
    raw(&file).execute_batch(other_release).unwrap();
    let bookd = Bookd::start_from(file.to_str().unwrap(), now).await;
    assert_eq!(bookd.of_address("JÜRGEN@EXAMPLE.COM").await, [WRITTEN]);
    assert_eq!(bookd.of_address("CAROL@example.com").await.len(), 4);
    bookd.stop().await;
}
