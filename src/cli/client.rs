//! Calls any method of the contract with JSON in and JSON out, by the descriptors that are in the binary.
//!
//! Nothing here waits for a server without a bound: not a connection, not an answer, not the opening of a stream.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::Value;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::exit::Exit;
use crate::proto_json::{descriptors, to_json};

/// Bytes of one answer that are taken.
const ANSWER_BYTES_MAX: usize = 256 * 1_024 * 1_024;

/// How much longer than the client the server is told that an answer is waited for, so that it is always the client
/// who finds that its own time is over. The server drops what nobody waits for any more.
const MARGIN: Duration = Duration::from_secs(1);

/// Why a call came to nothing.
#[derive(Debug)]
pub enum CallError {
    /// The words do not fit: nothing was sent.
    Usage(String),
    /// Nobody answers there.
    Unreachable(String),
    /// A server is there, and did not answer in time.
    NoAnswer(String),
    /// The server said no.
    Refused(Box<Status>),
    /// The server did what was asked, and found nothing to do it to.
    Nothing(String),
    /// Something else went wrong.
    Failed(String),
}

impl CallError {
    /// How a command ends that met it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable(_) => Exit::TryAgain,
            Self::NoAnswer(_) => Exit::NoAnswer,
            Self::Refused(status) => status.code().into(),
            Self::Nothing(_) => Exit::NotFound,
            Self::Failed(_) => Exit::Failed,
        }
    }
}

impl CallError {
    /// The same, of the question for a calendar's zone: what was booked of a calendar that is gone can still be listed, but
    /// by whose clock it does not say.
    pub(super) fn about_zone(self) -> Self {
        let Self::Refused(status) = self else {
            return self;
        };
        if status.code() != Code::NotFound {
            return Self::Refused(status);
        }
        let message = format!(
            "{}; where it is gone, say --zone for dates and words",
            status.message()
        );
        let (details, metadata) = (
            status.details().to_owned().into(),
            status.metadata().clone(),
        );
        Self::Refused(Box::new(Status::with_details_and_metadata(
            status.code(),
            message,
            details,
            metadata,
        )))
    }
}

/// Words of whatever has no kind of its own.
impl From<String> for CallError {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

/// A server, and how long it is waited for: all waiting of the command line goes through here.
#[derive(Clone, Debug)]
pub struct Server {
    address: String,
    patience: Duration,
}

impl Server {
    /// `address` is `host:port`.
    pub fn new(address: impl Into<String>, patience: Duration) -> Self {
        Self {
            address: address.into(),
            patience,
        }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How long a connection or an answer is waited for.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// A connection to it.
    pub async fn connect(&self) -> Result<Channel, CallError> {
        let Self { address, patience } = self;
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint
            .map_err(|_| CallError::Usage(format!("--server {address}: write HOST:PORT")))?;
        let unreachable = |_| {
            let next = "start one with `bookd serve`, or name it with --server";
            CallError::Unreachable(format!("nobody answers at {address}; {next}"))
        };
        let silent = |_| {
            let next = "is it the right address, and does a firewall let it through? --timeout waits longer";
            CallError::NoAnswer(format!(
                "{address} took no connection within {patience:?}; {next}"
            ))
        };
        timeout(*patience, endpoint.tcp_nodelay(true).connect())
            .await
            .map_err(silent)?
            .map_err(unreachable)
    }

    /// What it answers to a method.
    pub async fn answer<T>(
        &self,
        method: &str,
        asked: impl Future<Output = T>,
    ) -> Result<T, CallError> {
        let unknown = match READS.iter().any(|it| method.starts_with(it)) {
            true => "",
            false => {
                "; whether it happened is not known: the same command with the same --request-id tells"
            }
        };
        timeout(self.patience, asked)
            .await
            .map_err(|_| self.silent(&format!("{method}{unknown}")))
    }

    /// That it did not answer something in time.
    pub fn silent(&self, what: &str) -> CallError {
        let Self { address, patience } = self;
        let next = "it may be stopped or overloaded; --timeout waits longer";
        CallError::NoAnswer(format!(
            "no answer from {address} within {patience:?}, {next}: {what}"
        ))
    }
}

/// A connection to a server, and what can be asked over it.
pub struct Client {
    server: Server,
    channel: Channel,
    pool: DescriptorPool,
}

impl Client {
    /// Connects.
    pub async fn connect(server: &Server) -> Result<Self, CallError> {
        let channel = server.connect().await?;
        Ok(Self {
            server: server.clone(),
            channel,
            pool: descriptors(),
        })
    }

