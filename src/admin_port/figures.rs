//! All figures of a service, gathered from those who count them, with their names for Prometheus.
//!
//! Labels are closed lists: methods, codes and reasons of the contract, and the version. No label
//! has anything that a client said, and nothing of a calendar, an appointment or a person.
//! Names of calls follow OpenTelemetry's semantic conventions 1.45.0, in Prometheus' spelling.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bookd_metrics::HistogramValues;
use bookd_transport::{Admission, CallMetrics, Liveness, Metrics, Traces};
use tokio::time::Instant as Deadline;

use super::health::Health;
use super::process;
use super::text::{Exposition, SampleUnit};
use crate::auth::Access;
use crate::engine::EngineStatus;

/// What the admin port observes.
pub struct Observed {
    /// The counts of calls.
    pub calls: Arc<CallMetrics>,
    /// The counts of connections.
    pub connections: Arc<Metrics>,
    /// What all calls together hold.
    pub admission: Arc<Admission>,
    /// The workers, which are asked for signs of life.
    pub workers: Liveness,
    /// The engine and its store.
    pub engine: EngineStatus,
    /// Who may call, and the keys of issuers.
    pub access: Access,
    /// The traces of calls; none where they are not traced.
    pub traces: Option<Arc<Traces>>,
    /// Writer and workers count as stuck after so long a silence; `SILENCE_MAX` by default.
    pub silence_max: Duration,
}

/// The figures of a service, and its health.
pub(super) struct Figures {
    pub(super) health: Health,
    calls: Arc<CallMetrics>,
    connections: Arc<Metrics>,
    admission: Arc<Admission>,
    access: Access,
    traces: Option<Arc<Traces>>,
}

impl Figures {
    /// The figures of what is observed.
    pub(super) fn of(observed: Observed) -> Self {
        let Observed {
            calls,
            connections,
            admission,
            workers,
            engine,
            access,
            traces,
            silence_max,
        } = observed;
        Self {
            health: Health::new(engine, workers, silence_max),
            calls,
            connections,
            admission,
            access,
            traces,
        }
    }

    /// All figures in the text format.
    pub(super) fn text(&self, now: Deadline) -> String {
        let mut text = Exposition::default();
        self.add_calls(&mut text);
        self.add_connections(&mut text);
        self.add_admission(&mut text);
        self.add_writer(&mut text, now);
        self.add_watches(&mut text);
        self.add_store(&mut text);
        self.add_keys(&mut text);
        self.add_traces(&mut text);
        self.add_health(&mut text, now);
        add_process(&mut text);
        text.into_text()
    }

    fn add_calls(&self, text: &mut Exposition) {
        // A call that is cut off was cancelled, whoever says so.
        let mut ended: BTreeMap<(&str, String), HistogramValues> = BTreeMap::new();
        for calls in self.calls.ended() {
            let method = calls
                .method
                .map_or("_OTHER", |it| it.trim_start_matches('/'));
            let code = calls.code.map_or("CANCELLED".to_owned(), constant_case);
            ended
                .entry((method, code))
                .and_modify(|all| all.merge(&calls.durations))
                .or_insert(calls.durations);
        }
        let name = "rpc_server_call_duration_seconds";
        text.family(
            name,
            "histogram",
            "Duration of calls, streams until their end, by method and status code.",
        );
        for ((method, code), durations) in &ended {
            let labels = [
                ("rpc_system_name", "grpc"),
                ("rpc_method", *method),
                ("rpc_status_code", &**code),
            ];
            text.histogram_samples(name, &labels, durations, SampleUnit::Seconds);
        }
        text.gauge(
            "bookd_calls_open",
            "Calls that have begun and not ended, open streams among them.",
            self.calls.open(),
        );
        let name = "bookd_refusals_total";
        text.family(
            name,
            "counter",
            "Calls that ended with an error, by reason.",
        );
        for (reason, count) in self.calls.reasons() {
            if reason != "ERROR_REASON_UNSPECIFIED" {
                text.sample(name, &[("reason", reason)], count);
            }
        }
    }

