//! A store that believed a wrong clock is repaired by `bookd clock reset`, and goes on at the right
//! time.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use bookd::clock::{Clock, SystemClock};
use bookd::engine::Settings;
use bookd::proto::v1 as pb;
use bookd_core::time::{DAY, Instant, MINUTE};
use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;

use crate::clock::{YEARS, state_of};
use crate::harness::Bookd;
use crate::kill::Process;
use crate::people::said;
use crate::words::{booking, refused};

/// This instant plus so many days, in UTC, to the minute.
fn local(now: Instant, days: i64) -> String {
    now.plus(days * DAY).to_string()[..16].to_owned()
}

/// A store that was right for a while and then believed a clock ten years ahead.
struct Poisoned {
    folder: TempDir,
    /// The id of a hold that was made by the wrong clock.
    hold: String,
    /// The id of a hold that was made before, and expired by the wrong clock.
    expired: String,
    /// The right time.
    now: Instant,
    /// The last revision before the wrong clock.
    right: i64,
    revision: i64,
}

impl Poisoned {
    async fn new() -> Self {
        let now = SystemClock.now();
        let bookd = Bookd::start_with(&now.to_string(), Settings::default()).await;
        bookd.hours("ada", "UTC", &[("00:00", "24:00")]).await;
        bookd.booked("ada", &on_the_hour(now, 2)).await;
        let expired = bookd.hold("ada", &on_the_hour(now, 3)).await.appointment_id;
        let right = bookd.revision().await;
        bookd.jump(YEARS).await;
        bookd.advance(60).await;
        let hold = bookd
            .hold("ada", &on_the_hour(now.plus(YEARS), 4))
            .await
            .appointment_id;
        let request = pb::BookAppointmentRequest {
            request_id: "wrong-clock".to_owned(),
            ..booking("ada", &on_the_hour(now.plus(YEARS), 5))
        };
        bookd.book(request).await.unwrap();
        let revision = bookd.revision().await;
        assert!(
            revision >= right + 3,
            "the hold that the wrong clock let run out is recorded"
        );
        Self {
            folder: bookd.stop_and_keep().await,
            hold,
            expired,
            now,
            right,
            revision,
        }
    }

