//! R4 for refusals: a time that was refused as taken was taken at some revision that the answer can
//! show.
//!
//! Calls for one time are judged. Batches and series are not: what their other items took before
//! the refusal is in no log.

use std::collections::{BTreeMap, BTreeSet};

use bookd::proto::v1 as pb;
use bookd_core::appointment::{AppointmentState as S, Image};
use bookd_core::time::Instant;

use super::calls::{Call, Outcome};
use super::history::Op;
use super::log::Log;
use super::timeline::Timeline;

const MINUTE: i64 = 60;
/// The duration of the default type of a new calendar, in seconds.
const STOCK_DURATION: i64 = 60 * MINUTE;
/// The longest local date, in seconds.
const LONGEST_DATE: i64 = 26 * 60 * MINUTE;

/// The longest durations and the fewest seats that calls ever gave to a type of one id on one
/// calendar: the log does not have the type as it was at a revision.
struct Widest {
    duration: i64,
    before: i64,
    after: i64,
    /// The fewest seats that a call gave, of those with several, and the lowest limit of a day.
    seats: Option<usize>,
    per_day: Option<usize>,
}

impl Default for Widest {
    fn default() -> Self {
        Self {
            duration: STOCK_DURATION,
            before: 0,
            after: 0,
            seats: None,
            per_day: None,
        }
    }
}

impl Widest {
    fn widen(&mut self, it: &pb::AppointmentType) {
        let seconds = |it: &Option<prost_types::Duration>| it.as_ref().map_or(0, |it| it.seconds);
        let fewest = |one: Option<usize>, other: Option<i32>| {
            one.into_iter()
                .chain(other.and_then(|it| usize::try_from(it).ok()))
                .min()
        };
        self.duration = self.duration.max(seconds(&it.duration));
        self.before = self.before.max(seconds(&it.buffer_before));
        self.after = self.after.max(seconds(&it.buffer_after));
        self.seats = fewest(self.seats, it.capacity.filter(|seats| *seats > 1));
        self.per_day = fewest(self.per_day, it.limits.as_ref().and_then(|it| it.per_day));
    }
}

/// The types and busy periods that calls have sent, whatever came of the calls.
#[derive(Default)]
struct Said<'a> {
    types: BTreeMap<(&'a str, &'a str), Widest>,
    busy: Vec<(&'a str, i64, i64)>,
}

impl<'a> Said<'a> {
    fn by(ops: &'a [Op]) -> Self {
        let mut said = Self::default();
        for op in ops {
            match &op.call {
                Call::PutAppointmentType(request) => {
                    let Some(it) = &request.appointment_type else {
                        continue;
                    };
                    let key = (
                        request.calendar_id.as_str(),
                        it.appointment_type_id.as_str(),
                    );
                    said.types.entry(key).or_default().widen(it);
                }
                Call::PutBusy(request) => {
                    let times = request
                        .periods
                        .iter()
                        .filter_map(|it| Some((it.start_time?, it.end_time?)));
                    said.busy.extend(times.map(|(from, to)| {
                        (request.calendar_id.as_str(), from.seconds, to.seconds)
                    }));
                }
                _ => {}
            }
        }
        said
    }
}

/// The time that a call claims.
struct Wanted<'a> {
    start: i64,
    type_id: &'a str,
    /// The appointment that a call moves: its own time is never in its way.
    moved: Option<&'a str>,
}

fn wanted<'a>(call: &'a Call, log: &'a Log) -> Option<Wanted<'a>> {
    let (start, type_id, moved) = match call {
        Call::BookAppointment(it) if it.hold_id.is_empty() => {
            (it.start_time, it.appointment_type_id.as_str(), None)
        }
        Call::HoldAppointment(it) => (it.start_time, it.appointment_type_id.as_str(), None),
        Call::RescheduleAppointment(it) => {
            let (_, image) = log.latest(&it.appointment_id, log.last())?;
            (
                it.start_time,
                image.type_id.as_str(),
                Some(it.appointment_id.as_str()),
            )
        }
        _ => return None,
    };
    Some(Wanted {
        start: start?.seconds,
        type_id,
        moved,
    })
}

