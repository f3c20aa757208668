//! Deletions by force of calendars with many appointments, by an engine: staged in slices while
//! other commands go on, committed as one change, and settled later.
//!
//! Every reader sees the same as after a deletion at once. If its caller goes away, a deletion
//! happens as a whole or not at all.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bookd::clock::ManualClock;
use bookd::engine::{
    Answer, DeletionSettings, Engine, Failure, RequestId, RunningEngine, Settings, SubmitOptions,
};
use bookd::layout::Layout;
use bookd::store::Reader;
use bookd::store::sqlite::Sqlite;
use bookd_core::command::Command;
use bookd_core::ids::{Etag, Revision};
use bookd_core::log::LogEntry;
use bookd_core::refusal::Refusal;
use bookd_core::time::MINUTE;
use tempfile::TempDir;

use crate::staged_deletion::{Seen, checked_copy, commands, delete, left, seen};
use crate::stored::{
    CODE_KEY, MONDAY, appointment_id, at_hour, booking, cancel, history, id, of_calendar, raw,
    zones,
};
use bookd_kit::log::whole_log;

/// An engine on a file, with its settings for slices.
struct Served {
    folder: TempDir,
    clock: ManualClock,
    engine: Engine,
    _running: RunningEngine,
}

impl Served {
    fn start(deletion_settings: DeletionSettings) -> Self {
        let folder = TempDir::new().unwrap();
        let clock = ManualClock::new(MONDAY);
        let (engine, running) = start(&folder, &clock, deletion_settings);
        Self {
            folder,
            clock,
            engine,
            _running: running,
        }
    }

    async fn run(&self, command: Command) -> Result<Answer, Failure> {
        self.engine.submit(command, SubmitOptions::default()).await
    }

    async fn with(deletion_settings: DeletionSettings) -> Self {
        let served = Self::start(deletion_settings);
        for command in commands() {
            served.run(command).await.unwrap();
        }
        served
    }

    async fn seen(&self) -> Seen {
        self.engine
            .read(None, |reader| Ok(seen(reader)))
            .await
            .unwrap()
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("bookd.db")
    }

    /// Lets the writer run until it has nothing left to settle.
    async fn settle(&self) {
        for _ in 0..100 {
            self.engine.tick().await.unwrap();
        }
    }
}

fn start(
    folder: &TempDir,
    clock: &ManualClock,
    deletion_settings: DeletionSettings,
) -> (Engine, RunningEngine) {
    let store = Sqlite::open(&folder.path().join("bookd.db"), zones(), CODE_KEY).unwrap();
    let settings = Settings {
        layout: Layout::Inline,
        is_clock_confirmed: true,
        deletion_settings,
        ..Settings::default()
    };
    Engine::start(Box::new(store), Arc::new(clock.clone()), settings).unwrap()
}

const TINY: DeletionSettings = DeletionSettings {
    direct_max: 0,
    slice_size: 1,
};

/// The result of a future if it is ready.
fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_deletion_in_slices_and_one_at_once_show_the_same() {
    let (in_slices, at_once) = (
        Served::with(TINY).await,
        Served::with(DeletionSettings::default()).await,
    );
    assert_eq!(in_slices.seen().await, at_once.seen().await);
    let wrong = delete(Some(Etag::of(b"other", Revision(1))));
    let request = RequestId {
        hash: [1; 16],
        fingerprint: [2; 16],
    };
    let named = || SubmitOptions {
        request: Some(request),
        ..SubmitOptions::default()
    };
    for served in [&in_slices, &at_once] {
        let refused = served.run(wrong.clone()).await;
        assert!(
            matches!(&refused, Err(Failure::Refused(it)) if matches!(**it, Refusal::EtagMismatch { .. }))
        );
        let done = served.engine.submit(delete(None), named()).await.unwrap();
        let again = served.engine.submit(delete(None), named()).await.unwrap();
        assert_eq!(
            (again.revision, served.engine.revision()),
            (done.revision, done.revision)
        );
        assert!(
            matches!(served.run(delete(None)).await, Err(Failure::Refused(_))),
            "the calendar is deleted"
        );
    }
    assert_eq!(in_slices.seen().await, at_once.seen().await);
    in_slices.settle().await;
    assert_eq!(left(&in_slices.file()).0, 0);
    assert!(
        left(&in_slices.file()).1 > 0,
        "the deletion was made in slices"
    );
    assert_eq!(left(&at_once.file()), (0, 0));
    assert_eq!(in_slices.seen().await, at_once.seen().await);
    assert_eq!(checked_copy(&in_slices.file()), (Vec::new(), 0));
}

