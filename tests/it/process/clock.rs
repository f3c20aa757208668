//! A clock that jumps is not believed at once; meanwhile nothing is written by it, and nothing
//! forgotten.

use bookd::engine::Settings;
use bookd::proto::v1 as pb;
use bookd_core::time::DAY;
use tonic::Code;

use crate::harness::Bookd;
use crate::words::{Refused, booking, refused};

const NOW: &str = "2027-03-01T08:00:00Z";
/// Seconds by which a wrong clock is ahead.
pub const YEARS: i64 = 3_650 * DAY;

pub async fn state_of(bookd: &Bookd, appointment_id: &str) -> pb::AppointmentState {
    bookd.appointment(appointment_id).await.state()
}

#[tokio::test]
async fn for_a_clock_that_jumps_slots_are_offered_and_holds_run_out_as_if_it_had_not_and_nothing_is_written()
 {
    for jump in [23 * 3_600, -23 * 3_600] {
        let bookd = Bookd::start_with(NOW, Settings::default()).await;
        bookd.hours("ada", "UTC", &[("09:00", "17:00")]).await;
        let hold = bookd.hold("ada", "2027-03-01T10:00").await.appointment_id;
        let (offered, revision) = (
            bookd.starts("ada", "UTC", "2027-03-01").await,
            bookd.revision().await,
        );
        bookd.jump(jump).await;
        assert_eq!(bookd.starts("ada", "UTC", "2027-03-01").await, offered);
        assert_eq!(state_of(&bookd, &hold).await, pb::AppointmentState::Held);
        let status = bookd
            .book(booking("ada", "2027-03-01T15:00"))
            .await
            .unwrap_err();
        assert!(
            status
                .message()
                .contains(&format!("the clock jumped by {jump} seconds")),
            "{status:?}"
        );
        assert!(
            Refused::of(&status).is(Code::Unavailable, "STORE_UNAVAILABLE"),
            "{status:?}"
        );
        bookd.advance(59).await;
        assert!(
            bookd
                .book(booking("ada", "2027-03-01T15:00"))
                .await
                .is_err()
        );
        assert_eq!(bookd.revision().await, revision);
        bookd.jump(-jump).await;
        assert!(
            bookd
                .book(booking("ada", "2027-03-01T15:00"))
                .await
                .is_err(),
            "the way back is a jump too"
        );
        bookd.advance(60).await;
        bookd.booked("ada", "2027-03-01T15:00").await;
        bookd.stop().await;
    }
}

#[tokio::test]
async fn a_hold_runs_out_in_its_time_while_the_clock_is_not_believed_and_that_is_recorded_when_it_is()
 {
    let bookd = Bookd::start_with(NOW, Settings::default()).await;
    bookd.hours("ada", "UTC", &[("09:00", "17:00")]).await;
    let hold = bookd.hold("ada", "2027-03-01T10:00").await.appointment_id;
    bookd.advance(280).await;
    bookd.jump(-7_200).await;
    assert_eq!(state_of(&bookd, &hold).await, pb::AppointmentState::Held);
    bookd.advance(30).await;
    assert_eq!(
        state_of(&bookd, &hold).await,
        pb::AppointmentState::Expired,
        "by the clock of the boot"
    );
    let revision = bookd.revision().await;
    bookd.jump(7_200).await;
    bookd.advance(60).await;
    assert_eq!(
        (bookd.revision().await, state_of(&bookd, &hold).await),
        (revision + 1, pb::AppointmentState::Expired)
    );
    bookd.stop().await;
}

#[tokio::test]
async fn what_is_loaded_by_a_clock_that_is_years_ahead_and_was_believed_forgets_no_claim() {
    let bookd = Bookd::start_with(NOW, Settings::default()).await;
    bookd.hours("ada", "UTC", &[("09:00", "17:00")]).await;
    bookd.booked("ada", "2027-03-02T10:00").await;
    let bookd = bookd.restart().await;
    bookd.jump(YEARS).await;
    bookd.advance(60).await;
    assert!(
        !bookd.starts("ada", "UTC", "2037-03-02").await.is_empty(),
        "the calendar is loaded, and nothing is written"
    );
    bookd.jump(-YEARS).await;
    bookd.advance(60).await;
    let refusal = refused(bookd.book(booking("ada", "2027-03-02T10:00")).await);
    assert!(refusal.is(Code::Aborted, "SLOT_TAKEN"), "{refusal:?}");
    bookd.stop().await;
}
