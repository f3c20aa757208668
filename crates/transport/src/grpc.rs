//! gRPC over HTTP/2, as far as the transport must understand it: content type, deadline, framing,
//! and the headers of a status.
//!
//! `RenderErrors` decides what errors look like. Errors of the service always have `google.rpc`
//! details; an error without them is one of the service's framework, or of a standard service,
//! whose codes pass.

use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Response, StatusCode, header};
use percent_encoding::percent_decode;

use crate::protocol::{BoxError, CallOutcome, FoundIn, MessageProgress, Protocol};
use crate::rejection::Rejection;

/// The most bytes of one request message. A service must refuse a longer one by the length that the
/// message announces.
pub const REQUEST_BYTES_MAX: usize = 1_024 * 1_024;

const CONTENT_TYPE: &str = "application/grpc";
const TIMEOUT: &str = "grpc-timeout";
/// The most digits of `grpc-timeout`, a limit of the protocol.
const TIMEOUT_DIGITS_MAX: usize = 8;
/// The longest deadline of a stream. A client that sends a longer one means "no deadline".
const STREAM_SECONDS_MAX: u64 = 24 * 60 * 60;
/// The bytes before each message: one says whether it is compressed, four are its length.
const PREFIX_BYTES: usize = 5;

const STATUS: &str = "grpc-status";
const STATUS_MESSAGE: &str = "grpc-message";
const STATUS_DETAILS: &str = "grpc-status-details-bin";
const OK: &[u8] = b"0";
const UNKNOWN: usize = 2;
const OUT_OF_RANGE: &[u8] = b"11";
const UNIMPLEMENTED: &[u8] = b"12";
const INTERNAL: &[u8] = b"13";
/// The names of the codes, by their numbers, and of an answer without a status.
const CODES: [&str; 18] = [
    "Ok",
    "Cancelled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
    "NotGrpc",
];
const NOT_GRPC: usize = 17;

/// Writes rejections as errors of gRPC, and reads the errors of others for the log.
pub trait RenderErrors: Copy + Send + Sync + Unpin + 'static {
    /// A rejection as a whole answer.
    fn response(self, rejection: &Rejection) -> Response<Bytes>;
    /// A rejection as trailers.
    fn trailers(self, rejection: &Rejection) -> HeaderMap;
    /// A rejection as an error that the service's framework passes on as its own.
    fn error(self, rejection: &Rejection) -> BoxError;
    /// The message of an error of the service's framework.
    fn message(self, error: BoxError) -> String;
    /// The names of all reasons.
    fn reasons() -> &'static [&'static str];
    /// The number of the reason in the details of these headers or trailers; none without one. The
    /// extensions are those of an answer.
    fn reason(self, headers: &HeaderMap, extensions: Option<&Extensions>) -> Option<usize>;
}

/// The protocol, with its errors rendered by `E`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grpc<E>(pub E);

impl<E: RenderErrors> Protocol for Grpc<E> {
    type MessageProgress = Prefixed;
    const CODES: &'static [&'static str] = &CODES;

    fn reasons() -> &'static [&'static str] {
        E::reasons()
    }

    /// gRPC over HTTP/2 with any message format; `application/grpc-web` is another protocol.
    fn is_spoken(self, headers: &HeaderMap) -> bool {
        headers
            .get(header::CONTENT_TYPE)
            .and_then(|content_type| {
                content_type
                    .as_bytes()
                    .strip_prefix(CONTENT_TYPE.as_bytes())
            })
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    }

    fn not_spoken(self) -> Response<Bytes> {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        response
    }

    fn timeout(self, headers: &HeaderMap) -> Result<Option<Duration>, Rejection> {
        let wrong = || {
            let what =
                "grpc-timeout is 1 to 8 digits and one of the units H, M, S, m, u, n".to_owned();
            Rejection::Malformed { what }
        };
        headers
            .get(TIMEOUT)
            .map(|value| parse_timeout(value.as_bytes()).ok_or_else(wrong))
            .transpose()
    }

    fn replacement(self, headers: &HeaderMap, found: FoundIn<'_>) -> Option<Rejection> {
        let code = headers.get(STATUS)?.as_bytes();
        if code == OK {
            return None;
        }
        let is_of_service = headers.contains_key(STATUS_DETAILS);
        match (code, found) {
            // A handler must not answer INTERNAL, so that the effect of the call is not known.
            (INTERNAL, _) if is_of_service => Some(Rejection::AnswerFailed {
                message: message(headers),
            }),
            (_, _) if is_of_service => None,
            (INTERNAL, FoundIn::Headers { .. }) => Some(Rejection::Malformed {
                what: message(headers),
            }),
            (INTERNAL, FoundIn::Trailers) => Some(Rejection::AnswerFailed {
                message: message(headers),
            }),
            (OUT_OF_RANGE, FoundIn::Headers { .. }) => Some(Rejection::RequestTooLarge {
                what: message(headers),
            }),
            (UNIMPLEMENTED, FoundIn::Headers { path }) => Some(match message(headers) {
                message if message.is_empty() => Rejection::NoSuchMethod {
                    path: path.to_owned(),
                },
                // The framework names the feature that it does not implement, such as a
                // compression.
                what => Rejection::NotImplemented { what },
            }),
            _ => None,
        }
    }

    fn message(self, error: BoxError) -> String {
        self.0.message(error)
    }

    fn outcome(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Option<CallOutcome> {
        let foreign = || CallOutcome {
            code: NOT_GRPC,
            reason: None,
        };
        outcome_of(self.0, headers, Some(extensions))
            .or_else(|| (status != StatusCode::OK).then(foreign))
    }

    fn outcome_of_trailers(self, trailers: &HeaderMap) -> Option<CallOutcome> {
        outcome_of(self.0, trailers, None)
    }

    fn response(self, rejection: &Rejection) -> Response<Bytes> {
        self.0.response(rejection)
    }

    fn trailers(self, rejection: &Rejection) -> HeaderMap {
        self.0.trailers(rejection)
    }

    fn error(self, rejection: &Rejection) -> BoxError {
        self.0.error(rejection)
    }
}

