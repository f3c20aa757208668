//! One log line a call: which method, how it ended, how long it took.
//!
//! Nothing of a request or an answer is in it, no id, no address: not even who called. What stands in a path that is
//! no method of ours was made up by the caller, and is not repeated.

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Status;
use tonic_types::StatusExt;

use super::SERVICES;
use super::wire::is_unimplemented;

/// Standard services that are served beside ours.
const STANDARD_SERVICES: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
/// What a call of something that there is not is called.
const UNKNOWN: &str = "unknown";

/// A call under way. Dropped before its end, it was cut off, and its line says so.
#[derive(Debug)]
pub(super) struct CallRecord {
    /// `/package.Service/Method`, if that is one of ours.
    method: Option<String>,
    begun: Instant,
    is_told: bool,
}

impl CallRecord {
    pub(super) fn begin(path: &str) -> Self {
        let is_ours = path
            .strip_prefix('/')
            .and_then(|it| it.split_once('/'))
            .is_some_and(|(service, _)| SERVICES.contains(&service) || STANDARD_SERVICES.contains(&service));
        Self { method: is_ours.then(|| path.to_owned()), begun: Instant::now(), is_told: false }
    }

    /// The call ends with these headers or trailers, if they hold a status.
    pub(super) fn note(&mut self, headers: &HeaderMap) {
        let Some(status) = Status::from_header_map(headers) else { return };
        let details = status.get_error_details();
        let reason = details.error_info().map(|it| it.reason.clone()).unwrap_or_default();
        let is_missing = reason.is_empty() && is_unimplemented(&status);
        if is_missing {
            // Ours answer UNIMPLEMENTED with a reason; without one there is no such method.
            self.method = None;
        }
        self.tell(&format!("{:?}", status.code()), &reason);
    }

    /// The call ended without a word of gRPC.
    pub(super) fn note_foreign(&mut self) {
        self.method = None;
        self.tell("NotGrpc", "");
    }

    fn tell(&mut self, code: &str, reason: &str) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let method = self.method.as_deref().unwrap_or(UNKNOWN);
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match reason {
            "" => tracing::info!(method, code, ms, "call"),
            reason => tracing::info!(method, code, reason, ms, "call"),
        }
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        self.tell("CutOff", "");
    }
}
