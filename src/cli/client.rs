//! Calls any method of the contract with JSON in and JSON out, by the descriptors in the binary.
//!
//! Every wait for a server has a limit: for a connection, for an answer, for a stream to open.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::Value;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

use super::client_tls::{ClientTlsOptions, innermost, tls_failure};
use super::exit::Exit;
use crate::proto::is_reading;
use crate::proto_json::{descriptors, to_json};

/// The most bytes of one answer that the client accepts.
const ANSWER_BYTES_MAX: usize = 256 * 1_024 * 1_024;

/// By how much the deadline that a request carries exceeds the timeout of the client, so that it is
/// always the client that reports the timeout. The server drops a call after its deadline.
const MARGIN: Duration = Duration::from_secs(1);

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// The arguments are wrong, and nothing was sent.
    Usage(String),
    /// No server answers at the address, or the connection broke.
    Unreachable(String),
    /// The server did not answer within the timeout.
    NoAnswer(String),
    /// The server refused the call.
    Refused(Box<Status>),
    /// The call succeeded, and found nothing to change.
    Nothing(String),
    /// Another failure, such as one of this machine.
    Failed(String),
}

/// Whether something is exhausted that a retry does not bring back.
fn is_for_good(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && status.get_details_retry_info().is_none()
}

impl CallError {
    /// The exit code of a command that fails with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable(_) => Exit::TryAgain,
            Self::NoAnswer(_) => Exit::NoAnswer,
            // What helps is no retry, but to have less or to be allowed more.
            Self::Refused(status) if is_for_good(status) => Exit::NotAllowed,
            Self::Refused(status) => status.code().into(),
            Self::Nothing(_) => Exit::NotFound,
            Self::Failed(_) => Exit::Failed,
        }
    }

    /// This error as one of the request for a calendar's zone. The appointments of a deleted
    /// calendar can still be listed, but dates need `--zone`, because the calendar's zone is gone:
    /// NOT_FOUND says so.
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

/// An error of no other kind, with this message.
impl From<String> for CallError {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

/// A server, the timeout of each wait for it, and who calls. All waits of the command line go
/// through this type.
#[derive(Clone, Debug)]
pub struct Server {
    address: String,
    timeout: Duration,
    /// The header `authorization` of each call.
    token: Option<MetadataValue<Ascii>>,
    tls: ClientTlsOptions,
}

impl Server {
    /// `address` is `host:port`, with `https://` before it where the server talks TLS.
    pub fn new(address: impl Into<String>, timeout: Duration) -> Self {
        Self {
            address: address.into(),
            timeout,
            token: None,
            tls: ClientTlsOptions::default(),
        }
    }

    /// The same, with this header `authorization` on each call.
    pub(super) fn with_token(self, token: MetadataValue<Ascii>) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }

    /// A request with what tells who calls.
    fn request<M>(&self, message: M) -> Request<M> {
        with_caller(Request::new(message), self.token.as_ref())
    }

    /// A connection to this server whose every call tells who calls, for generated clients.
    pub fn as_caller(&self, channel: Channel) -> CallerChannel {
        InterceptedService::new(channel, CallerToken(self.token.clone()))
    }

    /// The same server with these options of TLS.
    pub fn with_tls(self, tls: ClientTlsOptions) -> Self {
        Self { tls, ..self }
    }

    /// The address as it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The longest wait for a connection or an answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Channel, CallError> {
        let Self {
            address,
            timeout,
            tls,
            ..
        } = self;
        let endpoint = tls.endpoint(address).map_err(CallError::Usage)?;
        let unreachable = |error: tonic::transport::Error| {
            if let Some(failure) = tls_failure(&error) {
                return CallError::Unreachable(format!("no TLS with {address}: {failure}"));
            }
            let next = "start one with `bookd serve`, or name it with --server";
            CallError::Unreachable(format!("nobody answers at {address}; {next}"))
        };
        let silent = |_| {
            let next = "is it the right address, and does a firewall let it through? --timeout waits longer";
            CallError::NoAnswer(format!(
                "{address} took no connection within {timeout:?}; {next}"
            ))
        };
        tokio::time::timeout(*timeout, endpoint.tcp_nodelay(true).connect())
            .await
            .map_err(silent)?
            .map_err(unreachable)
    }

    /// Waits for the answer to a method, which changes nothing if `is_reading`.
    ///
    /// # Errors
    ///
    /// `NoAnswer` after the timeout; for a method that changes something, the error says that the
    /// outcome is unknown.
    pub async fn answer<T>(
        &self,
        method: &str,
        is_reading: bool,
        asked: impl Future<Output = T>,
    ) -> Result<T, CallError> {
        let unknown = if is_reading {
            ""
        } else {
            "; whether it happened is not known: the same command with the same --request-id tells"
        };
        tokio::time::timeout(self.timeout, asked)
            .await
            .map_err(|_| self.silent(&format!("{method}{unknown}")))
    }

    /// The error of a server that did not answer `what` within the timeout.
    pub fn silent(&self, what: &str) -> CallError {
        let Self {
            address, timeout, ..
        } = self;
        let next = "it may be stopped or overloaded; --timeout waits longer";
        CallError::NoAnswer(format!(
            "no answer from {address} within {timeout:?}, {next}: {what}"
        ))
    }
}

/// The request with this header `authorization`, if there is one.
fn with_caller<M>(mut request: Request<M>, token: Option<&MetadataValue<Ascii>>) -> Request<M> {
    if let Some(token) = token {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", token.clone());
    }
    request
}

