//! RedactInvitee removes a person's data from every place that has it, and changes nothing else.
//!
//! The words that name the person are searched for in the bytes of the files.

use std::collections::BTreeMap;
use std::path::Path;

use bookd::proto::v1 as pb;
use rusqlite::Connection;
use tonic::Code;

use crate::harness::{Bookd, MONDAY, at, timestamp};
use crate::words::refused;

/// Words that only this person's appointments have, one for each personal field.
const PERSONAL: [&str; 10] = [
    "Xanthippe",
    "xanthippe@privat.example",
    "+49-4711-0815",
    "Atlantic/Azores",
    "knee hurts since",
    "insurance-number",
    "AOK-998877",
    "moved to Gotland",
    "too-shy-to-come",
    "Schlossallee 17",
];

fn xanthippe(calendar: &str, clock: &str) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        invitee: Some(pb::Invitee {
            name: "Xanthippe".into(),
            email: "xanthippe@privat.example".into(),
            phone: "+49-4711-0815".into(),
            time_zone: "Atlantic/Azores".into(),
        }),
        // Long enough for overflow pages of its own.
        note: "knee hurts since May. ".repeat(150),
        metadata: BTreeMap::from([("insurance-number".to_owned(), "AOK-998877".to_owned())]),
        location: "Schlossallee 17".into(),
        request_id: format!("xanthippe-{clock}"),
        ..at(calendar, clock)
    }
}

fn by_email(email: &str) -> pb::RedactInviteeRequest {
    pb::RedactInviteeRequest {
        invitee_email: email.into(),
        ..Default::default()
    }
}

