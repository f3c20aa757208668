//! What clients were answered, and what must be true of it beside the log: one function for each promise.
//!
//! The promises that a store alone must keep (no conflict, an unbroken log, rows that are what the log made of them)
//! are judged by `bookd::check`, which `bookd check` runs as well.

use std::collections::{BTreeMap, BTreeSet};

use bookd::domain::change::Cause;
use bookd::domain::ids::Revision;
use bookd::store::change_record::ChangeRecord;
use bookd::store::{CalendarFilter, Store};

use super::calls::{Answered, Call, Outcome};

/// A moment in the order of all that happened to all clients.
pub type Moment = u64;

/// One call, from the first attempt to the last.
#[derive(Clone, Debug)]
pub struct Op {
    pub client: String,
    pub call: Call,
    /// Before anything was sent.
    pub invoked: Moment,
    /// When the first answer came that was not an error.
    pub answered: Option<Moment>,
    /// Of every attempt, in order.
    pub outcomes: Vec<Outcome>,
}

impl Op {
    pub fn new(client: &str, call: Call, invoked: Moment) -> Self {
        Self { client: client.to_owned(), call, invoked, answered: None, outcomes: Vec::new() }
    }

    pub fn note(&mut self, outcome: Outcome, at: Moment) {
        if matches!(outcome, Outcome::Done(_)) && self.answered.is_none() {
            self.answered = Some(at);
        }
        self.outcomes.push(outcome);
    }

    /// The first answer that was not an error.
    pub fn done(&self) -> Option<&Answered> {
        self.all_done().next()
    }

    fn all_done(&self) -> impl Iterator<Item = &Answered> {
        self.outcomes.iter().filter_map(|it| match it {
            Outcome::Done(answered) => Some(answered),
            _ => None,
        })
    }

    /// Whether it may have happened without an answer that says so: what is still under way may yet happen, even
    /// after a refusal.
    pub fn may_have_happened(&self) -> bool {
        self.done().is_none() && self.outcomes.iter().any(|it| matches!(it, Outcome::Unknown(_)))
    }

    /// Whether nobody knows what became of it even now that nothing is under way any more.
    fn is_open(&self) -> bool {
        self.may_have_happened() && !matches!(self.outcomes.last(), Some(Outcome::Refused(_)))
    }

    fn is_read(&self) -> bool {
        use Call as C;
        matches!(
            self.call,
            C::GetCalendar(_)
                | C::ListCalendars(_)
                | C::GetAppointmentType(_)
                | C::ListAppointmentTypes(_)
                | C::GetAvailability(_)
                | C::ListBusy(_)
                | C::ListSlots(_)
                | C::ExplainSlot(_)
                | C::QueryFreeBusy(_)
                | C::GetAppointment(_)
                | C::ListAppointments(_)
                | C::ListChanges(_)
                | C::ListZoneDrift(_)
                | C::GetServerInfo(_)
        )
    }

    /// Whether an OK always means a new revision. Others answer OK, too, when all is as wanted already.
    fn always_changes(&self) -> bool {
        use Call as C;
        match &self.call {
            // A hold that was confirmed already is answered as it is.
            C::BookAppointment(request) => request.hold_id.is_empty(),
            call => matches!(call, C::HoldAppointment(_) | C::BatchBook(_) | C::BookSeries(_)),
        }
    }
}

/// What one watcher of everything was told, over all of its connections.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Everything after this revision was asked for.
    pub after: i64,
    /// Each change, with how many events it had.
    pub seen: Vec<(i64, usize)>,
    /// All changes up to here were sent, as the last mark of progress or change said.
    pub upto: i64,
    /// What was wrong already when it came.
    pub faults: Vec<String>,
}

impl Watched {
    pub fn after(revision: i64) -> Self {
        Self { after: revision, upto: revision, ..Self::default() }
    }

