//! A random caller of every unary RPC, on few calendars, days and times, so that its calls conflict
//! with those of other callers.

use std::collections::VecDeque;

use bookd::proto::v1 as pb;
use prost_types::{Duration, Timestamp};

use super::calls::{Answered, Call};
use super::chance::Chance;

mod calendars;
mod changes;
mod reads;

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;
pub const CALENDARS: [&str; 3] = ["ada", "lee", "room"];
const ZONES: [&str; 3] = ["Europe/Paris", "America/New_York", "Asia/Kathmandu"];
pub const TYPES: [&str; 4] = ["default", "class", "ask", "short"];
pub const ALL_STATES: [pb::AppointmentState; 8] = {
    use pb::AppointmentState as S;
    [
        S::Held,
        S::Pending,
        S::Confirmed,
        S::Cancelled,
        S::Declined,
        S::Expired,
        S::NoShow,
        S::Completed,
    ]
};

/// A random caller, and what it remembers of the answers that it saw.
pub struct Caller {
    pub chance: Chance,
    name: String,
    count: u64,
    /// Whether a call may have the request id of another call.
    may_reuse: bool,
    /// Ids of the appointments that answers have named, oldest first.
    pub known: Vec<String>,
    /// The appointments that answers showed as cancelled or declined, newest first; at most
    /// `GIVEN_BACK`.
    given_back: VecDeque<pb::Appointment>,
    /// The series of the last occurrence that an answer showed.
    series: Option<String>,
    /// Requests for the next pages of lists that are not read to the end; at most `LISTS_BEGUN`.
    next_pages: VecDeque<pb::ListAppointmentsRequest>,
}

/// One booking in so many has no request id, so that the service may refuse a taken time without
/// asking the writer.
const NAMELESS: u64 = 8;
/// How many released times a caller remembers. Most bookings without a request id ask for one of
/// them.
const GIVEN_BACK: usize = 3;
/// The most lists that a caller reads at the same time, and the page sizes that it chooses from.
const LISTS_BEGUN: usize = 3;
const PAGE_SIZES: [i32; 4] = [1, 2, 3, 7];
/// One call in so many reads the next page of a list that is not read to the end.
const NEXT_PAGE: u64 = 3;
/// Calls about appointments choose among so many of the newest.
const RECENT: usize = 24;
/// One request id in so many is that of an earlier call, one of the last `REUSED_BACK`.
const REUSED: u64 = 16;
const REUSED_BACK: u64 = 8;

impl Caller {
    pub fn new(name: &str, chance: Chance) -> Self {
        Self {
            chance,
            name: name.to_owned(),
            count: 0,
            may_reuse: false,
            known: Vec::new(),
            given_back: VecDeque::new(),
            series: None,
            next_pages: VecDeque::new(),
        }
    }

    /// The calls that open all calendars, in order: the hours of each, then its types.
    pub fn opening(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        for (calendar, zone) in CALENDARS.into_iter().zip(ZONES) {
            calls.push(self.hours(calendar, zone));
            for name in TYPES {
                calls.push(self.put_type(calendar, name));
            }
        }
        calls
    }

    /// Any call. `now` is what the clock shows, in seconds.
    pub fn any(&mut self, now: i64) -> Call {
        self.may_reuse = true;
        if !self.next_pages.is_empty() && self.chance.is(NEXT_PAGE) {
            return Call::ListAppointments(self.next_pages.pop_front().unwrap());
        }
        match self.chance.below(20) {
            0..=7 => self.claim(now),
            8..=13 => self.change(now),
            14 | 15 => self.set_up(now),
            _ => self.read(now),
        }
    }

    /// A call that claims or releases time, and nothing else.
    pub fn booking_or_cancelling(&mut self, now: i64) -> Call {
        if self.chance.is(4) {
            self.change(now)
        } else {
            self.claim(now)
        }
    }

    /// A new request id; now and then one that another call has, which the service mostly refuses
    /// for this one.
    fn request_id(&mut self) -> String {
        if self.may_reuse && self.count > 0 && self.chance.is(REUSED) {
            let back = self.chance.below(self.count.min(REUSED_BACK));
            return format!("{}-{}", self.name, self.count - back);
        }
        self.count += 1;
        format!("{}-{}", self.name, self.count)
    }

    /// A text that no call had before.
    fn text(&self, what: &str) -> String {
        format!("{what} {}-{}", self.name, self.count)
    }

    /// The personal fields that an update changes.
    fn updated(&self) -> [&'static str; 2] {
        if self.count.is_multiple_of(2) {
            ["note", "location"]
        } else {
            ["note", "metadata"]
        }
    }

    fn some_id(&mut self) -> String {
        let first = self.known.len().saturating_sub(RECENT);
        let recent = &self.known[first..];
        if recent.is_empty() {
            uuid::Uuid::from_u128(7).to_string()
        } else {
            self.chance.of(recent)
        }
    }

    fn start(&mut self, now: i64) -> Option<Timestamp> {
        let quarter = i64::try_from(self.chance.below(5 * 96)).unwrap();
        Some(Timestamp {
            seconds: now.div_euclid(DAY) * DAY + quarter * 15 * MINUTE,
            nanos: 0,
        })
    }

    fn calendar(&mut self) -> String {
        self.chance.of(&CALENDARS).to_owned()
    }

