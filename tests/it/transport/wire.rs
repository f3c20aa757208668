//! Answers that tonic would give by itself: clients get errors of the contract, and in time.

use std::net::TcpListener;
use std::sync::Arc;

use bookd::api::ERROR_DOMAIN;
use bookd::api::stack::{self, GrpcStack};
use bookd_kit::fuzzed::framed;
use bookd_transport::{
    Admission, AdmissionLimits, Deadline, Observing, Peer, Running, ServerLimits, Workers,
};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use tower::ServiceExt;

use crate::http2::{
    Connection, DATA, END_HEADERS, END_STREAM, HEADERS, PATIENCE, call_headers, frame,
};

const REQUEST_BYTES_MAX: usize = 1_024;
const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// A health service whose answer depends on the name in the request.
#[derive(Clone)]
struct Named;

#[tonic::async_trait]
impl Health for Named {
    type WatchStream = tokio_stream::wrappers::ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.get_ref().service.as_str() {
            "hang" => std::future::pending().await,
            "internal" => Err(Status::with_error_details(
                Code::Internal,
                "a slip",
                Default::default(),
            )),
            "extensions" => {
                assert!(request.extensions().get::<Deadline>().is_some());
                assert_eq!(request.extensions().get::<Peer>(), Some(&Peer::default()));
                Ok(Response::new(HealthCheckResponse::default()))
            }
            _ => Ok(Response::new(HealthCheckResponse::default())),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let name = request.into_inner().service;
        tokio::spawn(async move {
            let _begun = sender.send(Ok(HealthCheckResponse::default())).await;
            match name.as_str() {
                "internal" => drop(sender.send(Err(Status::internal("a slip"))).await),
                "endless" => {
                    while sender
                        .send(Ok(HealthCheckResponse::default()))
                        .await
                        .is_ok()
                    {}
                }
                _ => sender.closed().await,
            }
        });
        Ok(Response::new(receiver.into()))
    }
}

fn wired() -> GrpcStack<Routes> {
    // The limits allow everything: some of these tests keep every request.
    let boundless = AdmissionLimits {
        untaken_bytes_max: usize::MAX,
        ..AdmissionLimits::default()
    };
    let routes = Routes::new(HealthServer::new(Named).max_decoding_message_size(REQUEST_BYTES_MAX));
    stack::around(
        routes,
        Arc::new(Admission::new(boundless)),
        Observing::default(),
    )
}

async fn served() -> (Running, Channel) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let running = bookd_transport::start(
        listener,
        ServerLimits::default(),
        Workers::Here,
        |_worker| (wired(), std::future::ready(())),
    )
    .unwrap();
    let channel = Endpoint::from_shared(format!("http://{}", running.local_addr()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    (running, channel)
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    assert_eq!(info.domain, ERROR_DOMAIN);
    Some(info.reason)
}

async fn call<M: Message + Default + 'static>(
    channel: Channel,
    path: &'static str,
    message: M,
) -> Status {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<M, HealthCheckResponse>::default();
    grpc.unary(
        Request::new(message),
        PathAndQuery::from_static(path),
        codec,
    )
    .await
    .unwrap_err()
}

#[tokio::test]
async fn an_undecodable_message_is_a_malformed_request() {
    let (_running, channel) = served().await;
    // Field 1 is a number here and a string there.
    let status = call(
        channel,
        CHECK,
        prost_types::Duration {
            seconds: 1,
            nanos: 0,
        },
    )
    .await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(reason(&status).as_deref(), Some("MALFORMED_REQUEST"));
    assert!(
        status.message().contains("HealthCheckRequest"),
        "{status:?}"
    );
}

#[tokio::test]
async fn a_message_above_the_limit_is_too_large_and_the_connection_goes_on() {
    let (_running, channel) = served().await;
    for bytes in [REQUEST_BYTES_MAX, 100 * REQUEST_BYTES_MAX] {
        let status = call(channel.clone(), CHECK, named(&"x".repeat(bytes))).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(reason(&status).as_deref(), Some("REQUEST_TOO_LARGE"));
    }
    HealthClient::new(channel).check(named("")).await.unwrap();
}

#[tokio::test]
async fn an_unknown_method_or_service_is_unimplemented_and_named() {
    let (_running, channel) = served().await;
    for path in ["/grpc.health.v1.Health/Cure", "/no.such.Service/Check"] {
        let status = call(channel.clone(), path, named("")).await;
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains(path), "{status:?}");
        assert_eq!(reason(&status).as_deref(), Some("NOT_IMPLEMENTED"));
    }
}