#[tokio::test]
async fn others_go_on_between_the_slices_and_commands_on_the_calendar_wait_for_the_end() {
    let served = Served::with(TINY).await;
    let mut deletion = pin!(served.run(delete(None)));
    assert!(poll(deletion.as_mut()).is_none());
    served.engine.tick().await.unwrap();
    let mut on_it = pin!(served.run(Command::Book(booking(30, "ada", at_hour(30)))));
    let mut cancellation = pin!(served.run(cancel(appointment_id(1))));
    let mut others = 0;
    let done = loop {
        if let Some(done) = poll(deletion.as_mut()) {
            break done;
        }
        assert!(
            poll(on_it.as_mut()).is_none() && poll(cancellation.as_mut()).is_none(),
            "after {others}"
        );
        let number = 100 + others;
        let hour = at_hour(100 + i64::try_from(others).unwrap());
        served
            .run(Command::Book(booking(number, "bob", hour)))
            .await
            .unwrap();
        others += 1;
    };
    done.unwrap();
    assert!(others > 8, "{others}");
    let refused = on_it.await;
    assert!(
        matches!(&refused, Err(Failure::Refused(it)) if matches!(**it, Refusal::CalendarNotFound(_))),
        "{refused:?}"
    );
    // The appointment is cancelled by now, and was not before.
    assert_eq!(
        cancellation.await.unwrap().revision,
        served.engine.revision()
    );
}

#[tokio::test]
async fn a_deletion_that_nobody_waits_for_any_more_did_not_happen() {
    let served = Served::with(TINY).await;
    let before = served.seen().await;
    for steps in [1, 3, 7] {
        let mut deletion = Box::pin(served.run(delete(None)));
        for _ in 0..steps {
            assert!(poll(deletion.as_mut()).is_none());
            served.engine.tick().await.unwrap();
        }
        let mut on_it = pin!(served.run(cancel(appointment_id(4))));
        assert!(poll(on_it.as_mut()).is_none());
        served.engine.tick().await.unwrap();
        assert!(poll(on_it.as_mut()).is_none());
        drop(deletion);
        on_it.await.unwrap();
        served.settle().await;
        assert_eq!(left(&served.file()), (0, 0), "after {steps} steps");
        assert_eq!(served.seen().await, before);
    }
    served.run(delete(None)).await.unwrap();
}

#[tokio::test]
async fn what_runs_out_while_a_deletion_is_prepared_has_run_out() {
    let served = Served::with(TINY).await;
    let mut deletion = Box::pin(served.run(delete(None)));
    for _ in 0..4 {
        assert!(poll(deletion.as_mut()).is_none());
        served.engine.tick().await.unwrap();
    }
    // The hold of both calendars expires first, then the other one.
    for _ in 0..20 {
        served.clock.advance(MINUTE);
        served.engine.tick().await.unwrap();
    }
    deletion.await.unwrap();
    served.settle().await;
    let states = |number: u128| {
        let id = appointment_id(number);
        let ask = move |reader: &mut dyn Reader| Ok(reader.appointments(&[id])?.0.remove(0).state);
        served.engine.read(None, ask)
    };
    use bookd_core::appointment::AppointmentState::{Cancelled, Expired};
    let mut found = Vec::new();
    for number in [1, 9, 20, 22, 23] {
        found.push(states(number).await.unwrap());
    }
    assert_eq!(found, [Cancelled, Cancelled, Cancelled, Expired, Expired]);
    let histories = served.engine.read(None, |reader| {
        let of_ada = history(reader, &of_calendar(&id("ada"), None, 1_000))?.unwrap();
        let touches = |it: &LogEntry| it.touched().any(|it| it.calendar == id("ada"));
        let touched: Vec<Revision> = whole_log(reader)
            .iter()
            .filter(|it| touches(it))
            .map(|it| it.revision)
            .collect();
        Ok((
            of_ada
                .iter()
                .rev()
                .map(|it| it.revision)
                .collect::<Vec<_>>(),
            touched,
        ))
    });
    let (of_ada, touched) = histories.await.unwrap();
    assert_eq!(of_ada, touched, "the history misses no change");
    assert_eq!(checked_copy(&served.file()), (Vec::new(), 0));
}

