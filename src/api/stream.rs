//! Streams of messages, each made when the client can take it and not before.
//!
//! No message waits in memory for a client that does not read, no task outlives its stream, and an
//! error ends the stream.

use std::pin::Pin;

use futures_util::stream::try_unfold;
use tokio_stream::Stream;
use tonic::Status;

use crate::api::context::Answered;
use crate::api::convert::status;
use crate::auth::{Access, MethodScopes, Principal};

/// The messages of one stream.
pub(crate) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Makes the messages of one stream.
pub(crate) trait Source: Send + 'static {
    /// The type of its messages.
    type Message;
    /// Waits for the next message.
    fn next(&mut self) -> impl Future<Output = Answered<Self::Message>> + Send;
}

/// For whom a stream is, which ends when they lose the right to it.
pub(crate) struct StreamReader {
    pub(crate) access: Access,
    pub(crate) principal: Principal,
    pub(crate) wanted: MethodScopes,
}

/// The stream of the messages of a source.
pub(crate) fn messages<S: Source>(source: S, reader: StreamReader) -> Messages<S::Message> {
    Box::pin(try_unfold(
        (source, reader),
        async |(mut source, reader)| {
            let next = reader
                .access
                .unless_revoked(&reader.principal, reader.wanted, source.next())
                .await;
            let message = next
                .map_err(|error| status::not_allowed(&error))?
                .map_err(|why| status::no_answer(&why))?;
            Ok(Some((message, (source, reader))))
        },
    ))
}
