//! The layer of admission control: lets a call in, or tells its client when to retry.
//!
//! It stands before all other work on a call: a call that a full server refuses must cost it next
//! to nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use crate::admission::{Admission, ConnectionShare};
use crate::connection_service::Peer;
use crate::early_answer::{EarlyAnswer, PassedOrAnswered};
use crate::methods::Methods;
use crate::protocol::Protocol;
use crate::rejection::Rejection;
use crate::response_body::ResponseBody;

/// A service that only admitted calls reach. Each of them has its [`crate::CallPermit`] in its
/// extensions.
#[derive(Clone, Debug)]
pub struct AdmissionControl<S, P> {
    inner: S,
    admission: Arc<Admission>,
    methods: &'static Methods,
    protocol: P,
}

impl<S, P> AdmissionControl<S, P> {
    pub(crate) fn new(
        inner: S,
        admission: Arc<Admission>,
        methods: &'static Methods,
        protocol: P,
    ) -> Self {
        Self {
            inner,
            admission,
            methods,
            protocol,
        }
    }
}

impl<S, P, B, R> Service<Request<B>> for AdmissionControl<S, P>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible, Future: Unpin>,
    P: Protocol,
    B: Body<Data = Bytes> + Unpin,
{
    type Response = Response<ResponseBody<R>>;
    type Error = Infallible;
    type Future = PassedOrAnswered<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // A request that came over a connection has a share and a peer; a service that is called
        // without a connection gets defaults.
        let share = request
            .extensions()
            .get::<ConnectionShare>()
            .cloned()
            .unwrap_or_default();
        let method = self
            .methods
            .find(request.uri().path())
            .map(|it| it.method)
            .unwrap_or_default();
        let permit = match self.admission.admit(&share, method) {
            Ok(permit) => permit,
            Err(retry_after) => {
                let answer = self
                    .protocol
                    .response(&Rejection::TooManyCalls { retry_after });
                let wait_for_rest = || self.admission.wait_for_rest(&share);
                return PassedOrAnswered::Answered(EarlyAnswer::new(
                    answer,
                    request.into_body(),
                    wait_for_rest,
                ));
            }
        };
        if request.extensions().get::<Peer>().is_none() {
            request.extensions_mut().insert(Peer::default());
        }
        request.extensions_mut().insert(permit);
        PassedOrAnswered::Passed(self.inner.call(request))
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::time::Duration;

    use http_body_util::Empty;
    use tokio::time::Instant;

    use super::*;
    use crate::admission::{AdmissionLimits, CallPermit};
    use crate::testing::{Plain, ScriptedBody, read, request, sure};

    fn control<S>(service: S, calls_max: usize) -> AdmissionControl<S, Plain> {
        let limits = AdmissionLimits {
            calls_max,
            ..AdmissionLimits::default()
        };
        let methods = Box::leak(Box::new(Methods::default()));
        AdmissionControl::new(service, Arc::new(Admission::new(limits)), methods, Plain)
    }

    fn from<B>(share: &ConnectionShare, body: B) -> Request<B> {
        let mut request = request(body, None);
        request.extensions_mut().insert(share.clone());
        request
    }

    #[tokio::test]
    async fn a_call_above_the_limit_does_not_reach_the_service_and_is_told_when_to_come_again() {
        let (held, share) = (
            Arc::new(std::sync::Mutex::new(Vec::new())),
            ConnectionShare::default(),
        );
        let keeping = Arc::clone(&held);
        let service = tower::service_fn(move |request: Request<Empty<Bytes>>| {
            let permit = request.extensions().get::<Arc<CallPermit>>().cloned();
            keeping
                .lock()
                .expect("no panic")
                .push(permit.expect("it was let in"));
            ready(Ok(Response::new(String::from("served"))))
        });
        let mut control = control(service, 6);
        for _ in 0..6 {
            assert_eq!(
                read(sure(control.call(from(&share, Empty::new())).await)).await,
                "served"
            );
        }
        let rejected = read(sure(control.call(from(&share, Empty::new())).await)).await;
        assert_eq!(rejected, "TooManyCalls { retry_after: 100ms }");
        held.lock().expect("no panic").pop();
        assert_eq!(
            read(sure(control.call(from(&share, Empty::new())).await)).await,
            "served"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_call_waits_a_second_for_the_rest_of_its_request_and_no_longer() {
        let keep = |request: Request<ScriptedBody>| ready(Ok(Response::new(request)));
        let (mut control, share, begin) = (
            control(tower::service_fn(keep), 0),
            ConnectionShare::default(),
            Instant::now(),
        );
        let mut held = Vec::new();
        loop {
            let (body, dropped) = ScriptedBody::of_data("a piece", 9);
            let answer = sure(control.call(from(&share, body)).await);
            match answer.into_body() {
                ResponseBody::Service(request) => held.push(request),
                rendered => {
                    assert!(matches!(rendered, ResponseBody::Rendered(_)));
                    assert_eq!(
                        (begin.elapsed(), Arc::strong_count(&dropped)),
                        (Duration::from_secs(1), 1)
                    );
                    break;
                }
            }
        }
        assert_eq!(held.len(), 4, "so many a connection always has");
    }
}
