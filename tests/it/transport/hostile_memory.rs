//! The memory that clients can make a server hold: by requests that never end, answers that nobody
//! reads, and wrong lengths.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bookd::api::stack;
use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd_transport::grpc::REQUEST_BYTES_MAX;
use bookd_transport::{Admission, AdmissionLimits};
use bookd_transport::{Observing, Running, ServerLimits, Workers};
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};

use crate::besieged::Besieged;
use crate::harness::connect;
use crate::http2::{
    Connection, DATA, END_HEADERS, END_STREAM, HEADERS, PATIENCE, PING, RST_STREAM, call,
    call_headers, frame,
};
use crate::kill::nth;

pub(crate) const BOOK: &str = "/bookd.v1.BookingService/BookAppointment";
const LIST: &str = "/bookd.v1.ListService/ListAppointments";
const WATCH: &str = "/bookd.v1.ListService/WatchAppointments";
pub(crate) const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// The calls of one connection that the server allows.
pub(crate) const STREAMS: usize = 200;
pub(crate) const MEMORY_MAX: u64 = 64;

/// A request body that has one piece and never ends.
pub(crate) struct Unfinished(pub(crate) Option<Bytes>);

impl http_body::Body for Unfinished {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.take() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Pending,
        }
    }
}

pub(crate) fn request(
    path: &str,
    headers: &[(&'static str, &'static str)],
    body: Body,
) -> http::Request<Body> {
    let uri = format!("http://localhost{path}");
    let begun = http::Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    headers
        .iter()
        .fold(begun, |request, (name, value)| {
            request.header(*name, *value)
        })
        .body(body)
        .unwrap()
}

/// The status of an answer without a message.
pub(crate) async fn refused(mut channel: Channel, request: http::Request<Body>) -> Status {
    let answer = channel.ready().await.unwrap().call(request).await.unwrap();
    Status::from_header_map(answer.headers()).expect("a refusal in the headers")
}

pub(crate) fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("{status:?}"))
        .reason
}

/// A message that announces one length and has so many bytes.
pub(crate) fn begun(announced: u32, sent: usize) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend(announced.to_be_bytes());
    bytes.resize(5 + sent, 7);
    bytes.into()
}

/// Sends requests that never end on so many connections; answers the refusals as they come.
pub(crate) async fn never_ending(
    besieged: &Besieged,
    connections: usize,
    streams: usize,
    piece: Bytes,
) -> (JoinSet<()>, mpsc::Receiver<Status>) {
    let (answered, answers) = mpsc::channel(connections * streams);
    let mut calls = JoinSet::new();
    for _ in 0..connections {
        let channel = connect(besieged.address()).await;
        for _ in 0..streams {
            let (channel, piece, answered) = (channel.clone(), piece.clone(), answered.clone());
            calls.spawn(async move {
                let status = refused(
                    channel,
                    request(BOOK, &[], Body::new(Unfinished(Some(piece)))),
                )
                .await;
                let _the_test_is_over = answered.send(status).await;
            });
        }
    }
    (calls, answers)
}

/// Asserts that so many requests are refused for lack of memory, with the time of the next attempt.
pub(crate) async fn are_overloaded(answers: &mut mpsc::Receiver<Status>, count: usize) {
    for _ in 0..count {
        let status = tokio::time::timeout(PATIENCE, answers.recv())
            .await
            .expect("the request is refused")
            .unwrap();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "OVERLOADED"),
            "{status:?}"
        );
        assert!(
            status
                .get_details_retry_info()
                .unwrap()
                .retry_delay
                .is_some()
        );
    }
}

/// Four connections with 200 requests each, every request short of the last byte of 1 MiB: 800 MiB.
#[tokio::test]
async fn requests_that_never_end_take_a_bounded_part_of_memory_and_the_others_are_overloaded() {
    const CONNECTIONS: usize = 4;
    /// The requests of a connection may take 16 MiB, and each takes 1.
    const RECEIVED: usize = 16;
    let mut besieged = Besieged::start().await;
    let piece = begun(
        u32::try_from(REQUEST_BYTES_MAX).unwrap(),
        REQUEST_BYTES_MAX - 1,
    );
    let (mut calls, mut answers) = never_ending(&besieged, CONNECTIONS, STREAMS, piece).await;
    are_overloaded(&mut answers, CONNECTIONS * (STREAMS - RECEIVED)).await;
    besieged.books(5).await;
    // There is always some memory left for another connection: a large request is received.
    let large = pb::BookAppointmentRequest {
        note: "n".repeat(REQUEST_BYTES_MAX - 1_000),
        ..nth(1)
    };
    let status = BookingServiceClient::new(connect(besieged.address()).await)
        .book_appointment(large)
        .await;
    assert_eq!(
        reason(&status.unwrap_err()),
        "FIELD_INVALID",
        "the request was read whole"
    );
    calls.shutdown().await;
    besieged
        .ends_unharmed(MEMORY_MAX + (CONNECTIONS * RECEIVED) as u64)
        .await;
}

