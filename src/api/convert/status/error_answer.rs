//! An error before it is written, and its `google.rpc.Status` (AIP-193), which is written into one
//! buffer.
//!
//! The layout of the details is that of google/rpc/error_details.proto; tests read them with the
//! crate of these messages.

use std::time::Duration;

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::{Code, Status};

use super::ERROR_DOMAIN;
use crate::proto::v1::ErrorReason;

/// Bytes that most errors need: a taken time with the nearest free ones.
const BYTES_USUAL: usize = 768;

/// An error with its details.
#[derive(Clone, Debug)]
pub(super) struct ErrorAnswer {
    pub(super) code: Code,
    pub(super) reason: ErrorReason,
    /// For people.
    pub(super) message: String,
    /// For programs: `ErrorInfo.metadata`.
    pub(super) metadata: Vec<(&'static str, String)>,
    pub(super) detail: Detail,
}

/// The detail of an error besides its reason.
#[derive(Clone, Debug)]
pub(super) enum Detail {
    None,
    /// `RetryInfo`: when a retry may succeed.
    RetryAfter(Duration),
    /// `BadRequest`: each field with what is wrong with it.
    Fields(Vec<(String, String)>),
    /// `PreconditionFailure`: what stands in the way.
    Preconditions(Vec<Precondition>),
    /// `ResourceInfo`: what the error is about.
    Resource {
        kind: &'static str,
        name: String,
        description: String,
    },
}

/// A violation of a rule.
#[derive(Clone, Debug)]
pub(super) struct Precondition {
    /// The code of the violation.
    pub(super) kind: &'static str,
    /// The calendar.
    pub(super) subject: String,
    pub(super) description: String,
}

impl ErrorAnswer {
    /// An error without metadata and detail.
    pub(super) fn new(code: Code, reason: ErrorReason, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            metadata: Vec::new(),
            detail: Detail::None,
        }
    }

    /// The same with one more entry of metadata.
    pub(super) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((key, value.into()));
        self
    }

    /// The same with this detail.
    pub(super) fn detailed(self, detail: Detail) -> Self {
        Self { detail, ..self }
    }

    /// The error as gRPC sends it.
    pub(super) fn status(self) -> Status {
        let mut written = Writer(Vec::with_capacity(BYTES_USUAL));
        written.number(1, i32::from(self.code).unsigned_abs().into());
        written.text(2, &self.message);
        written.any("google.rpc.ErrorInfo", |info| {
            info.text(1, self.reason.as_str_name());
            info.text(2, ERROR_DOMAIN);
            for (key, value) in &self.metadata {
                info.message(3, |entry| {
                    entry.text(1, key);
                    entry.text(2, value);
                });
            }
        });
        self.detail.write(&mut written);
        Status::with_details(self.code, self.message, written.0.into())
    }
}

impl Detail {
    fn write(&self, written: &mut Writer) {
        match self {
            Self::None => {}
            Self::RetryAfter(delay) => written.any("google.rpc.RetryInfo", |info| {
                info.message(1, |duration| {
                    duration.number(1, delay.as_secs());
                    duration.number(2, delay.subsec_nanos().into());
                });
            }),
            Self::Fields(fields) => written.any("google.rpc.BadRequest", |request| {
                for (field, description) in fields {
                    request.message(1, |violation| {
                        violation.text(1, field);
                        violation.text(2, description);
                    });
                }
            }),
            Self::Preconditions(all) => written.any("google.rpc.PreconditionFailure", |failure| {
                for it in all {
                    failure.message(1, |violation| {
                        violation.text(1, it.kind);
                        violation.text(2, &it.subject);
                        violation.text(3, &it.description);
                    });
                }
            }),
            Self::Resource {
                kind,
                name,
                description,
            } => written.any("google.rpc.ResourceInfo", |resource| {
                resource.text(1, kind);
                resource.text(2, name);
                resource.text(4, description);
            }),
        }
    }
}

/// Writes fields of protobuf.
struct Writer(Vec<u8>);

impl Writer {
    /// A field of a number, which is left out where it is 0, the default.
    fn number(&mut self, tag: u32, number: u64) {
        if number != 0 {
            encode_key(tag, WireType::Varint, &mut self.0);
            encode_varint(number, &mut self.0);
        }
    }

