//! Rejections of the transport as gRPC writes them: whole answers, trailers and errors; and the
//! reasons that the access log and the counts of calls read back.
//!
//! `status::rejected` alone decides their codes and messages.

use std::sync::LazyLock;
use std::time::Duration;

use bookd_transport::grpc::RenderErrors;
use bookd_transport::{BoxError, RETRY_MAX, Rejection};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Response};
use prost::encoding::decode_varint;
use tonic::Status;

use crate::api::convert::status;
use crate::proto::v1::ErrorReason;

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

    fn reasons() -> &'static [&'static str] {
        static REASONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
            let reasons = (0..).map_while(|number| ErrorReason::try_from(number).ok());
            reasons.map(|reason| reason.as_str_name()).collect()
        });
        &REASONS
    }

    fn reason(self, headers: &HeaderMap, extensions: Option<&Extensions>) -> Option<usize> {
        let known = extensions.and_then(|it| it.get::<KnownReason>());
        // tonic leaves the status of an answer in its extensions, where the details are not encoded
        // for headers.
        let status = extensions.and_then(|it| it.get::<Status>());
        let reason = match (known, status) {
            (Some(known), _) => known.0,
            (None, Some(status)) => reason_of(status.details())?,
            (None, None) => reason_of(Status::from_header_map(headers)?.details())?,
        };
        usize::try_from(i32::from(reason)).ok()
    }
}

/// The reason of an answer that is made of headers that were made before, in its extensions.
#[derive(Clone, Copy)]
struct KnownReason(ErrorReason);

/// The reason in the details of a status; none where they have no `ErrorInfo` of bookd's.
///
/// This is called for each error, so that the details are not decoded as a whole: after the name of
/// its type follow the key and the length of the `ErrorInfo`, and then its first field, the reason.
fn reason_of(details: &[u8]) -> Option<ErrorReason> {
    const TYPE: &[u8] = b"google.rpc.ErrorInfo";
    const VALUE: u8 = 0x12;
    const REASON: u8 = 0x0a;
    let at = details.windows(TYPE.len()).position(|it| it == TYPE)?;
    let mut rest = details[at + TYPE.len()..].strip_prefix(&[VALUE])?;
    decode_varint(&mut rest).ok()?;
    let mut rest = rest.strip_prefix(&[REASON])?;
    let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
    let name = str::from_utf8(rest.get(..length)?).ok()?;
    ErrorReason::from_str_name(name)
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
        .extensions_mut()
        .insert(KnownReason(ErrorReason::Overloaded));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    /// The name of the reason that is read from an error, as an answer and as trailers.
    fn read(status: &Status) -> [Option<&'static str>; 2] {
        let answer = status.clone().into_http::<Bytes>();
        let name = |number: usize| StatusErrors::reasons()[number];
        [Some(answer.extensions()), None]
            .map(|extensions| StatusErrors.reason(answer.headers(), extensions).map(name))
    }

    #[test]
    fn every_reason_is_read_from_answers_and_from_trailers() {
        let names = StatusErrors::reasons();
        assert!(names.len() > 20 && names[0] == "ERROR_REASON_UNSPECIFIED");
        for name in names {
            for message in ["", "short", &"long google.rpc.".repeat(40)] {
                let metadata = [("slot".to_owned(), "x".repeat(message.len()))];
                let details =
                    ErrorDetails::with_error_info(*name, "bookd", HashMap::from(metadata));
                let code = Status::aborted("").code();
                let status = Status::with_error_details(code, message, details);
                assert_eq!(read(&status), [Some(*name); 2], "{message}");
            }
        }
    }

    #[test]
    fn what_is_no_reason_of_bookd_is_none() {
        let details = ErrorDetails::with_error_info("MADE_UP", "elsewhere", HashMap::new());
        let foreign = Status::with_error_details(Status::aborted("").code(), "no", details);
        for status in [foreign, Status::not_found("no"), Status::ok("")] {
            assert_eq!(read(&status), [None; 2]);
        }
        let cut = b"\x1agoogle.rpc.ErrorInfo\x12";
        for end in 0..cut.len() {
            assert_eq!(reason_of(&cut[..end]), None);
        }
        assert_eq!(reason_of(b"google.rpc.ErrorInfo\x12\x05\x0a\x7fSLOT"), None);
    }

    #[test]
    fn a_call_that_is_not_let_in_has_its_reason_too() {
        let answer = StatusErrors.response(&Rejection::TooManyCalls {
            retry_after: Duration::from_secs(1),
        });
        for extensions in [Some(answer.extensions()), None] {
            let reason = StatusErrors.reason(answer.headers(), extensions);
            let name = reason.map(|it| StatusErrors::reasons()[it]);
            assert_eq!(name, Some("OVERLOADED"));
        }
    }
}
