//! An echo service that others are compared with: it answers as many bytes as the request asks for,
//! and does no other work.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{NamedService, UnaryService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// The request and the answer.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Sized {
    /// The bytes of the answer; 0 in an answer.
    #[prost(uint32, tag = "1")]
    wanted: u32,
    #[prost(bytes = "bytes", tag = "2")]
    filler: Bytes,
}

/// The bytes of a message besides its filler: two tags, a length and a number.
const OVERHEAD_BYTES: usize = 6;

impl Sized {
    /// A request of `request` bytes for an answer of `answer` bytes.
    pub(crate) fn new(request: usize, answer: usize) -> Self {
        let wanted =
            u32::try_from(answer.saturating_sub(OVERHEAD_BYTES)).expect("answers are small");
        Self {
            wanted,
            filler: filler(request.saturating_sub(OVERHEAD_BYTES)),
        }
    }
}

fn filler(bytes: usize) -> Bytes {
    Bytes::from(vec![7; bytes])
}

/// The echo service.
#[derive(Clone)]
pub(crate) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

struct Answer;

impl UnaryService<Sized> for Answer {
    type Response = Sized;
    type Future = Ready<Result<Response<Sized>, Status>>;

    fn call(&mut self, request: Request<Sized>) -> Self::Future {
        ready(Ok(Response::new(Sized {
            wanted: 0,
            filler: filler(request.into_inner().wanted as usize),
        })))
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
        Box::pin(async move { Ok(grpc.unary(Answer, request).await) })
    }
}

/// Calls the echo.
pub(crate) async fn ask(channel: Channel, request: Sized) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let path = PathAndQuery::from_static("/bench.Echo/Echo");
    let codec: ProstCodec<Sized, Sized> = ProstCodec::default();
    grpc.unary(Request::new(request), path, codec)
        .await
        .map(drop)
}
