//! What an engine's callers get once its writer is gone, and what it lets go of.
//!
//! The stores are the reference, in memory.

use std::pin::pin;
use std::task::{Context, Waker as Wakes};

use super::*;
use crate::clock::SystemClock;
use crate::domain::availability::Availability;
use crate::domain::calendar::Profile;
use crate::domain::zone::Zone;
use crate::store::memory::Memory;

/// Longer than anything takes that waits for nobody.
const AT_ONCE: Duration = Duration::from_secs(5);

fn start(store: &Memory, layout: Layout) -> (Engine, Running) {
    let settings = Settings { layout, is_clock_confirmed: true, ..Settings::default() };
    Engine::start(Box::new(store.clone()), Arc::new(SystemClock), settings).unwrap()
}

fn id(name: &str) -> CalendarId {
    CalendarId::parse(name).unwrap()
}

fn create(name: &str) -> Command {
    let profile = Profile::open(Arc::new(Zone::utc()), Availability::default());
    Command::CreateCalendar { calendar: id(name), profile }
}

#[tokio::test]
async fn what_a_reader_that_gave_up_had_asked_for_is_not_loaded() {
    let store = Memory::new(7);
    let calendar = id("ada");
    let (engine, running) = start(&store, Layout::Inline);
    engine.submit(create("ada"), Terms::default()).await.unwrap();
    drop(engine);
    assert_eq!(running.stopped().await, Stopped::Done);
    let (engine, _running) = start(&store, Layout::Inline);
    let is_loaded = || engine.published.view(std::slice::from_ref(&calendar), SystemClock.now()).is_some();
    let wait = Wait::default();
    let ask = || engine.view(std::slice::from_ref(&calendar), &wait);
    assert!(pin!(ask()).poll(&mut Context::from_waker(Wakes::noop())).is_pending());
    engine.tick().await.unwrap();
    assert!(!is_loaded(), "nobody waits for it");
    ask().await.unwrap();
    assert!(is_loaded());
}

/// Cuts the queue when the command that holds it has been taken.
struct Cuts(Engine);

impl Drop for Cuts {
    fn drop(&mut self) {
        self.0.cut();
    }
}

#[tokio::test]
async fn a_queue_that_is_cut_is_refused_from_the_next_command_on_and_what_was_decided_is_answered() {
    for layout in [Layout::Threads, Layout::Inline] {
        let store = Memory::new(7);
        let (engine, running) = start(&store, layout);
        let cuts = Terms { held: Some(Arc::new(Cuts(engine.clone()))), ..Terms::default() };
        let ask = |name, terms| engine.submit(create(name), terms);
        // Inline all three are one batch; the writer's own thread may take them apart.
        let (ada, lee, zoe) =
            tokio::join!(ask("ada", Terms::default()), ask("lee", cuts), ask("zoe", Terms::default()));
        let answers = [ada, lee, zoe];
        let revisions = answers.map(|it| it.map(|answer| answer.revision));
        assert_eq!(revisions, [Ok(Revision(1)), Ok(Revision(2)), Err(Failure::ShuttingDown)], "{layout:?}");
        let late = engine.submit(create("bob"), Terms::default()).await;
        assert_eq!(late.err(), Some(Failure::ShuttingDown));
        drop(engine);
        assert_eq!(running.stopped().await, Stopped::Done);
        assert_eq!(store.clone().boot().unwrap().revision, Revision(2));
    }
}

/// How a writer ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The outcome of its commit is not known.
    Unknown,
    /// It meets a broken invariant: somebody else has written its store.
    Panic,
}

async fn at_once<T>(what: &str, end: End, answer: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(AT_ONCE, answer).await;
    assert!(answer.is_ok(), "{what} waits for a writer that is gone, {end:?}");
    answer.unwrap()
}

#[tokio::test]
async fn whatever_waits_for_a_writer_that_is_gone_is_told_so_at_once() {
    for layout in [Layout::Threads, Layout::Inline] {
        for end in [End::Unknown, End::Panic] {
            let store = Memory::new(7);
            let (engine, running) = start(&store, layout);
            engine.submit(create("ada"), Terms::default()).await.unwrap();
            let mut watch = engine.watch(CalendarFilter::All, Revision(0), None).await.unwrap();
            assert_eq!(watch.next().await, Ok(Said::Progress(Revision(1))));
            let mut touches = engine.touches(vec![id("ada")]).unwrap();
            match end {
                End::Unknown => store.lose_next_commit(StoreError::Io("gone".to_owned())),
                End::Panic => {
                    let (other, other_running) = start(&store, layout);
                    other.submit(create("lee"), Terms::default()).await.unwrap();
                    drop(other);
                    other_running.stopped().await;
                }
            }
            let unknown = at_once("a command", end, engine.submit(create("zoe"), Terms::default())).await;
            assert_eq!(unknown.err(), Some(Failure::CommitUnknown));
            at_once("whoever stops it", end, engine.closed()).await;
            let gone = Some(Failure::ShuttingDown);
            let read = engine.read(None, |reader| reader.oldest_change());
            assert_eq!(at_once("a read", end, read).await.err(), gone);
            let wait = Wait::default();
            let other = [id("zoe")];
            assert_eq!(at_once("a view", end, engine.view(&other, &wait)).await.err(), gone);
            assert_eq!(at_once("a command", end, engine.submit(create("bob"), Terms::default())).await.err(), gone);
            assert_eq!(at_once("a tick", end, engine.tick()).await.err(), gone);
            let lagged = at_once("a watcher that was cut", end, engine.lagged(Revision(1))).await;
            assert_eq!(lagged, Failure::Lagged { last: Revision(1), oldest: Revision(1) });
            assert_eq!(at_once("a watch", end, watch.next()).await, Ok(Said::Progress(Revision(1))));
            assert_eq!(at_once("a watch", end, watch.next()).await.err(), gone);
            let never = Deadline::now() + 2 * AT_ONCE;
            assert_eq!(at_once("a watch of slots", end, touches.woken(never)).await, Woken::Closed);
            let late = engine.watch(CalendarFilter::All, Revision(1), None);
            assert_eq!(at_once("a new watch", end, late).await.err(), gone);
            assert!(matches!(at_once("the end", end, running.stopped()).await, Stopped::Failed(_)));
        }
    }
}

#[tokio::test]
async fn calendars_that_are_dropped_from_memory_are_dropped_by_the_store_too_and_come_back() {
    const CALENDARS_MAX: usize = 10;
    /// Idle ones are looked for after so many batches.
    const BATCHES: usize = 64;
    let store = Memory::new(7);
    let settings = Settings {
        layout: Layout::Inline,
        is_clock_confirmed: true,
        calendars_in_memory_max: CALENDARS_MAX,
        ..Settings::default()
    };
    let (engine, _running) = Engine::start(Box::new(store.clone()), Arc::new(SystemClock), settings).unwrap();
    for number in 0..4 * BATCHES {
        engine.submit(create(&format!("calendar-{number}")), Terms::default()).await.unwrap();
        assert!(store.calendars_known() < CALENDARS_MAX + BATCHES, "{} after {number}", store.calendars_known());
    }
    // The first was dropped, and a change of it is decided and committed as before.
    let delete = Command::DeleteCalendar { calendar: id("calendar-0"), force: false, etag: None };
    engine.submit(delete, Terms::default()).await.unwrap();
}
