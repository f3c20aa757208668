//! What a caller is told when the store fails, and that it is true.
//!
//! UNAVAILABLE means that nothing happened. UNKNOWN means that nobody knows, and the same request id finds out.

use std::time::Duration;

use bookd::engine::Stopped;
use bookd::proto::v1 as pb;
use bookd::store::memory::Memory;
use bookd::store::{CommitError, StoreError};
use tonic::Code;

use crate::harness::{Bookd, at};
use crate::words::{Refused, refused};

fn memory() -> Memory {
    Memory::new(7)
}

fn once(clock: &str) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest { request_id: format!("once-{clock}"), ..at("ada", clock) }
}

fn says_when_to_come_again(refused: &Refused) -> bool {
    refused.details.retry_info().is_some_and(|it| it.retry_delay.is_some())
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
        assert!(refused.is(Code::Unavailable, "STORE_UNAVAILABLE"), "{error}: {refused:?}");
        assert!(says_when_to_come_again(&refused));
        assert_eq!(bookd.revision().await, revision, "{error}");
        assert!(bookd.offered("ada", "2027-01-04").await.unwrap().contains(&"10:00".to_owned()), "reads go on");
    }
    // What was refused is not remembered: the same request id books now.
    bookd.book(once("10:00")).await.unwrap();
    assert_eq!(bookd.revision().await, revision + 1, "no revision was spent");
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
        match is_lost_after_the_fact {
            true => memory.lose_next_commit(error),
            false => memory.fail_next_commit(CommitError::Unknown(error)),
        }
        let unknown = refused(bookd.book(once("10:00")).await);
        assert!(unknown.is(Code::Unknown, "COMMIT_UNKNOWN"), "{unknown:?}");
        // Nobody is told what nobody knows: reads and writes end until a restart has looked.
        bookd.writer_stopped().await;
        let late = refused(bookd.book(once("11:00")).await);
        assert!(late.is(Code::Unavailable, "SHUTTING_DOWN") && says_when_to_come_again(&late), "{late:?}");
        let list = pb::ListAppointmentsRequest { calendar_id: "ada".to_owned(), ..Default::default() };
        let read = tokio::time::timeout(Duration::from_secs(5), bookd.lists().list_appointments(list)).await;
        let read = refused(read.expect("a read is refused at once"));
        assert!(read.is(Code::Unavailable, "SHUTTING_DOWN") && says_when_to_come_again(&read), "{read:?}");
        assert!(matches!(bookd.failed().await, Stopped::Failed(_)));
        let bookd = Bookd::start_on(Box::new(memory.clone())).await;
        assert_eq!(bookd.revision().await, revision + i64::from(is_lost_after_the_fact));
        let booked = bookd.book(once("10:00")).await.unwrap();
        assert_eq!(bookd.revision().await, revision + 1, "one effect, whenever it happened");
        assert_eq!(bookd.book(once("10:00")).await.unwrap(), booked);
        bookd.stop().await;
    }
}

#[tokio::test]
async fn damaged_data_stops_the_writer() {
    let memory = memory();
    let bookd = Bookd::start_on(Box::new(memory.clone())).await;
    bookd.open("ada", "09:00", "17:00").await;
    memory.fail_next_commit(CommitError::Refused(StoreError::Damaged("page 3".to_owned())));
    let refused = refused(bookd.book(once("10:00")).await);
    assert!(refused.is(Code::Unavailable, "STORE_UNAVAILABLE"), "{refused:?}");
    assert!(matches!(bookd.failed().await, Stopped::Failed(why) if why.contains("page 3")));
}

#[tokio::test]
async fn damage_that_only_housekeeping_meets_stops_the_writer_too_and_a_refusal_does_not() {
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
                update_mask: Some(prost_types::FieldMask { paths: vec!["note".to_owned()] }),
                ..Default::default()
            };
            let updated = bookd.booking().update_appointment(update).await?.into_inner();
            booked = updated.appointment.unwrap();
        }
        Ok::<_, tonic::Status>(())
    };
    memory.fail_next_forgetting(CommitError::Refused(StoreError::Busy));
    batches(&bookd).await.unwrap();
    memory.fail_next_forgetting(CommitError::Refused(StoreError::Damaged("page 5".to_owned())));
    // The last of them may still be answered.
    let _its_answer = batches(&bookd).await;
    assert!(matches!(bookd.failed().await, Stopped::Failed(why) if why.contains("page 5")));
}
