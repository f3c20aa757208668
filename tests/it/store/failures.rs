//! The answers to callers while the store fails, and that they are true.
//!
//! UNAVAILABLE means that nothing happened. UNKNOWN means that nobody knows, and a repetition with
//! the same request id finds out.

use std::time::Duration;

use bookd::engine::{Settings, Stopped};
use bookd::proto::v1 as pb;
use bookd::store::memory::Memory;
use bookd::store::{CommitError, StoreError};
use tonic::Code;

use crate::harness::{Bookd, at};
use crate::stored::raw;
use crate::words::{Refused, refused};

fn memory() -> Memory {
    Memory::new(7)
}

fn once(clock: &str) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        request_id: format!("once-{clock}"),
        ..at("ada", clock)
    }
}

fn says_when_to_come_again(refused: &Refused) -> bool {
    refused
        .details
        .retry_info()
        .is_some_and(|it| it.retry_delay.is_some())
}

#[tokio::test]
async fn a_commit_that_the_store_refused_is_unavailable_and_did_not_happen() {
    let memory = memory();
    let bookd = Bookd::start_on(Box::new(memory.clone())).await;
    bookd.open("ada", "09:00", "17:00").await;
    let revision = bookd.revision().await;
    let errors = [
        StoreError::Full,
        StoreError::ReadOnly,
        StoreError::Busy,
        StoreError::Io("sector 7".to_owned()),
        StoreError::Other("no".to_owned()),
    ];
    for error in errors {
        memory.fail_next_commit(CommitError::Refused(error.clone()));
        let refused = refused(bookd.book(once("10:00")).await);
        assert!(
            refused.is(Code::Unavailable, "STORE_UNAVAILABLE"),
            "{error}: {refused:?}"
        );
        assert!(says_when_to_come_again(&refused));
        assert_eq!(bookd.revision().await, revision, "{error}");
        assert!(
            bookd
                .offered("ada", "2027-01-04")
                .await
                .unwrap()
                .contains(&"10:00".to_owned()),
            "reads go on"
        );
    }
    // A refused request is not remembered: the same request id books now.
    bookd.book(once("10:00")).await.unwrap();
    assert_eq!(
        bookd.revision().await,
        revision + 1,
        "no revision was spent"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_stops_the_writer_and_its_request_id_tells_what_became_of_it() {
    for is_lost_after_the_fact in [true, false] {
        let memory = memory();
        let bookd = Bookd::start_on(Box::new(memory.clone())).await;
        bookd.open("ada", "09:00", "17:00").await;
        let revision = bookd.revision().await;
        let error = StoreError::Io("the disk is gone".to_owned());
        if is_lost_after_the_fact {
            memory.lose_next_commit(error);
        } else {
            memory.fail_next_commit(CommitError::Unknown(error));
        }
        let unknown = refused(bookd.book(once("10:00")).await);
        assert!(unknown.is(Code::Unknown, "COMMIT_UNKNOWN"), "{unknown:?}");
        // While the outcome is unknown nothing is answered: reads and writes end until a restart
        // has looked.
        bookd.writer_stopped().await;
        let late = refused(bookd.book(once("11:00")).await);
        assert!(
            late.is(Code::Unavailable, "SHUTTING_DOWN") && says_when_to_come_again(&late),
            "{late:?}"
        );
        let list = pb::ListAppointmentsRequest {
            calendar_id: "ada".to_owned(),
            ..Default::default()
        };
        let read = tokio::time::timeout(
            Duration::from_secs(5),
            bookd.lists().list_appointments(list),
        )
        .await;
        let read = refused(read.expect("a read is refused at once"));
        assert!(
            read.is(Code::Unavailable, "SHUTTING_DOWN") && says_when_to_come_again(&read),
            "{read:?}"
        );
        assert!(matches!(bookd.failed().await, Stopped::Failed(_)));
        let bookd = Bookd::start_on(Box::new(memory.clone())).await;
        assert_eq!(
            bookd.revision().await,
            revision + i64::from(is_lost_after_the_fact)
        );
        let booked = bookd.book(once("10:00")).await.unwrap();
        assert_eq!(
            bookd.revision().await,
            revision + 1,
            "the request has one effect, whenever it happened"
        );
        assert_eq!(bookd.book(once("10:00")).await.unwrap(), booked);
        bookd.stop().await;
    }
}

#[tokio::test]
async fn a_commit_that_meets_damage_is_data_loss_and_only_its_calendar_is_written_to_no_more() {
    let memory = memory();
    let bookd = Bookd::start_on(Box::new(memory.clone())).await;
    bookd.open("ada", "09:00", "17:00").await;
    bookd.open("bob", "09:00", "17:00").await;
    let revision = bookd.revision().await;
    memory.fail_next_commit(CommitError::Refused(StoreError::Damaged(
        "page 3".to_owned(),
    )));
    for clock in ["10:00", "11:00"] {
        let damaged = refused(bookd.book(once(clock)).await);
        assert!(
            damaged.is(Code::DataLoss, "STORE_DAMAGED") && !says_when_to_come_again(&damaged),
            "{damaged:?}"
        );
        assert!(
            !format!("{damaged:?}").contains("page 3"),
            "what is inside is the operator's"
        );
    }
    assert_eq!(bookd.revision().await, revision);
    assert!(
        bookd
            .offered("ada", "2027-01-04")
            .await
            .unwrap()
            .contains(&"10:00".to_owned()),
        "reads go on"
    );
    bookd.book(at("bob", "10:00")).await.unwrap();
    bookd.stop().await;
    let bookd = Bookd::start_on(Box::new(memory.clone())).await;
    bookd.book(once("10:00")).await.unwrap();
    bookd.stop().await;
}

#[tokio::test]
async fn of_a_batch_that_meets_damage_only_the_commands_that_meet_it_are_refused() {
    let memory = memory();
    let bookd = Bookd::start_on(Box::new(memory.clone())).await;
    for name in ["ada", "bob", "cy", "dora"] {
        bookd.open(name, "09:00", "17:00").await;
    }
    // The whole batch meets the damage and its halves do not, as when a damaged page is needed by
    // the first read alone.
    memory.fail_next_commit(CommitError::Refused(StoreError::Damaged(
        "page 3".to_owned(),
    )));
    let (a, b, c, d) = tokio::join!(
        bookd.book(at("ada", "10:00")),
        bookd.book(at("bob", "10:00")),
        bookd.book(at("cy", "10:00")),
        bookd.book(at("dora", "10:00"))
    );
    let refusals = [a, b, c, d].into_iter().filter(Result::is_err).count();
    assert!(
        refusals <= 1,
        "at most one was alone in its batch: {refusals}"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn what_housekeeping_meets_stops_nobody() {
    let memory = memory();
    let bookd = Bookd::start_on(Box::new(memory.clone())).await;
    bookd.open("ada", "09:00", "17:00").await;
    let mut booked = bookd.book(once("10:00")).await.unwrap();
    // Old requests are forgotten after every 64th batch.
    let mut batches = async |bookd: &Bookd| {
        for _ in 0..64 {
            let note = if booked.note.is_empty() { "again" } else { "" };
            let update = pb::UpdateAppointmentRequest {
                appointment_id: booked.appointment_id.clone(),
                note: note.to_owned(),
                update_mask: Some(prost_types::FieldMask {
                    paths: vec!["note".to_owned()],
                }),
                ..Default::default()
            };
            let updated = bookd
                .booking()
                .update_appointment(update)
                .await?
                .into_inner();
            booked = updated.appointment.unwrap();
        }
        Ok::<_, tonic::Status>(())
    };
    memory.fail_next_forgetting(CommitError::Refused(StoreError::Busy));
    batches(&bookd).await.unwrap();
    memory.fail_next_forgetting(CommitError::Refused(StoreError::Damaged(
        "page 5".to_owned(),
    )));
    batches(&bookd).await.unwrap();
    bookd.stop().await;
}

/// In a file with one damaged calendar every call about that calendar is refused, and the others
/// are served.
#[tokio::test]
async fn damage_of_one_calendar_is_data_loss_for_it_and_the_others_are_served() {
    let bookd = Bookd::start().await;
    for name in ["ada", "bob"] {
        bookd.open(name, "09:00", "17:00").await;
    }
    let booked = bookd.book(at("ada", "10:00")).await.unwrap();
    let folder = bookd.stop_and_keep().await;
    let damage = "update calendars set profile = x'ff' where id = 'ada'";
    raw(folder.path().join("bookd.db"))
        .execute_batch(damage)
        .unwrap();
    let settings = Settings {
        is_clock_confirmed: true,
        ..Settings::default()
    };
    let bookd = Bookd::start_in_folder(folder, "2027-01-04T08:00:00Z", settings).await;
    let is_damaged = |it: Refused| assert!(it.is(Code::DataLoss, "STORE_DAMAGED"), "{it:?}");
    for _ in 0..2 {
        is_damaged(refused(bookd.offered("ada", "2027-01-04").await));
        is_damaged(refused(bookd.book(at("ada", "11:00")).await));
        let calendar = pb::GetCalendarRequest {
            calendar_id: "ada".to_owned(),
        };
        is_damaged(refused(bookd.calendars().get_calendar(calendar).await));
        let cancel = pb::CancelAppointmentRequest {
            appointment_id: booked.appointment_id.clone(),
            ..Default::default()
        };
        is_damaged(refused(bookd.booking().cancel_appointment(cancel).await));
        assert!(
            bookd
                .offered("bob", "2027-01-04")
                .await
                .unwrap()
                .contains(&"10:00".to_owned())
        );
    }
    // Also at the same time: in one batch or several.
    let (ada, bob) = tokio::join!(
        bookd.book(at("ada", "12:00")),
        bookd.book(at("bob", "12:00"))
    );
    is_damaged(refused(ada));
    bob.unwrap();
    bookd.stop().await;
}

fn held_at(calendar: &str, clock: &str) -> pb::HoldAppointmentRequest {
    let (calendar_id, local_start) = (calendar.to_owned(), format!("2027-01-04T{clock}"));
    pb::HoldAppointmentRequest {
        calendar_id,
        local_start,
        ..Default::default()
    }
}

/// The row of a hold is damaged while its claim stays in memory. Its time is free by the clock, but
/// a booking there would meet the damage.
#[tokio::test]
async fn a_booking_on_the_time_of_a_hold_whose_end_cannot_be_recorded_is_refused_and_stops_nobody()
{
    let bookd = Bookd::start().await;
    for name in ["ada", "bob"] {
        bookd.open(name, "09:00", "17:00").await;
    }
    bookd
        .booking()
        .hold_appointment(held_at("ada", "10:00"))
        .await
        .unwrap();
    raw(bookd.file())
        .execute_batch("update appointments set places = x'ff'")
        .unwrap();
    bookd.advance(3_600).await;
    let damaged = refused(bookd.book(at("ada", "10:00")).await);
    assert!(damaged.is(Code::DataLoss, "STORE_DAMAGED"), "{damaged:?}");
    bookd.book(at("bob", "10:00")).await.unwrap();
    bookd.stop().await;
}

/// Two holds expire together and their batch meets damage. Its halves then meet a locked disk,
/// which must not make the writer forget them.
#[tokio::test]
async fn an_expiry_whose_batch_met_damage_and_then_another_failure_is_recorded_later() {
    let memory = memory();
    let bookd = Bookd::start_on(Box::new(memory.clone())).await;
    for name in ["ada", "bob"] {
        bookd.open(name, "09:00", "17:00").await;
        bookd
            .booking()
            .hold_appointment(held_at(name, "10:00"))
            .await
            .unwrap();
    }
    let revision = bookd.revision().await;
    memory.fail_next_commit(CommitError::Refused(StoreError::Damaged(
        "page 3".to_owned(),
    )));
    memory.fail_next_commit(CommitError::Refused(StoreError::Busy));
    bookd.advance(3_600).await;
    bookd.advance(60).await;
    assert_eq!(
        bookd.revision().await,
        revision + 2,
        "both ends are recorded"
    );
    for name in ["ada", "bob"] {
        bookd.book(at(name, "10:00")).await.unwrap();
    }
    bookd.stop().await;
}

/// A hold that cannot be read expires without a record: no call waits for it, and the writer does
/// not retry for ever.
#[tokio::test]
async fn an_expiry_that_meets_damage_keeps_nobody() {
    let bookd = Bookd::start().await;
    for name in ["ada", "bob"] {
        bookd.open(name, "09:00", "17:00").await;
    }
    let hold = pb::HoldAppointmentRequest {
        calendar_id: "ada".to_owned(),
        local_start: "2027-01-04T10:00".to_owned(),
        ..Default::default()
    };
    bookd.booking().hold_appointment(hold).await.unwrap();
    let folder = bookd.stop_and_keep().await;
    raw(folder.path().join("bookd.db"))
        .execute_batch("update appointments set places = x'ff'")
        .unwrap();
    let settings = Settings {
        is_clock_confirmed: true,
        ..Settings::default()
    };
    let bookd = Bookd::start_in_folder(folder, "2027-01-04T08:00:00Z", settings).await;
    let revision = bookd.revision().await;
    bookd.advance(3_600).await;
    bookd.book(at("bob", "10:00")).await.unwrap();
    assert_eq!(
        bookd.revision().await,
        revision + 1,
        "what ran out is not recorded"
    );
    bookd.stop().await;
}
