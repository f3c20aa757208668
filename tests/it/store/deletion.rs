//! Deletions by force of calendars with many appointments: prepared while others go on, one change, and settled later.
//! At every moment a file shows the same as one where all was done at once.

use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bookd::clock::ManualClock;
use bookd::engine::{
    Answer, DeletionSettings, Engine, Failure, RequestId, RunningEngine, Settings, SubmitOptions,
};
use bookd::layout::Layout;
use bookd::store::sqlite::Sqlite;
use bookd::store::{ListQuery, Reader};
use bookd_core::appointment::Appointment;
use bookd_core::change::{AppointmentEvent, Event};
use bookd_core::command::{Beforehand, Booking, Command};
use bookd_core::deletion::{STAMPS, Staged, cancelled_with_calendar, is_staged};
use bookd_core::ids::{AppointmentKey, Etag, Revision};
use bookd_core::log::{LogEntry, LogEvent};
use bookd_core::refusal::Refusal;
use bookd_core::time::{MINUTE, Seconds};
use tempfile::TempDir;

use crate::check_derived::checked;
use crate::stored::{
    CODE_KEY, MONDAY, World, always_open, appointment_id, at_hour, booking, cancel, history, id,
    of_calendar, profile, query, raw, zones,
};
use bookd_kit::log::whole_log;

fn hold(booking: Booking, minutes: i64) -> Command {
    Command::Hold {
        booking,
        ttl: Seconds::new(minutes * MINUTE).unwrap(),
    }
}

/// Of `ada` and `bob` each kind of appointment that a deletion of `ada` meets: confirmed, of both, held, held of both,
/// cancelled; and one of `bob` alone.
fn commands() -> Vec<Command> {
    let both = |number, hour| Booking {
        calendars: vec![id("ada"), id("bob")],
        ..booking(number, "ada", at_hour(hour))
    };
    let calendar = |name: &str| {
        let utc = zones()("UTC").unwrap();
        let create = Command::CreateCalendar {
            calendar: id(name),
            profile: profile("UTC"),
        };
        [
            create,
            Command::SetAvailability {
                calendar: id(name),
                zone: None,
                utc,
                rules: always_open(),
                etag: None,
            },
        ]
    };
    let booked = |number: u128| {
        Command::Book(booking(
            number,
            "ada",
            at_hour(i64::try_from(number).unwrap()),
        ))
    };
    let mut commands: Vec<Command> = ["ada", "bob"].into_iter().flat_map(calendar).collect();
    commands.extend((1..=9).map(booked));
    commands.push(Command::Book(both(20, 20)));
    commands.push(Command::Book(booking(21, "bob", at_hour(1))));
    commands.push(hold(booking(22, "ada", at_hour(22)), 20));
    commands.push(hold(both(23, 23), 10));
    commands.push(cancel(appointment_id(4)));
    commands
}

fn delete(etag: Option<Etag>) -> Command {
    Command::DeleteCalendar {
        calendar: id("ada"),
        force: true,
        etag,
        beforehand: None,
    }
}

/// Events in the order of their appointments, without what came before on calendars.
fn alike(log: Vec<LogEntry>) -> Vec<LogEntry> {
    let alike = |mut entry: LogEntry| {
        entry
            .events
            .iter_mut()
            .flat_map(|it| &mut it.calendars)
            .for_each(|it| it.previous = Revision(0));
        entry.events.sort_by_key(|it| {
            it.appointment()
                .map_or(AppointmentKey(u64::MAX), |it| it.key)
        });
        entry
    };
    log.into_iter().map(alike).collect()
}

/// The lists that a file shows, by everything they can go by.
fn lists(reader: &mut dyn Reader) -> Vec<Vec<Appointment>> {
    let of_series = ListQuery {
        calendar: None,
        series: Some(crate::stored::of_series(7).series),
        ..query()
    };
    let email = Some(crate::stored::invitee().email.key);
    let of_email = ListQuery {
        calendar: None,
        email,
        ..query()
    };
    let by_state = query().states.into_iter().map(|state| ListQuery {
        states: vec![state],
        ..query()
    });
    let of_bob = ListQuery {
        calendar: Some(id("bob")),
        ..query()
    };
    let all = [query(), of_bob, of_series, of_email]
        .into_iter()
        .chain(by_state);
    all.map(|query| reader.list_appointments(&query).unwrap().appointments)
        .collect()
}

/// Everything that a reader can see: appointments, lists, the log, and the histories of calendars.
type Seen = (
    Vec<Appointment>,
    Vec<Vec<Appointment>>,
    Vec<LogEntry>,
    Vec<Vec<LogEntry>>,
);

fn seen(reader: &mut dyn Reader) -> Seen {
    let all = reader
        .appointments_after(AppointmentKey::default(), 1_000)
        .unwrap()
        .0;
    let of = |name| {
        alike(
            history(reader, &of_calendar(&id(name), None, 1_000))
                .unwrap()
                .unwrap(),
        )
    };
    let histories = ["ada", "bob"].map(of).to_vec();
    (all, lists(reader), alike(whole_log(reader)), histories)
}

