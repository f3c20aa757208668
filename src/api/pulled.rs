//! Streams that are asked: a message is made when the client has room for it, and not before.
//!
//! Nothing waits in memory for a client that does not read, no task outlives its stream, and after an error the stream
//! is over.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::Stream;
use tonic::Status;

/// Makes the messages of one stream.
pub trait Source: Send + 'static {
    /// What it makes.
    type Message;
    /// The next one; waits for it.
    fn next(&mut self) -> impl Future<Output = Result<Self::Message, Status>> + Send;
}

type Making<S> = Pin<Box<dyn Future<Output = (Box<S>, Result<<S as Source>::Message, Status>)> + Send>>;

enum State<S: Source> {
    Resting(Box<S>),
    Making(Making<S>),
    Over,
}

/// See the header.
pub struct Pulled<S: Source>(State<S>);

impl<S: Source> Pulled<S> {
    pub(crate) fn new(source: S) -> Self {
        Self(State::Resting(Box::new(source)))
    }
}

async fn make<S: Source>(mut source: Box<S>) -> (Box<S>, Result<S::Message, Status>) {
    let made = source.next().await;
    (source, made)
}

impl<S: Source> Stream for Pulled<S> {
    type Item = Result<S::Message, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut making = match std::mem::replace(&mut self.0, State::Over) {
            State::Resting(source) => Box::pin(make(source)),
            State::Making(making) => making,
            State::Over => return Poll::Ready(None),
        };
        match making.as_mut().poll(cx) {
            Poll::Pending => {
                self.0 = State::Making(making);
                Poll::Pending
            }
            Poll::Ready((source, Ok(message))) => {
                self.0 = State::Resting(source);
                Poll::Ready(Some(Ok(message)))
            }
            Poll::Ready((_, Err(status))) => Poll::Ready(Some(Err(status))),
        }
    }
}
