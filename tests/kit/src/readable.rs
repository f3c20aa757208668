//! Whether an answer has a JSON form, as the command line and every JSON client need it.
//!
//! A message may be valid as bytes and have no JSON form: an instant after the year 9999 has none.

use std::any::type_name;
use std::sync::LazyLock;

use bookd::proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage, SerializeOptions,
};

static CONTRACT: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap());

/// A message of the contract as a dynamic message, which has its fields by name.
pub fn dynamic<M: Message>(message: &M) -> DynamicMessage {
    let name = type_name::<M>().rsplit("::").next().unwrap();
    let descriptor = CONTRACT
        .get_message_by_name(&format!("bookd.v1.{name}"))
        .unwrap();
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap()
}

/// The method of the contract with this name, whichever service it is of.
pub fn method(name: &str) -> MethodDescriptor {
    let services = CONTRACT
        .services()
        .filter(|it| it.package_name() == "bookd.v1");
    let mut methods = services.flat_map(|it| it.methods().collect::<Vec<_>>());
    methods.find(|it| it.name() == name).unwrap()
}

/// A message as JSON, with the names of the proto files.
pub fn json(message: &DynamicMessage) -> serde_json::Value {
    bookd::proto_json::to_json(message).unwrap()
}

/// Asserts that a message of the contract has a JSON form.
pub fn assert_readable<M: Message>(answer: &M) {
    readable(answer);
}

/// Asserts that a message has a JSON form, and answers it as a dynamic message.
pub fn readable<M: Message>(answer: &M) -> DynamicMessage {
    let message = dynamic(answer);
    assert_json(&message);
    message
}

/// Asserts that an encoded answer of the method with this path, such as
/// `/bookd.v1.SlotsService/ListSlots`, has a JSON form.
pub fn assert_readable_answer(path: &str, answer: &[u8]) {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap();
    let service = CONTRACT.get_service_by_name(service).unwrap();
    let method = service.methods().find(|it| it.name() == method).unwrap();
    assert_json(&DynamicMessage::decode(method.output(), answer).unwrap());
}

fn assert_json(message: &DynamicMessage) {
    let descriptor = message.descriptor();
    let name = descriptor.name();
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    let json = message.serialize_with_options(serde_json::value::Serializer, &options);
    assert!(
        json.is_ok(),
        "{name} cannot be read as JSON, {json:?}: {message:?}"
    );
}
