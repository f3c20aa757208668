//! The judges of what clients were answered, beside the log: one function for each promise.
//!
//! `bookd::admin::check`, which `bookd check` runs too, judges the promises that a store alone must
//! keep: no conflict, an unbroken log, and rows that follow from the log.

use std::collections::{BTreeMap, BTreeSet};

use bookd_core::appointment::Image;
use bookd_core::log::LogEntry;

use super::calls::{Answered, Call, Outcome};
use super::log::{Log, is_expiry, number};
use super::pages::r4_all_pages_of_a_list_are_of_one_revision;
use super::personal_data::r2_what_is_personal_is_as_it_was_said;
use super::refusals::r4_what_is_refused_as_taken_was_taken;
use super::timeline::Timeline;
use super::watch_record::{WatchRecord, r5_watchers_receive_everything_once};

/// A position in the order of everything that happened to all clients.
pub type Moment = u64;

/// One call of a client, with all its attempts.
#[derive(Clone, Debug)]
pub struct Op {
    pub client: String,
    pub call: Call,
    /// The moment before the first attempt was sent.
    pub invoked: Moment,
    /// The moment of the first answer that was not an error.
    pub answered: Option<Moment>,
    /// The outcome of every attempt, in order.
    pub outcomes: Vec<Outcome>,
    /// The moment of each outcome.
    at: Vec<Moment>,
}

impl Op {
    pub fn new(client: &str, call: Call, invoked: Moment) -> Self {
        Self {
            client: client.to_owned(),
            call,
            invoked,
            answered: None,
            outcomes: Vec::new(),
            at: Vec::new(),
        }
    }

    pub fn note(&mut self, outcome: Outcome, at: Moment) {
        if matches!(outcome, Outcome::Done(_)) && self.answered.is_none() {
            self.answered = Some(at);
        }
        self.outcomes.push(outcome);
        self.at.push(at);
    }

    /// The first answer that was not an error.
    pub fn done(&self) -> Option<&Answered> {
        self.all_done().next().map(|(_, answered)| answered)
    }

    /// Every answer that was not an error, with the index of its outcome.
    fn all_done(&self) -> impl Iterator<Item = (usize, &Answered)> {
        self.outcomes
            .iter()
            .enumerate()
            .filter_map(|(place, it)| match it {
                Outcome::Done(answered) => Some((place, answered)),
                _ => None,
            })
    }

    /// Every answer that was not an error, with the index and the moment of its outcome.
    pub fn answers(&self) -> impl Iterator<Item = (usize, Moment, &Answered)> {
        self.all_done()
            .map(|(place, answered)| (place, self.at[place], answered))
    }

    /// A moment before which the attempt with this index was not sent.
    pub fn asked_at(&self, place: usize) -> Moment {
        place
            .checked_sub(1)
            .map_or(self.invoked, |before| self.at[before])
    }

    /// The moment of the outcome with this index.
    pub fn answered_at(&self, place: usize) -> Moment {
        self.at[place]
    }

    /// The first and the last revision as of which an answer may show its appointments: the
    /// answer's own revision, or for a repetition any revision that stood while it was under way.
    pub fn shown_at(
        &self,
        (place, at, answered): (usize, Moment, &Answered),
        ops: &[Self],
        log: &Log,
        timeline: &Timeline,
    ) -> (i64, i64) {
        let revision = answered.revision;
        let is_its = !log.remembers_all || log.made_by(self) == Some(revision);
        if !is_its || !self.may_be_repeated(place, ops) {
            return (revision, revision);
        }
        let (first, last) = timeline.between(self.asked_at(place), at);
        (first.max(revision), last.max(revision))
    }

    /// The revisions that the call is known to have made: by its request id, which other calls may
    /// share. Without a request id each attempt makes a change of its own.
    pub fn made(&self, log: &Log) -> Vec<i64> {
        if self.is_nameless() && self.always_changes() {
            return self
                .all_done()
                .map(|(_, answered)| answered.revision)
                .collect();
        }
        log.made_by(self).into_iter().collect()
    }

    /// Whether the call changes something and has an empty request id, so that another attempt is
    /// another request.
    fn is_nameless(&self) -> bool {
        self.call.request_id() == Some("")
    }

