//! More than a server can take: every call is booked or refused with OVERLOADED, none is lost, and then all is well.
//!
//! How long the accepted wait and what the refused cost is measured by `bookd bench --overload`; here no time counts.

use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::besieged::Besieged;
use crate::harness::connect;
use crate::kill::nth;
use crate::words::{rule, set_availability};

/// 12,000 calls in flight, where 8,192 are let in.
const CONNECTIONS: i64 = 60;
const CALLS_OF_EACH: i64 = 200;
/// After so many refusals of one call something else is wrong.
const REFUSALS_MAX: usize = 100_000;
/// For 12,000 calls in flight.
const MEMORY_MAX: u64 = 256;

fn booking(connection: i64, number: i64) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        calendar_id: format!("crowd/{connection}"),
        request_id: format!("{connection}-{number}"),
        ..nth(number)
    }
}

/// Books until it is booked; how often it was refused before.
async fn persist(channel: Channel, request: pb::BookAppointmentRequest) -> usize {
    for refused in 0..REFUSALS_MAX {
        match BookingServiceClient::new(channel.clone()).book_appointment(request.clone()).await {
            Ok(answer) => {
                let start = answer.into_inner().appointment.unwrap().start_time;
                assert_eq!(start.map(|it: Timestamp| it.seconds), request.start_time.map(|it| it.seconds));
                return refused;
            }
            Err(status) => {
                let details = status.get_error_details();
                let reason = details.error_info().map(|it| it.reason.as_str());
                assert_eq!((status.code(), reason), (Code::Unavailable, Some("OVERLOADED")), "{status:?}");
                assert!(details.retry_info().unwrap().retry_delay.is_some());
            }
        }
    }
    panic!("{request:?} was never taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_thousand_calls_at_once_are_booked_or_overloaded_and_none_is_lost_or_booked_twice() {
    let mut besieged = Besieged::start().await;
    let mut channels = Vec::new();
    for connection in 0..CONNECTIONS {
        let channel = connect(besieged.address()).await;
        let hours = set_availability(&format!("crowd/{connection}"), "UTC", vec![rule("00:00", "24:00")]);
        AvailabilityServiceClient::new(channel.clone()).set_availability(hours).await.unwrap();
        channels.push(channel);
    }
    let mut calls = JoinSet::new();
    for number in 0..CALLS_OF_EACH {
        for (connection, channel) in (0..).zip(&channels) {
            calls.spawn(persist(channel.clone(), booking(connection, number)));
        }
    }
    // In the middle of it the health service answers, and so does a new connection with one call.
    let outside = connect(besieged.address()).await;
    let health = HealthClient::new(outside.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status, 1, "SERVING");
    persist(outside.clone(), booking(0, CALLS_OF_EACH)).await;
    let refusals: Vec<usize> = calls.join_all().await;
    println!("{} calls, {} refusals", refusals.len(), refusals.iter().sum::<usize>());
    assert_eq!(refusals.len(), usize::try_from(CONNECTIONS * CALLS_OF_EACH).unwrap());
    assert!(refusals.iter().sum::<usize>() > 0, "the server was never full");
    besieged.books(1).await;
    let mut lists = ListServiceClient::new(outside.clone());
    for connection in 0..CONNECTIONS {
        let request = pb::ListAppointmentsRequest {
            calendar_id: format!("crowd/{connection}"),
            page_size: 1_000,
            ..Default::default()
        };
        let listed = lists.list_appointments(request).await.unwrap().into_inner().appointments;
        let expected = CALLS_OF_EACH + i64::from(connection == 0);
        assert_eq!(i64::try_from(listed.len()).unwrap(), expected, "crowd/{connection}");
    }
    drop((lists, outside, channels));
    besieged.is_unharmed(MEMORY_MAX).await;
}
