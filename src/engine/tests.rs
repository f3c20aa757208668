//! Tests of the engine: what its callers get when the writer has ended, and what it drops from
//! memory.
//!
//! The store is the one in memory.

use std::pin::pin;
use std::task::{Context, Waker as TaskWaker};

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::layout::Layout;
use crate::store::WatchFilter;
use crate::store::memory::Memory;
use bookd_core::calendar::Profile;
use bookd_core::calendar::appointment_type::Limits;
use bookd_core::calendar::availability::Availability;
use bookd_core::command::Command;
use bookd_core::command::ProfilePatch;
use bookd_core::ids::Etag;
use bookd_core::time::zone::Zone;

/// Longer than any call takes that does not wait.
const AT_ONCE: Duration = Duration::from_secs(5);

fn start(store: &Memory, layout: Layout) -> (Engine, RunningEngine) {
    let settings = Settings {
        layout,
        is_clock_confirmed: true,
        ..Settings::default()
    };
    Engine::start(Box::new(store.clone()), Arc::new(SystemClock), settings).unwrap()
}

fn id(name: &str) -> CalendarId {
    CalendarId::parse(name).unwrap()
}

fn create(name: &str) -> Command {
    let profile = Profile::open(Arc::new(Zone::utc()), Availability::default());
    Command::CreateCalendar {
        calendar: id(name),
        profile,
    }
}

#[tokio::test]
async fn what_a_reader_that_gave_up_had_asked_for_is_not_loaded() {
    let store = Memory::new(7);
    let calendar = id("ada");
    let (engine, running) = start(&store, Layout::Inline);
    engine
        .submit(create("ada"), SubmitOptions::default())
        .await
        .unwrap();
    drop(engine);
    assert_eq!(running.stopped().await, Stopped::Done);
    let (engine, _running) = start(&store, Layout::Inline);
    let is_loaded = || {
        engine
            .snapshots
            .view(std::slice::from_ref(&calendar), SystemClock.now())
            .is_some()
    };
    let wait = Wait::default();
    let ask = || engine.view(std::slice::from_ref(&calendar), &wait);
    assert!(
        pin!(ask())
            .poll(&mut Context::from_waker(TaskWaker::noop()))
            .is_pending()
    );
    engine.tick().await.unwrap();
    assert!(!is_loaded(), "nobody waits for it");
    ask().await.unwrap();
    assert!(is_loaded());
}

/// Calls `Engine::cut` when the command that holds it has been decided.
struct CutOnDrop(Engine);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cut();
    }
}

#[tokio::test]
async fn a_queue_that_is_cut_is_refused_from_the_next_command_on_and_what_was_decided_is_answered()
{
    for layout in [Layout::Threads, Layout::Inline] {
        let store = Memory::new(7);
        let (engine, running) = start(&store, layout);
        let cut_on_drop = SubmitOptions {
            permit: Some(Arc::new(CutOnDrop(engine.clone()))),
            ..SubmitOptions::default()
        };
        let ask = |name, options| engine.submit(create(name), options);
        // Inline, all three are one batch; the writer's own thread may make several of them.
        let (ada, lee, zoe) = tokio::join!(
            ask("ada", SubmitOptions::default()),
            ask("lee", cut_on_drop),
            ask("zoe", SubmitOptions::default())
        );
        let answers = [ada, lee, zoe];
        let revisions = answers.map(|it| it.map(|answer| answer.revision));
        assert_eq!(
            revisions,
            [Ok(Revision(1)), Ok(Revision(2)), Err(Failure::ShuttingDown)],
            "{layout:?}"
        );
        let late = engine.submit(create("bob"), SubmitOptions::default()).await;
        assert_eq!(late.err(), Some(Failure::ShuttingDown));
        drop(engine);
        assert_eq!(running.stopped().await, Stopped::Done);
        assert_eq!(store.clone().boot().unwrap().revision, Revision(2));
    }
}

/// How a writer ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// After a commit whose outcome is not known.
    Unknown,
    /// By a broken invariant: another engine has written its store.
    Panic,
}

async fn at_once<T>(what: &str, end: End, answer: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(AT_ONCE, answer).await;
    assert!(
        answer.is_ok(),
        "{what} waits for a writer that is gone, {end:?}"
    );
    answer.unwrap()
}

/// A read, a view, a command and a tick of an engine whose writer is gone.
async fn calls_are_refused(engine: &Engine, end: End) {
    let gone = Some(Failure::ShuttingDown);
    let read = engine.read_log(None, |log| log.oldest_change());
    assert_eq!(at_once("a read", end, read).await.err(), gone);
    let wait = Wait::default();
    let other = [id("zoe")];
    assert_eq!(
        at_once("a view", end, engine.view(&other, &wait))
            .await
            .err(),
        gone
    );
    assert_eq!(
        at_once(
            "a command",
            end,
            engine.submit(create("bob"), SubmitOptions::default())
        )
        .await
        .err(),
        gone
    );
    assert_eq!(at_once("a tick", end, engine.tick()).await.err(), gone);
}

