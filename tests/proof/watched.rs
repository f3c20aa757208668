//! What a watcher was told, and what must be true of it beside the log.

use std::sync::{Arc, Mutex, PoisonError};

use bookd::proto::v1 as pb;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::store::change_record::ChangeRecord;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use super::log::{Log, cause, is_as, number};
use super::readable::assert_readable;

/// What one watcher of everything was told, over all of its connections.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Everything after this revision was asked for.
    pub after: i64,
    /// Each change, as it was told.
    pub seen: Vec<pb::Change>,
    /// All changes up to here were sent, as the last mark of progress or change said.
    pub upto: i64,
    /// What was wrong already when it came.
    pub faults: Vec<String>,
}

impl Watched {
    pub fn after(revision: i64) -> Self {
        Self { after: revision, upto: revision, ..Self::default() }
    }

    /// The next message of a watch.
    pub fn note(&mut self, message: pb::WatchAppointmentsResponse) {
        use pb::watch_appointments_response::Message;
        match message.message {
            Some(Message::Change(change)) => {
                if change.revision <= self.upto {
                    let (revision, upto) = (change.revision, self.upto);
                    self.faults.push(format!("revision {revision} was told after everything up to {upto}"));
                }
                self.upto = change.revision.max(self.upto);
                self.seen.push(change);
            }
            Some(Message::Progress(progress)) => {
                if progress.revision < self.upto {
                    self.faults.push(format!("progress went back from {} to {}", self.upto, progress.revision));
                }
                self.upto = progress.revision.max(self.upto);
            }
            None => self.faults.push("an empty message".to_owned()),
        }
    }

    /// How a watch ended; answers the reason. It may be cut for being slow, by a server that stops, or by the network;
    /// history is never gone here, and no revision that was told is one that has not been made.
    pub fn cut(&mut self, status: &tonic::Status) -> String {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
        if matches!(reason.as_str(), "REVISION_IN_FUTURE" | "REVISION_COMPACTED") {
            self.faults.push(format!("a watch is refused with {reason}: {}", status.message()));
        }
        reason
    }
}

/// A watcher that several lives of a service have in common.
pub type Shared = Arc<Mutex<Watched>>;

/// Watches on from where the watch was cut, until it is cut again or has come to a revision.
pub async fn follow(channel: Channel, watched: Shared, until: Option<i64>) {
    let with = |note: &mut dyn FnMut(&mut Watched)| note(&mut watched.lock().unwrap_or_else(PoisonError::into_inner));
    let (mut start_revision, mut has_come) = (0, false);
    with(&mut |it| start_revision = it.upto + 1);
    let request = pb::WatchAppointmentsRequest { start_revision, ..Default::default() };
    let mut stream = match ListServiceClient::new(channel).watch_appointments(request).await {
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

/// R5: a watcher was told every change after where it began, once, in order, with all of its events as they are.
pub fn r5_watchers_are_told_everything_once(watched: &[Watched], log: &Log) -> Vec<String> {
    let mut found = Vec::new();
    for watcher in watched {
        found.extend(watcher.faults.iter().map(|fault| format!("R5 {fault}")));
        let from = usize::try_from(watcher.after).unwrap();
        let upto = usize::try_from(watcher.upto).unwrap();
        if upto > log.changes.len() {
            found.push(format!("R5 a watcher was told of revision {upto}, which is not in the log"));
            continue;
        }
        let due = &log.changes[from..upto];
        if let Some((told, is)) = watcher.seen.iter().zip(due).find(|(told, is)| !is_told(told, is)) {
            found.push(format!("R5 a watcher was told {told:?} where the log has {is:?}"));
        } else if watcher.seen.len() != due.len() {
            let (told, due) = (watcher.seen.len(), due.len());
            found.push(format!("R5 a watcher was told {told} changes of {due} up to revision {upto}"));
        }
    }
    found
}

/// Whether a change was told as the log has it.
fn is_told(told: &pb::Change, is: &ChangeRecord) -> bool {
    told.revision == number(is.revision)
        && told.commit_time.as_ref().map(|it| it.seconds) == Some(is.time)
        && told.command == cause(is).name()
        && told.caller == is.caller
        && told.events.len() == is.events.len()
        && told.events.iter().zip(&is.events).all(|(told, is)| {
            let appointment = told.appointment.as_ref();
            u32::try_from(told.kind) == Ok(is.kind)
                && told.appointment_id == is.appointment_id().map(|id| id.to_string()).unwrap_or_default()
                && told.calendar_ids.iter().eq(is.calendars.iter().map(|it| &it.calendar))
                && told.detail == is.detail
                && told.before.is_some() == is.before.is_some()
                && appointment.is_some() == is.after.is_some()
                && appointment.zip(is.after.as_ref()).is_none_or(|(told, image)| is_as(image, told, false))
        })
}