fn left(file: &Path) -> (i64, i64) {
    let count = |sql| raw(file).query_row(sql, [], |row| row.get(0)).unwrap();
    (
        count("select count(*) from deletions"),
        count("select count(*) from change_segments where revision < 0"),
    )
}

/// What `bookd check` finds in a file that is open.
fn checked_copy(file: &Path) -> (Vec<String>, i32) {
    let folder = TempDir::new().unwrap();
    for name in ["bookd.db", "bookd.db-wal"] {
        std::fs::copy(file.with_file_name(name), folder.path().join(name)).unwrap();
    }
    checked(folder.path())
}

#[test]
fn what_a_deletion_cancels_is_shown_with_its_change_though_the_rows_come_later() {
    let (mut memory, mut sqlite) = (World::memory(), World::sqlite());
    for world in [&mut memory, &mut sqlite] {
        commands().iter().for_each(|it| drop(world.run(it)));
    }
    let folder = sqlite.folder.clone().unwrap();
    let file = folder.path().join("bookd.db");
    let unchanged = seen(&mut *memory.store().reader().unwrap());
    // One is begun and does not come to be.
    let began = sqlite.now;
    let abandoned = sqlite
        .store()
        .begin_deletion(&id("ada"), began)
        .unwrap()
        .unwrap();
    let upcoming: Vec<AppointmentKey> =
        sqlite.state.calendars[&id("ada")].upcoming(began).collect();
    let of = |key: &AppointmentKey| {
        sqlite
            .state
            .appointments
            .values()
            .find(|it| it.key == *key)
            .unwrap()
            .clone()
    };
    let mut all: Vec<Arc<Appointment>> = upcoming.iter().map(of).collect();
    all.sort_by_key(|it| it.key);
    let (staged, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| is_staged(it, began));
    assert_eq!((staged.len(), others.len()), (8, 3));
    let event = |before: &Arc<Appointment>| {
        let (kind, after) = (
            AppointmentEvent::Cancelled,
            Arc::new(cancelled_with_calendar(before, STAMPS)),
        );
        LogEvent::new(
            &Event::Appointment {
                kind,
                before: Some(Arc::clone(before)),
                after,
            },
            |_| STAMPS.1,
        )
    };
    let events: Vec<LogEvent> = staged.iter().map(event).collect();
    sqlite.store().stage(abandoned, 0, &events[..3]).unwrap();
    let number = sqlite
        .store()
        .begin_deletion(&id("ada"), began)
        .unwrap()
        .unwrap();
    assert_ne!(number, abandoned);
    for (before, events) in [(0, &events[..3]), (3, &events[3..6]), (6, &events[6..])] {
        sqlite.store().stage(number, before, events).unwrap();
        assert_eq!(
            seen(&mut *sqlite.store().reader().unwrap()),
            unchanged,
            "nobody sees what is staged"
        );
    }
    assert_eq!(checked_copy(&file), (Vec::new(), 0), "staged");

    // The change.
    let staged_all = Staged {
        number,
        events: staged.len() as u64,
        began,
    };
    let others = others.iter().map(|it| it.id).collect();
    let beforehand = Some(Box::new(Beforehand {
        staged: staged_all,
        others,
    }));
    sqlite.run(&Command::DeleteCalendar {
        calendar: id("ada"),
        force: true,
        etag: None,
        beforehand,
    });
    memory.run(&delete(None));
    for it in &staged {
        let after = cancelled_with_calendar(it, (sqlite.now, sqlite.state.revision));
        sqlite.state.appointments.insert(it.id, Arc::new(after));
    }
    let wanted = seen(&mut *memory.store().reader().unwrap());
    let mut settled = 0;
    loop {
        assert_eq!(
            seen(&mut *sqlite.store().reader().unwrap()),
            wanted,
            "after {settled} steps"
        );
        sqlite.check();
        assert_eq!(
            checked_copy(&file),
            (Vec::new(), 0),
            "after {settled} steps"
        );
        if !sqlite.store().settle(2, None).unwrap() {
            break;
        }
        settled += 1;
    }
    assert!(settled > 4, "{settled}");
    assert_eq!(left(&file).0, 0);
    let segments: i64 = raw(&file)
        .query_row(
            "select count(distinct revision) from change_segments where revision < 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(segments, 1, "those of the change alone");
}

/// An engine on a file, whose deletions go by such slices.
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

    /// Gives the writer turns until it has nothing left to do.
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

/// What comes of it without waiting for anybody.
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
            "it is gone"
        );
    }
    assert_eq!(in_slices.seen().await, at_once.seen().await);
    in_slices.settle().await;
    assert_eq!(left(&in_slices.file()).0, 0);
    assert!(left(&in_slices.file()).1 > 0, "it went by slices");
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
    // It is cancelled already, and was not before.
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
    // Of the two holds first the one that takes `bob` too, then the other.
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
    let told = served.engine.read(None, |reader| {
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
    let (of_ada, touched) = told.await.unwrap();
    assert_eq!(of_ada, touched, "none is passed over");
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
        "each is one change with what was staged for it"
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
        "it stopped in the middle"
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