    /// A field of a text, which is left out where it is empty, the default.
    fn text(&mut self, tag: u32, text: &str) {
        if !text.is_empty() {
            encode_key(tag, WireType::LengthDelimited, &mut self.0);
            encode_varint(text.len() as u64, &mut self.0);
            self.0.put_slice(text.as_bytes());
        }
    }

    /// A field of a message. Its length stands before it and is known after it, so that there is
    /// space for the length first: for two bytes, as messages of 128 bytes to 16 KiB need.
    fn message(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        const LENGTH_BYTES: usize = 2;
        encode_key(tag, WireType::LengthDelimited, &mut self.0);
        let begin = self.0.len();
        self.0.extend([0; LENGTH_BYTES]);
        write(self);
        let length = self.0.len() - begin - LENGTH_BYTES;
        let mut encoded = [0; 10];
        let mut left = encoded.as_mut_slice();
        encode_varint(length as u64, &mut left);
        let needed = 10 - left.len();
        let encoded = encoded[..needed].iter().copied();
        self.0.splice(begin..begin + LENGTH_BYTES, encoded);
    }

    /// One of the details of a `google.rpc.Status`: a `google.protobuf.Any`.
    fn any(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.message(3, |any| {
            any.text(1, &format!("type.googleapis.com/{name}"));
            any.message(2, write);
        });
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn read(answer: &ErrorAnswer) -> ErrorDetails {
        let status = answer.clone().status();
        assert_eq!(status.code(), answer.code);
        assert_eq!(status.message(), answer.message);
        let details = status.check_error_details().expect("details are readable");
        let info = details.error_info().expect("every error has a reason");
        assert_eq!(info.reason, answer.reason.as_str_name());
        assert_eq!(info.domain, ERROR_DOMAIN);
        let metadata = answer.metadata.iter();
        assert_eq!(
            info.metadata,
            metadata
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect()
        );
        details
    }

    /// An error whose texts are so long.
    fn long(length: usize) -> ErrorAnswer {
        ErrorAnswer::new(Code::Aborted, ErrorReason::SlotTaken, "a message")
            .with("slot", "x".repeat(length))
            .with("empty", "")
    }

    #[test]
    fn details_of_any_length_are_read_as_they_were_written() {
        for length in (0..400).chain([16_300, 16_383, 16_384, 20_000, 70_000]) {
            let text = "x".repeat(length);
            read(&long(length));
            let fields = vec![
                (text.clone(), "wrong".to_owned()),
                ("b".to_owned(), text.clone()),
            ];
            let details = read(&long(1).detailed(Detail::Fields(fields.clone())));
            let violations = &details.bad_request().expect("it is there").field_violations;
            let read_again = violations.iter();
            assert_eq!(
                read_again
                    .map(|it| (it.field.clone(), it.description.clone()))
                    .collect::<Vec<_>>(),
                fields
            );
        }
    }

    #[test]
    fn every_detail_is_read_as_it_was_written() {
        for delay in [0, 1, 100, 999, 1_000, 61_007].map(Duration::from_millis) {
            let details = read(&long(1).detailed(Detail::RetryAfter(delay)));
            assert_eq!(
                details.retry_info().and_then(|it| it.retry_delay),
                Some(delay)
            );
        }
        let resource = Detail::Resource {
            kind: "calendar",
            name: "ada".to_owned(),
            description: "is not there".to_owned(),
        };
        let details = read(&long(1).detailed(resource));
        let resource = details.resource_info().expect("it is there");
        assert_eq!(
            [
                &resource.resource_type,
                &resource.resource_name,
                &resource.description
            ],
            ["calendar", "ada", "is not there"]
        );
        let precondition = Precondition {
            kind: "BUSY_BOOKING",
            subject: "ada".to_owned(),
            description: "something is in the way".to_owned(),
        };
        let details = read(&long(1).detailed(Detail::Preconditions(vec![precondition])));
        let violations = &details
            .precondition_failure()
            .expect("it is there")
            .violations;
        let read_again: Vec<_> = violations
            .iter()
            .map(|it| {
                (
                    it.r#type.as_str(),
                    it.subject.as_str(),
                    it.description.as_str(),
                )
            })
            .collect();
        assert_eq!(
            read_again,
            [("BUSY_BOOKING", "ada", "something is in the way")]
        );
    }
}