    fn add_connections(&self, text: &mut Exposition) {
        let it = &self.connections;
        text.gauge("bookd_connections_open", "Open connections.", it.open());
        text.counter(
            "bookd_connections_accepted_total",
            "Connections that were accepted and not refused.",
            it.accepted(),
        );
        text.counter(
            "bookd_connections_refused_total",
            "Connections that were closed at once because too many were open.",
            it.refused(),
        );
        text.counter(
            "bookd_connections_handshake_timeouts_total",
            "Connections that were closed because no HTTP/2 preface came in time.",
            it.handshake_timeouts(),
        );
        text.counter(
            "bookd_connections_handshakes_failed_total",
            "Connections that were closed because their TLS handshake failed.",
            it.handshakes_failed(),
        );
        text.counter(
            "bookd_connections_unread_total",
            "Connections that were closed because their answers were not read.",
            it.unread(),
        );
        text.counter(
            "bookd_accept_errors_total",
            "Errors of accepting a connection, such as a lack of descriptors.",
            it.accept_errors(),
        );
    }

    fn add_admission(&self, text: &mut Exposition) {
        let it = &self.admission;
        text.gauge(
            "bookd_admission_calls",
            "Calls that are being worked on, until their answer begins.",
            it.calls(),
        );
        text.gauge(
            "bookd_admission_begun_calls",
            "Calls that are known to lack a part of their request.",
            it.begun_calls(),
        );
        text.gauge(
            "bookd_admission_receiving_bytes",
            "Bytes of requests that have begun to arrive and have not ended.",
            it.receiving_bytes(),
        );
        text.gauge(
            "bookd_admission_untaken_bytes",
            "Bytes of answers that clients have not taken, each answer with its fixed weight.",
            it.untaken_bytes(),
        );
        text.counter(
            "bookd_admission_refused_total",
            "Calls that were not let in because there were too many.",
            it.refused(),
        );
    }

    fn add_writer(&self, text: &mut Exposition, now: Deadline) {
        let (engine, metrics) = (&self.health.engine, self.health.engine.metrics());
        let commits = metrics.commits.values();
        text.counter(
            "bookd_commits_total",
            "Commits of the writer that are on disk.",
            commits.count(),
        );
        text.histogram(
            "bookd_commit_duration_seconds",
            "Duration of commits, from the transaction's begin until it is on disk.",
            &commits,
            SampleUnit::Seconds,
        );
        text.counter(
            "bookd_commits_refused_total",
            "Commits that the store refused; nothing of them happened.",
            metrics.commits_refused.value(),
        );
        text.histogram(
            "bookd_batch_commands",
            "Commands that were decided together.",
            &metrics.batch_commands.values(),
            SampleUnit::Number,
        );
        text.counter(
            "bookd_stalls_total",
            "Batches that took more than 50 ms to decide, while all others waited.",
            metrics.stalls.value(),
        );
        text.gauge(
            "bookd_mailbox_depth",
            "Commands and loads that wait for the writer to take them.",
            engine.mailbox_depth().unwrap_or(0),
        );
        text.gauge(
            "bookd_writer_queue_depth",
            "Commands that the writer has taken and left for later batches.",
            metrics.queued.value(),
        );
        text.gauge(
            "bookd_writer_silence_seconds",
            "Time since the writer looked for work; at most about 1 while it is idle.",
            metrics.silence(now).as_secs_f64(),
        );
        text.gauge(
            "bookd_revision",
            "The last published revision.",
            engine.revision().0,
        );
        text.gauge(
            "bookd_calendars_in_memory",
            "Calendars in memory.",
            engine.calendars_in_memory(),
        );
        text.gauge(
            "bookd_damaged_calendars",
            "Calendars that met damage and are not written to until a restart.",
            metrics.damaged_calendars.value(),
        );
    }

    fn add_watches(&self, text: &mut Exposition) {
        text.gauge(
            "bookd_watches_open",
            "Open watches, of appointments and of slots.",
            self.health.engine.watches_open(),
        );
        text.counter(
            "bookd_watches_lagged_total",
            "Watches that were cut because they were too slow.",
            self.health.engine.metrics().watches_lagged.value(),
        );
    }

    fn add_store(&self, text: &mut Exposition) {
        let metrics = self.health.engine.store_metrics();
        text.histogram(
            "bookd_checkpoint_duration_seconds",
            "Duration of copying the WAL into the database; others wait meanwhile.",
            &metrics.checkpoints.values(),
            SampleUnit::Seconds,
        );
        text.counter(
            "bookd_checkpoints_failed_total",
            "Copies of the WAL that failed; the WAL grows until one goes well.",
            metrics.checkpoints_failed.value(),
        );
        text.gauge(
            "bookd_reserve_given_up",
            "1 while the reserve beside the database is given up.",
            metrics.is_reserve_given_up.value(),
        );
        text.gauge(
            "bookd_disk_full",
            "1 from when the disk was full until it has ample space again.",
            metrics.is_disk_short.value(),
        );
        let Some(file) = self.health.engine.store_file() else {
            return;
        };
        text.gauge(
            "bookd_store_file_bytes",
            "Length of the database.",
            length(file),
        );
        text.gauge(
            "bookd_store_wal_bytes",
            "Length of the WAL beside the database.",
            length(&with_suffix(file, "-wal")),
        );
        if let Some(free) = free_bytes(file) {
            text.gauge(
                "bookd_store_disk_free_bytes",
                "Free space on the disk of the database.",
                free,
            );
        }
    }

