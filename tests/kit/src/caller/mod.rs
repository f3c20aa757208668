//! A caller: makes calls that meet one another, on few calendars, few days, few times.

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

/// See the header.
pub struct Caller {
    pub chance: Chance,
    name: String,
    count: u64,
    /// Whether a call may come under the request id of another one.
    may_reuse: bool,
    /// The appointments that somebody was told of.
    pub known: Vec<String>,
    /// What it saw given back last.
    given_back: VecDeque<pb::Appointment>,
    /// The series that it saw last.
    series: Option<String>,
    /// The next pages of lists that it began to read.
    next_pages: VecDeque<pb::ListAppointmentsRequest>,
}

/// One booking in so many has no request id: a taken time may be refused without the writer then.
const NAMELESS: u64 = 8;
/// How many times a caller remembers that were given back; a booking without a request id is mostly for one of them.
const GIVEN_BACK: usize = 3;
/// How many lists a caller has begun to read at most, and how many a page has at most.
const LISTS_BEGUN: usize = 3;
const PAGE_SIZES: [i32; 4] = [1, 2, 3, 7];
/// One call in so many reads the next page of a list, if one was begun.
const NEXT_PAGE: u64 = 3;
/// How many of the appointments that were told last calls are about.
const RECENT: usize = 24;
/// One request id in so many is that of another call, one of so many before.
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

    /// What opens a calendar, in order.
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

    /// Any call, at what the clock shows.
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

    /// Calls that claim or give back time, and nothing else.
    pub fn booking_or_cancelling(&mut self, now: i64) -> Call {
        if self.chance.is(4) {
            self.change(now)
        } else {
            self.claim(now)
        }
    }

    /// A name that no other call has; or now and then one that another has, which mostly is good for that one alone.
    fn request_id(&mut self) -> String {
        if self.may_reuse && self.count > 0 && self.chance.is(REUSED) {
            let back = self.chance.below(self.count.min(REUSED_BACK));
            return format!("{}-{}", self.name, self.count - back);
        }
        self.count += 1;
        format!("{}-{}", self.name, self.count)
    }

    /// Words that no call before had.
    fn text(&self, what: &str) -> String {
        format!("{what} {}-{}", self.name, self.count)
    }

    /// What an update changes of a person.
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
            // Mostly by the rules; without them, only what can never be had twice is in the way.
            ignore_rules: if self.chance.is(3) {
                (1..=5).collect()
            } else {
                Vec::new()
            },
            ..Default::default()
        }
    }

    /// Remembers what an answer shows as given back: who asks for it again must not be told that it is taken; and where a
    /// list goes on.
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

    /// Mostly what was given back.
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
