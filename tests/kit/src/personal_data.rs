//! What answers and watches show of personal data, compared with what callers sent; the log holds
//! nothing personal.
//!
//! What a call sent counts once an answer says that the call made its change. Where no answer says
//! so, the personal data of that appointment is not judged until it is erased.

use std::collections::{BTreeMap, HashMap};

use bookd::proto::v1 as pb;
use bookd_core::appointment;
use bookd_core::change::AppointmentEvent as E;
use bookd_core::log::LoggedAppointment;

use super::calls::Call;
use super::history::Op;
use super::log::{Log, number};
use super::timeline::Timeline;
use super::watch_record::WatchRecord;

/// The cancel reason of appointments that a deletion of their calendar cancels.
const DELETED: &str = "The calendar was deleted.";

/// The personal fields of an appointment, as `PERSONAL` lists them.
#[derive(Clone, PartialEq, Debug, Default)]
struct Person {
    invitee: Option<pb::Invitee>,
    note: String,
    metadata: BTreeMap<String, String>,
    cancel_reason: String,
    location: String,
}

/// The personal data of each appointment, by its id and the revision that set it; none where it is
/// not known.
struct PersonHistory(HashMap<String, BTreeMap<i64, Option<Person>>>);

impl Person {
    fn shown(it: &pb::Appointment) -> Self {
        Self {
            invitee: it.invitee.clone(),
            note: it.note.clone(),
            metadata: it.metadata.clone(),
            cancel_reason: it.cancel_reason.clone(),
            location: it.location.clone(),
        }
    }

    fn stored(it: &appointment::Person) -> Self {
        let appointment::Person {
            invitee,
            carried,
            cancel_reason,
        } = it.clone();
        let appointment::Carried {
            note,
            metadata,
            location,
        } = carried;
        let appointment::Invitee {
            name,
            email,
            phone,
            time_zone,
        } = invitee;
        let invitee = pb::Invitee {
            name,
            email: email.written,
            phone,
            time_zone,
        };
        let invitee = (invitee != pb::Invitee::default()).then_some(invitee);
        Self {
            invitee,
            note,
            metadata,
            cancel_reason,
            location,
        }
    }

    /// The personal data that a request for a new claim sends.
    fn booked(
        invitee: Option<&pb::Invitee>,
        note: &str,
        metadata: &BTreeMap<String, String>,
        location: &str,
    ) -> Option<Self> {
        let (invitee, metadata) = (invitee.cloned(), metadata.clone());
        Some(Self {
            invitee,
            note: note.to_owned(),
            metadata,
            location: location.to_owned(),
            ..Self::default()
        })
    }

    /// The personal data of a confirmed hold: what the confirming request sends, over what the hold
    /// had.
    fn over(self, held: Self) -> Self {
        let said = |said: String, held: String| if said.is_empty() { held } else { said };
        Self {
            invitee: self.invitee.or(held.invitee),
            note: said(self.note, held.note),
            metadata: held.metadata.into_iter().chain(self.metadata).collect(),
            location: said(self.location, held.location),
            cancel_reason: held.cancel_reason,
        }
    }

    fn updated(mut self, it: &pb::UpdateAppointmentRequest) -> Self {
        let paths = it.update_mask.iter().flat_map(|mask| &mask.paths);
        for path in paths {
            match path.as_str() {
                "invitee" => self.invitee = it.invitee.clone(),
                "note" => self.note = it.note.clone(),
                "metadata" => self.metadata = it.metadata.clone(),
                "location" => self.location = it.location.clone(),
                other => panic!("no caller changes {other}"),
            }
        }
        self
    }
}

/// The personal data of an appointment after a change, of which it is the `index`-th appointment;
/// none when it is not known.
fn made(
    it: &LoggedAppointment,
    index: usize,
    call: Option<&Call>,
    before: Option<Person>,
) -> Option<Person> {
    let book = |it: &pb::BookAppointmentRequest| {
        Person::booked(it.invitee.as_ref(), &it.note, &it.metadata, &it.location)
    };
    match (it.kind, call) {
        (E::Redacted, _) => Some(Person::default()),
        (
            E::Extended
            | E::Approved
            | E::Moved
            | E::MarkedNoShow
            | E::Completed
            | E::Undone
            | E::Expired,
            _,
        ) => before,
        (E::Released | E::Shortened, _) => before,
        (E::Booked | E::Held, Some(Call::BookAppointment(it))) => book(it),
        (E::Booked | E::Held, Some(Call::BatchBook(it))) => book(it.requests.get(index)?),
        (E::Held, Some(Call::HoldAppointment(it))) => {
            Person::booked(it.invitee.as_ref(), &it.note, &it.metadata, &it.location)
        }
        (E::Booked, Some(Call::BookSeries(it))) => {
            Person::booked(it.invitee.as_ref(), &it.note, &it.metadata, &it.location)
        }
        (E::Confirmed, Some(Call::BookAppointment(it))) => Some(book(it)?.over(before?)),
        (E::Confirmed, Some(Call::ConfirmAppointment(it))) => Some(
            Person {
                invitee: it.invitee.clone(),
                ..Person::default()
            }
            .over(before?),
        ),
        (E::Updated, Some(Call::UpdateAppointment(it))) => Some(before?.updated(it)),
        (E::Cancelled | E::Declined, Some(call)) => {
            let reason = match call {
                Call::CancelAppointment(it) => &it.reason,
                Call::DeclineAppointment(it) => &it.reason,
                Call::CancelSeries(it) => &it.reason,
                Call::DeleteCalendar(_) => DELETED,
                other => panic!("{} calls nothing off", other.name()),
            };
            Some(Person {
                cancel_reason: reason.to_owned(),
                ..before?
            })
        }
        (
            E::Booked
            | E::Held
            | E::Confirmed
            | E::Updated
            | E::Cancelled
            | E::Declined
            | E::Imported,
            None,
        ) => None,
        (kind, Some(call)) => panic!("{} makes no {kind:?}", call.name()),
    }
}