#[tokio::test]
async fn whatever_waits_for_a_writer_that_is_gone_is_told_so_at_once() {
    for layout in [Layout::Threads, Layout::Inline] {
        for end in [End::Unknown, End::Panic] {
            let store = Memory::new(7);
            let (engine, running) = start(&store, layout);
            engine
                .submit(create("ada"), SubmitOptions::default())
                .await
                .unwrap();
            let mut watch = engine
                .watch(WatchFilter::ALL, Revision(0), None)
                .await
                .unwrap();
            assert!(matches!(
                watch.next().await,
                Ok(Watched::Progress(Revision(1)))
            ));
            let mut touches = engine.touches(vec![id("ada")]).unwrap();
            match end {
                End::Unknown => store.lose_next_commit(StoreError::Io("gone".to_owned())),
                End::Panic => {
                    let (other, other_running) = start(&store, layout);
                    other
                        .submit(create("lee"), SubmitOptions::default())
                        .await
                        .unwrap();
                    drop(other);
                    other_running.stopped().await;
                }
            }
            let unknown = at_once(
                "a command",
                end,
                engine.submit(create("zoe"), SubmitOptions::default()),
            )
            .await;
            assert_eq!(unknown.err(), Some(Failure::CommitUnknown));
            at_once("a wait for the end", end, engine.closed()).await;
            calls_are_refused(&engine, end).await;
            let lagged = at_once("a watcher that was cut", end, engine.lagged(Revision(1))).await;
            assert_eq!(
                lagged,
                Failure::Lagged {
                    last: Revision(1),
                    oldest: Revision(1)
                }
            );
            assert!(matches!(
                at_once("a watch", end, watch.next()).await,
                Ok(Watched::Progress(Revision(1)))
            ));
            let gone = Some(Failure::ShuttingDown);
            assert_eq!(at_once("a watch", end, watch.next()).await.err(), gone);
            let never = Deadline::now() + 2 * AT_ONCE;
            assert_eq!(
                at_once("a watch of slots", end, touches.woken(never)).await,
                Wakeup::Closed
            );
            let late = engine.watch(WatchFilter::ALL, Revision(1), None);
            assert_eq!(at_once("a new watch", end, late).await.err(), gone);
            assert!(matches!(
                at_once("the end", end, running.stopped()).await,
                Stopped::Failed(_)
            ));
        }
    }
}