/// Adds this header `authorization` to each call, if there is one.
#[derive(Clone, Debug)]
pub struct CallerToken(pub Option<MetadataValue<Ascii>>);

impl Interceptor for CallerToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        Ok(with_caller(request, self.0.as_ref()))
    }
}

/// A connection whose every call tells who calls.
pub type CallerChannel = InterceptedService<Channel, CallerToken>;

/// A connection to a server.
pub struct Client {
    server: Server,
    channel: Channel,
    pool: DescriptorPool,
}

impl Client {
    /// Connects to a server.
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
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect();
        methods.sort_by(|a, b| a.name().cmp(b.name()));
        let found = methods
            .iter()
            .find(|method| method.name().eq_ignore_ascii_case(simple))
            .cloned();
        found.ok_or_else(|| {
            let names: Vec<&str> = methods.iter().map(|method| method.name()).collect();
            CallError::Usage(format!(
                "there is no method {simple}; there are {}",
                names.join(", ")
            ))
        })
    }

    /// Calls a method by its name, in any case, with or without its service. The request has the
    /// field names of the proto files.
    pub async fn call(&self, name: &str, request: Value) -> Result<Value, CallError> {
        let call = self.prepare(name, request)?;
        decoded(&call.method, self.send(&call).await?)
    }

    /// Encodes a call of a method that answers once.
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

    /// Sends a call; answers the encoded message of the answer.
    pub async fn send(&self, call: &PreparedCall) -> Result<Bytes, CallError> {
        let mut request = self.server.request(call.message.clone());
        request.set_timeout(self.server.timeout().saturating_add(MARGIN));
        let path = call.path.clone();
        let asked = async {
            self.ready()
                .await?
                .unary(request, path, BytesCodec)
                .await
                .map_err(refusal)
        };
        let method = &call.method;
        let is_reading = is_reading(method.method_descriptor_proto());
        let answer = self.server.answer(method.name(), is_reading, asked);
        Ok(answer.await??.into_inner())
    }

    /// Calls a method that answers with a stream. The timeout holds for the opening of the stream,
    /// not for its messages.
    pub async fn stream(&self, name: &str, request: Value) -> Result<Answers, CallError> {
        let method = self.method(name)?;
        let (message, path) = prepared(&method, request)?;
        let asked = async {
            self.ready()
                .await?
                .server_streaming(self.server.request(message), path, BytesCodec)
                .await
                .map_err(refusal)
        };
        let is_reading = is_reading(method.method_descriptor_proto());
        let answer = self.server.answer(method.name(), is_reading, asked);
        let messages = answer.await??.into_inner();
        Ok(Answers { method, messages })
    }

    async fn ready(&self) -> Result<Grpc<Channel>, CallError> {
        // One change may affect thousands of appointments.
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        grpc.ready().await.map_err(|error| broken(&error))?;
        Ok(grpc)
    }
}

/// The name of a method without its service.
pub(super) fn simple_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The error of a call that was refused, or whose connection broke.
pub(super) fn refusal(status: Status) -> CallError {
    let source = std::error::Error::source(&status);
    match source.and_then(|error| error.downcast_ref::<tonic::transport::Error>()) {
        None => CallError::Refused(Box::new(status)),
        Some(error) => broken(error),
    }
}

/// The error of a connection that ended. A server that refuses a certificate may say so only after
/// the connection seems to be made, or not be heard at all.
fn broken(error: &tonic::transport::Error) -> CallError {
    let why = tls_failure(error).unwrap_or_else(|| {
        format!(
            "{}; is the server still there, does it talk TLS as --server and --server-ca say, and does it ask for a \
             certificate (--client-cert)? Whether a change happened is not known: the same command with the same \
             --request-id tells",
            innermost(error)
        )
    });
    CallError::Unreachable(format!("the connection broke: {why}"))
}

/// An encoded request, and the path of its method.
fn prepared(method: &MethodDescriptor, request: Value) -> Result<(Bytes, PathAndQuery), CallError> {
    let input = method.input();
    let message = DynamicMessage::deserialize(input.clone(), request)
        .map_err(|error| CallError::Usage(format!("{}: {error}", input.name())))?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).expect("names of services are paths");
    Ok((Bytes::from(message.encode_to_vec()), path))
}

/// An encoded call, which can be sent any number of times.
pub struct PreparedCall {
    method: MethodDescriptor,
    message: Bytes,
    path: PathAndQuery,
}

/// A stream of answers.
pub struct Answers {
    method: MethodDescriptor,
    messages: Streaming<Bytes>,
}

impl Answers {
    /// Waits for the next message, as JSON; none at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<Value>, CallError> {
        let message = self.next_bytes().await?;
        message
            .map(|message| decoded(&self.method, message))
            .transpose()
    }

    /// Waits for the next message, encoded; none at the end of the stream.
    pub async fn next_bytes(&mut self) -> Result<Option<Bytes>, CallError> {
        self.messages.message().await.map_err(refusal)
    }
}

/// An answer as JSON.
fn decoded(method: &MethodDescriptor, answer: Bytes) -> Result<Value, CallError> {
    let unreadable =
        || CallError::Unreachable("the answer cannot be read; is that a bookd?".to_owned());
    let answer = DynamicMessage::decode(method.output(), answer).map_err(|_| unreadable())?;
    to_json(&answer).map_err(|_| unreadable())
}

/// A codec that passes encoded messages through.
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