impl PersonHistory {
    fn new(ops: &[Op], log: &Log) -> Self {
        let mut makers: HashMap<i64, &Call> = HashMap::new();
        for op in ops {
            let made = op.made(log);
            let answered = op.answers().map(|(_, _, answered)| answered.revision);
            makers.extend(
                answered
                    .filter(|it| made.contains(it))
                    .map(|it| (it, &op.call)),
            );
        }
        let mut all: HashMap<String, BTreeMap<i64, Option<Person>>> = HashMap::new();
        for change in &log.changes {
            let revision = number(change.revision);
            for (index, it) in change.appointments().enumerate() {
                let life = all.entry(it.id.to_string()).or_default();
                let before = life.last_key_value().and_then(|(_, before)| before.clone());
                life.insert(
                    revision,
                    made(it, index, makers.get(&revision).copied(), before),
                );
            }
        }
        Self(all)
    }

    /// Whether the personal data that an answer shows is that of one of these revisions.
    fn is_shown(&self, it: &pb::Appointment, from: i64, upto: i64) -> bool {
        let Some(life) = self.0.get(&it.appointment_id) else {
            return true;
        };
        let shown = Some(Person::shown(it));
        let then = life.range(..=from).next_back();
        let mut all = then.into_iter().chain(life.range(from..=upto));
        all.any(|(_, person)| person.is_none() || *person == shown)
    }

    fn describe(&self, it: &pb::Appointment) -> String {
        format!(
            "{:?} of {}, who was {:?}",
            Person::shown(it),
            it.appointment_id,
            self.0.get(&it.appointment_id)
        )
    }
}

/// R2: an answer shows personal data as it was at the revision of the answer, a later page of a
/// list as it is when the page is read, and a watch as it is at the change or later. At the end the
/// row has it.
pub fn r2_what_is_personal_is_as_it_was_said(
    ops: &[Op],
    watched: &[WatchRecord],
    log: &Log,
    timeline: &Timeline,
) -> Vec<String> {
    let (persons, mut found) = (PersonHistory::new(ops, log), Vec::new());
    for op in ops {
        for answer in op.answers() {
            let (_, _, answered) = answer;
            let known = timeline.between(op.asked_at(answer.0), answer.1);
            let latest = |revision: i64| (known.0.max(revision), known.1.max(revision));
            let (first, last) = if op.is_of_earlier() {
                latest(answered.revision)
            } else {
                op.shown_at(answer, ops, log, timeline)
            };
            let shown = answered.appointments.iter().map(|it| (it, first, last));
            let outside = answered
                .outside
                .iter()
                .map(|it| (it, first, latest(answered.revision).1));
            for (it, first, last) in shown
                .chain(outside)
                .filter(|(it, first, last)| !persons.is_shown(it, *first, *last))
            {
                let (name, person) = (op.call.name(), persons.describe(it));
                found.push(format!(
                    "R2 {name} showed at revision {first} to {last} {person}"
                ));
            }
        }
    }
    let seen = watched
        .iter()
        .flat_map(|watcher| watcher.seen.iter().map(|change| (watcher.known, change)));
    for (known, change) in seen {
        let first = known.max(change.revision);
        let delivered = change
            .events
            .iter()
            .filter_map(|it| it.appointment.as_ref());
        for it in delivered.filter(|it| !persons.is_shown(it, first, log.last().max(first))) {
            found.push(format!(
                "R2 a watch told of revision {} {}",
                change.revision,
                persons.describe(it)
            ));
        }
    }
    for (id, person) in log.rows() {
        let last = persons
            .0
            .get(id)
            .and_then(|life| life.last_key_value()?.1.clone());
        if let Some(last) = last.filter(|last| *last != Person::stored(person)) {
            found.push(format!(
                "R2 the row of {id} has {person:?}, which was {last:?}"
            ));
        }
    }
    found
}