    /// Whether the outcome with this index may be that of an earlier request.
    fn may_be_repeated(&self, place: usize, ops: &[Self]) -> bool {
        let may_have_happened = |it: &Outcome| matches!(it, Outcome::Done(_) | Outcome::Unknown(_));
        !self.is_nameless()
            && (self.outcomes[..place].iter().any(may_have_happened) || self.has_twin(ops))
    }

    /// Whether another call was the same request, with the same request id.
    fn has_twin(&self, ops: &[Self]) -> bool {
        !self.is_nameless()
            && ops.iter().any(|it| {
                let shares_id = it.call.request_id() == self.call.request_id();
                shares_id && !std::ptr::eq(it, self) && it.is_same_request(self)
            })
    }

    /// Whether the call was refused for this reason and never answered OK.
    pub fn is_refused(&self, reason: &str) -> bool {
        self.done().is_none()
            && self
                .outcomes
                .iter()
                .any(|it| matches!(it, Outcome::Refused(other, _) if other == reason))
    }

    fn is_same_request(&self, other: &Self) -> bool {
        self.call.name() == other.call.name() && self.call.encoded() == other.call.encoded()
    }

    /// Whether the call may have been applied without an answer that says so: an attempt that is
    /// still under way may be applied even after a refusal of another attempt.
    pub fn may_have_happened(&self) -> bool {
        self.done().is_none() && self.has_unknown()
    }

    fn has_unknown(&self) -> bool {
        self.outcomes
            .iter()
            .any(|it| matches!(it, Outcome::Unknown(_)))
    }

    /// Whether the outcome stays unknown when nothing is under way any more.
    fn is_open(&self) -> bool {
        self.may_have_happened() && !matches!(self.outcomes.last(), Some(Outcome::Refused(..)))
    }

    /// Whether no attempt can have been applied after the last answer.
    pub fn is_settled(&self) -> bool {
        !self.has_unknown()
            || matches!(
                self.outcomes.last(),
                Some(Outcome::Done(_) | Outcome::Refused(..))
            )
    }

    /// Whether the call asks for the state at an earlier revision, as the later pages of a list do.
    pub fn is_of_earlier(&self) -> bool {
        matches!(&self.call, Call::ListAppointments(request) if !request.page_token.is_empty())
    }

    /// Whether the call is one that changes nothing.
    fn is_read(&self) -> bool {
        self.call.request_id().is_none()
    }

    /// Whether OK always means a new revision. Other calls are answered OK also if everything is as
    /// they want already.
    fn always_changes(&self) -> bool {
        use Call as C;
        match &self.call {
            // A hold that is confirmed already is answered as it is.
            C::BookAppointment(request) => request.hold_id.is_empty(),
            call => matches!(
                call,
                C::HoldAppointment(_) | C::BatchBook(_) | C::BookSeries(_)
            ),
        }
    }
}

/// R2: an acknowledged change is in the log at its revision, and every appointment in an answer, of
/// reads too, is what the log has at the answer's revision. A repetition shows the appointment as
/// of the moment of its answer; appointments outside open time are shown as the batch left them.
pub fn r2_what_was_acknowledged_is_kept(ops: &[Op], log: &Log, timeline: &Timeline) -> Vec<String> {
    let mut found = Vec::new();
    for op in ops {
        let name = op.call.name();
        for (place, at, answered) in op.answers() {
            let revision = answered.revision;
            if revision > log.last() {
                found.push(format!(
                    "R2 {name} was answered revision {revision}, which is lost: {op:?}"
                ));
                continue;
            }
            if op.always_changes() && !log.touches(answered) {
                found.push(format!(
                    "R2 {name} was answered what revision {revision} is not: {answered:?}"
                ));
            }
            let (first, last) = op.shown_at((place, at, answered), ops, log, timeline);
            let (_, newest) = timeline.between(op.asked_at(place), at);
            let shown = answered.appointments.iter().map(|it| (it, last));
            for (it, last) in
                shown.chain(answered.outside.iter().map(|it| (it, newest.max(revision))))
            {
                let mut images = log.between(&it.appointment_id, first, last);
                if !images.any(|image| log.is_as(image, it, op.is_read())) {
                    let images: Vec<_> = log.between(&it.appointment_id, first, last).collect();
                    found.push(format!("R2 {name} showed at revision {first} to {last} {it:?}, which was {images:?}"));
                }
            }
        }
    }
    found
}

