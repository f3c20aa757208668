//! The service of one connection: adds the peer to each call, and knows whether a call is open.
//!
//! A call counts as open from its headers until the body of its answer is dropped, however the call
//! ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower::util::{Oneshot, ServiceExt};

use crate::admission::ConnectionShare;
use crate::tls::CertificateName;

/// Where a call comes from, in the extensions of every request. The address is no identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The address of the peer; none where the transport does not know it.
    pub address: Option<SocketAddr>,
    /// The name in the verified certificate of the client; none without TLS, where no client
    /// certificates are required, and where the certificate has no name.
    pub certificate: Option<Arc<CertificateName>>,
}

/// What a worker can serve: a stack of layers around a service, which answers every call.
pub trait Calls: Clone + Send + Unpin + 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static;
    /// A call whose answer has not begun.
    type Answer: Future<Output = Result<Response<Self::Body>, Infallible>> + Send + Unpin + 'static;

    /// Begins a call.
    fn answer(&self, request: Request<Incoming>) -> Self::Answer;
}

impl<S, B> Calls for S
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Unpin
        + 'static,
    S::Future: Send + Unpin + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    type Body = B;
    type Answer = Oneshot<S, Request<Incoming>>;

    fn answer(&self, request: Request<Incoming>) -> Self::Answer {
        self.clone().oneshot(request)
    }
}

/// The numbers of calls that began and ended on a connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Activity {
    /// Resolves when no call was open for `period`. Looks once a period, and so resolves after one
    /// to two periods.
    pub(crate) async fn idle_for(&self, period: Duration) {
        let mut begun_before = None;
        loop {
            let begun = self.begun.load(Relaxed);
            let none_open = self.ended.load(Relaxed) == begun;
            if none_open && begun_before == Some(begun) {
                return;
            }
            begun_before = none_open.then_some(begun);
            tokio::time::sleep(period).await;
        }
    }
}

/// A call in progress.
struct OpenCall {
    activity: Arc<Activity>,
}

impl OpenCall {
    fn begin(activity: &Arc<Activity>) -> OpenCall {
        activity.begun.fetch_add(1, Relaxed);
        OpenCall {
            activity: activity.clone(),
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.activity.ended.fetch_add(1, Relaxed);
    }
}

/// The service of a worker as one connection sees it.
pub(crate) struct ConnectionService<S> {
    service: S,
    peer: Peer,
    share: ConnectionShare,
    activity: Arc<Activity>,
}

impl<S> ConnectionService<S> {
    pub(crate) fn new(
        service: S,
        peer: Peer,
        share: ConnectionShare,
        activity: Arc<Activity>,
    ) -> ConnectionService<S> {
        ConnectionService {
            service,
            peer,
            share,
            activity,
        }
    }
}

impl<S: Calls> hyper::service::Service<Request<Incoming>> for ConnectionService<S> {
    type Response = Response<CallBody<S::Body>>;
    type Error = Infallible;
    type Future = CallFuture<S::Answer>;

    fn call(&self, mut request: Request<Incoming>) -> CallFuture<S::Answer> {
        request.extensions_mut().insert(self.peer.clone());
        request.extensions_mut().insert(self.share.clone());
        CallFuture {
            answer: self.service.answer(request),
            open: Some(OpenCall::begin(&self.activity)),
        }
    }
}

/// A call whose answer has not begun.
pub(crate) struct CallFuture<F> {
    answer: F,
    open: Option<OpenCall>,
}

impl<F, B> Future for CallFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
{
    type Output = Result<Response<CallBody<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.answer).poll(cx));
        let open = self.open.take();
        Poll::Ready(Ok(response.map(|body| CallBody { body, _open: open })))
    }
}

/// The answer of a call; the call is open until the answer is dropped.
pub(crate) struct CallBody<B> {
    body: B,
    _open: Option<OpenCall>,
}

impl<B: Body<Data = Bytes, Error = Infallible> + Unpin> Body for CallBody<B> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
