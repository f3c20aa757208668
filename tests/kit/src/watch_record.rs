//! What a watcher was sent, and the judge of it beside the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bookd::proto::v1 as pb;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd_core::appointment::Image;
use bookd_core::change::AppointmentEvent;
use bookd_core::log::{CalendarEvent, LogEntry, LogEvent, What};
use bookd_core::time::Instant;
use prost_types::Timestamp;
use tokio::time::timeout;
use tonic::client::GrpcService;
use tonic::codegen::{Body, StdError};
use tonic_types::StatusExt;

use super::caller::CALENDARS;
use super::log::{Log, impersonal, number, wire_state};
use super::readable::assert_readable;

/// The longest time of a watch from the first revision on.
const PATIENCE: Duration = Duration::from_secs(60);

/// The filter of a watch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    #[default]
    Everything,
    Calendar(String),
    /// The calendars whose id has this prefix.
    Prefix(String),
}

impl Scope {
    /// One scope of each kind.
    pub fn all() -> [Self; 3] {
        let [calendar, _, other] = CALENDARS;
        [
            Self::Everything,
            Self::Calendar(calendar.to_owned()),
            Self::Prefix(other[..1].to_owned()),
        ]
    }

    pub fn request(&self, start_revision: i64) -> pb::WatchAppointmentsRequest {
        let (calendar_id, id_prefix) = match self.clone() {
            Self::Everything => Default::default(),
            Self::Calendar(id) => (id, String::new()),
            Self::Prefix(prefix) => (String::new(), prefix),
        };
        pb::WatchAppointmentsRequest {
            calendar_id,
            id_prefix,
            start_revision,
        }
    }

    fn has<'a>(&self, mut calendars: impl Iterator<Item = &'a str>) -> bool {
        match self {
            Self::Everything => true,
            Self::Calendar(id) => calendars.any(|it| it == id),
            Self::Prefix(prefix) => calendars.any(|it| it.starts_with(prefix)),
        }
    }

    /// The events of a change that this scope watches.
    fn of_entry<'a>(&self, entry: &'a LogEntry) -> Vec<&'a LogEvent> {
        let is_watched =
            |it: &&LogEvent| self.has(it.calendars.iter().map(|it| it.calendar.as_str()));
        entry.events.iter().filter(is_watched).collect()
    }

    /// A change that was sent whole, with only the events that this scope watches.
    fn of_change(&self, change: &pb::Change) -> pb::Change {
        let mut change = change.clone();
        change
            .events
            .retain(|it| self.has(it.calendar_ids.iter().map(String::as_str)));
        change
    }
}

/// Everything that one watcher was sent, over all of its connections.
#[derive(Clone, Debug, Default)]
pub struct WatchRecord {
    pub scope: Scope,
    /// The watch began after everything up to this revision was known to have happened.
    pub known: i64,
    /// Each change as it was sent, its parts put together.
    pub seen: Vec<pb::Change>,
    /// The parts so far of a change whose last part is still to come, and their number.
    begun: Option<(pb::Change, i32)>,
    /// How many changes came in several parts.
    pub in_parts: usize,
    /// The revision up to which all changes were sent, by the last progress mark or change.
    pub upto: i64,
    /// Mistakes that were found as messages came.
    pub faults: Vec<String>,
}

impl WatchRecord {
    /// A record of a watch from the first revision on.
    pub fn of(scope: Scope) -> Self {
        Self {
            scope,
            ..Self::default()
        }
    }

    /// The request for the next connection: a change that was cut off comes again whole.
    pub fn request(&mut self) -> pb::WatchAppointmentsRequest {
        self.begun = None;
        self.scope.request(self.upto + 1)
    }

    /// Records the next message of a watch.
    pub fn note(&mut self, message: pb::WatchAppointmentsResponse) {
        use pb::watch_appointments_response::Message;
        match message.message {
            Some(Message::Change(change)) => {
                if change.revision <= self.upto {
                    let (revision, upto) = (change.revision, self.upto);
                    self.faults.push(format!(
                        "revision {revision} was told after everything up to {upto}"
                    ));
                }
                self.note_part(change, message.part, message.is_last);
            }
            Some(Message::Progress(progress)) => {
                if progress.revision < self.upto {
                    self.faults.push(format!(
                        "progress went back from {} to {}",
                        self.upto, progress.revision
                    ));
                }
                self.upto = progress.revision.max(self.upto);
            }
            None => self.faults.push("an empty message".to_owned()),
        }
    }

