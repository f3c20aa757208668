//! Shutdown of the server: calls in flight are finished within the grace, and cut after it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use bookd_transport::{Ended, ServerLimits, Workers};

use crate::http2::{Connection, GOAWAY, PATIENCE, SETTINGS};
use crate::server::{Gate, LONG, check, client, start, start_on};

async fn until_refused(address: SocketAddr) {
    let wait = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("a draining server stops listening");
}

async fn a_shutdown_finishes_what_is_in_flight(workers: Workers) {
    let gate = Gate::closed();
    let running = start_on(workers, ServerLimits::default(), &gate);
    let address = running.local_addr();
    let mut client = client(address).await;
    let call = tokio::spawn(async move { check(&mut client).await });
    gate.entered.notified().await;

    let shutdown = tokio::spawn(running.shutdown(LONG));
    until_refused(address).await;
    assert!(!call.is_finished() && !shutdown.is_finished());
    gate.open.close();
    call.await.unwrap().unwrap();
    assert_eq!(shutdown.await.unwrap(), Ended::InOrder);
}

#[tokio::test]
async fn a_shutdown_refuses_connections_and_finishes_calls_in_flight() {
    a_shutdown_finishes_what_is_in_flight(Workers::Threads(NonZeroUsize::new(2).unwrap())).await;
}

#[tokio::test]
async fn a_lane_on_the_runtime_of_the_caller_ends_in_the_same_order() {
    a_shutdown_finishes_what_is_in_flight(Workers::Here).await;
}

#[tokio::test]
async fn a_shutdown_sends_goaway_to_connections_that_would_stay() {
    let running = start(ServerLimits::default(), &Gate::opened());
    let mut connection = Connection::shaken(running.local_addr()).await;
    assert_eq!(connection.next().await.unwrap().kind, SETTINGS);
    let shutdown = tokio::spawn(running.shutdown(LONG));
    let goaway = connection.next_of(GOAWAY).await.unwrap();
    assert_eq!(goaway.payload[4..8], [0; 4], "no error");
    connection.ended().await;
    assert_eq!(shutdown.await.unwrap(), Ended::InOrder);
}

#[tokio::test]
async fn calls_that_outlive_the_grace_are_dropped() {
    let gate = Gate::closed();
    let running = start(ServerLimits::default(), &gate);
    let mut client = client(running.local_addr()).await;
    let call = tokio::spawn(async move { check(&mut client).await });
    gate.entered.notified().await;
    assert_eq!(
        running.shutdown(Duration::from_millis(20)).await,
        Ended::Cut
    );
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn an_abort_cuts_the_grace_short_even_with_every_call_hanging() {
    for workers in [Workers::Threads(NonZeroUsize::MIN), Workers::Here] {
        let gate = Gate::closed();
        let running = start_on(workers, ServerLimits::default(), &gate);
        let mut client = client(running.local_addr()).await;
        let call = tokio::spawn(async move { check(&mut client).await });
        gate.entered.notified().await;
        let mut silent = Connection::open(running.local_addr()).await;
        let stopper = running.stopper();
        let shutdown = tokio::spawn(running.shutdown(LONG));
        stopper.abort();
        assert_eq!(
            tokio::time::timeout(PATIENCE, shutdown)
                .await
                .unwrap()
                .unwrap(),
            Ended::Cut
        );
        assert!(call.await.unwrap().is_err());
        silent.closed().await;
    }
}

#[tokio::test]
async fn whoever_holds_a_stopper_can_ask_for_the_end() {
    let running = start(ServerLimits::default(), &Gate::opened());
    running.stopper().drain();
    tokio::time::timeout(PATIENCE, running.stop_asked())
        .await
        .unwrap();
    assert_eq!(running.shutdown(LONG).await, Ended::InOrder);
}
