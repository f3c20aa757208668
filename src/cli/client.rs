//! Calls any method of the contract with JSON in and JSON out, by the descriptors that are in the binary.

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};
use serde_json::Value;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use super::exit::Exit;
use crate::proto::FILE_DESCRIPTOR_SET;

/// Bytes of one answer that are taken.
const ANSWER_BYTES_MAX: usize = 256 * 1_024 * 1_024;

/// Why a call came to nothing.
#[derive(Debug)]
pub enum CallError {
    /// The words do not fit: nothing was sent.
    Usage(String),
    /// Nobody answers there.
    Unreachable(String),
    /// The server said no.
    Refused(Box<Status>),
    /// Something else went wrong.
    Failed(String),
}

impl CallError {
    /// How a command ends that met it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable(_) => Exit::TryAgain,
            Self::Refused(status) => status.code().into(),
            Self::Failed(_) => Exit::Failed,
        }
    }
}

/// A server to talk to.
pub struct Client {
    channel: Channel,
    pool: DescriptorPool,
}

impl Client {
    /// Connects; `server` is `host:port`.
    pub async fn connect(server: &str) -> Result<Self, CallError> {
        let endpoint = Endpoint::from_shared(format!("http://{server}"));
        let endpoint = endpoint.map_err(|_| CallError::Usage(format!("--server {server}: write HOST:PORT")))?;
        let unreachable = |_| {
            CallError::Unreachable(format!(
                "nobody answers at {server}; start one with `bookd serve`, or name it with --server"
            ))
        };
        let channel = endpoint.connect().await.map_err(unreachable)?;
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptors were made by this build");
        Ok(Self { channel, pool })
    }

    fn method(&self, name: &str) -> Result<MethodDescriptor, CallError> {
        let simple = name.rsplit('/').next().unwrap_or(name);
        let mut methods: Vec<MethodDescriptor> =
            self.pool.services().flat_map(|it| it.methods().collect::<Vec<_>>()).collect();
        methods.sort_by(|a, b| a.name().cmp(b.name()));
        let found = methods.iter().find(|it| it.name().eq_ignore_ascii_case(simple)).cloned();
        found.ok_or_else(|| {
            let names: Vec<&str> = methods.iter().map(|it| it.name()).collect();
            CallError::Usage(format!("there is no method {simple}; there are {}", names.join(", ")))
        })
    }

    /// Calls a method by its name. Field names are those of the proto files.
    pub async fn call(&self, name: &str, request: Value) -> Result<Value, CallError> {
        let method = self.method(name)?;
        if method.is_server_streaming() {
            return Err(CallError::Usage(format!(
                "{} is a stream; use bookd watch or watch-slots, or grpcurl",
                method.name()
            )));
        }
        let (message, path, mut grpc) = self.prepare(&method, request).await?;
        let answer = grpc.unary(Request::new(message), path, Raw).await;
        shown(&method, answer.map_err(|status| CallError::Refused(Box::new(status)))?.into_inner())
    }

    /// Calls a method that answers with a stream.
    pub async fn stream(&self, name: &str, request: Value) -> Result<Answers, CallError> {
        let method = self.method(name)?;
        let (message, path, mut grpc) = self.prepare(&method, request).await?;
        let answer = grpc.server_streaming(Request::new(message), path, Raw).await;
        let messages = answer.map_err(|status| CallError::Refused(Box::new(status)))?.into_inner();
        Ok(Answers { method, messages })
    }

    async fn prepare(
        &self,
        method: &MethodDescriptor,
        request: Value,
    ) -> Result<(Bytes, PathAndQuery, tonic::client::Grpc<Channel>), CallError> {
        let input = method.input();
        let message = DynamicMessage::deserialize(input.clone(), request)
            .map_err(|error| CallError::Usage(format!("{}: {error}", input.name())))?;
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let path = PathAndQuery::try_from(path).expect("names of services are paths");
        // One change may be of thousands of appointments.
        let mut grpc = tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let not_ready = |error| CallError::Unreachable(format!("the connection broke: {error}"));
        grpc.ready().await.map_err(not_ready)?;
        Ok((Bytes::from(message.encode_to_vec()), path, grpc))
    }
}

/// The messages of a stream.
pub struct Answers {
    method: MethodDescriptor,
    messages: Streaming<Bytes>,
}

impl Answers {
    /// The next one as JSON; waits for it. None when the stream is over.
    pub async fn next(&mut self) -> Result<Option<Value>, CallError> {
        let message = self.messages.message().await.map_err(|status| CallError::Refused(Box::new(status)))?;
        message.map(|message| shown(&self.method, message)).transpose()
    }
}

/// An answer as JSON.
fn shown(method: &MethodDescriptor, answer: Bytes) -> Result<Value, CallError> {
    let unreadable = || CallError::Unreachable("the answer cannot be read; is that a bookd?".to_owned());
    let answer = DynamicMessage::decode(method.output(), answer).map_err(|_| unreadable())?;
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    answer.serialize_with_options(serde_json::value::Serializer, &options).map_err(|_| unreadable())
}

/// Bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