pub(crate) fn serve(admission: AdmissionLimits, limits: ServerLimits) -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let mut routes = Routes::builder();
    routes
        .add_service(health)
        .add_service(reflection.build_v1().unwrap());
    let stack = stack::around(
        routes.routes(),
        Arc::new(Admission::new(admission)),
        Observing::default(),
    );
    let service = move |_| (stack.clone(), std::future::ready(()));
    bookd_transport::start(listener, limits, Workers::Here, service).unwrap()
}

async fn channel(running: &Running) -> Channel {
    Endpoint::from_shared(format!("http://{}", running.local_addr()))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_request_that_does_not_arrive_in_time_is_answered_and_nothing_was_done() {
    let admission = AdmissionLimits {
        receive: Duration::from_millis(30),
        ..AdmissionLimits::default()
    };
    let running = serve(admission, ServerLimits::default());
    let channel = channel(&running).await;
    for (path, sent) in [
        ("/grpc.health.v1.Health/Check", None),
        ("/grpc.health.v1.Health/Check", Some(begun(9, 4))),
    ] {
        let status = refused(
            channel.clone(),
            request(path, &[], Body::new(Unfinished(sent))),
        )
        .await;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::DeadlineExceeded, "EXPIRED_IN_QUEUE")
        );
    }
    // A stream of requests too: its answer begins at once, and then ends.
    let mut channel = channel;
    let call = request(REFLECTION, &[], Body::new(Unfinished(None)));
    let answer = channel.ready().await.unwrap().call(call).await.unwrap();
    let collected = tokio::time::timeout(
        PATIENCE,
        http_body_util::BodyExt::collect(answer.into_body()),
    )
    .await;
    assert!(collected.expect("it ends").unwrap().trailers().is_some());
}

#[tokio::test]
async fn who_leaves_answers_unread_is_closed_and_who_reads_slowly_is_not() {
    let limits = ServerLimits {
        unread: Duration::from_millis(60),
        ..ServerLimits::default()
    };
    let running = serve(AdmissionLimits::default(), limits);
    let health = tonic_health::pb::HealthCheckRequest::default();
    let mut reader = Connection::shaken(running.local_addr()).await;
    let mut deaf = Connection::deaf(running.local_addr()).await;
    deaf.send(&call(1, "/grpc.health.v1.Health/Check", &health))
        .await;
    // The client answers pings all the while, which does not count as reading.
    deaf.ended().await;
    assert_eq!(running.metrics().unread(), 1);
    reader
        .send(&call(1, "/grpc.health.v1.Health/Check", &health))
        .await;
    assert!(reader.next_of(DATA).await.is_some());
    assert_eq!(running.metrics().open(), 1);
}

/// Books batches of 100 with long notes: a page of 1,000 has more than 3 MB.
async fn fill(channel: &Channel) {
    for batch in 0..10_i64 {
        let requests = (0..100).map(|one| pb::BookAppointmentRequest {
            note: "n".repeat(3_500),
            request_id: String::new(),
            ..nth(1_000 + batch * 100 + one)
        });
        let request = pb::BatchBookRequest {
            requests: requests.collect(),
            ..Default::default()
        };
        BookingServiceClient::new(channel.clone())
            .batch_book(request)
            .await
            .unwrap();
    }
}

/// Two connections ask for 1.4 GB of answers and read none.
#[tokio::test]
async fn answers_that_nobody_reads_take_a_bounded_part_of_memory_and_the_others_are_overloaded() {
    const CONNECTIONS: usize = 2;
    /// The answers of a connection may take 32 MiB, and each takes more than 3.
    const KEPT: usize = 10;
    let mut besieged = Besieged::start().await;
    fill(&besieged.channel()).await;
    let page = pb::ListAppointmentsRequest {
        calendar_id: "ada".into(),
        page_size: 1_000,
        ..Default::default()
    };
    let mut deaf = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::deaf(besieged.address()).await;
        for stream in 0..STREAMS {
            connection
                .send(&call(u32::try_from(stream).unwrap() * 2 + 1, LIST, &page))
                .await;
        }
        deaf.push(connection);
    }
    for connection in &mut deaf {
        let mut ended = 0;
        while ended < STREAMS - KEPT {
            let headers = connection
                .next_of(HEADERS)
                .await
                .expect("the connection is not closed");
            ended += usize::from(headers.flags & END_STREAM != 0);
        }
    }
    besieged.books(5).await;
    // A client that reads is answered.
    let read = ListServiceClient::new(besieged.channel())
        .list_appointments(page)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(read.appointments.len(), 1_000);
    drop(deaf);
    // Four pages are rendered at a time, beside those that wait.
    besieged
        .ends_unharmed(3 * MEMORY_MAX + (CONNECTIONS * 32) as u64)
        .await;
}