    pub fn change(&mut self, revision: i64, events: usize) {
        if revision <= self.upto {
            self.faults.push(format!("revision {revision} was told after everything up to {}", self.upto));
        }
        self.seen.push((revision, events));
        self.upto = revision.max(self.upto);
    }

    pub fn progress(&mut self, revision: i64) {
        if revision < self.upto {
            self.faults.push(format!("progress went back from {} to {revision}", self.upto));
        }
        self.upto = revision.max(self.upto);
    }
}

/// All changes in the store, by revision. None is ever missing where nothing is compacted.
pub struct Log {
    changes: Vec<ChangeRecord>,
}

impl Log {
    pub fn read(store: &mut dyn Store) -> Self {
        let mut reader = store.reader().unwrap();
        let (mut changes, mut after) = (Vec::new(), Revision(0));
        loop {
            let page = reader.changes_after(after, &CalendarFilter::All).unwrap();
            changes.extend(page.changes.into_iter().map(|told| told.record));
            if page.upto == after {
                return Self { changes };
            }
            after = page.upto;
        }
    }

    pub fn last(&self) -> i64 {
        i64::try_from(self.changes.len()).unwrap()
    }

    fn at(&self, revision: i64) -> Option<&ChangeRecord> {
        let at = usize::try_from(revision).ok()?.checked_sub(1)?;
        self.changes.get(at)
    }

    /// Whether this revision is a change of all of these appointments.
    fn touches(&self, answered: &Answered) -> bool {
        let Some(change) = self.at(answered.revision) else { return false };
        answered.appointments.iter().all(|it| {
            change
                .events
                .iter()
                .any(|event| event.appointment_id().is_some_and(|id| id.to_string() == it.appointment_id))
        })
    }
}

/// R2: what was acknowledged is in the log, at its revision, with the appointments as they were answered.
pub fn r2_what_was_acknowledged_is_kept(ops: &[Op], log: &Log) -> Vec<String> {
    let mut found = Vec::new();
    for op in ops.iter().filter(|op| !op.is_read()) {
        let Some(answered) = op.done() else { continue };
        if answered.revision > log.last() {
            found.push(format!(
                "R2 {} was answered revision {}, which is lost: {op:?}",
                op.call.name(),
                answered.revision
            ));
            continue;
        }
        if !op.always_changes() {
            continue;
        }
        let is_as_answered = log.touches(answered)
            && log.at(answered.revision).is_some_and(|change| {
                answered.appointments.iter().all(|it| {
                    change.events.iter().filter_map(|event| event.after.as_ref()).any(|image| {
                        Some(image.start) == it.start_time.as_ref().map(|it| it.seconds)
                            && image.state == u32::try_from(it.state).unwrap_or_default()
                            && image.calendars == it.calendar_ids
                    })
                })
            });
        // An answer to a repetition shows the appointment as it is by then.
        let is_first = matches!(op.outcomes.first(), Some(Outcome::Done(_)));
        if !log.touches(answered) || (is_first && !is_as_answered) {
            found.push(format!("R2 {} was answered what revision {} is not", op.call.name(), answered.revision));
        }
    }
    found
}

/// R3: one request, one effect, one answer: repetitions name the same revision and appointments, others never do.
/// Calls that may find all as wanted already are left to R10, which misses the answer to a second effect.
pub fn r3_one_request_has_one_effect(ops: &[Op]) -> Vec<String> {
    let mut found = Vec::new();
    let mut owners: BTreeMap<i64, &Op> = BTreeMap::new();
    let ids = |it: &Answered| it.appointments.iter().map(|it| it.appointment_id.clone()).collect::<Vec<_>>();
    for op in ops.iter().filter(|op| op.always_changes()) {
        let Some(first) = op.done() else { continue };
        for other in op.all_done() {
            if other.revision != first.revision || ids(other) != ids(first) {
                let (one, two) = (first.revision, other.revision);
                found.push(format!("R3 {} happened at revision {one} and at {two}", op.call.name()));
            }
        }
        if let Some(other) = owners.insert(first.revision, op) {
            let (one, two) = (other.call.name(), op.call.name());
            found.push(format!(
                "R3 {one} of {} and {two} of {} share revision {}",
                other.client, op.client, first.revision
            ));
        }
    }
    found
}

