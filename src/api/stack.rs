//! The layers of the transport around the gRPC services, and the table of methods that they use.
//!
//! The contract's descriptors say which methods change nothing; no list repeats it.

use std::sync::{Arc, LazyLock};

use bookd_transport::grpc::Grpc;
use bookd_transport::{Admission, CallMetrics, Method, Methods, Observing};
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

use crate::api::convert::rejections::StatusErrors;
use crate::proto::{FILE_DESCRIPTOR_SET, is_reading};

/// Methods of the standard services that are served besides those of the contract.
const STANDARD_METHODS: [&str; 5] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// A service with the layers of the transport around it, which speaks gRPC.
pub type GrpcStack<S> = bookd_transport::Stack<S, Grpc<StatusErrors>>;

/// Puts the layers around routes. Their calls are counted by `admission`, and observed as
/// `observing` says.
pub fn around<S>(routes: S, admission: Arc<Admission>, observing: Observing) -> GrpcStack<S> {
    bookd_transport::stack(routes, Grpc(StatusErrors), &METHODS, admission, observing)
}

/// Puts the layers around routes, with an admission of their own, and observes nothing.
pub fn alone<S>(routes: S) -> GrpcStack<S> {
    around(routes, Arc::default(), Observing::default())
}

/// Counts of the calls of a service, without any.
pub fn call_metrics() -> Arc<CallMetrics> {
    CallMetrics::new::<Grpc<StatusErrors>>(&METHODS)
}

/// Every method that is served.
static METHODS: LazyLock<Methods> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET)
        .expect("the descriptors were made by this build");
    let standard = STANDARD_METHODS.map(|path| {
        (
            path.to_owned(),
            Method {
                is_reading: true,
                is_standard: true,
            },
        )
    });
    let mut methods: Vec<(String, Method)> = standard.into();
    for file in &files.file {
        for service in &file.service {
            let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
            let known = |method: &MethodDescriptorProto| {
                (
                    path(method.name()),
                    Method {
                        is_reading: is_reading(method),
                        is_standard: false,
                    },
                )
            };
            methods.extend(service.method.iter().map(known));
        }
    }
    methods.into_iter().collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_either_says_that_it_only_reads_or_takes_a_request_id() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET)
            .expect("the descriptors were made by this build");
        let messages = || files.file.iter().flat_map(|file| &file.message_type);
        let takes_request_id = |method: &MethodDescriptorProto| {
            let name = method.input_type().rsplit('.').next();
            let message = messages()
                .find(|it| Some(it.name()) == name)
                .expect("every request is a message");
            message
                .field
                .iter()
                .any(|field| field.name() == "request_id")
        };
        let methods: Vec<_> = files
            .file
            .iter()
            .flat_map(|it| &it.service)
            .flat_map(|it| &it.method)
            .collect();
        assert!(!methods.is_empty());
        for method in methods {
            assert_ne!(
                is_reading(method),
                takes_request_id(method),
                "{}",
                method.name()
            );
        }
    }
}