    /// Records a part of a change: each follows the one before it, with nothing of another change
    /// between.
    fn note_part(&mut self, change: pb::Change, part: i32, is_last: bool) {
        let due = self.begun.as_ref().map_or(1, |(_, parts)| parts + 1);
        let is_of_it = self.begun.as_ref().is_none_or(|(begun, _)| {
            pb::Change {
                events: Vec::new(),
                ..begun.clone()
            } == pb::Change {
                events: Vec::new(),
                ..change.clone()
            }
        });
        if part != due || !is_of_it || change.events.is_empty() {
            let revision = change.revision;
            self.faults.push(format!(
                "part {part} of revision {revision} was told where part {due} was due"
            ));
        }
        let whole = match self.begun.take() {
            Some((mut begun, _)) => {
                begun.events.extend(change.events);
                begun
            }
            None => change,
        };
        if !is_last {
            self.begun = Some((whole, part));
            return;
        }
        self.in_parts += usize::from(part > 1);
        self.upto = whole.revision.max(self.upto);
        self.seen.push(whole);
    }

    /// Records the end of a watch and answers its reason. A watch may end because it is slow, the
    /// server stops, or the network breaks. Here no history is ever compacted, and a revision that
    /// was sent is never one of the future.
    pub fn cut(&mut self, status: &tonic::Status) -> String {
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .map(|info| info.reason.clone())
            .unwrap_or_default();
        if matches!(reason.as_str(), "REVISION_IN_FUTURE" | "REVISION_COMPACTED") {
            self.faults.push(format!(
                "a watch is refused with {reason}: {}",
                status.message()
            ));
        }
        reason
    }
}

/// A record that several lives of a service share.
pub type SharedRecord = Arc<Mutex<WatchRecord>>;

/// Watches from where the record ends, until the watch ends or has reached a revision.
pub async fn follow<T>(service: T, watched: SharedRecord, until: Option<i64>)
where
    T: GrpcService<tonic::body::Body, Error: Into<StdError>>,
    T::ResponseBody: Body<Data = bytes::Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let with = |note: &mut dyn FnMut(&mut WatchRecord)| {
        note(&mut watched.lock().unwrap_or_else(PoisonError::into_inner))
    };
    let (mut request, mut has_come) = (pb::WatchAppointmentsRequest::default(), false);
    with(&mut |it| request = it.request());
    let mut stream = match ListServiceClient::new(service)
        .watch_appointments(request)
        .await
    {
        Ok(stream) => stream.into_inner(),
        Err(status) => return with(&mut |it| drop(it.cut(&status))),
    };
    while !has_come {
        match stream.message().await {
            Ok(Some(message)) => with(&mut |it| {
                assert_readable(&message);
                it.note(message.clone());
                has_come = until.is_some_and(|revision| it.upto >= revision);
            }),
            Ok(None) => return,
            Err(status) => return with(&mut |it| drop(it.cut(&status))),
        }
    }
}

/// Watches from the first revision to this one when nothing fails any more: one watcher of each
/// scope.
pub async fn from_the_beginning<T>(service: &T, last: i64) -> Vec<WatchRecord>
where
    T: GrpcService<tonic::body::Body, Error: Into<StdError>> + Clone,
    T::ResponseBody: Body<Data = bytes::Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let mut all = Vec::new();
    for scope in Scope::all() {
        let shared: SharedRecord = Arc::new(Mutex::new(WatchRecord {
            known: last,
            ..WatchRecord::of(scope)
        }));
        let _in_time = timeout(
            PATIENCE,
            follow(service.clone(), Arc::clone(&shared), Some(last)),
        )
        .await;
        let mut watched = shared.lock().unwrap().clone();
        if watched.upto < last {
            let (scope, upto) = (&watched.scope, watched.upto);
            watched.faults.push(format!(
                "a watch of {scope:?} from the beginning ends at {upto}, before {last}"
            ));
        }
        all.push(watched);
    }
    all
}

/// R5: a watcher was sent every change of its scope from the first revision on, once, in order,
/// with all events of its scope as the log has them.
pub fn r5_watchers_receive_everything_once(watched: &[WatchRecord], log: &Log) -> Vec<String> {
    let mut found = Vec::new();
    for watcher in watched {
        let scope = &watcher.scope;
        found.extend(watcher.faults.iter().map(|fault| format!("R5 {fault}")));
        let upto = usize::try_from(watcher.upto).unwrap();
        if upto > log.changes.len() {
            found.push(format!(
                "R5 a watcher was told of revision {upto}, which is not in the log"
            ));
            continue;
        }
        let due = log.changes[..upto]
            .iter()
            .map(|it| (it, scope.of_entry(it)));
        let due: Vec<(&LogEntry, Vec<&LogEvent>)> =
            due.filter(|(_, events)| !events.is_empty()).collect();
        let wrong = watcher
            .seen
            .iter()
            .zip(&due)
            .find(|(received, (is, events))| !is_as_logged(received, is, events, log));
        if let Some((received, is)) = wrong {
            found.push(format!(
                "R5 a watcher of {scope:?} received {received:?} where the log has {is:?}"
            ));
        } else if watcher.seen.len() != due.len() {
            let (received, due) = (watcher.seen.len(), due.len());
            found.push(format!(
                "R5 a watcher of {scope:?} received {received} changes of {due} up to revision {upto}"
            ));
        }
    }
    found.extend(r5_a_change_is_sent_alike(watched));
    found
}