    fn reset(&self, more: &[&str]) -> Output {
        let store = format!("sqlite:{}", self.folder.path().join("bookd.db").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
        command
            .args(["clock", "reset", "--store", &store])
            .args(more)
            .output()
            .unwrap()
    }

    fn reset_json(&self, more: &[&str]) -> Value {
        let output = self.reset(&[more, &["--json"]].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
    }
}

/// The full hour of this instant plus so many days.
fn on_the_hour(now: Instant, days: i64) -> String {
    let text = local(now, days);
    format!("{}:00", &text[..13])
}

fn checked(folder: &Path) -> Output {
    let store = format!("sqlite:{}", folder.join("bookd.db").display());
    Command::new(env!("CARGO_BIN_EXE_bookd"))
        .args(["check", "--store", &store])
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_store_that_believed_a_wrong_clock_comes_back_by_a_reset_that_says_first_what_it_means() {
    let poisoned = Poisoned::new().await;
    let shown = poisoned.reset(&[]);
    assert_eq!(shown.status.code(), Some(2), "{}", said(&shown));
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    for word in [
        "ahead of the clock",
        "they stay EXPIRED",
        "they will end",
        "they stay as they are",
    ] {
        assert!(text.contains(word), "{text}");
    }
    let dry = poisoned.reset_json(&["--dry-run"]);
    assert_eq!(dry["revision"], poisoned.revision, "nothing was changed");
    assert_eq!(
        (&dry["needed"], &dry["done"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        (&dry["expired"], &dry["holds_shortened"]),
        (&1.into(), &1.into())
    );
    assert_eq!(dry["first_revision_ahead"], poisoned.right + 1);
    assert_eq!(dry["changes_ahead"], poisoned.revision - poisoned.right);

    let done = poisoned.reset_json(&["--yes"]);
    assert_eq!(
        (&done["done"], &done["reset_revision"]),
        (&true.into(), &(poisoned.revision + 1).into())
    );
    assert!(
        poisoned.reset_json(&["--yes"])["needed"] == false,
        "a second reset is not needed"
    );
    let check = checked(poisoned.folder.path());
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));

    served_after_reset(poisoned).await;
}

/// Asserts that a server after the reset keeps what people were told, and ends the hold of the
/// wrong clock in time.
async fn served_after_reset(poisoned: Poisoned) {
    let Poisoned {
        folder,
        hold,
        expired,
        now,
        revision,
        ..
    } = poisoned;
    let bookd = Bookd::start_in_folder(
        folder,
        &now.plus(5 * MINUTE).to_string(),
        Settings::default(),
    )
    .await;
    assert_eq!(bookd.revision().await, revision + 1);
    assert_eq!(
        state_of(&bookd, &expired).await,
        pb::AppointmentState::Expired,
        "an expiry that people were told of stays"
    );
    let held = bookd.appointment(&hold).await;
    assert_eq!(held.state(), pb::AppointmentState::Held);
    let until = held.expire_time.unwrap().seconds;
    assert!(
        (1..=31 * MINUTE).contains(&(until - now.seconds())),
        "{}",
        until - now.seconds()
    );
    bookd.booked("ada", &on_the_hour(now, 6)).await;
    bookd.advance(31 * MINUTE).await;
    assert_eq!(state_of(&bookd, &hold).await, pb::AppointmentState::Expired);
    let of_hold = pb::ListChangesRequest {
        appointment_id: hold,
        ..Default::default()
    };
    let changes = bookd
        .lists()
        .list_changes(of_hold)
        .await
        .unwrap()
        .into_inner()
        .changes;
    let kinds: Vec<_> = changes
        .iter()
        .map(|it| (it.command.as_str(), it.events[0].kind()))
        .collect();
    let expected = [
        ("Expiry", pb::ChangeKind::Expired),
        ("ClockReset", pb::ChangeKind::Shortened),
        ("HoldAppointment", pb::ChangeKind::Held),
    ];
    assert_eq!(kinds, expected);
    let folder = bookd.stop_and_keep().await;
    let check = checked(folder.path());
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
}

#[tokio::test]
async fn a_hold_of_the_wrong_clock_cannot_be_made_longer_after_the_reset() {
    let poisoned = Poisoned::new().await;
    assert!(poisoned.reset(&["--yes"]).status.success());
    let Poisoned {
        folder, hold, now, ..
    } = poisoned;
    let bookd = Bookd::start_in_folder(
        folder,
        &now.plus(5 * MINUTE).to_string(),
        Settings::default(),
    )
    .await;
    let before = bookd.appointment(&hold).await;
    bookd.advance(20 * MINUTE).await;
    let ttl = Some(prost_types::Duration {
        seconds: 30 * MINUTE,
        nanos: 0,
    });
    let extend = pb::ExtendHoldRequest {
        appointment_id: hold,
        ttl,
        ..Default::default()
    };
    let after = bookd
        .booking()
        .extend_hold(extend)
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    assert_eq!(after.expire_time, before.expire_time);
    bookd.stop().await;
}

#[tokio::test]
async fn what_the_wrong_clock_wrote_is_forgotten_in_time_though_its_time_has_not_come() {
    let poisoned = Poisoned::new().await;
    assert!(poisoned.reset(&["--yes"]).status.success());
    let Poisoned {
        folder,
        now,
        revision,
        ..
    } = poisoned;
    let settings = Settings {
        keep_changes: Some(DAY),
        is_clock_confirmed: true,
        ..Settings::default()
    };
    let bookd = Bookd::start_in_folder(folder, &now.plus(5 * MINUTE).to_string(), settings).await;
    bookd.advance(DAY / 2).await;
    bookd.booked("ada", &on_the_hour(now, 6)).await;
    let kept = bookd
        .engine()
        .read(None, |reader| reader.oldest_change())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.revision.0, 1, "nothing is a day old");
    bookd.advance(DAY / 2 + 10 * MINUTE).await;
    bookd.booked("ada", &on_the_hour(now, 7)).await;
    bookd.advance(2 * MINUTE).await;
    let kept = bookd
        .engine()
        .read(None, |reader| reader.oldest_change())
        .await
        .unwrap()
        .unwrap();
    assert!(
        i64::try_from(kept.revision.0).unwrap() > revision,
        "{kept:?}"
    );
    let request = || pb::BookAppointmentRequest {
        request_id: "wrong-clock".to_owned(),
        ..booking("ada", &on_the_hour(now.plus(YEARS), 5))
    };
    assert!(
        bookd.book(request()).await.is_ok(),
        "the request is still remembered"
    );
    bookd.advance(9 * DAY).await;
    for hour in 0..70 {
        let start = now.plus(10 * DAY + (hour + 24) * 3_600);
        bookd.booked("ada", &on_the_hour(start, 0)).await;
    }
    let refusal = refused(bookd.book(request()).await);
    assert!(
        refusal.is(Code::FailedPrecondition, "SLOT_UNAVAILABLE"),
        "the request is new again: {refusal:?}"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_backup_of_a_store_that_was_reset_is_restored_at_the_right_time() {
    let poisoned = Poisoned::new().await;
    assert!(poisoned.reset(&["--yes"]).status.success());
    let folder = poisoned.folder.path();
    let [from, copy, to] =
        ["bookd.db", "copy.db", "new.db"].map(|it| folder.join(it).display().to_string());
    let bookd = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_bookd"))
            .args(words)
            .output()
            .unwrap()
    };
    let backup = bookd(&["backup", &copy, "--store", &format!("sqlite:{from}")]);
    assert!(backup.status.success(), "{}", said(&backup));
    let restored = bookd(&[
        "restore",
        &copy,
        "--store",
        &format!("sqlite:{to}"),
        "--json",
    ]);
    assert!(restored.status.success(), "{}", said(&restored));
    let store = format!("sqlite:{to}");
    let again = bookd(&["clock", "reset", "--json", "--dry-run", "--store", &store]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(
        again["needed"], false,
        "the mark of the restore has the time of the last change: {again:#}"
    );
    let check = bookd(&["check", "--store", &store]);
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
}

#[tokio::test]
async fn a_store_that_is_not_ahead_in_use_or_not_there_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bookd.db");
    let reset = || {
        let store = format!("sqlite:{}", file.display());
        Command::new(env!("CARGO_BIN_EXE_bookd"))
            .args(["clock", "reset", "--yes", "--store", &store])
            .output()
            .unwrap()
    };
    let absent = reset();
    assert_eq!(absent.status.code(), Some(4), "{}", said(&absent));
    let process = Process::start(&file);
    let in_use = reset();
    assert_eq!(in_use.status.code(), Some(7), "{}", said(&in_use));
    assert!(process.terminate().success());
    let right = reset();
    assert_eq!(right.status.code(), Some(0), "{}", said(&right));
    assert!(
        String::from_utf8_lossy(&right.stdout).contains("Nothing to do"),
        "{}",
        said(&right)
    );
}

#[tokio::test]
async fn a_watcher_goes_on_over_a_reset_in_order_and_without_a_gap() {
    let poisoned = Poisoned::new().await;
    assert!(poisoned.reset(&["--yes"]).status.success());
    let Poisoned {
        folder,
        now,
        right,
        revision,
        ..
    } = poisoned;
    let bookd = Bookd::start_in_folder(
        folder,
        &now.plus(5 * MINUTE).to_string(),
        Settings::default(),
    )
    .await;
    bookd.booked("ada", &on_the_hour(now, 6)).await;
    let request = pb::WatchAppointmentsRequest {
        start_revision: right,
        ..Default::default()
    };
    let mut stream = bookd
        .lists()
        .watch_appointments(request)
        .await
        .unwrap()
        .into_inner();
    let mut revisions = Vec::new();
    while revisions.last() != Some(&(revision + 2)) {
        let message = tokio::time::timeout(Duration::from_secs(20), stream.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        if let Some(pb::watch_appointments_response::Message::Change(change)) = message.message {
            revisions.push(change.revision);
        }
    }
    assert_eq!(revisions, (right..=revision + 2).collect::<Vec<_>>());
    drop(stream);
    bookd.stop().await;
}
