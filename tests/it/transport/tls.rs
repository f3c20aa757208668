//! TLS of a server: half-open handshakes hold nobody up, and certificates are replaced under load
//! without a failed call.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bookd::proto::v1 as pb;
use bookd::proto::v1::server_info_service_client::ServerInfoServiceClient;
use bookd::service::{Parts, Service};
use bookd::store::memory::Memory;
use bookd::zones::Zones;
use bookd_transport::{
    CertificateName, Ended, Peer, Running, ServerLimits, Tls, TlsFiles, Workers,
};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::service::Routes;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::authority::{Authority, Issued};
use crate::harness::alone;
use crate::http2::{PATIENCE, PREFACE};
use crate::server::{LONG, eventually};

/// A health service that knows its clients by the name in their certificates.
#[derive(Clone)]
struct Named;

#[tonic::async_trait]
impl Health for Named {
    type WatchStream = tokio_stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let peer = request.extensions().get::<Peer>().unwrap();
        assert!(peer.address.is_some());
        match peer.certificate.as_deref() {
            Some(CertificateName::Spiffe(name)) if *name == request.get_ref().service => {
                Ok(Response::new(HealthCheckResponse::default()))
            }
            name => Err(Status::permission_denied(format!("{name:?}"))),
        }
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}

/// A folder with the files of a server, and with those of its authority.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    pub(crate) fn new(authority: &Authority) -> Self {
        let files = Self {
            folder: TempDir::new().unwrap(),
        };
        std::fs::write(files.path("ca.pem"), authority.pem()).unwrap();
        files.write("server", &authority.server("one"));
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub(crate) fn write(&self, name: &str, issued: &Issued) {
        std::fs::write(self.path(&format!("{name}.pem")), &issued.certificate).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), &issued.key).unwrap();
    }

    fn load(&self) -> Tls {
        let files = TlsFiles {
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: Some(self.path("ca.pem")),
        };
        Tls::load(files).unwrap()
    }
}

fn start(limits: ServerLimits, tls: Tls) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = move |_worker| alone(Routes::new(HealthServer::new(Named)));
    let workers = Workers::Threads(NonZeroUsize::MIN);
    bookd_transport::start_with_tls(listener, limits, workers, Some(tls), service).unwrap()
}

fn endpoint(address: SocketAddr, authority: &Authority, client: &Issued) -> Endpoint {
    let config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.pem()))
        .identity(Identity::from_pem(&client.certificate, &client.key));
    Endpoint::from_shared(format!("https://{address}"))
        .unwrap()
        .tls_config(config)
        .unwrap()
}

async fn check(channel: Channel, name: &str) -> Result<(), Status> {
    let request = HealthCheckRequest {
        service: name.to_owned(),
    };
    let answer = HealthClient::new(channel).check(request).await;
    answer.map(|_| ())
}

/// Connections that began a handshake, each at another point of it: none has sent a whole message.
async fn half_open(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    // A record of 0x80 bytes with a ClientHello of 0x7c.
    let mut hello = vec![0x16, 3, 1, 0, 0x80, 1, 0, 0, 0x7c, 3, 3];
    hello.resize(120, 0);
    let mut streams = Vec::new();
    for number in 0..count {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(&hello[..number % hello.len()])
            .await
            .unwrap();
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn two_hundred_half_open_handshakes_hold_up_neither_a_good_client_nor_the_shutdown() {
    let (authority, booker) = (Authority::new("ours"), "spiffe://example.org/booker");
    let files = Files::new(&authority);
    let limits = ServerLimits {
        handshake: LONG,
        ..ServerLimits::default()
    };
    let running = start(limits, files.load());
    let address = running.local_addr();
    let half_open = half_open(address, 200).await;
    eventually(|| running.metrics().open() == 200).await;
    let client = authority.client("", &[booker]);
    let served = async {
        let channel = endpoint(address, &authority, &client)
            .connect()
            .await
            .unwrap();
        check(channel.clone(), booker).await.unwrap();
        let other = check(channel, "spiffe://example.org/other")
            .await
            .unwrap_err();
        assert!(other.message().contains(booker), "{other:?}");
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
    assert!(running.metrics().open() >= 200, "none was closed for it");
    let ended = tokio::time::timeout(PATIENCE, running.shutdown(LONG)).await;
    assert_eq!(ended, Ok(Ended::InOrder));
    drop(half_open);
}

#[tokio::test]
async fn a_handshake_that_is_not_over_in_time_or_fails_is_closed_and_counted() {
    let authority = Authority::new("ours");
    let files = Files::new(&authority);
    let limits = ServerLimits {
        handshake: Duration::from_millis(50),
        ..ServerLimits::default()
    };
    let running = start(limits, files.load());
    let address = running.local_addr();
    let half_open = half_open(address, 200).await;
    eventually(|| running.metrics().handshake_timeouts() == 200).await;
    eventually(|| running.metrics().open() == 0).await;
    drop(half_open);
    assert_eq!(running.metrics().handshakes_failed(), 0);
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(PREFACE).await.unwrap();
    eventually(|| running.metrics().handshakes_failed() == 1).await;
    // Whoever only looks whether the port is open has not failed.
    drop(TcpStream::connect(address).await.unwrap());
    eventually(|| running.metrics().accepted() == 202 && running.metrics().open() == 0).await;
    assert_eq!(running.metrics().handshakes_failed(), 1);
    assert_eq!(running.shutdown(LONG).await, Ended::InOrder);
}

/// Calls the service once.
async fn call(channel: Channel) -> Result<(), Status> {
    let mut client = ServerInfoServiceClient::new(channel);
    let answer = client.get_server_info(pb::GetServerInfoRequest {}).await;
    answer.map(|_| ())
}

#[tokio::test]
async fn a_hundred_new_certificates_under_load_fail_no_call() {
    const CERTIFICATES: usize = 100;
    let authority = Arc::new(Authority::new("ours"));
    let files = Files::new(&authority);
    let tls = files.load();
    let parts = Parts {
        workers: Workers::Threads(NonZeroUsize::new(2).unwrap()),
        tls: Some(tls.clone()),
        ..Parts::local(Arc::new(Zones::bundled()))
    };
    let service = Service::start(parts, Box::new(Memory::new(7)))
        .await
        .unwrap();
    let endpoint = endpoint(
        service.local_addr(),
        &authority,
        &authority.client("grace", &[]),
    );
    let (is_over, connected) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..5 {
        let (endpoint, is_over) = (endpoint.clone(), Arc::clone(&is_over));
        let connected = Arc::clone(&connected);
        clients.spawn(async move {
            let kept = endpoint.connect().await.unwrap();
            while !is_over.load(Relaxed) {
                // One client keeps its connection, the others make a new one for each call.
                let channel = match number {
                    0 => kept.clone(),
                    _ => endpoint.connect().await.unwrap(),
                };
                call(channel).await.unwrap();
                connected.fetch_add(usize::from(number > 0), Relaxed);
            }
        });
    }
    for number in 0..CERTIFICATES {
        let name = format!("certificate {number}");
        files.write("server", &authority.server(&name));
        let loaded = tls.reload().unwrap();
        assert_eq!(loaded.subject, format!("CN={name}"));
        let before = connected.load(Relaxed);
        // Those that connect now may have begun before the reload; those after them have not.
        eventually(|| connected.load(Relaxed) >= before + 5).await;
    }
    is_over.store(true, Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(connected.load(Relaxed) >= 5 * CERTIFICATES);
    service.stop(Duration::from_secs(5)).await;
}
