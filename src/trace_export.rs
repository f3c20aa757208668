//! Sends the spans of traced calls to a collector, by OTLP over gRPC.
//!
//! A span has the ids of its trace, the method, how the call ended and figures of the server. Names
//! are those of OpenTelemetry's semantic conventions 1.45.0 where there are such.

use std::sync::Arc;
use std::time::Duration;

use bookd_transport::{TraceNote, TracedCall, Traces};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use crate::admin_port::constant_case;
use crate::clock::SystemClock;

/// Spans that are sent together.
const BATCH_MAX: usize = 512;
/// How long a span waits for others to be sent with it.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How long the collector may take for a batch.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long spans are sent on after a stop.
const FLUSH_MAX: Duration = Duration::from_secs(3);
/// The least time between two lines of the log about a collector that takes nothing.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// The codes that are errors of the server; the others are the caller's.
const ERRORS: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// Sends the spans of traced calls.
pub struct TraceExport {
    traces: Arc<Traces>,
    calls: Receiver<TracedCall>,
    exporter: SpanExporter,
    scope: InstrumentationScope,
    complained: Option<Instant>,
}

impl TraceExport {
    /// Sends spans to the collector at this URL. Of the calls that are part of no trace this
    /// fraction, from 0 to 1, begins one. Connects when the first span is sent, on the runtime that
    /// this is called on.
    ///
    /// # Errors
    ///
    /// The URL cannot be used.
    pub fn new(endpoint: &str, ratio: f64) -> Result<Self, String> {
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(SEND_TIMEOUT)
            .build()
            .map_err(|error| format!("--otlp-endpoint {endpoint}: {error}"))?;
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new("service.name", "bookd"),
            KeyValue::new("service.version", version),
        ]);
        exporter.set_resource(&resource.build());
        let (traces, calls) = Traces::new(ratio, || Uuid::new_v4().as_u128());
        Ok(Self {
            traces,
            calls,
            exporter,
            scope: InstrumentationScope::builder("bookd")
                .with_version(version)
                .build(),
            complained: None,
        })
    }

    /// Where calls are traced.
    pub fn traces(&self) -> Arc<Traces> {
        Arc::clone(&self.traces)
    }

    /// Sends spans from now on, on the runtime that this is called on.
    pub fn start(self) -> RunningExport {
        let (stop, stopped) = oneshot::channel();
        RunningExport {
            task: tokio::spawn(self.run(stopped)),
            stop,
        }
    }

    /// Sends spans until `stop` is dropped or sent, and then those that wait, for a few seconds at
    /// most.
    async fn run(mut self, stop: oneshot::Receiver<()>) {
        let mut ticks = tokio::time::interval(SEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = std::pin::pin!(stop);
        let mut calls = Vec::with_capacity(BATCH_MAX);
        loop {
            let room = BATCH_MAX - calls.len();
            tokio::select! {
                _ = &mut stop => break,
                _ = ticks.tick() => {}
                _ = self.calls.recv_many(&mut calls, room), if room > 0 => {
                    if calls.len() < BATCH_MAX {
                        continue;
                    }
                }
            }
            let sending = calls.len() as u64;
            tokio::select! {
                biased;
                () = self.send(&mut calls) => {}
                _ = &mut stop => {
                    self.traces.note_failed(sending);
                    break;
                }
            }
        }
        self.calls.close();
        let flush = async {
            loop {
                while calls.len() < BATCH_MAX
                    && let Ok(call) = self.calls.try_recv()
                {
                    calls.push(call);
                }
                if calls.is_empty() {
                    return;
                }
                self.send(&mut calls).await;
            }
        };
        // What is not sent by then is lost, as the log of a killed process is.
        let _in_time = tokio::time::timeout(FLUSH_MAX, flush).await;
    }

    /// Sends these calls, and forgets them: a collector that is gone must not fill the memory.
    async fn send(&mut self, calls: &mut Vec<TracedCall>) {
        if calls.is_empty() {
            return;
        }
        let count = calls.len() as u64;
        let now = (Instant::now(), SystemClock.system_time());
        let spans = calls.drain(..).map(|call| span(&call, now, &self.scope));
        let sent = self.exporter.export(spans.collect());
        let why = match tokio::time::timeout(SEND_TIMEOUT, sent).await {
            Ok(Ok(())) => return self.traces.note_exported(count),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("there was no answer within {SEND_TIMEOUT:?}"),
        };
        self.traces.note_failed(count);
        let is_due = self
            .complained
            .is_none_or(|it| now.0.duration_since(it) >= COMPLAIN_EVERY);
        if is_due {
            self.complained = Some(now.0);
            tracing::warn!(
                why,
                "the collector of traces takes no spans; calls are served all the same"
            );
        }
    }
}

/// Sends spans until it is stopped.
pub struct RunningExport {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl RunningExport {
    /// Sends the spans that wait, for a few seconds at most, and ends.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the export of traces ended before the server");
        }
    }
}

/// The span of a call. `now` is the same moment by both clocks.
fn span(
    call: &TracedCall,
    (now, wall): (Instant, std::time::SystemTime),
    scope: &InstrumentationScope,
) -> SpanData {
    let start_time = wall
        .checked_sub(now.saturating_duration_since(call.begun))
        .unwrap_or(wall);
    let method = call
        .method
        .map_or("_OTHER", |it| it.trim_start_matches('/'));
    let code = call.code.map_or("CANCELLED".to_owned(), constant_case);
    let is_error = ERRORS.contains(&&*code);
    let mut attributes = vec![
        KeyValue::new("rpc.system.name", "grpc"),
        KeyValue::new("rpc.method", method),
        KeyValue::new("rpc.response.status_code", code.clone()),
    ];
    if is_error {
        attributes.push(KeyValue::new("error.type", code));
    }
    if let Some(reason) = call.reason {
        attributes.push(KeyValue::new("bookd.reason", reason));
    }
    attributes.extend(call.notes.read().iter().map(attribute));
    let context = &call.context;
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(context.trace_id),
            SpanId::from(context.span_id),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: context.parent_id.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: context.parent_id.is_some(),
        span_kind: SpanKind::Server,
        name: method.into(),
        start_time,
        end_time: start_time.checked_add(call.took).unwrap_or(start_time),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if is_error {
            Status::error("")
        } else {
            Status::Unset
        },
        instrumentation_scope: scope.clone(),
    }
}

fn attribute(note: &TraceNote) -> KeyValue {
    match *note {
        TraceNote::Count(name, count) => {
            KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX))
        }
        TraceNote::Seconds(name, time) => KeyValue::new(name, time.as_secs_f64()),
    }
}