    fn add_keys(&self, text: &mut Exposition) {
        let fetches = self.access.key_fetches();
        text.counter(
            "bookd_issuer_key_fetches_total",
            "Fetches of the keys of issuers that brought keys.",
            fetches.done,
        );
        text.counter(
            "bookd_issuer_key_fetches_failed_total",
            "Fetches of the keys of issuers that brought none.",
            fetches.failed,
        );
        text.gauge(
            "bookd_issuers_without_keys",
            "Issuers whose keys could not be fetched yet; their tokens are refused.",
            fetches.issuers_without_keys,
        );
    }

    fn add_traces(&self, text: &mut Exposition) {
        let of = |count: fn(&Traces) -> u64| self.traces.as_ref().map_or(0, |it| count(it));
        text.counter(
            "bookd_spans_exported_total",
            "Spans of calls that the collector of traces has taken.",
            of(Traces::exported),
        );
        text.counter(
            "bookd_spans_failed_total",
            "Spans of calls that the collector of traces did not take.",
            of(Traces::failed),
        );
        text.counter(
            "bookd_spans_dropped_total",
            "Spans of calls that were dropped, because too many waited for the collector.",
            of(Traces::dropped),
        );
    }

    fn add_health(&self, text: &mut Exposition, now: Deadline) {
        text.flag(
            "bookd_ready",
            "1 while /readyz says ok.",
            self.health.ready(now).is_ok(),
        );
        text.flag(
            "bookd_clock_in_doubt",
            "1 while the clock is not believed and changes are refused.",
            self.health.engine.is_clock_in_doubt(),
        );
        let name = "bookd_build_info";
        text.family(name, "gauge", "1, with the version of this process.");
        text.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    }
}

fn add_process(text: &mut Exposition) {
    let Some(it) = process::figures() else {
        return;
    };
    text.counter(
        "process_cpu_seconds_total",
        "Processor time of user and system.",
        it.cpu_seconds,
    );
    text.gauge(
        "process_resident_memory_bytes",
        "Resident memory.",
        it.resident_bytes,
    );
    text.gauge("process_open_fds", "Open file descriptors.", it.open_fds);
    if let Some(max) = it.max_fds {
        text.gauge(
            "process_max_fds",
            "The limit on open file descriptors.",
            max,
        );
    }
    text.gauge(
        "process_start_time_seconds",
        "When the process began, in seconds since 1970.",
        it.start_seconds,
    );
}

/// The name of a code as OpenTelemetry writes it: `INVALID_ARGUMENT` for `InvalidArgument`.
pub fn constant_case(name: &str) -> String {
    let mut constant = String::with_capacity(name.len() + 2);
    for (place, letter) in name.char_indices() {
        if place > 0 && letter.is_ascii_uppercase() {
            constant.push('_');
        }
        constant.push(letter.to_ascii_uppercase());
    }
    constant
}

/// The length of a file in bytes; 0 for one that is not there.
fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |it| it.len())
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The free space on the disk of a file, in bytes; none where it is not known.
#[cfg(target_os = "linux")]
fn free_bytes(file: &Path) -> Option<u64> {
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
    let it = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))).ok()?;
    it.f_bavail.checked_mul(it.f_frsize)
}

#[cfg(not(target_os = "linux"))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_spelled_as_the_specification_of_grpc_spells_them() {
        for (name, constant) in [
            ("Ok", "OK"),
            ("InvalidArgument", "INVALID_ARGUMENT"),
            ("NotGrpc", "NOT_GRPC"),
        ] {
            assert_eq!(constant_case(name), constant);
        }
    }

    #[test]
    fn the_length_of_a_file_that_is_not_there_is_0() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bookd.db");
        assert_eq!(length(&file), 0);
        std::fs::write(with_suffix(&file, "-wal"), "12345").expect("a file");
        assert_eq!(length(&folder.path().join("bookd.db-wal")), 5);
    }
}
