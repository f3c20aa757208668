//! Every method of the contract at its limits: the heaviest that a client may ask.
//!
//! The list is held against the descriptors: a method that is added without an entry here stops the benchmark.
#![allow(clippy::unwrap_used, reason = "a benchmark stops when it cannot go on")]

mod requests;

use bookd_core::time::DAY;
use serde_json::{Value, json};

use requests::{
    CALENDARS, DAYS, batch, busy, by_id, hot_series, hot_slots, id, later, many, many_slots,
    metadata, of_wide, overrides, refused_batch, rules, series, time, wide, with, zone,
};

/// What each appointment on a hot calendar takes, in seconds.
pub(crate) const TAKEN: i64 = 15 * 60;
/// How many appointments on a hot calendar are of one customer.
pub(crate) const OF_CUSTOMER: usize = 10_000;

/// Where the calls go.
#[derive(Clone)]
pub(crate) struct Ground {
    /// The calendar with many appointments, one behind the other from `first` on.
    pub(crate) hot: String,
    /// Another one like it, to be deleted.
    pub(crate) victim: String,
    /// How many appointments each of them has.
    pub(crate) appointments: usize,
    /// The id of one in the middle of them.
    pub(crate) appointment: String,
    /// Of the customer who has many of them.
    pub(crate) email: String,
    /// When the first begins, in seconds.
    pub(crate) first: i64,
    /// What asks for the page that follows one of the list of `hot`.
    pub(crate) token: String,
}

/// The n-th request; the second word is the answer to the request before it in the same case.
type Request = Box<dyn Fn(&Ground, usize, &Value) -> Value + Send + Sync>;

/// What one caller does over and over.
pub(crate) struct Case {
    pub(crate) method: &'static str,
    pub(crate) what: &'static str,
    /// The calls of one turn; the first is by another method where something must be there first.
    pub(crate) calls: Vec<(&'static str, Request)>,
    /// It can be done but once.
    pub(crate) is_once: bool,
}

fn case(
    method: &'static str,
    what: &'static str,
    request: impl Fn(&Ground, usize) -> Value + Send + Sync + 'static,
) -> Case {
    let request: Request = Box::new(move |ground, turn, _| request(ground, turn));
    Case {
        method,
        what,
        calls: vec![(method, request)],
        is_once: false,
    }
}

impl Case {
    /// What is done before.
    fn after(
        mut self,
        method: &'static str,
        request: impl Fn(&Ground, usize) -> Value + Send + Sync + 'static,
    ) -> Self {
        self.calls.insert(
            0,
            (
                method,
                Box::new(move |ground, turn, _| request(ground, turn)),
            ),
        );
        self
    }