/// The outcome by the status in these headers or trailers; none without a status.
fn outcome_of<E: RenderErrors>(
    errors: E,
    headers: &HeaderMap,
    extensions: Option<&Extensions>,
) -> Option<CallOutcome> {
    let number = headers.get(STATUS)?.as_bytes();
    let code = str::from_utf8(number)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .filter(|number| *number < NOT_GRPC)
        .unwrap_or(UNKNOWN);
    let has_details = headers.contains_key(STATUS_DETAILS);
    let reason = has_details.then(|| errors.reason(headers, extensions));
    Some(CallOutcome {
        code,
        reason: reason.flatten(),
    })
}

/// The message of a status.
fn message(headers: &HeaderMap) -> String {
    let message = headers
        .get(STATUS_MESSAGE)
        .map_or(&b""[..], |message| message.as_bytes());
    percent_decode(message).decode_utf8_lossy().into_owned()
}

/// The value of `grpc-timeout`, a day at most; none if it is malformed.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty()
        || digits.len() > TIMEOUT_DIGITS_MAX
        || !digits.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let amount: u64 = str::from_utf8(digits).ok()?.parse().ok()?;
    let timeout = match unit {
        b'H' => Duration::from_secs(amount * 3_600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    };
    Some(timeout.min(Duration::from_secs(STREAM_SECONDS_MAX)))
}

/// Follows the messages of a body, each behind a prefix that announces its length.
#[derive(Default)]
pub struct Prefixed {
    /// Bytes of the current prefix that have arrived.
    prefix_bytes: usize,
    /// The length that the current prefix announces, as far as it has arrived.
    announced: usize,
    /// Bytes of the current message that have not arrived.
    missing: usize,
    /// The longest length that was announced and is not refused.
    longest: usize,
}

