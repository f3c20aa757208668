//! Traces of the binary: a collector of this test receives a span for each call that is traced, in
//! the trace of its caller, with nothing of a person in it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tempfile::TempDir;
use tokio::sync::Notify;
use tonic::metadata::MetadataValue;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::calls::{hours, past};
use crate::harness::connect;
use crate::operations::start;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// Words of the calls below that must not be in a span.
const PERSONAL: [&str; 8] = [
    "Grace",
    "grace@",
    "secret-note",
    "clinic-7",
    "secret-token",
    "127.0.0.1",
    "0190163d",
    "secret-path",
];
/// How long a span may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// A collector, which keeps what it receives.
#[derive(Clone, Default)]
struct Collector {
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    more: Arc<Notify>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.received.lock().unwrap().push(request.into_inner());
        self.more.notify_one();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start(&self) -> SocketAddr {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone());
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        address
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|it| &it.resource_spans);
        let scopes = resources.flat_map(|it| &it.scope_spans);
        scopes.flat_map(|it| it.spans.clone()).collect()
    }

    /// Waits for so many spans.
    async fn spans_when(&self, count: usize) -> Vec<Span> {
        let arrived = async {
            while self.spans().len() < count {
                self.more.notified().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, arrived).await;
        assert!(in_time.is_ok(), "{:?}", self.spans());
        self.spans()
    }

    /// All that was received, as the bytes of its texts.
    fn bytes(&self) -> Vec<u8> {
        let received = self.received.lock().unwrap();
        received.iter().flat_map(Message::encode_to_vec).collect()
    }
}

fn traced<M>(message: M, flags: &str) -> Request<M> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    let place = format!("00-{TRACE}-{PARENT}-{flags}");
    metadata.insert("traceparent", place.parse().unwrap());
    metadata.insert(
        "authorization",
        MetadataValue::from_static("Bearer secret-token"),
    );
    request
}

fn hexadecimal(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    let found = span.attributes.iter().find(|it| it.key == key)?;
    found.value.clone()?.value
}

fn text(span: &Span, key: &str) -> String {
    match attribute(span, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?}"),
    }
}

#[tokio::test]
async fn the_span_of_a_call_is_in_the_trace_of_its_caller_and_tells_the_commit_and_no_person() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let folder = TempDir::new().unwrap();
    let configuration =
        format!("otlp_endpoint = \"http://{endpoint}\"\ntrace_ratio = 0\nlog_calls = true\n");
    let process = start(folder.path(), &configuration);
    let channel = connect(process.address).await;
    let mut availability = AvailabilityServiceClient::new(channel.clone());
    availability
        .set_availability(traced(hours(), "01"))
        .await
        .unwrap();
    let mut booking = BookingServiceClient::new(channel.clone());
    booking
        .book_appointment(traced(past(), "01"))
        .await
        .unwrap_err();
    // These two are not traced: a trace that is not sampled, and none at all.
    let mut calendars = CalendarServiceClient::new(channel);
    let all = pb::ListCalendarsRequest::default;
    calendars.list_calendars(traced(all(), "00")).await.unwrap();
    calendars.list_calendars(all()).await.unwrap();
    let spans = collector.spans_when(2).await;
    drop((availability, booking, calendars));
    // What waits is sent before the process ends.
    assert!(process.terminate_beside_clients().await.success());
    assert_eq!(collector.spans().len(), 2);

    let by_name = |name: &str| {
        let found = spans.iter().find(|it| it.name == name);
        found.unwrap_or_else(|| panic!("{name}: {spans:?}"))
    };
    let set = by_name("bookd.v1.AvailabilityService/SetAvailability");
    let book = by_name("bookd.v1.BookingService/BookAppointment");
    for span in [set, book] {
        assert_eq!(hexadecimal(&span.trace_id), TRACE);
        assert_eq!(hexadecimal(&span.parent_span_id), PARENT);
        assert_eq!(text(span, "rpc.system.name"), "grpc");
        assert_eq!(text(span, "rpc.method"), span.name);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    }
    assert_ne!(set.span_id, book.span_id);
    assert_eq!(text(set, "rpc.response.status_code"), "OK");
    assert_eq!(
        attribute(set, "bookd.batch.commands"),
        Some(Value::IntValue(1))
    );
    assert!(matches!(
        attribute(set, "bookd.commit.duration"),
        Some(Value::DoubleValue(seconds)) if (0.0..60.0).contains(&seconds)
    ));
    assert_ne!(text(book, "rpc.response.status_code"), "OK");
    assert!(!text(book, "bookd.reason").is_empty());
    assert_eq!(attribute(book, "bookd.commit.duration"), None);

    let log = std::fs::read_to_string(folder.path().join("errors")).unwrap();
    let calls = log.lines().filter(|line| line.contains("method="));
    let with_trace = calls.filter(|line| line.contains(&format!("trace_id={TRACE}")));
    assert_eq!(with_trace.count(), 2, "{log}");
    let sent = String::from_utf8_lossy(&collector.bytes()).into_owned();
    for word in PERSONAL {
        assert!(!sent.contains(word), "{word}");
    }
}

#[tokio::test]
async fn calls_are_served_while_there_is_no_collector() {
    let folder = TempDir::new().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let configuration =
        format!("otlp_endpoint = \"http://{nobody}\"\ntrace_ratio = 1\nadmin = \"127.0.0.1:0\"\n");
    let process = start(folder.path(), &configuration);
    let admin = process.banner.split("http://").nth(1).unwrap();
    let admin: SocketAddr = admin.split('/').next().unwrap().parse().unwrap();
    let mut availability = AvailabilityServiceClient::new(connect(process.address).await);
    let failed = async {
        loop {
            availability.set_availability(hours()).await.unwrap();
            let metrics = crate::admin_port::get(admin, "/metrics").await.1;
            if !metrics.contains("\nbookd_spans_failed_total 0\n") {
                return metrics;
            }
        }
    };
    let metrics = tokio::time::timeout(PATIENCE, failed).await.unwrap();
    assert!(metrics.contains("\nbookd_spans_exported_total 0\n"));
    drop(availability);
    assert!(process.terminate_beside_clients().await.success());
}
