//! A caller: makes calls that meet one another, on few calendars, few days, few times.

use std::collections::VecDeque;

use bookd::proto::v1 as pb;
use prost_types::{Duration, FieldMask, Timestamp};

use super::calls::{Answered, Call};
use super::chance::Chance;

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

    /// The first page of a list whose every page can be told from the log: it does not depend on the time.
    fn begin_list(&mut self) -> pb::ListAppointmentsRequest {
        use pb::AppointmentState as S;
        let series = self.series.clone().filter(|_| self.chance.is(4));
        let calendar_id = if series.is_some() {
            String::new()
        } else {
            self.calendar()
        };
        let of_type = self.chance.of(&TYPES).to_owned();
        let states: &[S] = if self.chance.is(4) {
            &[S::Confirmed, S::Cancelled]
        } else {
            &ALL_STATES
        };
        pb::ListAppointmentsRequest {
            calendar_id,
            series_id: series.unwrap_or_default(),
            appointment_type_id: if self.chance.is(4) {
                of_type
            } else {
                String::new()
            },
            states: states.iter().map(|it| i32::from(*it)).collect(),
            start_time: Some(Timestamp::default()),
            order_by: self
                .chance
                .of(&["start_time", "start_time desc"])
                .to_owned(),
            page_size: self.chance.of(&PAGE_SIZES),
            ..Default::default()
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

    fn change(&mut self, now: i64) -> Call {
        let (appointment_id, request_id) = (self.some_id(), self.request_id());
        match self.chance.below(13) {
            0 | 1 => {
                let start_time = self.start(now);
                let (calendar_ids, assignment) = if self.chance.is(3) {
                    self.calendars()
                } else {
                    Default::default()
                };
                Call::RescheduleAppointment(pb::RescheduleAppointmentRequest {
                    appointment_id,
                    start_time,
                    calendar_ids,
                    assignment,
                    request_id,
                    ..Default::default()
                })
            }
            2 | 3 => Call::CancelAppointment(pb::CancelAppointmentRequest {
                appointment_id,
                reason: self.text("called off"),
                request_id,
                ..Default::default()
            }),
            4 | 5 => Call::ConfirmAppointment(pb::ConfirmAppointmentRequest {
                appointment_id,
                invitee: self.invitee(),
                request_id,
                ..Default::default()
            }),
            6 => Call::ExtendHold(pb::ExtendHoldRequest {
                appointment_id,
                request_id,
                ..Default::default()
            }),
            7 => Call::ReleaseHold(pb::ReleaseHoldRequest {
                appointment_id,
                request_id,
                ..Default::default()
            }),
            8 => Call::ApproveAppointment(pb::ApproveAppointmentRequest {
                appointment_id,
                request_id,
                ..Default::default()
            }),
            9 => Call::DeclineAppointment(pb::DeclineAppointmentRequest {
                appointment_id,
                reason: self.text("declined"),
                request_id,
                ..Default::default()
            }),
            10 => Call::UpdateAppointment(pb::UpdateAppointmentRequest {
                appointment_id,
                note: self.text("note"),
                metadata: [("other".to_owned(), self.text("value"))].into(),
                location: self.text("place"),
                update_mask: Some(FieldMask {
                    paths: self.updated().map(str::to_owned).to_vec(),
                }),
                request_id,
                ..Default::default()
            }),
            11 => {
                let undo = self.chance.is(2);
                if self.chance.is(2) {
                    Call::MarkNoShow(pb::MarkNoShowRequest {
                        appointment_id,
                        undo,
                        request_id,
                        ..Default::default()
                    })
                } else {
                    let request = pb::CompleteAppointmentRequest {
                        appointment_id,
                        undo,
                        request_id,
                        ..Default::default()
                    };
                    Call::CompleteAppointment(request)
                }
            }
            _ => Call::CancelSeries(pb::CancelSeriesRequest {
                appointment_id,
                reason: self.text("ended"),
                scope: self
                    .chance
                    .of(&[
                        pb::SeriesScope::One,
                        pb::SeriesScope::Following,
                        pb::SeriesScope::All,
                    ])
                    .into(),
                request_id,
                ..Default::default()
            }),
        }
    }

    fn hours(&mut self, calendar: &str, zone: &str) -> Call {
        let (start, end) =
            self.chance
                .of(&[("09:00", "17:00"), ("00:00", "24:00"), ("22:00", "30:00")]);
        let rule = pb::AvailabilityRule {
            start_time: start.to_owned(),
            end_time: end.to_owned(),
            ..Default::default()
        };
        Call::SetAvailability(pb::SetAvailabilityRequest {
            calendar_id: calendar.to_owned(),
            time_zone: zone.to_owned(),
            rules: vec![rule],
            request_id: self.request_id(),
            ..Default::default()
        })
    }

    fn put_type(&mut self, calendar: &str, name: &str) -> Call {
        let minutes = |minutes: i64| {
            Some(Duration {
                seconds: minutes * MINUTE,
                nanos: 0,
            })
        };
        let limits = pb::Limits {
            per_day: self.chance.is(4).then_some(6),
            ..Default::default()
        };
        let appointment_type = pb::AppointmentType {
            appointment_type_id: name.to_owned(),
            duration: minutes(if name == "short" {
                15
            } else {
                self.chance.of(&[30, 60])
            }),
            slot_step: minutes(15),
            buffer_before: minutes(self.chance.of(&[0, 0, 5, 20])),
            buffer_after: minutes(self.chance.of(&[0, 0, 10, 45])),
            capacity: Some(if name == "class" {
                self.chance.of(&[2, 3])
            } else {
                1
            }),
            requires_approval: name == "ask",
            pending_blocks: Some(self.chance.is(2)),
            limits: Some(limits),
            ..Default::default()
        };
        Call::PutAppointmentType(pb::PutAppointmentTypeRequest {
            calendar_id: calendar.to_owned(),
            appointment_type: Some(appointment_type),
            request_id: self.request_id(),
            ..Default::default()
        })
    }

    fn set_up(&mut self, now: i64) -> Call {
        let (calendar_id, request_id) = (self.calendar(), self.request_id());
        let date = |days: i64| {
            chrono::DateTime::from_timestamp(now + days * DAY, 0)
                .unwrap()
                .date_naive()
                .to_string()
        };
        match self.chance.below(40) {
            0..=9 => {
                let zone = self.chance.of(&ZONES);
                self.hours(&calendar_id, zone)
            }
            10..=16 => {
                let name = self.chance.of(&TYPES);
                self.put_type(&calendar_id, name)
            }
            17..=24 => {
                let start = self.start(now).unwrap().seconds;
                let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
                let period = pb::Period {
                    start_time: at(start),
                    end_time: at(start + 20 * MINUTE),
                };
                Call::PutBusy(pb::PutBusyRequest {
                    calendar_id,
                    source: self.chance.of(&["work", "home"]).to_owned(),
                    start_time: at(start - DAY / 2),
                    end_time: at(start + DAY / 2),
                    periods: if self.chance.is(2) {
                        vec![period]
                    } else {
                        Vec::new()
                    },
                    request_id,
                    ..Default::default()
                })
            }
            25..=28 => {
                let overrides = vec![pb::AvailabilityOverride {
                    date: date(1),
                    ..Default::default()
                }];
                Call::PutOverrides(pb::PutOverridesRequest {
                    calendar_id,
                    overrides,
                    request_id,
                    ..Default::default()
                })
            }
            29..=31 => {
                let dates = vec![date(1)];
                Call::DeleteOverrides(pb::DeleteOverridesRequest {
                    calendar_id,
                    dates,
                    request_id,
                    ..Default::default()
                })
            }
            32..=34 => {
                let display_name = format!("name {}", self.count);
                let calendar = pb::Calendar {
                    display_name,
                    ..Default::default()
                };
                Call::UpdateCalendar(pb::UpdateCalendarRequest {
                    calendar_id,
                    calendar: Some(calendar),
                    update_mask: Some(FieldMask {
                        paths: vec!["display_name".to_owned()],
                    }),
                    request_id,
                    ..Default::default()
                })
            }
            35 => self.rare(calendar_id, request_id),
            _ => Call::RedactInvitee(pb::RedactInviteeRequest {
                appointment_id: self.some_id(),
                request_id,
                ..Default::default()
            }),
        }
    }

    fn rare(&mut self, calendar_id: String, request_id: String) -> Call {
        match self.chance.below(3) {
            0 => Call::DeleteCalendar(pb::DeleteCalendarRequest {
                calendar_id,
                force: true,
                request_id,
                ..Default::default()
            }),
            1 => Call::CreateCalendar(pb::CreateCalendarRequest {
                calendar_id,
                calendar: Some(pb::Calendar::default()),
                request_id,
                ..Default::default()
            }),
            _ => Call::DeleteAppointmentType(pb::DeleteAppointmentTypeRequest {
                calendar_id,
                appointment_type_id: self.chance.of(&TYPES).to_owned(),
                request_id,
                ..Default::default()
            }),
        }
    }

    fn read(&mut self, now: i64) -> Call {
        let calendar_id = self.calendar();
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let (start_time, end_time) = (at(now), at(now + 3 * DAY));
        let appointment_id = self.some_id();
        let appointment_type_id = self.chance.of(&TYPES).to_owned();
        match self.chance.below(18) {
            0..=2 => Call::ListSlots(pb::ListSlotsRequest {
                calendar_id,
                start_time,
                end_time,
                ..Default::default()
            }),
            3 => {
                let start_time = self.start(now);
                Call::ExplainSlot(pb::ExplainSlotRequest {
                    calendar_id,
                    start_time,
                    ..Default::default()
                })
            }
            4 => Call::QueryFreeBusy(pb::QueryFreeBusyRequest {
                calendar_ids: vec![calendar_id],
                start_time,
                end_time,
            }),
            5 => Call::GetAppointment(pb::GetAppointmentRequest { appointment_id }),
            6 | 7 => Call::ListAppointments(pb::ListAppointmentsRequest {
                calendar_id,
                ..Default::default()
            }),
            8 => Call::ListChanges(pb::ListChangesRequest {
                calendar_id,
                ..Default::default()
            }),
            9 => Call::GetCalendar(pb::GetCalendarRequest { calendar_id }),
            10 => Call::ListCalendars(pb::ListCalendarsRequest::default()),
            11 => Call::GetAvailability(pb::GetAvailabilityRequest { calendar_id }),
            12 => match self.chance.below(4) {
                0 => Call::ListBusy(pb::ListBusyRequest {
                    calendar_id,
                    start_time,
                    end_time,
                    ..Default::default()
                }),
                1 => Call::GetAppointmentType(pb::GetAppointmentTypeRequest {
                    calendar_id,
                    appointment_type_id,
                }),
                2 => Call::ListAppointmentTypes(pb::ListAppointmentTypesRequest {
                    calendar_id,
                    ..Default::default()
                }),
                _ => Call::ListZoneDrift(pb::ListZoneDriftRequest {
                    calendar_id,
                    ..Default::default()
                }),
            },
            13..=16 => Call::ListAppointments(self.begin_list()),
            _ => Call::GetServerInfo(pb::GetServerInfoRequest {}),
        }
    }
}
