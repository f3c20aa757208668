//! Connections of a server: their limits and their ends.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bookd_transport::{Ended, Peer, Running, ServerLimits, Workers};
use tokio::sync::{Notify, Semaphore};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::harness::alone;
use crate::http2::{
    CONTINUATION, Connection, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PATIENCE, PREFACE,
    RST_STREAM, SETTINGS, call_headers, frame, long_header,
};

const WATCH: &str = "/grpc.health.v1.Health/Watch";
pub const LONG: Duration = Duration::from_secs(3_600);

/// A health service that answers a check when the gate opens, and a watch never.
#[derive(Clone)]
pub struct Gate {
    pub entered: Arc<Notify>,
    pub open: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
}

impl Gate {
    pub fn closed() -> Gate {
        Gate {
            entered: Arc::default(),
            open: Arc::new(Semaphore::new(0)),
            calls: Arc::default(),
        }
    }

    pub fn opened() -> Gate {
        let gate = Gate::closed();
        gate.open.close();
        gate
    }
}

#[tonic::async_trait]
impl Health for Gate {
    type WatchStream = tokio_stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        assert!(
            request
                .extensions()
                .get::<Peer>()
                .unwrap()
                .address
                .is_some()
        );
        self.calls.fetch_add(1, Relaxed);
        self.entered.notify_one();
        let _closed_is_open = self.open.acquire().await;
        Ok(Response::new(HealthCheckResponse::default()))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.calls.fetch_add(1, Relaxed);
        Ok(Response::new(tokio_stream::pending()))
    }
}

pub fn start_on(workers: Workers, limits: ServerLimits, gate: &Gate) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = gate.clone();
    let service = move |_worker| alone(Routes::new(HealthServer::new(gate.clone())));
    bookd_transport::start(listener, limits, workers, service).unwrap()
}

pub fn start(limits: ServerLimits, gate: &Gate) -> Running {
    start_on(
        Workers::Threads(NonZeroUsize::new(2).unwrap()),
        limits,
        gate,
    )
}

pub async fn client(address: SocketAddr) -> HealthClient<Channel> {
    HealthClient::new(
        Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .unwrap(),
    )
}

pub async fn check(client: &mut HealthClient<Channel>) -> Result<(), Status> {
    client
        .check(HealthCheckRequest::default())
        .await
        .map(|_| ())
}

pub async fn eventually(mut is_true: impl FnMut() -> bool) {
    let wait = async {
        while !is_true() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("the condition becomes true in time");
}

#[tokio::test]
async fn a_connection_without_a_complete_preface_is_closed_by_the_handshake_timer() {
    let limits = ServerLimits {
        handshake: Duration::from_millis(50),
        ..ServerLimits::default()
    };
    let running = start(limits, &Gate::opened());
    for beginning in [&b""[..], &PREFACE[..10], PREFACE] {
        let mut connection = Connection::open(running.local_addr()).await;
        connection.send(beginning).await;
        connection.closed().await;
    }
    assert_eq!(running.metrics().handshake_timeouts(), 3);
    assert_eq!(running.metrics().accepted(), 3);
    eventually(|| running.metrics().open() == 0).await;
}

#[tokio::test]
async fn a_connection_with_a_preface_outlives_the_handshake_timer() {
    let limits = ServerLimits {
        handshake: Duration::from_millis(50),
        ..ServerLimits::default()
    };
    let running = start(limits, &Gate::opened());
    let mut patient = Connection::shaken(running.local_addr()).await;
    eventually(|| running.metrics().open() == 1).await;
    // A later connection has met its timer, so the earlier one would have too.
    let mut silent = Connection::open(running.local_addr()).await;
    silent.closed().await;
    patient
        .send(&frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &call_headers(WATCH),
        ))
        .await;
    assert_eq!(patient.next_of(HEADERS).await.unwrap().stream, 1);
    assert_eq!(running.metrics().handshake_timeouts(), 1);
}

#[tokio::test]
async fn connections_above_the_limit_are_refused_and_the_others_go_on() {
    let limits = ServerLimits {
        connections_max: 2,
        ..ServerLimits::default()
    };
    let running = start(limits, &Gate::opened());
    let metrics = running.metrics();
    let mut client = client(running.local_addr()).await;
    let second = Connection::open(running.local_addr()).await;
    eventually(|| metrics.open() == 2).await;

    Connection::open(running.local_addr()).await.closed().await;
    assert_eq!(metrics.refused(), 1);
    check(&mut client).await.unwrap();

    drop(second);
    eventually(|| metrics.open() == 1).await;
    let mut third = Connection::shaken(running.local_addr()).await;
    assert_eq!(third.next().await.unwrap().kind, SETTINGS);
    assert_eq!(metrics.accepted(), 3);
}