    fn once(mut self) -> Self {
        self.is_once = true;
        self
    }
}

/// All of them. What deletes the ground comes last.
pub(crate) fn cases() -> Vec<Case> {
    let everything = [
        calendars(),
        hours(),
        bookings(),
        series_and_batches(),
        lists(),
        slots(),
        deletions(),
    ];
    everything.into_iter().flatten().collect()
}

fn calendars() -> Vec<Case> {
    vec![
        case(
            "GetCalendar",
            "the first of a hot one since the start",
            |g, _| json!({"calendar_id": g.hot}),
        )
        .once(),
        case("GetCalendar", "hot", |g, _| json!({"calendar_id": g.hot})),
        case(
            "CreateCalendar",
            "50 keys of 1,000 characters",
            |g, turn| json!({"calendar": {"calendar_id": format!("new/{}/{turn}", g.hot), "metadata": metadata()}}),
        ),
        case(
            "UpdateCalendar",
            "another zone, hot",
            |g, turn| json!({"calendar": {"calendar_id": g.hot, "time_zone": zone(turn)}, "update_mask": "timeZone"}),
        ),
        case("UpdateCalendar", "other limits, hot", |g, turn| {
            let limits = json!({"per_day": 500 + turn % 2, "per_year": 500_000 + turn % 2});
            json!({"calendar": {"calendar_id": g.hot, "limits": limits}, "update_mask": "limits"})
        }),
        case(
            "UpdateCalendar",
            "no limits, hot",
            |g, _| json!({"calendar": {"calendar_id": g.hot}, "update_mask": "limits"}),
        ),
        case(
            "ListCalendars",
            "a page of 1,000",
            |_, _| json!({"page_size": 1_000}),
        ),
        case("PutAppointmentType", "1,000 rules, hot", |g, turn| {
            let it = json!({
                "appointment_type_id": "default", "duration": "900s", "horizon_days": 100_000,
                "rules": rules(1_000, turn),
            });
            json!({"calendar_id": g.hot, "appointment_type": it})
        }),
        case(
            "GetAppointmentType",
            "1,000 rules",
            |g, _| json!({"calendar_id": g.hot, "appointment_type_id": "default"}),
        ),
        case(
            "ListAppointmentTypes",
            "a page of 1,000",
            |_, _| json!({"calendar_id": "typed", "page_size": 1_000}),
        ),
        case(
            "DeleteAppointmentType",
            "dry, hot",
            |g, _| json!({"calendar_id": g.hot, "appointment_type_id": "default", "validate_only": true}),
        ),
        case("PutAppointmentType", "no rules, hot", |g, turn| {
            let it = json!({"appointment_type_id": "default", "duration": "900s", "horizon_days": 100_000 - turn % 2});
            json!({"calendar_id": g.hot, "appointment_type": it})
        }),
        case("GetServerInfo", "", |_, _| json!({})),
    ]
}

fn hours() -> Vec<Case> {
    vec![
        case(
            "SetAvailability",
            "100 rules, hot",
            |g, turn| json!({"calendar_id": g.hot, "rules": rules(100, turn)}),
        ),
        case("PutOverrides", "1,000 days of 20 windows, hot", overrides),
        case(
            "GetAvailability",
            "the same",
            |g, _| json!({"calendar_id": g.hot}),
        ),
        case("DeleteOverrides", "1,000 days, hot", |g, turn| {
            let dates = |turn: usize| {
                (0..1_000)
                    .map(|it| time(g.first + (it + turn as i64) * DAY)[..10].to_owned())
                    .collect::<Vec<_>>()
            };
            json!({"calendar_id": g.hot, "dates": dates(turn)})
        }),
        case("PutBusy", "10,000 periods, hot", busy),
        case("ListBusy", "a page of 1,000", |g, _| {
            json!({
                "calendar_id": g.hot, "start_time": time(g.first), "end_time": time(g.first + DAYS * DAY),
                "page_size": 1_000,
            })
        }),
        case("PutBusy", "none, hot", |g, _| {
            json!({
                "calendar_id": g.hot, "source": "diary", "start_time": time(g.first),
                "end_time": time(g.first + 3_600 * DAY),
            })
        }),
        case(
            "SetAvailability",
            "around the clock, hot",
            |g, turn| json!({"calendar_id": g.hot, "rules": [{"start_time": "00:00", "end_time": "24:00"}], "time_zone": zone(turn)}),
        ),
    ]
}

fn bookings() -> Vec<Case> {
    vec![
        case("BookAppointment", "all of 100 calendars", |g, turn| {
            wide(g, 8_000 - turn)
        }),
        case("BookAppointment", "any of 100 calendars", |g, turn| {
            with(wide(g, turn / 100), "assignment", "ASSIGNMENT_ANY")
        }),
        case(
            "BookAppointment",
            "taken, hot: refused with the nearest",
            |g, _| json!({"calendar_id": g.hot, "start_time": time(g.first), "invitee": {"name": "Grace Hopper"}}),
        ),
        case(
            "HoldAppointment",
            "taken, all of 100 calendars: refused with the nearest",
            |g, _| wide(g, 8_000),
        ),
        case(
            "ExtendHold",
            "all of 100 calendars",
            |g, turn| json!({"appointment_id": id(g, 1, turn), "ttl": "900s"}),
        )
        .after("HoldAppointment", of_wide(1, 6_000)),
        case("ReleaseHold", "all of 100 calendars", by_id(2))
            .after("HoldAppointment", of_wide(2, 2_000)),
        case("ConfirmAppointment", "all of 100 calendars", by_id(3))
            .after("HoldAppointment", of_wide(3, 4_000)),
        case(
            "ApproveAppointment",
            "of 100 calendars, confirmed before",
            |g, _| json!({"appointment_id": id(g, 3, 0)}),
        ),
        case("DeclineAppointment", "not pending: refused", by_id(3)),
        case(
            "RescheduleAppointment",
            "all of 100 calendars",
            |g, turn| json!({"appointment_id": id(g, 3, 0), "start_time": time(later(g, 7_000 + turn % 50))}),
        ),
        case(
            "UpdateAppointment",
            "50 keys of 1,000 characters",
            |g, turn| {
                let metadata = with(metadata(), "key-0", turn.to_string());
                json!({"appointment_id": id(g, 3, 0), "metadata": metadata, "update_mask": "metadata"})
            },
        ),
        case("MarkNoShow", "not begun: refused", by_id(3)),
        case("CompleteAppointment", "not begun: refused", by_id(3)),
        case("CancelAppointment", "all of 100 calendars", by_id(4))
            .after("BookAppointment", of_wide(4, 1_000)),
        case(
            "GetAppointment",
            "all of 100 calendars",
            |g, _| json!({"appointment_id": id(g, 3, 0)}),
        ),
        case(
            "RedactInvitee",
            "1,000 appointments",
            |g, _| json!({"invitee_email": g.email}),
        ),
    ]
}

fn series_and_batches() -> Vec<Case> {
    let cancelled: Request = Box::new(
        |_, _, booked| json!({"series_id": booked["series_id"], "scope": "SERIES_SCOPE_ALL"}),
    );
    let mut cancel = case(
        "CancelSeries",
        "366 dates on 27 calendars",
        |_, _| json!({}),
    )
    .after("BookSeries", series);
    cancel.calls[1].1 = cancelled;
    vec![
        cancel,
        case("BookSeries", "366 dates on 27 calendars", |g, turn| {
            series(g, turn + 24)
        }),
        case("BookSeries", "dry, 366 dates on 27 calendars", |g, _| {
            with(series(g, 240), "validate_only", true)
        }),
        case("BookSeries", "all dates taken, hot: refused", |g, _| {
            hot_series(g, false)
        }),
        case(
            "BookSeries",
            "all dates taken, hot, in part: refused",
            |g, _| hot_series(g, true),
        ),
        case("BatchBook", "100 bookings on 100 calendars", batch),
        case("BatchBook", "dry, 100 bookings on 100 calendars", |g, _| {
            with(batch(g, 900), "validate_only", true)
        }),
        case(
            "BatchBook",
            "100 bookings on 100 calendars, the last refused",
            |g, _| refused_batch(g),
        ),
    ]
}

fn lists() -> Vec<Case> {
    vec![
        case(
            "ListAppointments",
            "a page of 1,000, hot",
            |g, _| json!({"calendar_id": g.hot, "page_size": 1_000}),
        ),
        case(
            "ListAppointments",
            "a state that none has, hot",
            |g, _| json!({"calendar_id": g.hot, "states": ["APPOINTMENT_STATE_NO_SHOW"], "page_size": 1_000}),
        ),
        case(
            "ListAppointments",
            "the second page, as it was some thousand changes before",
            |g, _| json!({"calendar_id": g.hot, "page_size": 1_000, "page_token": g.token}),
        ),
        case(
            "ListAppointments",
            "of one customer",
            |g, _| json!({"invitee_email": g.email, "page_size": 1_000}),
        ),
        case(
            "ListChanges",
            "a page of 1,000, hot",
            |g, _| json!({"calendar_id": g.hot, "page_size": 1_000}),
        ),
        case(
            "ListChanges",
            "of an appointment",
            |g, _| json!({"appointment_id": g.appointment, "page_size": 1_000}),
        ),
        case(
            "ListZoneDrift",
            "hot",
            |g, _| json!({"calendar_id": g.hot, "page_size": 1_000}),
        ),
        case(
            "WatchAppointments",
            "everything, from the beginning",
            |_, _| json!({"start_revision": 1}),
        ),
        case(
            "WatchAppointments",
            "hot, from the beginning",
            |g, _| json!({"start_revision": 1, "calendar_id": g.hot}),
        ),
    ]
}

fn slots() -> Vec<Case> {
    vec![
        case("ListSlots", "400 days, hot", |g, _| hot_slots(g)),
        case("ListSlots", "400 days, all of 100 calendars", |g, _| {
            many_slots(g, "ASSIGNMENT_ALL")
        }),
        case("ListSlots", "400 days, any of 100 calendars", |g, _| {
            many_slots(g, "ASSIGNMENT_ANY")
        }),
        case(
            "ExplainSlot",
            "taken, hot: the nearest",
            |g, _| json!({"calendar_id": g.hot, "start_time": time(g.first)}),
        ),
        case(
            "ExplainSlot",
            "all of 100 calendars",
            |g, _| json!({"calendar_ids": many(g, CALENDARS), "assignment": "ASSIGNMENT_ALL", "start_time": time(g.first + 900)}),
        ),
        case(
            "QueryFreeBusy",
            "400 days, 99 calendars and the hot one",
            |g, _| {
                let mut calendars = many(g, CALENDARS - 1);
                calendars.push(g.hot.clone());
                json!({
                    "calendar_ids": calendars, "start_time": time(g.first), "end_time": time(g.first + DAYS * DAY),
                })
            },
        ),
        case("WatchSlots", "hot, as long as may be", |g, _| {
            json!({
                "calendar_id": g.hot, "start_time": time(g.first), "end_time": time(g.first + DAYS * DAY),
            })
        }),
    ]
}

fn deletions() -> Vec<Case> {
    vec![
        case(
            "DeleteCalendar",
            "not empty, hot: refused",
            |g, _| json!({"calendar_id": g.hot}),
        ),
        case(
            "DeleteCalendar",
            "dry, with force, hot",
            |g, _| json!({"calendar_id": g.hot, "force": true, "validate_only": true}),
        ),
        case(
            "DeleteCalendar",
            "with force, hot",
            |g, _| json!({"calendar_id": g.victim, "force": true}),
        )
        .once(),
    ]
}
