//! The access log: one line for each call, with its method, its outcome and its duration; and the
//! same in the counts of calls and in their traces.
//!
//! None has anything of the request or the answer, an id, an address or a caller. A path that is
//! no method of the service is text that the client chose, and is not repeated.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tower::Service;

use crate::call_metrics::WorkerCalls;
use crate::methods::Methods;
use crate::protocol::{CallOutcome, Protocol};
use crate::traces::{TraceContext, TraceNotes, TracedCall, Traces};

/// The method of a call whose path is no method.
const UNKNOWN: &str = "unknown";
/// The code of a call that was dropped before its end.
const CUT_OFF: &str = "CutOff";

/// What is noted of calls. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Observing {
    /// Each call has a line in the log.
    pub is_logging: bool,
    /// The counts of the worker on which the calls are served; none where calls are not counted.
    pub counts: Option<Arc<WorkerCalls>>,
    /// Where calls are traced; none where they are not.
    pub traces: Option<Arc<Traces>>,
}

/// A service whose calls are logged, one line each, and counted.
#[derive(Clone, Debug)]
pub struct AccessLog<S, P> {
    inner: S,
    methods: &'static Methods,
    observing: Observing,
    protocol: P,
}

impl<S, P> AccessLog<S, P> {
    pub(crate) fn new(
        inner: S,
        methods: &'static Methods,
        observing: Observing,
        protocol: P,
    ) -> Self {
        Self {
            inner,
            methods,
            observing,
            protocol,
        }
    }

    /// The record of a call of this path; none where nothing is noted.
    fn begin(&self, path: &str, headers: &HeaderMap) -> Option<CallRecord> {
        let Observing {
            is_logging,
            counts,
            traces,
        } = &self.observing;
        if !is_logging && counts.is_none() && traces.is_none() {
            return None;
        }
        let known = self.methods.find(path);
        if let Some(counts) = counts {
            counts.begin();
        }
        // Probes of health would begin most traces.
        let may_begin = known.is_none_or(|it| !it.method.is_standard);
        let trace = traces
            .as_ref()
            .and_then(|it| OpenTrace::begin(it, headers, may_begin));
        Some(CallRecord {
            method: known.map(|it| it.path),
            number: known.map(|it| it.number),
            begun: Instant::now(),
            is_ended: false,
            is_logging: *is_logging,
            counts: counts.clone(),
            trace: trace.map(Box::new),
        })
    }
}

impl<S, P, B, R> Service<Request<B>> for AccessLog<S, P>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible, Future: Unpin>,
    P: Protocol,
{
    type Response = Response<LoggedBody<R, P>>;
    type Error = Infallible;
    type Future = LoggedFuture<S::Future, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let record = self.begin(request.uri().path(), request.headers());
        if let Some(trace) = record.as_ref().and_then(|it| it.trace.as_ref()) {
            request.extensions_mut().insert(Arc::clone(&trace.notes));
        }
        let answer = {
            let _in_trace = record.as_ref().and_then(CallRecord::enter);
            self.inner.call(request)
        };
        LoggedFuture {
            answer,
            record,
            protocol: self.protocol,
        }
    }
}

/// A call whose answer has not begun.
pub struct LoggedFuture<F, P> {
    answer: F,
    record: Option<CallRecord>,
    protocol: P,
}

impl<F, P, R> Future for LoggedFuture<F, P>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    P: Protocol,
{
    type Output = Result<Response<LoggedBody<R, P>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Ok(response) = {
            let _in_trace = this.record.as_ref().and_then(CallRecord::enter);
            ready!(Pin::new(&mut this.answer).poll(cx))
        };
        let (mut record, protocol) = (this.record.take(), this.protocol);
        if let Some(record) = &mut record
            && let Some(outcome) =
                protocol.outcome(response.status(), response.headers(), response.extensions())
        {
            record.end::<P>(&outcome);
        }
        Poll::Ready(Ok(response.map(|body| LoggedBody {
            body,
            record,
            protocol,
        })))
    }
}