#[tokio::test]
async fn calendars_that_are_dropped_from_memory_are_dropped_by_the_store_too_and_come_back() {
    const CALENDARS_MAX: usize = 10;
    /// Idle calendars are dropped once per this many batches.
    const BATCHES: usize = 64;
    let store = Memory::new(7);
    let settings = Settings {
        layout: Layout::Inline,
        is_clock_confirmed: true,
        calendars_in_memory_max: CALENDARS_MAX,
        ..Settings::default()
    };
    let (engine, _running) =
        Engine::start(Box::new(store.clone()), Arc::new(SystemClock), settings).unwrap();
    for number in 0..4 * BATCHES {
        engine
            .submit(
                create(&format!("calendar-{number}")),
                SubmitOptions::default(),
            )
            .await
            .unwrap();
        assert!(
            store.calendars_known() < CALENDARS_MAX + BATCHES,
            "{} after {number}",
            store.calendars_known()
        );
    }
    // The first calendar was dropped, and a change of it is decided and committed as before.
    let delete = Command::DeleteCalendar {
        calendar: id("calendar-0"),
        force: false,
        etag: None,
        beforehand: None,
    };
    engine
        .submit(delete, SubmitOptions::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn limits_that_count_further_back_keep_a_calendar_in_memory() {
    let store = Memory::new(7);
    let (engine, _running) = start(&store, Layout::Inline);
    engine
        .submit(create("ada"), SubmitOptions::default())
        .await
        .unwrap();
    let (engine, _running) = start(&store, Layout::Inline);
    let kept_from = || engine.snapshots.calendar(&id("ada")).map(|it| it.kept_from);
    engine.view(&[id("ada")], &Wait::default()).await.unwrap();
    let before = kept_from().unwrap();
    let limits = Limits {
        per_year: Some(3),
        ..Limits::default()
    };
    let patch = ProfilePatch {
        limits: Some(limits),
        ..ProfilePatch::default()
    };
    let update = Command::UpdateCalendar {
        calendar: id("ada"),
        patch,
        etag: None,
    };
    engine
        .submit(update, SubmitOptions::default())
        .await
        .unwrap();
    let year = SystemClock.now().plus(-100 * 366 * 24 * 60 * 60);
    assert!(
        kept_from().is_some_and(|it| it <= before && it > year),
        "all of it is loaded anew"
    );
}

/// The answer of a call that needs no writer: the writer shares this thread, and does not run
/// meanwhile.
fn without_writer(
    engine: &Engine,
    command: &Command,
    options: SubmitOptions,
) -> Option<Result<Answer, Failure>> {
    match pin!(engine.submit(command.clone(), options))
        .poll(&mut Context::from_waker(TaskWaker::noop()))
    {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn dry_runs_and_refusals_of_large_commands_need_no_writer() {
    let store = Memory::new(7);
    let (engine, running) = start(&store, Layout::Inline);
    engine
        .submit(create("ada"), SubmitOptions::default())
        .await
        .unwrap();
    let dry = || SubmitOptions {
        is_dry_run: true,
        ..SubmitOptions::default()
    };
    let delete = |etag| Command::DeleteCalendar {
        calendar: id("ada"),
        force: true,
        etag,
        beforehand: None,
    };
    for command in [
        delete(None),
        create("lee"),
        create("ada"),
        delete(Some(Etag::of(b"other", Revision(1)))),
    ] {
        let answer =
            without_writer(&engine, &command, dry()).expect("a dry run that waits for the writer");
        let real = engine.submit(command.clone(), dry()).await;
        assert_eq!(answer.is_ok(), real.is_ok(), "{command:?}");
    }
    let refused = without_writer(
        &engine,
        &delete(Some(Etag::of(b"other", Revision(1)))),
        SubmitOptions::default(),
    )
    .expect("a refusal by the writer");
    assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
    assert_eq!(engine.revision(), Revision(1), "nothing of it happened");
    // A command that is not refused goes to the writer, and a repeated request gets its first
    // answer.
    let request = RequestId {
        hash: [1; 16],
        fingerprint: [2; 16],
    };
    let named = SubmitOptions {
        request: Some(request),
        ..SubmitOptions::default()
    };
    assert!(without_writer(&engine, &delete(None), SubmitOptions::default()).is_none());
    engine.tick().await.unwrap();
    assert_eq!(engine.revision(), Revision(2));
    engine
        .submit(create("ada"), SubmitOptions::default())
        .await
        .unwrap();
    let other = delete(Some(Etag::of(b"other", Revision(1))));
    assert!(
        without_writer(&engine, &other, named.clone()).is_none(),
        "its first one may be on its way"
    );
    engine.tick().await.unwrap();
    let first = engine.submit(delete(None), named.clone()).await.unwrap();
    let again = engine.submit(delete(None), named).await.unwrap();
    assert_eq!((first.revision, again.revision), (Revision(4), Revision(4)));
    drop(engine);
    assert_eq!(running.stopped().await, Stopped::Done);
}

#[tokio::test]
async fn a_command_that_may_change_something_goes_beside_the_writer_only_where_nothing_waits() {
    let store = Memory::new(7);
    let clock = ManualClock::new(SystemClock.now());
    let settings = Settings {
        layout: Layout::Threads,
        is_clock_confirmed: true,
        ..Settings::default()
    };
    let (engine, _running) =
        Engine::start(Box::new(store), Arc::new(clock.clone()), settings).unwrap();
    let delete = Command::DeleteCalendar {
        calendar: id("ada"),
        force: true,
        etag: None,
        beforehand: None,
    };
    let dry = SubmitOptions {
        is_dry_run: true,
        ..SubmitOptions::default()
    };
    let goes_to_snapshot = || {
        [SubmitOptions::default(), dry.clone()]
            .map(|options| engine.is_decided_on_snapshot(&delete, &options))
    };
    assert_eq!(goes_to_snapshot(), [true, true]);
    // Dry runs hold all connections for decisions until `go` is dropped.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Arc::new(std::sync::Mutex::new(gone));
    let begun = Arc::new(Semaphore::new(0));
    let run = || {
        let (engine, gone, begun) = (engine.clone(), Arc::clone(&gone), Arc::clone(&begun));
        let wait = move |_: &mut dyn Reader| {
            begun.add_permits(1);
            let gone = gone
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let _over = gone.recv();
            Ok(())
        };
        tokio::spawn(async move { engine.read_by(&engine.deciders, None, wait).await })
    };
    let dry_runs: Vec<_> = (0..DECIDERS_MAX).map(|_| run()).collect();
    let _all_begun = begun
        .acquire_many(u32::try_from(DECIDERS_MAX).unwrap())
        .await
        .unwrap();
    assert_eq!(
        goes_to_snapshot(),
        [false, true],
        "what changes something does not wait for dry runs"
    );
    drop(go);
    for it in dry_runs {
        it.await.unwrap().unwrap();
    }
    assert_eq!(goes_to_snapshot(), [true, true]);
    clock.jump(2 * CLOCK_JUMP_MAX);
    engine.tick().await.unwrap();
    assert_eq!(
        goes_to_snapshot(),
        [false, false],
        "a clock in doubt is the writer's to tell"
    );
}
