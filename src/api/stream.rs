//! Streams of messages: each is made when the client has room for it, and not before.
//!
//! Nothing waits in memory for a client that does not read, no task outlives its stream, and after an error the stream
//! is over.

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
    /// What it makes.
    type Message;
    /// The next message; waits for it.
    fn next(&mut self) -> impl Future<Output = Answered<Self::Message>> + Send;
}

/// The stream of what a source makes.
pub(crate) fn messages<S: Source>(source: S) -> Messages<S::Message> {
    Box::pin(try_unfold(source, async |mut source| {
        let message = source
            .next()
            .await
            .map_err(|failure| status::failed(&failure))?;
        Ok(Some((message, source)))
    }))
}
