//! What one worker serves: the methods of the contract, and the standard services.
//!
//! The contract's methods are called by their paths, without a router: a general one costs as much
//! as the rest of a small call's way to its method.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::codegen::{Body, Service, StdError};

use super::context::Api;
use super::services::{self, Answering};
use crate::bell::Bell;

/// All services.
#[derive(Clone)]
pub struct Routes {
    api: Arc<Api>,
    /// Health and reflection, and the answer to a path of no method.
    standard: tonic::service::Routes,
}

impl Routes {
    pub(super) fn new(api: Api, standard: tonic::service::Routes) -> Self {
        Self {
            api: Arc::new(api),
            standard,
        }
    }

    /// The services for the calls of one worker, and a future that must run on it: it hands the
    /// worker's calls their answers.
    pub fn on_worker(&self) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (bell, delivering) = Bell::new();
        let api = Api {
            engine: self.api.engine.on_worker(bell),
            access: self.api.access.on_worker(),
            ..Api::clone(&self.api)
        };
        (Self::new(api, self.standard.clone()), delivering)
    }
}

impl<B> Service<http::Request<B>> for Routes
where
    B: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Answering {
        services::answer(&self.api, request, |request| {
            Box::pin(self.standard.call(request))
        })
    }
}