#[tokio::test]
async fn a_watcher_that_never_reads_holds_up_nobody_and_takes_no_memory() {
    let mut besieged = Besieged::start().await;
    let mut deaf = Vec::new();
    for _ in 0..10 {
        let mut connection = Connection::deaf(besieged.address()).await;
        for stream in 0..100 {
            let request = pb::WatchAppointmentsRequest::default();
            connection
                .send(&call(stream * 2 + 1, WATCH, &request))
                .await;
        }
        for _ in 0..100 {
            assert_eq!(
                connection.next_of(HEADERS).await.unwrap().flags & END_STREAM,
                0,
                "the watch has begun"
            );
        }
        deaf.push(connection);
    }
    let request = pb::WatchAppointmentsRequest::default();
    let watching = ListServiceClient::new(besieged.channel())
        .watch_appointments(request)
        .await
        .unwrap();
    let mut stream = watching.into_inner();
    fill(&besieged.channel()).await;
    let mut events = 0;
    while events < 1_000 {
        let message = tokio::time::timeout(PATIENCE, stream.message())
            .await
            .expect("a message comes in time")
            .unwrap()
            .unwrap();
        if let Some(pb::watch_appointments_response::Message::Change(change)) = message.message {
            events += change.events.len();
        }
    }
    besieged.books(5).await;
    drop((deaf, stream));
    besieged.ends_unharmed(2 * MEMORY_MAX).await;
}

#[tokio::test]
async fn lengths_that_lie_are_refused_at_once() {
    let mut besieged = Besieged::start().await;
    let channel = connect(besieged.address()).await;
    for announced in [REQUEST_BYTES_MAX as u32 + 1, 1 << 30, u32::MAX] {
        let status = refused(
            channel.clone(),
            request(BOOK, &[], Body::new(Unfinished(Some(begun(announced, 0))))),
        )
        .await;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::ResourceExhausted, "REQUEST_TOO_LARGE")
        );
    }
    // 200 requests of 1 GiB on one connection, at the same time.
    let mut calls = JoinSet::new();
    for _ in 0..STREAMS {
        calls.spawn(refused(
            channel.clone(),
            request(BOOK, &[], Body::new(Unfinished(Some(begun(1 << 30, 100))))),
        ));
    }
    for status in calls.join_all().await {
        assert_eq!(reason(&status), "REQUEST_TOO_LARGE");
    }
    besieged.books(1).await;
    drop(channel);
    besieged.ends_unharmed(MEMORY_MAX).await;
}

#[tokio::test]
async fn compressed_requests_are_refused_and_never_unpacked() {
    let mut besieged = Besieged::start().await;
    let channel = connect(besieged.address()).await;
    // 10 KiB that decompress to 10 MiB.
    let mut bomb = begun(10_240, 10_240).to_vec();
    bomb[0] = 1;
    let bomb = || Body::new(http_body_util::Full::new(Bytes::from(bomb.clone())));
    for encoding in ["gzip", "deflate", "zstd", "br"] {
        let status = refused(
            channel.clone(),
            request(BOOK, &[("grpc-encoding", encoding)], bomb()),
        )
        .await;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unimplemented, "NOT_IMPLEMENTED"),
            "{status:?}"
        );
        assert!(status.message().contains(encoding), "{status:?}");
    }
    // The message is marked as compressed, without an encoding.
    let status = refused(channel.clone(), request(BOOK, &[], bomb())).await;
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "MALFORMED_REQUEST")
    );
    besieged.books(1).await;
    drop(channel);
    besieged.ends_unharmed(MEMORY_MAX).await;
}

#[tokio::test]
async fn requests_half_sent_on_ten_connections_are_reset_without_a_trace() {
    let mut besieged = Besieged::start().await;
    for _ in 0..10 {
        let mut connection = Connection::shaken(besieged.address()).await;
        for stream in 0..100 {
            let stream = stream * 2 + 1;
            connection
                .send(&frame(HEADERS, END_HEADERS, stream, &call_headers(BOOK)))
                .await;
            connection
                .send(&frame(DATA, 0, stream, &begun(100, 50)))
                .await;
            connection
                .send(&frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()))
                .await;
        }
        connection.send(&frame(PING, 0, 0, &[7; 8])).await;
        assert!(connection.next_of(PING).await.is_some(), "it goes on");
    }
    besieged.books(5).await;
    besieged.ends_unharmed(MEMORY_MAX).await;
}