#[tokio::test]
async fn a_hanging_call_is_answered_at_its_deadline_without_a_claim_about_its_effect() {
    let (status, _) = answer(CHECK, "hang", "20m").await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(reason(&status), None);
    assert!(status.message().contains("request_id"), "{status:?}");
}

#[tokio::test]
async fn a_call_that_arrives_at_its_deadline_is_not_begun() {
    let (status, _) = answer(CHECK, "hang", "0m").await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&status).as_deref(), Some("EXPIRED_IN_QUEUE"));
}

#[tokio::test]
async fn a_timeout_that_is_none_is_a_malformed_request() {
    let (status, _) = answer(CHECK, "", "soon").await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(&status).as_deref(), Some("MALFORMED_REQUEST"));
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_whether_it_is_silent_or_never_is() {
    for name in ["silent", "endless"] {
        let (status, messages) = answer(WATCH, name, "50m").await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{name}");
        assert!(
            !messages.is_empty(),
            "messages from before the deadline are delivered"
        );
    }
}

#[tokio::test]
async fn a_stream_over_a_socket_ends_with_trailers_at_its_deadline_and_the_connection_goes_on() {
    let (running, _channel) = served().await;
    let mut connection = Connection::shaken(running.local_addr()).await;
    for stream in [1, 3] {
        let mut headers = call_headers(WATCH);
        headers.extend(b"\x00\x0cgrpc-timeout\x0350m");
        connection
            .send(&frame(HEADERS, END_HEADERS, stream, &headers))
            .await;
        connection
            .send(&frame(DATA, END_STREAM, stream, &encoded("silent")))
            .await;
        let begin = connection.next_of(HEADERS).await.unwrap();
        assert_eq!((begin.stream, begin.flags & END_STREAM), (stream, 0));
        let end = connection.next_of(HEADERS).await.unwrap();
        assert_eq!((end.stream, end.flags & END_STREAM), (stream, END_STREAM));
    }
}

/// A request for this name in gRPC's framing.
fn encoded(service: &str) -> Vec<u8> {
    framed(&named(service).encode_to_vec())
}

/// The answer of the layers without a client in between: the client of tonic keeps deadlines
/// itself, and would answer first.
async fn answer(path: &str, service: &str, timeout: &str) -> (Status, Bytes) {
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("grpc-timeout", timeout)
        .body(Body::new(Full::new(encoded(service).into())))
        .unwrap();
    let response = tokio::time::timeout(PATIENCE, wired().oneshot(request))
        .await
        .expect("an answer")
        .unwrap();
    let in_headers = Status::from_header_map(response.headers());
    let collected = tokio::time::timeout(PATIENCE, response.into_body().collect())
        .await
        .expect("an end")
        .unwrap();
    let status = in_headers
        .or_else(|| Status::from_header_map(collected.trailers()?))
        .unwrap();
    (status, collected.to_bytes())
}

#[tokio::test]
async fn a_stream_without_a_deadline_goes_on() {
    let (_running, channel) = served().await;
    let mut stream = HealthClient::new(channel)
        .watch(named("endless"))
        .await
        .unwrap()
        .into_inner();
    for _ in 0..100 {
        assert!(stream.message().await.unwrap().is_some());
    }
}

#[tokio::test]
async fn internal_never_leaves() {
    let (_running, channel) = served().await;
    let mut client = HealthClient::new(channel);
    assert_eq!(
        client.check(named("internal")).await.unwrap_err().code(),
        Code::Unknown
    );
    let mut stream = client.watch(named("internal")).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Unknown);
}

#[tokio::test]
async fn what_is_not_grpc_is_told_so() {
    for content_type in [None, Some("application/json"), Some("application/grpc-web")] {
        let mut request = http::Request::post(CHECK).body(Body::empty()).unwrap();
        if let Some(content_type) = content_type {
            request
                .headers_mut()
                .insert("content-type", content_type.parse().unwrap());
        }
        let response = wired().oneshot(request).await.unwrap();
        assert_eq!(response.status(), http::StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}

#[tokio::test]
async fn a_compressed_request_is_unimplemented() {
    let request = http::Request::post(CHECK)
        .header("content-type", "application/grpc+proto")
        .header("grpc-encoding", "gzip")
        .body(Body::empty())
        .unwrap();
    let response = wired().oneshot(request).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("gzip"), "{status:?}");
    assert_eq!(reason(&status).as_deref(), Some("NOT_IMPLEMENTED"));
}

#[tokio::test]
async fn every_request_tells_its_deadline_and_its_peer() {
    let (status, messages) = answer(CHECK, "extensions", "1H").await;
    assert_eq!(status.code(), Code::Ok);
    assert!(!messages.is_empty());
}