/// The body of an answer; its end is the end of the call.
pub struct LoggedBody<B, P> {
    body: B,
    record: Option<CallRecord>,
    protocol: P,
}

impl<B: Body<Data = Bytes> + Unpin, P: Protocol> Body for LoggedBody<B, P> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let frame = {
            let _in_trace = this.record.as_ref().and_then(CallRecord::enter);
            ready!(Pin::new(&mut this.body).poll_frame(cx))
        };
        if let (Some(record), Some(Ok(frame))) = (&mut this.record, &frame)
            && let Some(trailers) = frame.trailers_ref()
            && let Some(outcome) = this.protocol.outcome_of_trailers(trailers)
        {
            record.end::<P>(&outcome);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A call in progress. A record that is dropped before the end of its call notes `CUT_OFF`.
#[derive(Debug)]
struct CallRecord {
    /// The path of the method; none for a path that is no method.
    method: Option<&'static str>,
    /// The number of the method; none for a path that is no method.
    number: Option<usize>,
    begun: Instant,
    is_ended: bool,
    is_logging: bool,
    counts: Option<Arc<WorkerCalls>>,
    /// Boxed, because few calls are traced and a record is moved.
    trace: Option<Box<OpenTrace>>,
}

/// The trace of a call in progress.
#[derive(Debug)]
struct OpenTrace {
    traces: Arc<Traces>,
    context: TraceContext,
    notes: Arc<TraceNotes>,
    /// Adds the id of the trace to each line of the log that the call writes.
    span: tracing::Span,
}

impl OpenTrace {
    fn begin(traces: &Arc<Traces>, headers: &HeaderMap, may_begin: bool) -> Option<Self> {
        let context = traces.begin(headers, may_begin)?;
        let trace_id = format_args!("{:032x}", context.trace_id);
        Some(Self {
            traces: Arc::clone(traces),
            context,
            notes: Arc::default(),
            // A line of any level has it.
            span: tracing::error_span!("call", %trace_id),
        })
    }
}

impl CallRecord {
    /// What is logged until the guard is dropped has the id of the call's trace, if it is traced.
    fn enter(&self) -> Option<tracing::span::Entered<'_>> {
        self.trace.as_ref().map(|it| it.span.enter())
    }

    /// Notes the outcome of the call; later outcomes are not noted.
    fn end<P: Protocol>(&mut self, outcome: &CallOutcome) {
        let reason = outcome.reason.map(|it| P::reasons()[it]);
        self.note(Some(outcome), P::CODES[outcome.code], reason);
    }

    /// Notes the outcome, none when the call was cut off, with the names of code and reason.
    fn note(
        &mut self,
        outcome: Option<&CallOutcome>,
        code: &'static str,
        reason: Option<&'static str>,
    ) {
        if std::mem::replace(&mut self.is_ended, true) {
            return;
        }
        let took = self.begun.elapsed();
        if let Some(counts) = &self.counts {
            counts.end(self.number, outcome, took);
        }
        if let Some(trace) = &self.trace {
            trace.traces.end(TracedCall {
                context: trace.context,
                method: self.method,
                code: outcome.map(|_| code),
                reason,
                begun: self.begun,
                took,
                notes: Arc::clone(&trace.notes),
            });
        }
        if !self.is_logging {
            return;
        }
        let _in_trace = self.enter();
        let method = self.method.unwrap_or(UNKNOWN);
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match reason {
            Some(reason) => tracing::info!(method, code, reason, ms, "call"),
            None => tracing::info!(method, code, ms, "call"),
        }
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        self.note(None, CUT_OFF, None);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write};
    use std::future::ready;
    use std::sync::{Arc, Mutex};

    use http::StatusCode;
    use http_body_util::Empty;
    use tracing::field::{Field, Visit};
    use tracing::span;

    use super::*;
    use crate::call_metrics::CallMetrics;
    use crate::methods::Method;
    use crate::testing::{Plain, ScriptedBody, read, request, sure, trailers};

    /// The lines of a log, without their durations.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl Visit for Lines {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if !["ms", "message"].contains(&field.name()) {
                let mut lines = self.0.lock().expect("no panic");
                write!(lines.last_mut().expect("a line"), "{value:?} ").expect("it is a string");
            }
        }
    }

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            self.0.lock().expect("no panic").push(String::new());
            event.record(&mut self.clone());
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    /// The log of one call with this answer, which is read if `is_read`.
    async fn logged(path: &str, answer: Response<ScriptedBody>, is_read: bool) -> Vec<String> {
        let methods: Methods = [("/s/m".to_owned(), Method::default())]
            .into_iter()
            .collect();
        let mut answer = Some(answer);
        let service = tower::service_fn(|_: Request<Empty<Bytes>>| {
            ready(Ok(answer.take().expect("one call")))
        });
        let observing = Observing {
            is_logging: true,
            ..Observing::default()
        };
        let mut log = AccessLog::new(service, Box::leak(Box::new(methods)), observing, Plain);
        let mut request = request(Empty::new(), None);
        *request.uri_mut() = path.parse().expect("a path");
        let lines = Lines::default();
        let _here = tracing::subscriber::set_default(lines.clone());
        let answer = sure(log.call(request).await);
        if is_read {
            read(answer).await;
        } else {
            drop(answer);
        }
        let lines = lines.0.lock().expect("no panic");
        lines.clone()
    }

    #[tokio::test]
    async fn every_call_has_one_line_with_its_method_and_how_it_ended() {
        let with_trailers = || {
            let end = |reason| Ok(Frame::trailers(trailers("reason", reason)));
            Response::new(
                ScriptedBody::new(vec![
                    Ok(Frame::data(Bytes::from_static(b"1"))),
                    end("FULL"),
                    end("LATE"),
                ])
                .0,
            )
        };
        assert_eq!(
            logged("/s/m", with_trailers(), true).await,
            ["\"/s/m\" \"Ended\" \"FULL\" "]
        );
        assert_eq!(
            logged("/s/m", with_trailers(), false).await,
            ["\"/s/m\" \"CutOff\" "]
        );
        let mut foreign = with_trailers();
        *foreign.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        assert_eq!(
            logged("/made/up", foreign, true).await,
            ["\"unknown\" \"Foreign\" "]
        );
    }

    #[tokio::test]
    async fn a_call_is_open_until_its_answer_ends_or_is_dropped_and_is_counted_once() {
        let methods: Methods = [("/s/m".to_owned(), Method::default())]
            .into_iter()
            .collect();
        let methods: &'static Methods = Box::leak(Box::new(methods));
        let calls = CallMetrics::new::<Plain>(methods);
        let end = || Ok(Frame::trailers(trailers("reason", "FULL")));
        let service = tower::service_fn(|_: Request<Empty<Bytes>>| {
            let body = ScriptedBody::new(vec![end(), end()]).0;
            ready(Ok(Response::new(body)))
        });
        let observing = Observing {
            counts: Some(calls.on_worker()),
            ..Observing::default()
        };
        let mut log = AccessLog::new(service, methods, observing, Plain);
        let mut call = |path: &str| {
            let mut request = request(Empty::new(), None);
            *request.uri_mut() = path.parse().expect("a path");
            log.call(request)
        };
        let (read_whole, dropped, never_polled) = (
            sure(call("/s/m").await),
            sure(call("/s/m").await),
            call("/s/n"),
        );
        assert_eq!((calls.open(), calls.ended()), (3, Vec::new()));
        read(read_whole).await;
        drop((dropped, never_polled));
        let ended: Vec<_> = calls
            .ended()
            .into_iter()
            .map(|it| (it.method, it.code, it.durations.count()))
            .collect();
        assert_eq!(
            ended,
            [
                (Some("/s/m"), Some("Ended"), 1),
                (Some("/s/m"), None, 1),
                (None, None, 1)
            ]
        );
        assert_eq!((calls.open(), calls.reasons()[0]), (0, ("FULL", 1)));
    }
}