/// R4: what was answered before another call began was seen by it: revisions respect real time.
pub fn r4_revisions_respect_real_time(ops: &[Op]) -> Vec<String> {
    let mut found = Vec::new();
    let mut answered: Vec<(Moment, i64)> =
        ops.iter().filter_map(|op| Some((op.answered?, op.done()?.revision))).collect();
    answered.sort_unstable();
    let mut by_start: Vec<&Op> = ops.iter().filter(|op| op.done().is_some()).collect();
    by_start.sort_unstable_by_key(|op| op.invoked);
    let (mut next, mut newest) = (0, 0);
    for op in by_start {
        while let Some((_, revision)) = answered.get(next).filter(|(at, _)| *at < op.invoked) {
            newest = newest.max(*revision);
            next += 1;
        }
        let Some(done) = op.done() else { continue };
        let is_behind = if op.always_changes() { done.revision <= newest } else { done.revision < newest };
        if is_behind {
            let (name, revision) = (op.call.name(), done.revision);
            found.push(format!("R4 {name} was answered revision {revision} after revision {newest} had been answered"));
        }
    }
    found
}

/// R5: a watcher was told every change after where it began, once, in order, with all of its events.
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
        let due: Vec<(i64, usize)> = log.changes[from..upto]
            .iter()
            .map(|change| (i64::try_from(change.revision).unwrap(), change.events.len()))
            .collect();
        if let Some((told, is)) = watcher.seen.iter().zip(&due).find(|(told, is)| told != is) {
            found.push(format!("R5 a watcher was told {told:?} where the log has {is:?}"));
        } else if watcher.seen.len() != due.len() {
            let (told, due) = (watcher.seen.len(), due.len());
            found.push(format!("R5 a watcher was told {told} changes of {due} up to revision {upto}"));
        }
    }
    found
}

/// R7: what one answer names happened in one change.
pub fn r7_one_answer_is_one_change(ops: &[Op], log: &Log) -> Vec<String> {
    let several = ops.iter().filter(|op| op.always_changes());
    let torn = several.filter(|op| op.done().is_some_and(|it| it.appointments.len() > 1 && !log.touches(it)));
    torn.map(|op| format!("R7 {} is not whole in its revision: {op:?}", op.call.name())).collect()
}

/// R10: an error means not applied: each change is an expiry, or some call that was answered OK made it.
pub fn r10_every_change_has_its_answer(ops: &[Op], log: &Log) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    found.extend(ops.iter().filter(|op| op.is_open()).map(|op| format!("R10 nobody learnt what became of {op:?}")));
    let answered: BTreeSet<(i64, &str)> = ops
        .iter()
        .filter(|op| !op.is_read())
        // Where all was as wanted nothing is remembered, so that a repetition may change something, and says so.
        .flat_map(|op| op.all_done().map(|done| (done.revision, op.call.name())))
        .collect();
    for change in &log.changes {
        let revision = i64::try_from(change.revision).unwrap();
        let cause = Cause::from_number(u8::try_from(change.cause).unwrap()).unwrap();
        if cause != Cause::Expiry && !answered.contains(&(revision, cause.name())) {
            found.push(format!("R10 nobody was answered OK for revision {revision}: {change:?}"));
        }
    }
    found
}

/// All of them.
pub fn check(ops: &[Op], watched: &[Watched], log: &Log) -> Vec<String> {
    let mut found = r2_what_was_acknowledged_is_kept(ops, log);
    found.extend(r3_one_request_has_one_effect(ops));
    found.extend(r4_revisions_respect_real_time(ops));
    found.extend(r5_watchers_are_told_everything_once(watched, log));
    found.extend(r7_one_answer_is_one_change(ops, log));
    found.extend(r10_every_change_has_its_answer(ops, log));
    found
}