impl MessageProgress for Prefixed {
    fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.prefix_bytes < PREFIX_BYTES {
                let is_length = self.prefix_bytes > 0;
                self.announced = if is_length {
                    self.announced << 8 | usize::from(*first)
                } else {
                    0
                };
                self.prefix_bytes += 1;
                self.missing = self.announced;
                bytes = rest;
            } else {
                let taken = self.missing.min(bytes.len());
                self.missing -= taken;
                bytes = &bytes[taken..];
            }
            if self.prefix_bytes == PREFIX_BYTES && self.announced <= REQUEST_BYTES_MAX {
                self.longest = self.longest.max(self.announced);
            }
            if self.prefix_bytes == PREFIX_BYTES && self.missing == 0 {
                self.prefix_bytes = 0;
            }
        }
    }

    fn bytes_reserved(&self) -> usize {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Renders nothing.
    #[derive(Clone, Copy)]
    struct Unseen;

    impl RenderErrors for Unseen {
        fn response(self, _: &Rejection) -> Response<Bytes> {
            Response::default()
        }

        fn trailers(self, _: &Rejection) -> HeaderMap {
            HeaderMap::new()
        }

        fn error(self, _: &Rejection) -> BoxError {
            "".into()
        }

        fn message(self, _: BoxError) -> String {
            String::new()
        }

        fn reasons() -> &'static [&'static str] {
            &["WHY"]
        }

        fn reason(self, _: &HeaderMap, _: Option<&Extensions>) -> Option<usize> {
            Some(0)
        }
    }

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        all.iter().map(header).collect()
    }

    #[test]
    fn grpc_is_spoken_with_any_message_format_and_not_over_the_web() {
        for (content_type, is_spoken) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(
                Grpc(Unseen).is_spoken(&headers(&[("content-type", content_type)])),
                is_spoken
            );
        }
        assert!(!Grpc(Unseen).is_spoken(&HeaderMap::new()));
    }

    #[test]
    fn what_the_framework_answers_is_told_apart_from_what_the_service_does() {
        let at = FoundIn::Headers { path: "/s/m" };
        let (what, message) = ("ü %".to_owned(), "ü %".to_owned());
        for (code, found, expected) in [
            ("0", at, None),
            ("5", at, None),
            ("13", at, Some(Rejection::Malformed { what: what.clone() })),
            (
                "13",
                FoundIn::Trailers,
                Some(Rejection::AnswerFailed {
                    message: message.clone(),
                }),
            ),
            (
                "11",
                at,
                Some(Rejection::RequestTooLarge { what: what.clone() }),
            ),
            ("11", FoundIn::Trailers, None),
            ("12", at, Some(Rejection::NotImplemented { what })),
        ] {
            let all = [("grpc-status", code), ("grpc-message", "%C3%BC %25")];
            assert_eq!(
                Grpc(Unseen).replacement(&headers(&all), found),
                expected,
                "{code}"
            );
            let of_service = headers(&[all[0], all[1], ("grpc-status-details-bin", "")]);
            let expected = (code == "13").then(|| Rejection::AnswerFailed {
                message: message.clone(),
            });
            assert_eq!(
                Grpc(Unseen).replacement(&of_service, found),
                expected,
                "{code}"
            );
        }
        let nothing = headers(&[("grpc-status", "12")]);
        let expected = Rejection::NoSuchMethod {
            path: "/s/m".to_owned(),
        };
        assert_eq!(Grpc(Unseen).replacement(&nothing, at), Some(expected));
    }

    #[test]
    fn the_log_has_codes_by_their_names_and_reasons_of_errors() {
        let outcome = |all: &[_]| {
            let outcome = Grpc(Unseen).outcome(StatusCode::OK, &headers(all), &Extensions::new());
            let reason = |it: usize| Unseen::reasons()[it];
            outcome.map(|it| format!("{} {}", CODES[it.code], it.reason.map_or("", reason)))
        };
        assert_eq!(outcome(&[]), None);
        assert_eq!(outcome(&[("grpc-status", "0")]).as_deref(), Some("Ok "));
        let with_details = [("grpc-status", "16"), ("grpc-status-details-bin", "")];
        assert_eq!(
            outcome(&with_details).as_deref(),
            Some("Unauthenticated WHY")
        );
        assert_eq!(
            outcome(&[("grpc-status", "17")]).as_deref(),
            Some("Unknown ")
        );
        let foreign = Grpc(Unseen).outcome(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            &HeaderMap::new(),
            &Extensions::new(),
        );
        assert_eq!(foreign.map(|it| CODES[it.code]), Some("NotGrpc"));
    }

    #[test]
    fn a_timeout_is_at_most_eight_digits_and_a_unit_and_a_day() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(Duration::from_secs(24 * 3_600))),
            ("0S", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("12", None),
            ("+1S", None),
            ("-1S", None),
            ("1s", None),
            ("1.5S", None),
            ("100000000n", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), expected, "{text:?}");
        }
    }

    /// Two messages, of 3 bytes and of none.
    const BYTES: [u8; 13] = [0, 0, 0, 0, 3, 7, 7, 7, 0, 0, 0, 0, 0];

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        for piece in 1..=BYTES.len() {
            let mut messages = Prefixed::default();
            let mut at = 0;
            for bytes in BYTES.chunks(piece) {
                messages.advance(bytes);
                at += bytes.len();
                assert_eq!(
                    messages.prefix_bytes == 0,
                    at == 8 || at == 13,
                    "{at} in pieces of {piece}"
                );
                assert_eq!(
                    messages.longest,
                    if at < 5 { 0 } else { 3 },
                    "{at} in pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn a_message_that_will_be_refused_by_its_length_claims_nothing() {
        let mut messages = Prefixed::default();
        messages.advance(&[0, 0x40, 0, 0, 0]);
        assert_eq!(messages.longest, 0);
        messages = Prefixed::default();
        messages.advance(&[0, 0, 0x10, 0, 0]);
        assert_eq!(messages.longest, REQUEST_BYTES_MAX);
    }
}
