//! Appointments outlive their type and their calendar.
//!
//! Those of a deleted type follow its last definition; those of a deleted calendar are listed by
//! its id, from the command line too.

use bookd::proto::v1 as pb;

use crate::harness::{Bookd, MONDAY, at, minutes, reason, timestamp, violations};
use crate::people;

const TUESDAY: &str = "2027-01-05";

impl Bookd {
    /// A class of three seats and forty minutes, with ten minutes of buffer after it, which cannot
    /// be moved less than an hour before its start.
    async fn put_class(&self, calendar: &str) {
        let class = pb::AppointmentType {
            appointment_type_id: "class".into(),
            duration: Some(minutes(40)),
            slot_step: Some(minutes(20)),
            buffer_after: Some(minutes(10)),
            capacity: Some(3),
            reschedule_notice: Some(minutes(60)),
            ..Default::default()
        };
        self.put_type(calendar, class).await;
    }

    async fn delete_class(&self, calendar: &str) {
        let request = pb::DeleteAppointmentTypeRequest {
            calendar_id: calendar.into(),
            appointment_type_id: "class".into(),
            ..Default::default()
        };
        self.calendars()
            .delete_appointment_type(request)
            .await
            .unwrap();
    }

    async fn move_by(
        &self,
        id: &str,
        calendars: &[&str],
        start: &str,
    ) -> Result<pb::Appointment, tonic::Status> {
        let request = pb::RescheduleAppointmentRequest {
            appointment_id: id.into(),
            calendar_ids: calendars.iter().map(|it| (*it).to_owned()).collect(),
            start_time: Some(timestamp(start)),
            ..Default::default()
        };
        Ok(self
            .booking()
            .reschedule_appointment(request)
            .await?
            .into_inner()
            .appointment
            .unwrap())
    }

    /// The names of the invitees of all appointments of a calendar, in all states.
    async fn listed(&self, calendar: &str) -> Result<Vec<String>, tonic::Status> {
        let request = pb::ListAppointmentsRequest {
            calendar_id: calendar.into(),
            start_time: Some(timestamp("2027-01-01T00:00:00Z")),
            states: (1..=8).collect(),
            ..Default::default()
        };
        let listed = self.lists().list_appointments(request).await?.into_inner();
        Ok(listed
            .appointments
            .into_iter()
            .map(|it| it.invitee.unwrap().name)
            .collect())
    }

    /// The revisions of the changes of a calendar, newest first, read in pages of two.
    async fn history(&self, calendar: &str) -> Vec<i64> {
        let (mut revisions, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListChangesRequest {
                calendar_id: calendar.into(),
                page_size: 2,
                page_token,
                ..Default::default()
            };
            let page = self
                .lists()
                .list_changes(request)
                .await
                .unwrap()
                .into_inner();
            revisions.extend(page.changes.iter().map(|it| it.revision));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return revisions;
            }
        }
    }
}

fn named(calendar: &str, clock: &str, name: &str) -> pb::BookAppointmentRequest {
    let invitee = pb::Invitee {
        name: name.to_owned(),
        ..Default::default()
    };
    pb::BookAppointmentRequest {
        invitee: Some(invitee),
        ..at(calendar, clock)
    }
}

fn class(clock: &str, name: &str) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        appointment_type_id: "class".into(),
        ..named("ada", clock, name)
    }
}

async fn book_class(bookd: &Bookd, clock: &str, name: &str) -> String {
    let booked = bookd.book(class(clock, name)).await.unwrap();
    booked.appointment_id
}