impl Bookd {
    async fn redact(&self, request: pb::RedactInviteeRequest) -> pb::RedactInviteeResponse {
        self.booking()
            .redact_invitee(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// Books three appointments, moves one, cancels one with a reason and updates one: each of
    /// these paths could keep a copy. Returns their ids.
    async fn book_for_xanthippe(&self) -> Vec<String> {
        self.open("ada", "08:00", "18:00").await;
        let mut ids = Vec::new();
        for clock in ["09:00", "10:00", "11:00"] {
            ids.push(
                self.book(xanthippe("ada", clock))
                    .await
                    .unwrap()
                    .appointment_id,
            );
        }
        let moved = pb::RescheduleAppointmentRequest {
            appointment_id: ids[0].clone(),
            start_time: Some(timestamp(&format!("{MONDAY}T15:00:00Z"))),
            ..Default::default()
        };
        self.booking().reschedule_appointment(moved).await.unwrap();
        let cancelled = pb::CancelAppointmentRequest {
            appointment_id: ids[1].clone(),
            reason: "moved to Gotland".into(),
            ..Default::default()
        };
        self.booking().cancel_appointment(cancelled).await.unwrap();
        let updated = pb::UpdateAppointmentRequest {
            appointment_id: ids[2].clone(),
            note: "too-shy-to-come".into(),
            ..Default::default()
        };
        self.booking().update_appointment(updated).await.unwrap();
        ids
    }
}

/// The bytes of the database and of its WAL.
fn bytes_of(file: &Path) -> Vec<u8> {
    let path = |end: &str| file.with_file_name(format!("bookd.db{end}"));
    let read = |path: std::path::PathBuf| std::fs::read(path).unwrap_or_default();
    [read(path("")), read(path("-wal"))].concat()
}

fn holds(bytes: &[u8], word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    bytes
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

#[tokio::test]
async fn nothing_personal_is_left_in_the_file_after_a_redaction_and_vacuum() {
    let bookd = Bookd::start().await;
    let ids = bookd.book_for_xanthippe().await;
    let file = bookd.file();
    let before = bytes_of(&file);
    assert_eq!(
        PERSONAL.iter().find(|word| !holds(&before, word)),
        None,
        "the file has every personal word before the redaction"
    );
    // Addresses are compared without case.
    let redacted = bookd.redact(by_email("XANTHIPPE@privat.example")).await;
    assert_eq!((redacted.appointments_redacted, redacted.more), (3, false));
    for id in &ids {
        let appointment = bookd.appointment(id).await;
        assert_eq!(appointment.invitee, None);
        assert!(
            appointment.note.is_empty()
                && appointment.metadata.is_empty()
                && appointment.cancel_reason.is_empty()
        );
    }
    let folder = bookd.stop_and_keep().await;
    let connection = Connection::open(&file).unwrap();
    connection
        .execute_batch("vacuum; pragma wal_checkpoint(truncate)")
        .unwrap();
    drop(connection);
    let after = bytes_of(&file);
    assert!(holds(&after, "ada"), "the rest of the file is still there");
    assert_eq!(PERSONAL.iter().find(|word| holds(&after, word)), None);
    drop(folder);
}

#[tokio::test]
async fn a_redaction_keeps_time_and_state_and_is_one_change() {
    let bookd = Bookd::start().await;
    let ids = bookd.book_for_xanthippe().await;
    let offered = bookd.offered("ada", MONDAY).await.unwrap();
    let revision = bookd.revision().await;
    let before = bookd.appointment(&ids[0]).await;
    assert_eq!(
        bookd
            .redact(by_email("xanthippe@privat.example"))
            .await
            .revision,
        revision + 1
    );
    let after = bookd.appointment(&ids[0]).await;
    let kept = |appointment: &pb::Appointment| {
        (
            appointment.start_time,
            appointment.state,
            appointment.calendar_ids.clone(),
            appointment.confirmation_code.clone(),
        )
    };
    assert_eq!(kept(&before), kept(&after));
    assert_ne!(before.etag, after.etag);
    assert_eq!(bookd.offered("ada", MONDAY).await.unwrap(), offered);
    for appointment_id in ids.clone() {
        let changes = pb::ListChangesRequest {
            appointment_id,
            ..Default::default()
        };
        let changes = bookd
            .lists()
            .list_changes(changes)
            .await
            .unwrap()
            .into_inner()
            .changes;
        assert_eq!(
            (changes[0].command.as_str(), changes[0].revision),
            ("RedactInvitee", revision + 1)
        );
        let kinds: Vec<i32> = changes[0].events.iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [pb::ChangeKind::Redacted as i32]);
    }
    // A second redaction finds nothing.
    let again = bookd.redact(by_email("xanthippe@privat.example")).await;
    assert_eq!(
        (again.appointments_redacted, again.revision),
        (0, revision + 1)
    );
    let one = pb::RedactInviteeRequest {
        appointment_id: ids[0].clone(),
        ..Default::default()
    };
    assert_eq!(bookd.redact(one).await.appointments_redacted, 0);
    bookd.stop().await;
}

#[tokio::test]
async fn a_redaction_is_dry_run_replayed_and_refused_like_every_mutation() {
    let bookd = Bookd::start().await;
    let ids = bookd.book_for_xanthippe().await;
    let revision = bookd.revision().await;
    let dry = pb::RedactInviteeRequest {
        validate_only: true,
        ..by_email("xanthippe@privat.example")
    };
    assert_eq!(bookd.redact(dry).await.appointments_redacted, 3);
    assert_eq!(bookd.revision().await, revision);
    let one = pb::RedactInviteeRequest {
        appointment_id: ids[2].clone(),
        request_id: "forget-me".into(),
        ..Default::default()
    };
    let first = bookd.redact(one.clone()).await;
    assert_eq!(
        (first.appointments_redacted, first.revision),
        (1, revision + 1)
    );
    assert_eq!(bookd.redact(one).await, first);
    assert_eq!(
        bookd
            .redact(by_email("xanthippe@privat.example"))
            .await
            .appointments_redacted,
        2,
        "the others"
    );
    let both = pb::RedactInviteeRequest {
        appointment_id: ids[0].clone(),
        ..by_email("a@b.example")
    };
    let neither = pb::RedactInviteeRequest::default();
    for (request, field) in [
        (both, "appointment_id"),
        (neither, "invitee_email"),
        (by_email("who"), "invitee_email"),
    ] {
        let refused = refused(bookd.booking().redact_invitee(request).await);
        assert!(refused.is(Code::InvalidArgument, "FIELD_INVALID"));
        assert_eq!(refused.fields(), [field]);
    }
    let unknown = pb::RedactInviteeRequest {
        appointment_id: "01890000-0000-7000-8000-000000000000".into(),
        ..Default::default()
    };
    let refused = refused(bookd.booking().redact_invitee(unknown).await);
    assert!(refused.is(Code::NotFound, "APPOINTMENT_NOT_FOUND"));
    bookd.stop().await;
}

#[tokio::test]
async fn appointments_of_a_deleted_calendar_are_redacted_too() {
    let bookd = Bookd::start().await;
    let ids = bookd.book_for_xanthippe().await;
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "ada".into(),
        force: true,
        ..Default::default()
    };
    bookd.calendars().delete_calendar(delete).await.unwrap();
    bookd.open("ada", "08:00", "18:00").await;
    assert_eq!(
        bookd
            .redact(by_email("xanthippe@privat.example"))
            .await
            .appointments_redacted,
        3
    );
    assert_eq!(bookd.appointment(&ids[1]).await.invitee, None);
    let bookd = bookd.restart().await;
    assert_eq!(bookd.appointment(&ids[2]).await.invitee, None);
    bookd.stop().await;
}
