//! The cost of counting a call for the metrics: a call through all layers to a service that answers
//! at once, counted and not.
//!
//! `cargo bench --bench counting`; the difference of the two is the cost.
#![allow(clippy::unwrap_used, missing_docs)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bookd::api::stack;
use bookd_transport::{ConnectionShare, Observing};
use bytes::Bytes;
use divan::{Bencher, black_box};
use http_body_util::Full;
use tower::Service;

fn main() {
    divan::main();
}

/// Answers every call at once, with nothing.
#[derive(Clone)]
struct AtOnce;

impl<B> Service<http::Request<B>> for AtOnce {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<B>) -> Self::Future {
        let mut answer = http::Response::new(tonic::body::Body::empty());
        let ok = http::HeaderValue::from_static("0");
        answer.headers_mut().insert("grpc-status", ok);
        ready(Ok(answer))
    }
}

fn calls(bencher: Bencher<'_, '_>, observing: Observing) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _context = runtime.enter();
    let mut stack = stack::around(AtOnce, Arc::default(), observing);
    let share = ConnectionShare::default();
    let path = http::Uri::from_static("http://localhost/bookd.v1.BookingService/BookAppointment");
    bencher.bench_local(|| {
        let mut request = http::Request::new(Full::<Bytes>::default());
        *request.uri_mut() = path.clone();
        let kind = http::HeaderValue::from_static("application/grpc");
        request.headers_mut().insert("content-type", kind);
        request.extensions_mut().insert(share.clone());
        let answer = pin!(stack.call(request)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(black_box(answer).is_ready());
    });
}

#[divan::bench]
fn not_counted(bencher: Bencher<'_, '_>) {
    calls(bencher, Observing::default());
}

#[divan::bench]
fn counted(bencher: Bencher<'_, '_>) {
    let metrics = stack::call_metrics();
    let observing = Observing {
        is_logging: false,
        counts: Some(metrics.on_worker()),
        ..Observing::default()
    };
    calls(bencher, observing);
    assert_eq!(metrics.open(), 0);
}
