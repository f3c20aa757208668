//! Rejections of the transport as gRPC writes them: whole answers, trailers and errors; and the
//! reasons that the access log reads back.
//!
//! `status::rejected` alone decides their codes and messages.

use std::sync::LazyLock;
use std::time::Duration;

use bookd_transport::grpc::RenderErrors;
use bookd_transport::{BoxError, RETRY_MAX, Rejection};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tonic::Status;
use tonic_types::StatusExt;

use crate::api::convert::status;

/// Renders rejections as statuses.
#[derive(Clone, Copy, Debug)]
pub struct StatusErrors;

impl RenderErrors for StatusErrors {
    fn response(self, rejection: &Rejection) -> Response<Bytes> {
        match rejection {
            Rejection::TooManyCalls { retry_after } => too_many_calls(*retry_after),
            other => status::rejected(other).into_http(),
        }
    }

    fn trailers(self, rejection: &Rejection) -> HeaderMap {
        trailers(&status::rejected(rejection))
    }

    fn error(self, rejection: &Rejection) -> BoxError {
        status::rejected(rejection).into()
    }

    fn message(self, error: BoxError) -> String {
        Status::from_error(error).message().to_owned()
    }

    fn reason(self, headers: &HeaderMap) -> String {
        let details = Status::from_header_map(headers).map(|status| status.get_error_details());
        let info = details.as_ref().and_then(|details| details.error_info());
        info.map(|info| info.reason.clone()).unwrap_or_default()
    }
}

pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // The message is percent-encoded, and could still be no header value: the code remains.
        trailers.insert(
            Status::GRPC_STATUS,
            HeaderValue::from(i32::from(status.code())),
        );
    }
    trailers
}

/// The answer to a call that was not let in, with the delay after which its client may retry. The
/// answers are made once for each tenth of a second: a full server has no time to make one for each
/// call.
fn too_many_calls(retry_after: Duration) -> Response<Bytes> {
    const STEP_MILLISECONDS: u128 = 100;
    static MADE: LazyLock<Vec<HeaderMap>> = LazyLock::new(|| {
        let made = |retry_after| {
            status::rejected(&Rejection::TooManyCalls { retry_after })
                .into_http::<Bytes>()
                .into_parts()
                .0
                .headers
        };
        let steps = RETRY_MAX.as_millis() / STEP_MILLISECONDS;
        (0..=steps)
            .map(|step| made(RETRY_MAX.mul_f64(step as f64 / steps as f64)))
            .collect()
    });
    let step =
        usize::try_from(retry_after.as_millis().div_ceil(STEP_MILLISECONDS)).unwrap_or(usize::MAX);
    let mut response = Response::default();
    *response.headers_mut() = MADE[step.min(MADE.len() - 1)].clone();
    response
}
