//! The messages and services of `proto/`, generated at build time.

/// Package `bookd.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::doc_markdown
)]
pub mod v1 {
    tonic::include_proto!("bookd.v1");
}

/// The files as descriptors, comments included, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
