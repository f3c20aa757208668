//! One log line a call: which method, how it ended, how long it took.
//!
//! Nothing of a request or an answer is in it, no id, no address: not even who called. What stands in a path that is
//! no method of ours was made up by the caller, and is not repeated.

use std::collections::HashSet;
use std::sync::OnceLock;

use http::HeaderMap;
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tonic::Status;
use tonic_types::StatusExt;

use crate::proto::FILE_DESCRIPTOR_SET;

/// Methods of the standard services that are served beside ours.
const STANDARD_METHODS: [&str; 5] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// What a call of something that there is not is called.
const UNKNOWN: &str = "unknown";

/// The path of every method that is served.
fn methods() -> &'static HashSet<String> {
    static METHODS: OnceLock<HashSet<String>> = OnceLock::new();
    METHODS.get_or_init(|| {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptors were made by this build");
        let mut methods: HashSet<String> = STANDARD_METHODS.map(ToOwned::to_owned).into();
        for file in &files.file {
            for service in &file.service {
                let path = |method| format!("/{}.{}/{method}", file.package(), service.name());
                methods.extend(service.method.iter().map(|it| path(it.name())));
            }
        }
        methods
    })
}

/// A call under way. Dropped before its end, it was cut off, and its line says so.
#[derive(Debug)]
pub(crate) struct CallRecord {
    /// `/package.Service/Method`.
    method: &'static str,
    begun: Instant,
    is_told: bool,
}

impl CallRecord {
    pub(crate) fn begin(path: &str) -> Self {
        let method = methods().get(path).map_or(UNKNOWN, String::as_str);
        Self { method, begun: Instant::now(), is_told: false }
    }

    /// The call ends with these headers or trailers, if they hold a status.
    pub(crate) fn note(&mut self, headers: &HeaderMap) {
        let Some(status) = Status::from_header_map(headers) else { return };
        let details = status.get_error_details();
        let reason = details.error_info().map(|it| it.reason.clone()).unwrap_or_default();
        self.tell(&format!("{:?}", status.code()), &reason);
    }

    /// The call ended without a word of gRPC.
    pub(crate) fn note_foreign(&mut self) {
        self.tell("NotGrpc", "");
    }

    fn tell(&mut self, code: &str, reason: &str) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let method = self.method;
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
