//! The admin port while a thread of the service is stuck: it answers, and says which one it is.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bookd::admin_port::{AdminPort, BoundPort, Observed, SILENCE_MAX};
use bookd::api::stack;
use bookd::auth::Access;
use bookd::clock::ManualClock;
use bookd::engine::{Engine, RunningEngine, Settings, Stopped};
use bookd::store::memory::Memory;
use bookd_core::calendar::Profile;
use bookd_core::command::Command;
use bookd_core::ids::CalendarId;
use bookd_core::time::zone::Zone;
use bookd_transport::{Admission, Running, ServerLimits, Workers};

use crate::admin_port::{ANY, PATIENCE, get, until};
use crate::harness::{MONDAY, instant};

/// An engine and a transport with a worker, whose threads count as stuck after a moment, and their
/// port. The worker does what `beside` says before it serves.
async fn start_parts(
    memory: &Memory,
    beside: impl Fn() + Clone + Send + Sync + 'static,
) -> (Engine, RunningEngine, Running, AdminPort) {
    let clock = Arc::new(ManualClock::new(instant(&format!("{MONDAY}T08:00:00Z"))));
    let (engine, writer) =
        Engine::start(Box::new(memory.clone()), clock, Settings::default()).unwrap();
    let service = move |_| {
        let beside = beside.clone();
        let routes = tonic::service::Routes::default();
        (stack::alone(routes), async move { beside() })
    };
    let listener = std::net::TcpListener::bind(ANY).unwrap();
    let workers = Workers::Threads(NonZeroUsize::MIN);
    let running =
        bookd_transport::start(listener, ServerLimits::default(), workers, service).unwrap();
    let observed = Observed {
        calls: stack::call_metrics(),
        connections: running.metrics(),
        admission: Arc::new(Admission::default()),
        workers: running.liveness(),
        engine: engine.status(),
        access: Access::open(),
        traces: None,
        // The writer looks for work once a second.
        silence_max: Duration::from_millis(1_500),
    };
    let port = BoundPort::bind(ANY).unwrap().start(observed).unwrap();
    (engine, writer, running, port)
}

#[tokio::test]
async fn a_writer_that_does_not_come_back_from_the_disk_is_named_and_is_alive_when_it_does() {
    let memory = Memory::new(7);
    let (engine, writer, running, port) = start_parts(&memory, || {}).await;
    until(port.local_addr(), "/livez", 200, "ok").await;
    let (release, released) = std::sync::mpsc::channel();
    memory.hold_next_commit(released);
    let create = Command::CreateCalendar {
        calendar: CalendarId::parse("ada").unwrap(),
        profile: Profile::open(Arc::new(Zone::utc()), Default::default()),
    };
    let submitting = engine.clone();
    let call = tokio::spawn(async move {
        submitting
            .submit(create, Default::default())
            .await
            .map(drop)
    });
    until(port.local_addr(), "/livez", 503, "writer stuck for ").await;
    until(port.local_addr(), "/readyz", 503, "writer stuck for ").await;
    release.send(()).unwrap();
    call.await.unwrap().unwrap();
    until(port.local_addr(), "/livez", 200, "ok").await;
    running.shutdown(PATIENCE).await;
    engine.end();
    assert_eq!(writer.stopped().await, Stopped::Done);
    port.stop().await;
}

#[tokio::test]
async fn a_worker_that_does_not_run_is_named_and_the_port_answers_all_the_same() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let block = move || {
        let _released_or_dropped = released.lock().unwrap().recv();
    };
    let (engine, writer, running, port) = start_parts(&Memory::new(7), block).await;
    until(port.local_addr(), "/livez", 503, "worker 0 stuck for ").await;
    assert_eq!(get(port.local_addr(), "/metrics").await.0, 200);
    drop(release);
    until(port.local_addr(), "/livez", 200, "ok").await;
    running.shutdown(PATIENCE).await;
    engine.end();
    assert_eq!(writer.stopped().await, Stopped::Done);
    port.stop().await;
    assert!(
        SILENCE_MAX >= Duration::from_secs(5),
        "the writer itself looks once a second"
    );
}
