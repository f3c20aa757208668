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

/// The messages of one stream.
pub(crate) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Makes the messages of one stream.
pub(crate) trait Source: Send + 'static {
    /// The type of its messages.
    type Message;
    /// Waits for the next message.
    fn next(&mut self) -> impl Future<Output = Answered<Self::Message>> + Send;
}

/// The stream of the messages of a source.
pub(crate) fn messages<S: Source>(source: S) -> Messages<S::Message> {
    Box::pin(try_unfold(source, async |mut source| {
        let message = source
            .next()
            .await
            .map_err(|failure| status::failed(&failure))?;
        Ok(Some((message, source)))
    }))
}
