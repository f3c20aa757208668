//! The access log: written when asked for, in both formats, without personal data.

use std::net::SocketAddr;
use std::process::Command;

use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use serde_json::Value;
use tonic::transport::Channel;

use crate::harness::connect;
use crate::http2::{Connection, END_HEADERS, END_STREAM, HEADERS, call_headers, frame};
use crate::kill::Process;

/// Words of the calls below that must not be in a line.
const PERSONAL: [&str; 7] = [
    "Grace",
    "grace@",
    "secret-note",
    "clinic-7",
    "secret-path",
    "127.0.0.1",
    "0190163d",
];

/// Opens a calendar around the clock.
pub fn hours() -> pb::SetAvailabilityRequest {
    let rule = pb::AvailabilityRule {
        start_time: "00:00".to_owned(),
        end_time: "24:00".to_owned(),
        ..Default::default()
    };
    pb::SetAvailabilityRequest {
        calendar_id: "clinic-7".to_owned(),
        rules: vec![rule],
        ..Default::default()
    }
}

/// A booking of a time that is over, with personal data.
pub fn past() -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        calendar_id: "clinic-7".to_owned(),
        local_start: "2020-01-01T10:00".to_owned(),
        appointment_id: "0190163d-8694-739b-aea5-966c26f8ad91".to_owned(),
        note: "secret-note".to_owned(),
        invitee: Some(pb::Invitee {
            name: "Grace".to_owned(),
            email: "grace@example.com".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Makes five calls: one that is answered OK, one that is refused, two of unknown methods, and one
/// past its deadline.
async fn make_calls(address: SocketAddr, channel: &Channel) {
    AvailabilityServiceClient::new(channel.clone())
        .set_availability(hours())
        .await
        .unwrap();
    BookingServiceClient::new(channel.clone())
        .book_appointment(past())
        .await
        .unwrap_err();
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    for path in [
        "/bookd.v1.BookingService/secret-path",
        "/secret-path/grace@example.com",
    ] {
        grpc.ready().await.unwrap();
        let codec =
            tonic_prost::ProstCodec::<pb::GetServerInfoRequest, pb::GetServerInfoResponse>::default(
            );
        let path = http::uri::PathAndQuery::from_static(path);
        grpc.unary(
            tonic::Request::new(pb::GetServerInfoRequest {}),
            path,
            codec,
        )
        .await
        .unwrap_err();
    }
    // The deadline is checked before the method. The call is sent by hand, because a client would
    // not wait for the answer.
    let mut late = Connection::shaken(address).await;
    let mut headers = call_headers("/bookd.v1.BookingService/grace@example.com");
    headers.extend(b"\x00\x0cgrpc-timeout\x020m");
    late.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &headers))
        .await;
    late.next_of(HEADERS).await.expect("it is answered");
}

/// The lines that a server with these flags logs of these calls.
async fn log_of(flags: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--confirm-clock",
        "--store",
    ]);
    command
        .arg(format!(
            "sqlite:{}",
            folder.path().join("bookd.db").display()
        ))
        .args(flags);
    let process = Process::spawn(command, "with this program");
    let channel = connect(process.address).await;
    make_calls(process.address, &channel).await;
    drop(channel);
    let (status, said) = tokio::task::spawn_blocking(|| process.terminate_and_read())
        .await
        .unwrap();
    assert!(status.success());
    said.lines()
        .filter(|line| line.contains("method"))
        .map(ToOwned::to_owned)
        .collect()
}

#[tokio::test]
async fn a_call_is_logged_with_method_outcome_and_time_and_nothing_personal() {
    let lines = log_of(&["--log-calls", "--log-format", "json"]).await;
    let read: Vec<Value> = lines
        .iter()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let outcomes: Vec<[&str; 3]> = read
        .iter()
        .map(|it| ["method", "code", "reason"].map(|field| it[field].as_str().unwrap_or_default()))
        .collect();
    let expected = [
        ["/bookd.v1.AvailabilityService/SetAvailability", "Ok", ""],
        [
            "/bookd.v1.BookingService/BookAppointment",
            "FailedPrecondition",
            "SLOT_UNAVAILABLE",
        ],
        ["unknown", "Unimplemented", "NOT_IMPLEMENTED"],
        ["unknown", "Unimplemented", "NOT_IMPLEMENTED"],
        ["unknown", "DeadlineExceeded", "EXPIRED_IN_QUEUE"],
    ];
    assert_eq!(outcomes, expected, "{lines:#?}");
    assert!(read.iter().all(|it| it["ms"].is_u64()));
    for personal in PERSONAL {
        assert!(
            !lines.iter().any(|it| it.contains(personal)),
            "{personal} is in {lines:#?}"
        );
    }
}

#[tokio::test]
async fn calls_are_logged_as_text_too_and_only_when_asked_for() {
    let lines = log_of(&["--log-calls"]).await;
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(
        lines[1].contains("BookAppointment") && lines[1].contains("SLOT_UNAVAILABLE"),
        "{lines:#?}"
    );
    assert!(
        !lines.iter().any(|it| it.contains('\u{1b}')),
        "colours are for terminals: {lines:#?}"
    );
    assert_eq!(log_of(&[]).await, Vec::<String>::new());
}