/// R4: a time is refused as taken only if it was taken when the call was decided.
pub fn r4_what_is_refused_as_taken_was_taken(
    ops: &[Op],
    log: &Log,
    timeline: &Timeline,
) -> Vec<String> {
    let (mut found, said) = (Vec::new(), Said::by(ops));
    for op in ops {
        let Some(wanted) = wanted(&op.call, log) else {
            continue;
        };
        for (place, outcome) in op.outcomes.iter().enumerate() {
            let Outcome::Refused(reason, violations) = outcome else {
                continue;
            };
            if reason != "SLOT_TAKEN" {
                continue;
            }
            let (first, last) = timeline.between(op.asked_at(place), op.answered_at(place));
            let is_true = |(code, calendar): &(String, String)| match code.as_str() {
                // The answer has more violations than it spells out.
                "" => true,
                code => is_in_the_way(code, calendar, &wanted, &said, log, (first, last)),
            };
            if violations.is_empty() || !violations.iter().all(is_true) {
                let name = op.call.name();
                found.push(format!(
                    "R4 {name} was refused at {first} to {last} for what was not so: {op:?}"
                ));
            }
        }
    }
    found
}

/// Whether this rule forbade the time on this calendar at one of these revisions.
fn is_in_the_way(
    code: &str,
    calendar: &str,
    wanted: &Wanted<'_>,
    said: &Said<'_>,
    log: &Log,
    (first, last): (i64, i64),
) -> bool {
    let stock = Widest::default();
    let widest = said
        .types
        .get(&(calendar, wanted.type_id))
        .unwrap_or(&stock);
    let (from, to) = (
        wanted.start - widest.before,
        wanted.start + widest.duration + widest.after,
    );
    let meets = |start: i64, end: i64| start < to && from < end;
    let claims = || {
        let others = log
            .standing()
            .filter(|(id, _, _)| wanted.moved != Some(*id));
        others.filter(|(_, at, image)| {
            is_taking(image, at.start.max(first), log) && at.start <= last && first < at.end
        })
    };
    let meeting =
        |image: &Image| padded(image, calendar).is_some_and(|(start, end)| meets(start, end));
    let of_type = |image: &Image| {
        image.type_id.as_str() == wanted.type_id && padded(image, calendar).is_some()
    };
    let is_hold = |image: &Image| image.state == S::Held;
    match code {
        "BUSY_BOOKING" => claims().any(|(_, _, it)| !is_hold(it) && meeting(it)),
        "BUSY_HOLD" => claims().any(|(_, _, it)| is_hold(it) && meeting(it)),
        "BUSY_EXTERNAL" => said
            .busy
            .iter()
            .any(|(of, start, end)| *of == calendar && meets(*start, *end)),
        "CAPACITY" => {
            let seats: BTreeSet<&str> = claims()
                .filter(|(_, _, it)| of_type(it) && it.start.seconds() == wanted.start)
                .map(|(id, _, _)| id)
                .collect();
            widest.seats.is_some_and(|least| seats.len() >= least)
        }
        "LIMIT" => {
            let is_near = |it: &Image| (it.start.seconds() - wanted.start).abs() < LONGEST_DATE;
            let sessions: BTreeSet<i64> = claims()
                .filter(|(_, _, it)| of_type(it) && is_near(it))
                .map(|(_, _, it)| it.start.seconds())
                .collect();
            widest.per_day.is_some_and(|least| sessions.len() >= least)
        }
        _ => false,
    }
}

/// Whether an appointment may take its time at this revision. A request (PENDING) takes it or not,
/// as its type says.
fn is_taking(image: &Image, revision: i64, log: &Log) -> bool {
    let is = |state: S| image.state == state;
    let now = log.at(revision).map_or(Instant::MIN, |change| change.time);
    match image.expire_time.filter(|_| is(S::Held) || is(S::Pending)) {
        Some(expire_time) => now < expire_time,
        None => is(S::Confirmed) || is(S::NoShow) || is(S::Completed),
    }
}

/// The time that an appointment takes of a calendar, buffers included.
fn padded(image: &Image, calendar: &str) -> Option<(i64, i64)> {
    let place = image
        .places
        .iter()
        .find(|it| it.calendar.as_str() == calendar)?;
    let (start, end) = (
        place.start.plus(-place.before.seconds()),
        place.end().plus(place.after.seconds()),
    );
    Some((start.seconds(), end.seconds()))
}
