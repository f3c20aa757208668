//! What each fuzz target does with its bytes: for any bytes the answer is one of the contract, and
//! nothing panics.
//!
//! `make fuzz` generates bytes; `cargo test` replays the inputs in `fuzz/kept`.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bookd::api::Routes;
use bookd::api::context::Api;
use bookd::api::stack;
use bookd::cli::exit::Exit;
use bookd::cli::import::{self, ImportConfig};
use bookd::cli::store_options::StoreOptions;
use bookd::clock::ManualClock;
use bookd::config::StoreUrl;
use bookd::engine::{Engine, Settings};
use bookd::layout::Layout;
use bookd::log::WatchSettings;
use bookd::proto::v1::ErrorReason;
use bookd::store::Store;
use bookd::store::memory::Memory;
use bookd::zones::{Zones, from_tzif};
use bookd_core::time::zone::LocalInstants;
use bookd_core::time::{DAY, Instant};
use bookd_transport::{ServerLimits, serve_connection};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::ServiceExt;

use super::caller::Caller;
use super::calls::Call;
use super::chance::Chance;
use super::readable::assert_readable_answer;

/// Monday the 1st of March 2027, 08:00 UTC.
pub const NOW: i64 = 1_803_888_000;
/// The most requests of one input.
const REQUESTS_MAX: usize = 24;

pub(super) fn zones() -> Arc<Zones> {
    static ZONES: OnceLock<Arc<Zones>> = OnceLock::new();
    Arc::clone(ZONES.get_or_init(|| Arc::new(Zones::bundled())))
}

pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// A service on an empty store in memory.
async fn service() -> (Engine, Routes) {
    service_on(
        Memory::new(7),
        Arc::new(ManualClock::new(Instant::from_seconds(NOW))),
    )
    .await
}

pub async fn service_on(store: Memory, clock: Arc<ManualClock>) -> (Engine, Routes) {
    let engine = engine_on(Box::new(store), clock);
    // Without reflection, which reads all descriptors anew for each input.
    let routes = bookd::api::services(Api::new(engine.clone(), zones()));
    (engine, routes)
}

/// An engine on this store, all of whose work is done by the runtime of the caller.
pub(super) fn engine_on(store: Box<dyn Store>, clock: Arc<ManualClock>) -> Engine {
    // Watches send series in parts.
    let watch = WatchSettings {
        part_events_max: 2,
        ..WatchSettings::default()
    };
    let settings = Settings {
        layout: Layout::Inline,
        is_clock_confirmed: true,
        watch,
        ..Settings::default()
    };
    let (engine, _running) = Engine::start(store, clock, settings).unwrap();
    engine
}

/// A message as the body of a gRPC call has it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    body
}

/// A service on a store in memory with one calendar and its types.
async fn opened() -> (Engine, Routes) {
    /// How many calls open the first calendar.
    const CALLS: usize = 5;
    let (engine, routes) = service().await;
    let mut caller = Caller::new("owner", Chance(7));
    for call in caller.opening().into_iter().take(CALLS) {
        let (code, said) = post(&routes, &path_of(&call), call.encoded()).await;
        assert_eq!(code, Code::Ok, "{said:?}");
    }
    (engine, routes)
}

fn path_of(call: &Call) -> String {
    let ending = format!("/{}", call.name());
    Call::paths()
        .into_iter()
        .find(|path| path.ends_with(&ending))
        .unwrap()
}

/// Sends one request as bytes, and answers the code, with the status if it is an error.
async fn post(routes: &Routes, path: &str, message: Vec<u8>) -> (Code, Option<Status>) {
    let body = framed(&message);
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let answer = stack::alone(routes.clone()).oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let status =
        Status::from_header_map(&trailers).or_else(|| Status::from_header_map(&parts.headers));
    let status = status.expect("every answer has a status");
    if status.code() == Code::Ok {
        // The message follows one byte for the compression and four for the length.
        assert_readable_answer(path, &collected.to_bytes()[5..]);
    }
    (status.code(), (status.code() != Code::Ok).then_some(status))
}

/// Asserts that an error is one of the contract: never INTERNAL or UNKNOWN, always with a reason
/// that the contract has.
pub(super) fn is_of_the_contract(path: &str, status: &Status) {
    assert!(
        !matches!(status.code(), Code::Internal | Code::Unknown),
        "{path}: {status:?}"
    );
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("{path}: no reason in {status:?}"));
    assert_eq!(info.domain, "bookd", "{path}: {status:?}");
    assert!(
        ErrorReason::from_str_name(&info.reason).is_some(),
        "{path}: {} is no reason",
        info.reason
    );
}

