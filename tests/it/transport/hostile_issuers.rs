//! Servers of key sets that answer as no login service does: the service goes on to serve others,
//! and what it spends on each of them is bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bookd::proto::v1 as pb;
use bookd::proto::v1::list_service_client::ListServiceClient;
use jsonwebtoken::encode;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Request};

use crate::admin_port::{get, until};
use crate::auth_jwt::{KEYS, claims, header};
use crate::besieged::{Besieged, GoodClient, Held};
use crate::hostile_memory::{MEMORY_MAX, reason};
use crate::http2::PATIENCE;
use crate::operations::hangup;
use crate::server::eventually;

/// How a server of a key set misbehaves.
#[derive(Clone, Copy, Debug)]
enum Misbehaviour {
    /// Takes the request, and never answers.
    Silent,
    /// Sends a head that announces a body, and nothing more.
    HeadAlone,
    /// Sends a body one byte at a time, for ever.
    ByteByByte,
    /// Sends a body in large pieces, for ever.
    Endless,
    /// Sends a head that never ends.
    EndlessHead,
    /// Answers with 10,000 keys.
    ManyKeys,
    /// Closes as soon as it is connected to.
    Closing,
    /// Leads to another server.
    Redirecting,
}

impl Misbehaviour {
    const ALL: [Self; 8] = [
        Self::Silent,
        Self::HeadAlone,
        Self::ByteByByte,
        Self::Endless,
        Self::EndlessHead,
        Self::ManyKeys,
        Self::Closing,
        Self::Redirecting,
    ];
}

/// The keys of the largest answer that is whole.
const KEYS_COUNT: usize = 10_000;
/// The most bytes that one fetch may take: a mebibyte of body, and what the sockets of both sides
/// hold beside it.
const BYTES_OF_A_FETCH: usize = 16 * 1_024 * 1_024;
/// The time between two bytes of a slow answer.
const DRIP: Duration = Duration::from_millis(20);
/// How often the operator has the keys fetched again while fetches hang.
const HANGUPS: usize = 10;

/// What a server of a key set has counted.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    open: AtomicUsize,
    /// Bytes that were taken from it.
    bytes: AtomicUsize,
}

/// A server of a key set, which misbehaves.
struct HostileIssuer {
    misbehaviour: Misbehaviour,
    address: SocketAddr,
    counts: Arc<Counts>,
}

impl HostileIssuer {
    /// A server that leads to `other`, if it leads anywhere.
    async fn start(misbehaviour: Misbehaviour, other: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let counting = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counts = Arc::clone(&counting);
                counts.connections.fetch_add(1, Relaxed);
                counts.open.fetch_add(1, Relaxed);
                tokio::spawn(async move {
                    let _the_client_went_away = answer(stream, misbehaviour, other, &counts).await;
                    counts.open.fetch_sub(1, Relaxed);
                });
            }
        });
        Self {
            misbehaviour,
            address,
            counts,
        }
    }

    /// The issuer in the configuration, and in the tokens that claim to be of it.
    fn name(&self) -> String {
        format!("https://{:?}.example", self.misbehaviour)
    }

    fn configuration(&self) -> String {
        format!(
            "[[issuer]]\nissuer = \"{}\"\naudience = \"bookd\"\nalgorithms = [\"ES256\"]\njwks_url = \"http://{}/keys\"\n",
            self.name(),
            self.address
        )
    }

    fn connections(&self) -> usize {
        self.counts.connections.load(Relaxed)
    }

    /// The connections that are open.
    fn open(&self) -> usize {
        self.counts.open.load(Relaxed)
    }

    /// Asserts what its clients may have spent on it in so many fetches.
    fn is_bounded(&self, fetches: usize) {
        let (which, counts) = (self.misbehaviour, &*self.counts);
        let (connections, bytes) = (self.connections(), counts.bytes.load(Relaxed));
        assert!(
            (1..=fetches).contains(&connections),
            "{which:?}: {counts:?}"
        );
        assert!(
            bytes <= connections * BYTES_OF_A_FETCH,
            "{which:?}: {counts:?}"
        );
    }
}

/// Sends bytes, and counts what was taken.
async fn send(stream: &mut TcpStream, bytes: &[u8], counts: &Counts) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    counts.bytes.fetch_add(bytes.len(), Relaxed);
    Ok(())
}

/// Answers one connection until its client goes away.
async fn answer(
    mut stream: TcpStream,
    misbehaviour: Misbehaviour,
    other: SocketAddr,
    counts: &Counts,
) -> std::io::Result<()> {
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    if let Misbehaviour::Closing = misbehaviour {
        return Ok(());
    }
    let mut request = [0; 4_096];
    let _length = stream.read(&mut request).await?;
    match misbehaviour {
        Misbehaviour::Silent | Misbehaviour::Closing => {}
        Misbehaviour::HeadAlone => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n";
            send(&mut stream, head, counts).await?;
        }
        Misbehaviour::ByteByByte => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 900000\r\n\r\n";
            send(&mut stream, head, counts).await?;
            let mut drip = tokio::time::interval(DRIP);
            loop {
                tokio::select! {
                    _the_client_went_away = stream.read(&mut request) => return Ok(()),
                    _time = drip.tick() => send(&mut stream, b" ", counts).await?,
                }
            }
        }
        Misbehaviour::Endless => {
            send(&mut stream, CHUNKED, counts).await?;
            let chunk = [&b"10000\r\n"[..], &[b' '; 0x1_0000], b"\r\n"].concat();
            loop {
                send(&mut stream, &chunk, counts).await?;
            }
        }
        Misbehaviour::EndlessHead => {
            send(&mut stream, b"HTTP/1.1 200 OK\r\n", counts).await?;
            loop {
                send(&mut stream, b"x-more: 1234567890\r\n", counts).await?;
            }
        }
        Misbehaviour::ManyKeys => {
            let key = |n: usize| json!({ "kty": "OKP", "crv": "Ed25519", "kid": n.to_string(), "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
            let body = json!({ "keys": (0..KEYS_COUNT).map(key).collect::<Vec<_>>() }).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            send(&mut stream, (head + &body).as_bytes(), counts).await?;
        }
        Misbehaviour::Redirecting => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nlocation: http://{other}/keys\r\ncontent-length: 0\r\n\r\n"
            );
            send(&mut stream, head.as_bytes(), counts).await?;
        }
    }
    // Nothing more comes until the client goes away.
    let _none = stream.read(&mut request).await?;
    Ok(())
}