/// R3: one request has one effect and one answer: repetitions name the same revision and
/// appointments, other requests never do, and another request under the same id is refused.
pub fn r3_one_request_has_one_effect(ops: &[Op], log: &Log) -> Vec<String> {
    let mut found = Vec::new();
    let mut owners: BTreeMap<i64, &str> = BTreeMap::new();
    for (id, revision) in log.made() {
        if let Some(other) = owners.insert(revision, id) {
            found.push(format!(
                "R3 requests {other} and {id} share revision {revision}"
            ));
        }
    }
    let ids = |it: &Answered| {
        it.appointments
            .iter()
            .map(|it| it.appointment_id.clone())
            .collect::<Vec<_>>()
    };
    for op in ops.iter().filter(|op| !op.is_read() && !op.is_nameless()) {
        let (name, made) = (op.call.name(), log.made_by(op));
        let done: Vec<&Answered> = op.all_done().map(|(_, it)| it).collect();
        if op.always_changes() && !done.is_empty() && made.is_none() && log.remembers_all {
            found.push(format!(
                "R3 {name} was answered OK, and its request is not remembered: {op:?}"
            ));
        }
        // Where everything was as wanted already, nothing is remembered, and a repetition may
        // change something.
        let is_it = |it: &&Answered| op.always_changes() || Some(it.revision) == made;
        let mut after = done.into_iter().skip_while(|it| !is_it(it));
        let Some(first) = after.next() else { continue };
        if made.is_some_and(|made| made != first.revision) {
            found.push(format!(
                "R3 {name} is remembered as revision {made:?}: {op:?}"
            ));
        }
        for other in
            after.filter(|other| other.revision != first.revision || ids(other) != ids(first))
        {
            let (one, two) = (first.revision, other.revision);
            found.push(format!(
                "R3 {name} happened at revision {one} and at {two}: {op:?}"
            ));
        }
    }
    found.extend(r3_an_id_is_good_for_one_request(ops, log));
    found
}

/// R3: after an answer that a request changed something, another request under its id is refused.
fn r3_an_id_is_good_for_one_request(ops: &[Op], log: &Log) -> Vec<String> {
    let mut by_id: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in ops.iter().filter(|op| !op.is_nameless()) {
        op.call
            .request_id()
            .into_iter()
            .for_each(|id| by_id.entry(id).or_default().push(op));
    }
    let mut found = Vec::new();
    for (id, sharing) in by_id.into_iter().filter(|(_, sharing)| sharing.len() > 1) {
        let made = log
            .made()
            .find(|(other, _)| *other == id)
            .map(|(_, revision)| revision);
        let known_since = |op: &&&Op| {
            op.all_done()
                .find(|(_, it)| Some(it.revision) == made)
                .map(|(at, _)| op.at[at])
        };
        let owner = sharing
            .iter()
            .filter(|op| log.made_by(op) == made)
            .find_map(|op| Some((op, known_since(&op)?)));
        let Some((owner, since)) = owner else {
            continue;
        };
        for op in sharing
            .iter()
            .filter(|op| op.invoked > since && !op.is_same_request(owner))
        {
            let is_refused = |it: &Outcome| match it {
                Outcome::Done(_) => false,
                Outcome::Refused(reason, _) => reason == "REQUEST_ID_REUSED",
                Outcome::Later(_) | Outcome::Unknown(_) => true,
            };
            if !op.outcomes.iter().all(is_refused) {
                found.push(format!(
                    "R3 {id} was {owner:?}, and is taken for another request: {op:?}"
                ));
            }
        }
    }
    found
}

/// R4: a call sees every change that was answered before it began: revisions respect real time.
pub fn r4_revisions_respect_real_time(ops: &[Op], log: &Log) -> Vec<String> {
    let mut found = Vec::new();
    let mut answered: Vec<(Moment, i64)> = ops
        .iter()
        .filter_map(|op| Some((op.answered?, op.done()?.revision)))
        .collect();
    answered.sort_unstable();
    let mut by_start: Vec<&Op> = ops
        .iter()
        .filter(|op| op.done().is_some() && !op.is_of_earlier())
        .collect();
    by_start.sort_unstable_by_key(|op| op.invoked);
    let (mut next, mut newest) = (0, 0);
    for op in by_start {
        while let Some((_, revision)) = answered.get(next).filter(|(at, _)| *at < op.invoked) {
            newest = newest.max(*revision);
            next += 1;
        }
        let Some(done) = op.done() else { continue };
        let is_new = op.always_changes() || log.made_by(op) == Some(done.revision);
        // A repeated request is answered as the first time.
        let is_repeated = (is_new || !log.remembers_all) && op.has_twin(ops);
        let is_behind = done.revision < newest || (is_new && done.revision == newest);
        if is_behind && !is_repeated {
            let (name, revision) = (op.call.name(), done.revision);
            found.push(format!("R4 {name} was answered revision {revision} after {newest} had been answered: {op:?}"));
        }
    }
    found
}