#[tokio::test]
async fn a_connection_of_age_gets_goaway_and_then_the_grace() {
    let limits = ServerLimits {
        age: Duration::from_millis(50),
        age_grace: Duration::from_millis(50),
        ..ServerLimits::default()
    };
    let running = start(limits, &Gate::opened());
    let mut connection = Connection::shaken(running.local_addr()).await;
    connection
        .send(&frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &call_headers(WATCH),
        ))
        .await;
    assert_eq!(connection.next_of(HEADERS).await.unwrap().stream, 1);
    let goaway = connection.next_of(GOAWAY).await.unwrap();
    assert_eq!(goaway.payload[4..8], [0; 4], "no error");
    // The watch never ends by itself.
    connection.closed().await;
}

#[tokio::test]
async fn a_call_in_flight_is_finished_after_goaway_by_age() {
    let limits = ServerLimits {
        age: Duration::from_millis(50),
        ..ServerLimits::default()
    };
    let gate = Gate::closed();
    let running = start(limits, &gate);
    let mut aged = client(running.local_addr()).await;
    let call = tokio::spawn(async move { check(&mut aged).await });
    gate.entered.notified().await;
    // Connections live about equally long, so when this one ends the earlier one has got its GOAWAY
    // or soon will.
    let mut idle = Connection::shaken(running.local_addr()).await;
    assert!(idle.next_of(GOAWAY).await.is_some());
    idle.ended().await;
    gate.open.close();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_gets_goaway_and_one_with_an_open_stream_does_not() {
    let limits = ServerLimits {
        idle: Duration::from_millis(50),
        ..ServerLimits::default()
    };
    let running = start(limits, &Gate::opened());
    let mut busy = Connection::shaken(running.local_addr()).await;
    busy.send(&frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &call_headers(WATCH),
    ))
    .await;
    assert!(busy.next_of(HEADERS).await.is_some());
    for _ in 0..3 {
        let mut idle = Connection::shaken(running.local_addr()).await;
        assert!(idle.next_of(GOAWAY).await.is_some());
        idle.ended().await;
    }
    eventually(|| running.metrics().open() == 1).await;
    busy.send(&frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        3,
        &call_headers(WATCH),
    ))
    .await;
    assert_eq!(busy.next_of(HEADERS).await.unwrap().stream, 3);
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_closed() {
    let limits = ServerLimits {
        keepalive: Duration::from_millis(30),
        keepalive_timeout: Duration::from_millis(30),
        ..ServerLimits::default()
    };
    let running = start(limits, &Gate::opened());
    let mut connection = Connection::shaken(running.local_addr()).await;
    connection.closed().await;
    assert_eq!(running.metrics().handshake_timeouts(), 0);
}

#[tokio::test]
async fn garbage_in_place_of_the_preface_disturbs_nobody() {
    let running = start_on(
        Workers::Threads(NonZeroUsize::MIN),
        ServerLimits::default(),
        &Gate::opened(),
    );
    let mut client = client(running.local_addr()).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nhost: bookd\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 4_096],
    ] {
        let mut connection = Connection::open(running.local_addr()).await;
        connection.send(garbage).await;
        connection.closed().await;
        check(&mut client).await.unwrap();
    }
    eventually(|| running.metrics().open() == 1).await;
}

#[tokio::test]
async fn a_header_bomb_is_refused_before_any_handler_sees_it() {
    let gate = Gate::opened();
    let running = start_on(
        Workers::Threads(NonZeroUsize::MIN),
        ServerLimits::default(),
        &gate,
    );
    let mut client = client(running.local_addr()).await;
    let mut connection = Connection::shaken(running.local_addr()).await;
    let mut bomb = frame(HEADERS, END_STREAM, 1, &call_headers(WATCH));
    for number in 0..30 {
        let headers: Vec<u8> = (number * 100..number * 100 + 100)
            .flat_map(long_header)
            .collect();
        bomb.extend(frame(CONTINUATION, 0, 1, &headers));
    }
    bomb.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
    connection.send(&bomb).await;
    let refusal = loop {
        match connection.next().await {
            Some(frame) if [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind) => {
                break Some(frame);
            }
            Some(_) => {}
            None => break None,
        }
    };
    // The answer is 431 without a body, or the connection is closed.
    assert!(refusal.is_none_or(|frame| frame.kind != HEADERS || frame.flags & END_STREAM != 0));
    assert_eq!(gate.calls.load(Relaxed), 0);
    check(&mut client).await.unwrap();
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let limits = ServerLimits {
        reset_streams_max: 16,
        ..ServerLimits::default()
    };
    let running = start_on(Workers::Threads(NonZeroUsize::MIN), limits, &Gate::opened());
    let mut client = client(running.local_addr()).await;
    let mut connection = Connection::shaken(running.local_addr()).await;
    let cancel = 8u32.to_be_bytes();
    let resets: Vec<u8> = (0..200)
        .map(|number| number * 2 + 1)
        .flat_map(|stream| {
            let mut pair = frame(HEADERS, END_HEADERS, stream, &call_headers(WATCH));
            pair.extend(frame(RST_STREAM, 0, stream, &cancel));
            pair
        })
        .collect();
    connection.send(&resets).await;
    const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];
    assert_eq!(
        connection.next_of(GOAWAY).await.unwrap().payload[4..8],
        ENHANCE_YOUR_CALM
    );
    check(&mut client).await.unwrap();
}