/// A metric of the admin port.
async fn metric(admin: SocketAddr, name: &str) -> f64 {
    let (_, text) = get(admin, "/metrics").await;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

/// Waits until so many fetches have failed.
async fn have_failed(admin: SocketAddr, fetches: usize) {
    let failing = async {
        while metric(admin, "bookd_issuer_key_fetches_failed_total").await < fetches as f64 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, failing)
        .await
        .expect("as many fetches have failed");
}

/// Sends tokens that claim to be of each issuer; each is refused.
async fn tokens_are_refused(besieged: &Besieged, issuers: &[HostileIssuer]) {
    let mut client = ListServiceClient::new(besieged.channel());
    for (number, issuer) in (0..200).zip(issuers.iter().cycle()) {
        let mut claims = claims();
        claims["iss"] = json!(issuer.name());
        let token = encode(&header(&number.to_string()), &claims, &KEYS[0]).unwrap();
        let mut request = Request::new(pb::ListAppointmentsRequest::default());
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let refused = client.list_appointments(request).await.unwrap_err();
        let told = reason(&refused);
        assert!(
            matches!(
                (refused.code(), told.as_str()),
                (Code::Unauthenticated, "CREDENTIALS_INVALID")
                    | (Code::ResourceExhausted, "RATE_LIMITED")
            ),
            "{refused:?}"
        );
    }
}

/// A server with all these issuers, and a token that is let in.
async fn besieged(issuers: &[HostileIssuer]) -> (Besieged, SocketAddr) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bookd.toml");
    let token = folder.path().join("root");
    std::fs::write(&token, "q4".repeat(16)).unwrap();
    let configuration: String = issuers.iter().map(HostileIssuer::configuration).collect();
    std::fs::write(&file, configuration).unwrap();
    let [file, token] = [file, token].map(|it| it.display().to_string());
    let words = [
        "--config",
        &file,
        "--bootstrap-token-file",
        &token,
        "--admin",
        "127.0.0.1:0",
    ];
    let bearer = format!("Bearer {}", "q4".repeat(16)).parse().unwrap();
    let client = GoodClient {
        bearer: Some(bearer),
        authority: None,
    };
    let besieged = Besieged::start_with(folder, &words, client).await;
    let banner = &besieged.process().banner;
    let admin = banner
        .split("metrics and probes: http://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap();
    let admin = admin.parse().unwrap();
    until(admin, "/readyz", 200, "").await;
    (besieged, admin)
}

#[tokio::test]
async fn servers_of_keys_that_never_answer_or_never_end_are_given_up_and_others_are_served() {
    let other = HostileIssuer::start(Misbehaviour::Silent, ([127, 0, 0, 1], 1).into()).await;
    let mut issuers = Vec::new();
    for misbehaviour in Misbehaviour::ALL {
        issuers.push(HostileIssuer::start(misbehaviour, other.address).await);
    }
    // It starts all the same: each was asked once.
    let started = Instant::now();
    let (mut besieged, admin) = besieged(&issuers).await;
    // Each is asked again by itself after half a minute.
    let by_itself = || usize::try_from(started.elapsed().as_secs() / 30).unwrap();
    let count = issuers.len();
    let without_keys = "bookd_issuers_without_keys";
    assert_eq!(metric(admin, without_keys).await as usize, count);
    have_failed(admin, count).await;
    issuers.iter().for_each(|it| it.is_bounded(1 + by_itself()));
    let threads = Held::of(besieged.process().id()).threads;
    // No token has them asked again at once.
    tokens_are_refused(&besieged, &issuers).await;
    issuers.iter().for_each(|it| it.is_bounded(1 + by_itself()));
    // The operator has, again and again, while the fetches before still hang.
    for _ in 0..HANGUPS {
        let asked = || {
            issuers
                .iter()
                .map(HostileIssuer::connections)
                .sum::<usize>()
        };
        let before = asked();
        hangup(besieged.process());
        eventually(|| asked() >= before + count).await;
        // What was begun before is given up: no two fetches of one issuer go on.
        eventually(|| issuers.iter().all(|it| it.open() <= 1)).await;
        besieged.books(2).await;
    }
    have_failed(admin, 2 * count).await;
    let fetches = 1 + HANGUPS + by_itself();
    issuers.iter().for_each(|it| it.is_bounded(fetches));
    assert_eq!(other.connections(), 0, "a redirect was followed");
    assert_eq!(metric(admin, without_keys).await as usize, count);
    assert!(Held::of(besieged.process().id()).threads <= threads + 2);
    // A line for each fetch that failed, and no more.
    let warnings = besieged.log().matches("WARN").count();
    assert!(warnings <= count * fetches, "{warnings}");
    besieged.ends_unharmed(MEMORY_MAX).await;
}