/// R7: all appointments of one answer were changed by one revision.
pub fn r7_one_answer_is_one_change(ops: &[Op], log: &Log) -> Vec<String> {
    let several = ops.iter().filter(|op| op.always_changes());
    let torn = several.filter(|op| {
        op.done()
            .is_some_and(|it| it.appointments.len() > 1 && !log.touches(it))
    });
    torn.map(|op| format!("R7 {} is not whole in its revision: {op:?}", op.call.name()))
        .collect()
}

/// R10: an error means that nothing was applied: each change is the record of expired appointments,
/// or its one call was answered OK, or the call has no request id by which to find out.
pub fn r10_every_change_has_its_answer(ops: &[Op], log: &Log) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    found.extend(
        ops.iter()
            .filter(|op| op.is_open())
            .map(|op| format!("R10 nobody learnt what became of {op:?}")),
    );
    let owners = ops
        .iter()
        .flat_map(|op| op.made(log).into_iter().map(move |made| (made, op)));
    let owned: BTreeSet<i64> = owners
        .filter(|(made, op)| op.all_done().any(|(_, it)| it.revision == *made))
        .map(|(made, _)| made)
        .collect();
    let lost: Vec<&Op> = ops
        .iter()
        .filter(|op| op.is_nameless() && op.has_unknown())
        .collect();
    for change in log.changes.iter().filter(|it| !is_expiry(it)) {
        let revision = number(change.revision);
        let is_answered = || {
            let with_its_name = ops
                .iter()
                .filter(|op| op.call.name() == change.cause.name());
            with_its_name
                .flat_map(Op::all_done)
                .any(|(_, it)| it.revision == revision)
        };
        let may_be_lost = || lost.iter().any(|op| is_wanted_by(change, &op.call));
        if !owned.contains(&revision) && !may_be_lost() && (log.remembers_all || !is_answered()) {
            found.push(format!(
                "R10 nobody was answered OK for revision {revision}: {change:?}"
            ));
        }
    }
    found
}

/// Whether a change is what this call would make as a new claim.
fn is_wanted_by(change: &LogEntry, call: &Call) -> bool {
    let (start, type_id, calendars) = match call {
        Call::BookAppointment(it) => (it.start_time, &it.appointment_type_id, &it.calendar_ids),
        Call::HoldAppointment(it) => (it.start_time, &it.appointment_type_id, &it.calendar_ids),
        _ => return false,
    };
    let is_it = |image: &Image| {
        start.is_some_and(|it| it.seconds == image.start.seconds())
            && type_id == image.type_id.as_str()
            && image
                .calendars()
                .all(|it| calendars.iter().any(|wanted| wanted == it.as_str()))
    };
    change.cause.name() == call.name() && change.appointments().any(|it| is_it(&it.after))
}

/// Runs all judges and answers what is wrong.
pub fn check(ops: &[Op], watched: &[WatchRecord], log: &Log) -> Vec<String> {
    let timeline = Timeline::new(ops, log);
    let mut found = r2_what_was_acknowledged_is_kept(ops, log, &timeline);
    found.extend(r2_what_is_personal_is_as_it_was_said(
        ops, watched, log, &timeline,
    ));
    found.extend(r3_one_request_has_one_effect(ops, log));
    found.extend(r4_revisions_respect_real_time(ops, log));
    found.extend(r4_what_is_refused_as_taken_was_taken(ops, log, &timeline));
    found.extend(r4_all_pages_of_a_list_are_of_one_revision(ops, log));
    found.extend(r5_watchers_receive_everything_once(watched, log));
    found.extend(r7_one_answer_is_one_change(ops, log));
    found.extend(r10_every_change_has_its_answer(ops, log));
    found
}