#[tokio::test]
async fn a_stream_above_the_limit_is_refused() {
    let limits = ServerLimits {
        streams_max: 1,
        ..ServerLimits::default()
    };
    let running = start(limits, &Gate::opened());
    let mut connection = Connection::shaken(running.local_addr()).await;
    assert!(connection.next_of(SETTINGS).await.is_some());
    connection.send(&frame(SETTINGS, 1, 0, &[])).await;
    // Neither request ends: a finished first call would be answered at once, because it has no
    // message, and make room for the second.
    for stream in [1, 3] {
        connection
            .send(&frame(HEADERS, END_HEADERS, stream, &call_headers(WATCH)))
            .await;
    }
    assert_eq!(connection.next_of(RST_STREAM).await.unwrap().stream, 3);
}

#[test]
fn a_worker_here_needs_a_runtime() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let service = move |_worker| alone(Routes::new(health.clone()));
    let error = bookd_transport::start(listener, ServerLimits::default(), Workers::Here, service)
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Other);
}

/// A health service that answers a check at once, and blocks its worker's thread on a check of the
/// service `block` until it is released.
#[derive(Clone)]
struct Blocking {
    worker: usize,
    /// The workers that were called, in order.
    called: Arc<Mutex<Vec<usize>>>,
    entered: Arc<Notify>,
    release: Arc<Mutex<Receiver<()>>>,
}

#[tonic::async_trait]
impl Health for Blocking {
    type WatchStream = tokio_stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.called.lock().unwrap().push(self.worker);
        if request.get_ref().service == "block" {
            self.entered.notify_one();
            self.release.lock().unwrap().recv().unwrap();
        }
        Ok(Response::new(HealthCheckResponse::default()))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}

#[tokio::test]
async fn connections_are_accepted_and_served_by_the_others_while_a_worker_is_stuck() {
    const WORKERS: usize = 3;
    for stuck in 0..WORKERS {
        let (called, entered): (Arc<Mutex<Vec<usize>>>, Arc<Notify>) = Default::default();
        let (free, release) = std::sync::mpsc::channel();
        let release = Arc::new(Mutex::new(release));
        let service = {
            let (called, entered) = (Arc::clone(&called), Arc::clone(&entered));
            move |worker| {
                let (called, entered, release) = (
                    Arc::clone(&called),
                    Arc::clone(&entered),
                    Arc::clone(&release),
                );
                let routes = Routes::new(HealthServer::new(Blocking {
                    worker,
                    called,
                    entered,
                    release,
                }));
                alone(routes)
            }
        };
        let limits = ServerLimits {
            stuck: Duration::from_millis(20),
            ..ServerLimits::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let workers = Workers::Threads(NonZeroUsize::new(WORKERS).unwrap());
        let running = bookd_transport::start(listener, limits, workers, service).unwrap();
        let address = running.local_addr();
        let served = async |what: &str| {
            let call = async { check(&mut client(address).await).await.unwrap() };
            tokio::time::timeout(PATIENCE, call)
                .await
                .unwrap_or_else(|_| panic!("worker {stuck} is stuck: {what}"));
            *called.lock().unwrap().last().unwrap()
        };
        // Workers get connections in turn, until it is the turn of the worker that is to be stuck.
        for worker in 0..stuck {
            assert_eq!(served("not yet").await, worker);
        }
        let mut caller = client(address).await;
        let blocked = tokio::spawn(async move {
            caller
                .check(HealthCheckRequest {
                    service: "block".to_owned(),
                })
                .await
                .map(|_| ())
        });
        entered.notified().await;
        let mut others = Vec::new();
        for _ in 0..4 * WORKERS {
            others.push(served("no worker serves this connection").await);
        }
        assert!(!others.contains(&stuck) && !blocked.is_finished());
        let is_idle = |worker: &usize| *worker != stuck && !others.contains(worker);
        assert_eq!((0..WORKERS).find(is_idle), None, "the others take turns");
        free.send(()).unwrap();
        blocked.await.unwrap().unwrap();
        // A worker that runs again gets its turn again.
        let again = async { while served("the worker is free again").await != stuck {} };
        tokio::time::timeout(PATIENCE, again)
            .await
            .expect("a worker that runs again gets connections again");
        assert_eq!(running.shutdown(LONG).await, Ended::InOrder);
    }
}