/// R5: a change is sent with the same content whenever it is sent, live or from the store, except
/// for personal data; a narrower scope gets the part of it that it watches.
fn r5_a_change_is_sent_alike(watched: &[WatchRecord]) -> Vec<String> {
    let whole = watched.iter().filter(|it| it.scope == Scope::Everything);
    let mut first: BTreeMap<i64, pb::Change> = BTreeMap::new();
    for change in whole.flat_map(|it| &it.seen) {
        first
            .entry(change.revision)
            .or_insert_with(|| without_persons(change));
    }
    let mut found = Vec::new();
    for watcher in watched {
        for change in &watcher.seen {
            let (received, wanted) = (without_persons(change), first.get(&change.revision));
            if let Some(wanted) = wanted
                .map(|it| watcher.scope.of_change(it))
                .filter(|wanted| *wanted != received)
            {
                found.push(format!(
                    "R5 one change is sent to one as {wanted:?}, to another as {received:?}"
                ));
            }
        }
    }
    found
}

fn without_persons(change: &pb::Change) -> pb::Change {
    let mut change = change.clone();
    for appointment in change
        .events
        .iter_mut()
        .filter_map(|it| it.appointment.as_mut())
    {
        *appointment = impersonal(appointment);
    }
    change
}

/// Whether a change was sent as the log has it, in every field but the personal ones.
fn is_as_logged(received: &pb::Change, is: &LogEntry, of_it: &[&LogEvent], log: &Log) -> bool {
    let pb::Change {
        revision,
        commit_time,
        command,
        caller,
        events,
    } = received;
    *revision == number(is.revision)
        && *commit_time
            == Some(Timestamp {
                seconds: is.time.seconds(),
                nanos: 0,
            })
        && command == is.cause.name()
        && **caller == *is.caller.0
        && events.len() == of_it.len()
        && events
            .iter()
            .zip(of_it)
            .all(|(received, is)| is_event(received, is, log))
}

fn is_event(received: &pb::ChangeEvent, is: &LogEvent, log: &Log) -> bool {
    let pb::ChangeEvent {
        kind,
        appointment_id,
        calendar_ids,
        before,
        after,
        detail,
        appointment,
        ignored_rules,
    } = received;
    let touches = calendar_ids
        .iter()
        .eq(is.calendars.iter().map(|it| it.calendar.as_str()));
    match &is.what {
        What::Calendar(event) => {
            let (number, of) = of_calendar(event);
            let is_bare =
                appointment_id.is_empty() && appointment.is_none() && ignored_rules.is_empty();
            touches
                && is_bare
                && before.is_none()
                && after.is_none()
                && *kind == number
                && detail == of
        }
        What::Appointment(it) => {
            let is_shown = appointment.as_ref().is_some_and(|received| {
                received.ignored_rules == *ignored_rules && log.is_as(&it.after, received, false)
            });
            touches
                && is_shown
                && detail.is_empty()
                && *kind == of_appointment(it.kind)
                && *appointment_id == it.id.to_string()
                && *before == it.before.as_ref().map(image)
                && *after == Some(image(&it.after))
        }
    }
}

fn image(it: &Image) -> pb::AppointmentImage {
    let timestamp = |it: Instant| Timestamp {
        seconds: it.seconds(),
        nanos: 0,
    };
    pb::AppointmentImage {
        calendar_ids: it.places.iter().map(|it| it.calendar.to_string()).collect(),
        appointment_type_id: it.type_id.to_string(),
        start_time: Some(timestamp(it.start)),
        end_time: Some(timestamp(it.start.plus(it.duration.seconds()))),
        state: wire_state(it.state),
    }
}

fn of_calendar(event: &CalendarEvent) -> (i32, &str) {
    match event {
        CalendarEvent::Created => (100, ""),
        CalendarEvent::ProfileChanged => (101, ""),
        CalendarEvent::Deleted => (102, ""),
        CalendarEvent::TypePut(id) => (103, id.as_str()),
        CalendarEvent::TypeDeleted(id) => (104, id.as_str()),
        CalendarEvent::BusyPut(source) => (105, source),
    }
}

fn of_appointment(kind: AppointmentEvent) -> i32 {
    use AppointmentEvent as E;
    match kind {
        E::Booked => 1,
        E::Held => 2,
        E::Extended => 3,
        E::Released => 4,
        E::Confirmed => 5,
        E::Approved => 6,
        E::Declined => 7,
        E::Moved => 8,
        E::Cancelled => 9,
        E::Updated => 10,
        E::MarkedNoShow => 11,
        E::Completed => 12,
        E::Undone => 13,
        E::Expired => 14,
        E::Redacted => 15,
        E::Imported => 16,
        E::Shortened => 17,
    }
}
