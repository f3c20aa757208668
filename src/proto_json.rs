//! Messages of the contract as JSON, by the descriptors in the binary.
//!
//! Fields have the names of the proto files.

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use crate::proto::FILE_DESCRIPTOR_SET;

/// The descriptors of all messages and services.
pub fn descriptors() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptors were made by this build")
}

/// The descriptor of a message of the contract, by its name in the package.
pub fn message(pool: &DescriptorPool, name: &str) -> MessageDescriptor {
    let found = pool.get_message_by_name(&format!("bookd.v1.{name}"));
    found.expect("the messages of the contract are in its descriptors")
}

/// A message as JSON; 64-bit integers are numbers and not strings.
pub fn to_json(message: &DynamicMessage) -> Result<Value, serde_json::Error> {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options)
}