/// The slots that are listed for a move of this class have the grid, the buffers and the seats of
/// the deleted type; without an appointment to move the type is not found.
async fn expect_slots_for_the_move(bookd: &Bookd, appointment_id: &str) {
    let list = pb::ListSlotsRequest {
        calendar_id: "ada".into(),
        appointment_type_id: "class".into(),
        start_time: Some(timestamp(&format!("{MONDAY}T14:00:00Z"))),
        end_time: Some(timestamp(&format!("{MONDAY}T16:10:00Z"))),
        ignore_appointment_id: appointment_id.to_owned(),
        ..Default::default()
    };
    let listed = bookd
        .slots()
        .list_slots(list.clone())
        .await
        .unwrap()
        .into_inner()
        .slots;
    let listed: Vec<_> = listed
        .iter()
        .map(|it| (it.start_time.unwrap().seconds, it.seats_remaining))
        .collect();
    let at = |clock: &str| timestamp(&format!("{MONDAY}T{clock}:00Z")).seconds;
    assert_eq!(
        listed,
        [(at("14:00"), 3), (at("15:00"), 2), (at("16:00"), 3)]
    );
    let without = pb::ListSlotsRequest {
        ignore_appointment_id: String::new(),
        ..list
    };
    assert_eq!(
        reason(&bookd.slots().list_slots(without).await.unwrap_err()),
        "APPOINTMENT_TYPE_NOT_FOUND"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appointments_of_a_deleted_type_are_moved_by_its_last_definition() {
    let mut bookd = Bookd::start().await;
    for calendar in ["ada", "bea"] {
        bookd.open(calendar, "08:00", "18:00").await;
        bookd.put_class(calendar).await;
    }
    let one = book_class(&bookd, "14:00", "one").await;
    let two = book_class(&bookd, "15:00", "two").await;
    bookd.delete_class("ada").await;
    bookd.delete_class("bea").await;
    for _ in 0..2 {
        let booked = bookd.book(class("16:00", "new")).await.unwrap_err();
        assert_eq!(
            reason(&booked),
            "APPOINTMENT_TYPE_NOT_FOUND",
            "a deleted type takes no new bookings"
        );
        expect_slots_for_the_move(&bookd, &one).await;
        bookd = bookd.restart().await;
    }
    let off_the_grid = bookd
        .move_by(&one, &[], &format!("{MONDAY}T16:10:00Z"))
        .await
        .unwrap_err();
    assert_eq!(violations(&off_the_grid), ["MISALIGNED"]);
    let elsewhere = bookd
        .move_by(&one, &["bea"], &format!("{MONDAY}T14:00:00Z"))
        .await
        .unwrap_err();
    assert_eq!(
        reason(&elsewhere),
        "APPOINTMENT_TYPE_NOT_FOUND",
        "the other calendar has no such type"
    );
    let moved = bookd
        .move_by(&one, &[], &format!("{MONDAY}T15:00:00Z"))
        .await
        .unwrap();
    assert_eq!(
        (moved.buffer_after, moved.appointment_type_id.as_str()),
        (Some(minutes(10)), "class")
    );
    bookd.set_clock(&format!("{MONDAY}T14:30:00Z")).await;
    let late = bookd
        .move_by(&two, &[], &format!("{TUESDAY}T09:00:00Z"))
        .await
        .unwrap_err();
    assert_eq!(
        reason(&late),
        "TOO_LATE",
        "the cut-off of the deleted type counts"
    );
    // A type that is made again has its new definition.
    let anew = pb::AppointmentType {
        appointment_type_id: "class".into(),
        duration: Some(minutes(40)),
        ..Default::default()
    };
    bookd.put_type("ada", anew).await;
    let moved = bookd
        .move_by(&two, &[], &format!("{TUESDAY}T08:40:00Z"))
        .await
        .unwrap();
    assert_eq!(moved.buffer_after, Some(minutes(0)));
    bookd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_calendar_is_listed_by_its_id_with_whatever_has_that_id_next() {
    let mut bookd = Bookd::start().await;
    bookd.open("ada", "08:00", "18:00").await;
    bookd.book(named("ada", "09:00", "before")).await.unwrap();
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "ada".into(),
        force: true,
        ..Default::default()
    };
    bookd.calendars().delete_calendar(delete).await.unwrap();
    for _ in 0..2 {
        assert_eq!(bookd.listed("ada").await.unwrap(), ["before"]);
        assert_eq!(
            bookd.history("ada").await,
            [3, 2, 1],
            "the history of a calendar includes its deletion"
        );
        let gone = pb::GetCalendarRequest {
            calendar_id: "ada".into(),
        };
        assert_eq!(
            reason(&bookd.calendars().get_calendar(gone).await.unwrap_err()),
            "CALENDAR_NOT_FOUND"
        );
        assert_eq!(
            reason(&bookd.offered("ada", MONDAY).await.unwrap_err()),
            "CALENDAR_NOT_FOUND"
        );
        bookd = bookd.restart().await;
    }
    bookd.open("ada", "08:00", "18:00").await;
    bookd.book(named("ada", "10:00", "after")).await.unwrap();
    assert_eq!(bookd.listed("ada").await.unwrap(), ["before", "after"]);
    assert_eq!(bookd.history("ada").await, [5, 4, 3, 2, 1]);
    let free_busy = pb::QueryFreeBusyRequest {
        calendar_ids: vec!["ada".into()],
        start_time: Some(timestamp(&format!("{MONDAY}T00:00:00Z"))),
        end_time: Some(timestamp(&format!("{TUESDAY}T00:00:00Z"))),
    };
    bookd.set_clock("2027-02-01T00:00:00Z").await;
    bookd = bookd.restart().await;
    let busy = bookd
        .slots()
        .query_free_busy(free_busy)
        .await
        .unwrap()
        .into_inner()
        .calendars
        .remove(0)
        .busy;
    assert_eq!(
        busy.len(),
        1,
        "appointments of the deleted calendar take no time of the new one: {busy:?}"
    );
    assert_eq!(
        reason(&bookd.listed("nobody").await.unwrap_err()),
        "CALENDAR_NOT_FOUND"
    );
    bookd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_passed_of_a_deleted_calendar_is_still_cancelled_alone_and_as_a_series() {
    let mut bookd = Bookd::start().await;
    bookd.open("ada", "08:00", "18:00").await;
    let one = bookd
        .book(named("ada", "09:00", "one"))
        .await
        .unwrap()
        .appointment_id;
    let series = pb::BookSeriesRequest {
        calendar_id: "ada".into(),
        local_start: format!("{MONDAY}T12:00"),
        invitee: named("ada", "12:00", "two").invitee,
        frequency: pb::Frequency::Daily.into(),
        count: Some(2),
        ..Default::default()
    };
    let series = bookd
        .booking()
        .book_series(series)
        .await
        .unwrap()
        .into_inner();
    let first = series.occurrences[0].appointment.clone().unwrap();
    bookd.set_clock("2027-02-01T00:00:00Z").await;
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "ada".into(),
        ..Default::default()
    };
    bookd.calendars().delete_calendar(delete).await.unwrap();
    bookd.cancel(&one).await;
    bookd = bookd.restart().await;
    let cancel = pb::CancelSeriesRequest {
        appointment_id: first.appointment_id,
        scope: pb::SeriesScope::Following.into(),
        ..Default::default()
    };
    bookd.booking().cancel_series(cancel).await.unwrap();
    assert_eq!(bookd.listed("ada").await.unwrap(), ["one", "two", "two"]);
    let history = bookd.history("ada").await;
    assert_eq!(history, (1..=history[0]).rev().collect::<Vec<_>>());
    bookd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_older_file_too_both_that_had_an_id_are_listed() {
    let bookd = Bookd::start_from("schema-3.db", "2026-12-01T00:00:00Z").await;
    let request = pb::ListAppointmentsRequest {
        calendar_id: "again".into(),
        states: (1..=8).collect(),
        ..Default::default()
    };
    let listed = bookd
        .lists()
        .list_appointments(request)
        .await
        .unwrap()
        .into_inner();
    let mut names: Vec<_> = listed
        .appointments
        .into_iter()
        .map(|it| it.invitee.unwrap().name)
        .collect();
    names.sort();
    assert_eq!(names, ["After", "Before"]);
    bookd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_lists_a_deleted_calendar_and_says_what_its_dates_need() {
    let bookd = Bookd::start().await;
    bookd.open("ada", "08:00", "18:00").await;
    bookd.book(named("ada", "14:00", "Grace")).await.unwrap();
    let delete = pb::DeleteCalendarRequest {
        calendar_id: "ada".into(),
        force: true,
        ..Default::default()
    };
    bookd.calendars().delete_calendar(delete).await.unwrap();
    let (address, folder) = (bookd.address().to_string(), tempfile::tempdir().unwrap());
    let list = |more: &str| {
        let line = format!("list ada --state cancelled --from {MONDAY}{more}");
        let words: Vec<&str> = line.split(' ').collect();
        let address = address.clone();
        tokio::task::block_in_place(|| people::bookd(&address, folder.path(), &words))
    };
    let without = list("");
    let said = people::said(&without);
    assert!(
        without.status.code() == Some(4) && said.contains("CALENDAR_NOT_FOUND"),
        "{said}"
    );
    assert!(said.contains("say --zone"), "{said}");
    let with = people::said(&list(" --zone Europe/Paris"));
    assert!(with.contains("Grace"), "{with}");
}