    fn calendars(&mut self) -> (Vec<String>, i32) {
        match self.chance.below(6) {
            0 => (
                CALENDARS.map(str::to_owned).to_vec(),
                pb::Assignment::Any.into(),
            ),
            1 => (
                vec!["ada".into(), "room".into()],
                pb::Assignment::All.into(),
            ),
            _ => (vec![self.calendar()], pb::Assignment::All.into()),
        }
    }

    fn invitee(&mut self) -> Option<pb::Invitee> {
        let name = self
            .chance
            .of(&["Grace Hopper", "Ada Lovelace", "Lise Meitner"]);
        let email = format!("{}@example.com", name.to_lowercase().replace(' ', "."));
        Some(pb::Invitee {
            name: name.to_owned(),
            email,
            ..Default::default()
        })
    }

    fn booking(&mut self, now: i64) -> pb::BookAppointmentRequest {
        let (calendar_ids, assignment) = self.calendars();
        pb::BookAppointmentRequest {
            calendar_ids,
            assignment,
            appointment_type_id: self.chance.of(&TYPES).to_owned(),
            start_time: self.start(now),
            invitee: self.invitee(),
            note: self.text("note"),
            metadata: [("key".to_owned(), self.text("value"))].into(),
            location: self.text("room"),
            // Most bookings respect the rules. The others ignore all of them, so that only
            // conflicts refuse them.
            ignore_rules: if self.chance.is(3) {
                (1..=5).collect()
            } else {
                Vec::new()
            },
            ..Default::default()
        }
    }

    /// Learns from an answer: the appointments that are released, whose times must not be refused
    /// as taken any more, the newest series, and the next page of a list.
    pub fn learn(&mut self, call: &Call, answered: &Answered) {
        let is_given_back = |it: &&pb::Appointment| {
            [
                pb::AppointmentState::Cancelled,
                pb::AppointmentState::Declined,
            ]
            .contains(&it.state())
        };
        for it in answered.appointments.iter().filter(is_given_back) {
            self.given_back.truncate(GIVEN_BACK - 1);
            self.given_back.push_front(it.clone());
        }
        let of_series = answered
            .appointments
            .iter()
            .rfind(|it| !it.series_id.is_empty());
        self.series = of_series
            .map(|it| it.series_id.clone())
            .or(self.series.take());
        if let Call::ListAppointments(request) = call
            && !answered.next_page_token.is_empty()
        {
            let page_token = answered.next_page_token.clone();
            self.next_pages.push_back(pb::ListAppointmentsRequest {
                page_token,
                ..request.clone()
            });
            self.next_pages.truncate(LISTS_BEGUN);
        }
    }

    /// A booking, mostly of a time that was released.
    fn booking_again(&mut self, now: i64) -> pb::BookAppointmentRequest {
        let booking = self.booking(now);
        if self.given_back.is_empty() || self.chance.is(4) {
            return booking;
        }
        let it = self.chance.of(self.given_back.make_contiguous());
        pb::BookAppointmentRequest {
            calendar_ids: it.calendar_ids,
            assignment: pb::Assignment::All.into(),
            appointment_type_id: it.appointment_type_id,
            start_time: it.start_time,
            ignore_rules: (1..=5).collect(),
            ..booking
        }
    }

    fn claim(&mut self, now: i64) -> Call {
        let kind = self.chance.below(10);
        let is_nameless = kind <= 6 && self.chance.is(NAMELESS);
        let one = if is_nameless {
            self.booking_again(now)
        } else {
            self.booking(now)
        };
        let request_id = if is_nameless {
            String::new()
        } else {
            self.request_id()
        };
        match kind {
            0..=3 => Call::BookAppointment(pb::BookAppointmentRequest { request_id, ..one }),
            4..=6 => Call::HoldAppointment(pb::HoldAppointmentRequest {
                calendar_ids: one.calendar_ids,
                assignment: one.assignment,
                appointment_type_id: one.appointment_type_id,
                start_time: one.start_time,
                ignore_rules: one.ignore_rules,
                note: one.note,
                metadata: one.metadata,
                location: one.location,
                ttl: self.chance.is(2).then_some(Duration {
                    seconds: 2 * MINUTE,
                    nanos: 0,
                }),
                request_id,
                ..Default::default()
            }),
            7 => {
                let requests = vec![one, self.booking(now), self.booking(now)];
                Call::BatchBook(pb::BatchBookRequest {
                    requests,
                    request_id,
                    ..Default::default()
                })
            }
            8 => Call::BookSeries(pb::BookSeriesRequest {
                calendar_ids: one.calendar_ids,
                assignment: one.assignment,
                appointment_type_id: one.appointment_type_id,
                start_time: one.start_time,
                invitee: one.invitee,
                note: one.note,
                metadata: one.metadata,
                location: one.location,
                ignore_rules: one.ignore_rules,
                frequency: pb::Frequency::Daily.into(),
                count: Some(self.chance.of(&[2, 3, 5])),
                allow_partial: self.chance.is(2),
                request_id,
                ..Default::default()
            }),
            _ => {
                let hold_id = self.some_id();
                let invitee = self.invitee();
                Call::BookAppointment(pb::BookAppointmentRequest {
                    hold_id,
                    invitee,
                    request_id,
                    ..Default::default()
                })
            }
        }
    }
}