/// Bytes as a sequence of requests: one byte for the method, two for the length, then the message.
/// Each is answered, and an error changes nothing.
pub fn requests(mut bytes: &[u8]) {
    let paths = Call::paths();
    runtime().block_on(async {
        let (engine, routes) = opened().await;
        for _ in 0..REQUESTS_MAX {
            let [method, high, low, rest @ ..] = bytes else {
                return;
            };
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
            let (message, rest) = rest.split_at(length);
            bytes = rest;
            let path = &paths[usize::from(*method) % paths.len()];
            let before = engine.revision();
            let (_, error) = post(&routes, path, message.to_vec()).await;
            if let Some(status) = error {
                is_of_the_contract(path, &status);
                assert_eq!(
                    engine.revision(),
                    before,
                    "{path}: an error changed something: {status:?}"
                );
            }
        }
    });
}

/// A valid input of `requests`, as a seed for the fuzzer.
pub fn valid_requests(seed: u64) -> Vec<u8> {
    let mut caller = Caller::new("seed", Chance(seed));
    let paths = Call::paths();
    let mut bytes = Vec::new();
    for _ in 0..6 {
        let call = caller.any(NOW);
        let path = path_of(&call);
        bytes.push(u8::try_from(paths.iter().position(|it| *it == path).unwrap()).unwrap());
        let message = call.encoded();
        bytes.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
    }
    bytes
}

/// Bytes as everything that a peer sends on a connection: the connection ends, and another peer is
/// served.
pub fn frames(bytes: &[u8]) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let runtime = runtime();
    runtime.block_on(async {
        let (_engine, routes) = service().await;
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let serve = |io| {
            serve_connection(
                io,
                peer,
                1,
                ServerLimits::default(),
                stack::alone(routes.clone()),
            )
        };
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        let served = tokio::spawn(serve(theirs));
        // For half of the inputs the preface of HTTP/2 is sent first.
        let is_http2 = bytes.first().is_some_and(|first| first % 2 == 0);
        let written = async {
            if is_http2 {
                ours.write_all(PREFACE).await?;
            }
            ours.write_all(bytes.get(1..).unwrap_or_default()).await?;
            let mut answer = vec![0; 1 << 16];
            while tokio::time::timeout(Duration::from_secs(1), ours.read(&mut answer))
                .await
                .is_ok_and(|it| it.is_ok_and(|count| count > 0))
            {}
            Ok::<_, std::io::Error>(())
        };
        let _closed_early = tokio::time::timeout(Duration::from_secs(60), written).await;
        drop(ours);
        // Time is virtual, so that the timer which ends the connection fires at once.
        tokio::time::timeout(Duration::from_secs(7_200), served)
            .await
            .expect("a connection ends")
            .unwrap();
        let (code, said) = post(
            &routes,
            "/bookd.v1.ServerInfoService/GetServerInfo",
            Vec::new(),
        )
        .await;
        assert_eq!(code, Code::Ok, "{said:?}");
    });
}

/// Bytes as a compiled time zone (TZif): refused, or a zone whose conversions agree with each
/// other.
pub fn zone_file(bytes: &[u8]) {
    let Ok(zone) = from_tzif("Fuzzed/Zone", bytes) else {
        return;
    };
    let mut seen = HashSet::new();
    for day in (-30_000..60_000).step_by(97) {
        let instant = Instant::from_seconds(day * DAY + day.rem_euclid(DAY));
        let offset = zone.offset_at(instant);
        let wall = zone.wall(instant);
        seen.insert(offset);
        match zone.instants(wall) {
            LocalInstants::One(it) => assert_eq!(it, instant, "at {instant}"),
            LocalInstants::Two(first, second) => {
                assert!(first == instant || second == instant, "at {instant}")
            }
            LocalInstants::None { .. } => panic!("{wall} is shown at {instant}, and is no time"),
        }
    }
    assert!(!seen.is_empty());
}

/// Bytes as a file to import: accepted, or refused with every mistake.
pub fn import_file(bytes: &[u8]) {
    let folder = tempfile::tempdir_in(if std::path::Path::new("/dev/shm").exists() {
        "/dev/shm"
    } else {
        "."
    })
    .unwrap();
    let file = folder.path().join("file.json");
    std::fs::File::create(&file)
        .and_then(|mut it| it.write_all(bytes))
        .unwrap();
    let config = |calendar: Option<&str>| ImportConfig {
        file: file.clone(),
        store: StoreOptions {
            store: StoreUrl::Sqlite(folder.path().join("none.db")),
            zones: None,
        },
        dry_run: true,
        confirm_clock: true,
        calendar: calendar.map(str::to_owned),
        zone: None,
        duration: Vec::new(),
    };
    for calendar in [None, Some("ada")] {
        let exit = import::run(&config(calendar));
        // The file can be imported, is not text, or is invalid.
        assert!(
            matches!(exit, Exit::Done | Exit::Failed | Exit::Invalid),
            "{exit:?}"
        );
    }
}