    fn method(&self, name: &str) -> Result<MethodDescriptor, CallError> {
        let simple = simple_name(name);
        let mut methods: Vec<MethodDescriptor> = self
            .pool
            .services()
            .flat_map(|it| it.methods().collect::<Vec<_>>())
            .collect();
        methods.sort_by(|a, b| a.name().cmp(b.name()));
        let found = methods
            .iter()
            .find(|it| it.name().eq_ignore_ascii_case(simple))
            .cloned();
        found.ok_or_else(|| {
            let names: Vec<&str> = methods.iter().map(|it| it.name()).collect();
            CallError::Usage(format!(
                "there is no method {simple}; there are {}",
                names.join(", ")
            ))
        })
    }

    /// Calls a method by its name. Field names are those of the proto files.
    pub async fn call(&self, name: &str, request: Value) -> Result<Value, CallError> {
        let call = self.prepare(name, request)?;
        shown(&call.method, self.send(&call).await?)
    }

    /// A call as it is to be sent, of a method that answers once.
    pub fn prepare(&self, name: &str, request: Value) -> Result<PreparedCall, CallError> {
        let method = self.method(name)?;
        if method.is_server_streaming() {
            return Err(CallError::Usage(format!(
                "{} is a stream; use bookd watch or watch-slots, or grpcurl",
                method.name()
            )));
        }
        let (message, path) = prepared(&method, request)?;
        Ok(PreparedCall {
            method,
            message,
            path,
        })
    }

    /// The answer to it, as it came.
    pub async fn send(&self, call: &PreparedCall) -> Result<Bytes, CallError> {
        let mut request = Request::new(call.message.clone());
        request.set_timeout(self.server.patience().saturating_add(MARGIN));
        let path = call.path.clone();
        let asked = async {
            self.ready()
                .await?
                .unary(request, path, BytesCodec)
                .await
                .map_err(refused)
        };
        Ok(self
            .server
            .answer(call.method.name(), asked)
            .await??
            .into_inner())
    }

    /// Calls a method that answers with a stream. Its opening is waited for as an answer is, and no longer.
    pub async fn stream(&self, name: &str, request: Value) -> Result<Answers, CallError> {
        let method = self.method(name)?;
        let (message, path) = prepared(&method, request)?;
        let asked = async {
            self.ready()
                .await?
                .server_streaming(Request::new(message), path, BytesCodec)
                .await
                .map_err(refused)
        };
        let messages = self
            .server
            .answer(method.name(), asked)
            .await??
            .into_inner();
        Ok(Answers { method, messages })
    }

    async fn ready(&self) -> Result<Grpc<Channel>, CallError> {
        // One change may be of thousands of appointments.
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let not_ready = |error| CallError::Unreachable(format!("the connection broke: {error}"));
        grpc.ready().await.map_err(not_ready)?;
        Ok(grpc)
    }
}

/// The name of a method without the service that it may stand behind.
pub(super) fn simple_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// How the names of methods begin that change nothing.
const READS: [&str; 5] = ["Get", "List", "Explain", "Query", "Watch"];

fn refused(status: Status) -> CallError {
    CallError::Refused(Box::new(status))
}

/// A request as it is sent, and where to.
fn prepared(method: &MethodDescriptor, request: Value) -> Result<(Bytes, PathAndQuery), CallError> {
    let input = method.input();
    let message = DynamicMessage::deserialize(input.clone(), request)
        .map_err(|error| CallError::Usage(format!("{}: {error}", input.name())))?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).expect("names of services are paths");
    Ok((Bytes::from(message.encode_to_vec()), path))
}

/// A call that is ready to be sent, as often as one likes.
pub struct PreparedCall {
    method: MethodDescriptor,
    message: Bytes,
    path: PathAndQuery,
}

/// The messages of a stream.
pub struct Answers {
    method: MethodDescriptor,
    messages: Streaming<Bytes>,
}

impl Answers {
    /// The next one as JSON; waits for it. None when the stream is over.
    pub async fn next(&mut self) -> Result<Option<Value>, CallError> {
        let message = self.next_bytes().await?;
        message
            .map(|message| shown(&self.method, message))
            .transpose()
    }

    /// The same as it came.
    pub async fn next_bytes(&mut self) -> Result<Option<Bytes>, CallError> {
        self.messages.message().await.map_err(refused)
    }
}

/// An answer as JSON.
fn shown(method: &MethodDescriptor, answer: Bytes) -> Result<Value, CallError> {
    let unreadable =
        || CallError::Unreachable("the answer cannot be read; is that a bookd?".to_owned());
    let answer = DynamicMessage::decode(method.output(), answer).map_err(|_| unreadable())?;
    to_json(&answer).map_err(|_| unreadable())
}

/// Bytes as they are.
#[derive(Clone, Copy, Default)]
struct BytesCodec;

impl Codec for BytesCodec {
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

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
