//! The layers of the transport as they stand around the gRPC services, and the methods that they are told of.

use std::sync::{Arc, LazyLock};

use bookd_transport::grpc::Grpc;
use bookd_transport::{Admission, Method, Methods};
use prost::Message;
use prost_types::FileDescriptorSet;

use crate::api::convert::rejections::StatusErrors;
use crate::proto::FILE_DESCRIPTOR_SET;

/// Methods of the standard services that are served beside ours.
const STANDARD_METHODS: [&str; 5] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// How the methods that change nothing begin.
const READING: [&str; 5] = ["Get", "List", "Query", "Explain", "Watch"];

/// Routes, or what stands around them, as they are served.
pub type Stack<S> = bookd_transport::Stack<S, Grpc<StatusErrors>>;

/// Lays the layers around routes. Their calls are counted by `admission`, and logged only if `is_logging`.
pub fn around<S>(routes: S, admission: Arc<Admission>, is_logging: bool) -> Stack<S> {
    bookd_transport::stack(routes, Grpc(StatusErrors), &METHODS, admission, is_logging)
}

/// The same with an admission of their own, and without a log.
pub fn alone<S>(routes: S) -> Stack<S> {
    around(routes, Arc::default(), false)
}

/// Every method that is served.
static METHODS: LazyLock<Methods> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptors were made by this build");
    let standard = STANDARD_METHODS.map(|path| (path.to_owned(), Method { is_reading: true, is_standard: true }));
    let mut methods: Vec<(String, Method)> = standard.into();
    for file in &files.file {
        for service in &file.service {
            let path = |method| format!("/{}.{}/{method}", file.package(), service.name());
            let known = |method| (path(method), Method { is_reading: is_reading(method), is_standard: false });
            methods.extend(service.method.iter().map(|it| known(it.name())));
        }
    }
    methods.into_iter().collect()
});

/// Whether a method of the contract changes nothing.
fn is_reading(method: &str) -> bool {
    READING.iter().any(|it| method.starts_with(it))
}