#[tokio::test]
async fn two_deletions_have_their_turns_and_each_goes_by_slices() {
    let served = Served::with(TINY).await;
    for number in 50..60 {
        served
            .run(Command::Book(booking(
                number,
                "bob",
                at_hour(i64::try_from(number).unwrap()),
            )))
            .await
            .unwrap();
    }
    let of_bob = Command::DeleteCalendar {
        calendar: id("bob"),
        force: true,
        etag: None,
        beforehand: None,
    };
    let (ada, bob) = tokio::join!(served.run(delete(None)), served.run(of_bob));
    assert!(ada.is_ok() && bob.is_ok(), "{ada:?} {bob:?}");
    served.settle().await;
    let staged = "select count(distinct segments) from changes where segments is not null";
    let staged: i64 = raw(served.file())
        .query_row(staged, [], |row| row.get(0))
        .unwrap();
    assert_eq!(
        (staged, left(&served.file()).0),
        (2, 0),
        "each deletion is one change with its staged events"
    );
    assert_eq!(checked_copy(&served.file()), (Vec::new(), 0));
}

#[tokio::test]
async fn whenever_its_caller_goes_away_a_deletion_is_whole_or_has_not_happened_and_never_at_once() {
    let mut made = Vec::new();
    for steps in 1..40 {
        let served = Served::with(TINY).await;
        let mut deletion = Box::pin(served.run(delete(None)));
        let mut is_answered = false;
        for _ in 0..steps {
            is_answered = is_answered || poll(deletion.as_mut()).is_some();
            tokio::task::yield_now().await;
        }
        drop(deletion);
        served.settle().await;
        let (deletions, segments) = left(&served.file());
        let is_gone = matches!(served.run(delete(None)).await, Err(Failure::Refused(_)));
        assert_eq!(
            (deletions, is_gone),
            (0, segments > 0),
            "after {steps} steps, made in slices or not at all"
        );
        assert!(is_gone || !is_answered, "after {steps} steps");
        made.push(is_gone);
    }
    assert!(made.contains(&false) && made.contains(&true), "{made:?}");
}

#[tokio::test]
async fn a_start_goes_on_with_what_was_left_to_settle() {
    let served = Served::with(TINY).await;
    let mut deletion = Box::pin(served.run(delete(None)));
    let (folder, clock) = loop {
        if poll(deletion.as_mut()).is_some() {
            drop(deletion);
            let Served {
                folder,
                clock,
                engine,
                _running: running,
            } = served;
            engine.cut();
            drop(engine);
            running.stopped().await;
            break (folder, clock);
        }
        served.engine.tick().await.unwrap();
    };
    assert_eq!(
        left(&folder.path().join("bookd.db")).0,
        1,
        "the engine stopped in the middle of settling"
    );
    let (engine, running) = start(&folder, &clock, TINY);
    let served = Served {
        folder,
        clock,
        engine,
        _running: running,
    };
    served.settle().await;
    assert_eq!(left(&served.file()).0, 0);
    assert_eq!(checked_copy(&served.file()), (Vec::new(), 0));
}
