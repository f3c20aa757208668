//! The heaviest calls of every method of the contract, each at its limits.
//!
//! `expect_complete` compares the cases with the descriptors: a new method without a case stops the
//! benchmark.
#![allow(clippy::unwrap_used, reason = "a benchmark stops when it cannot go on")]

mod requests;

use bookd_core::time::DAY;
use serde_json::{Value, json};

use requests::{
    CALENDARS, DAYS, batch, busy, by_id, hot_series, hot_slots, id, later, many, many_slots,
    metadata, of_wide, overrides, refused_batch, rules, series, time, wide, with, zone,
};

/// The length of each appointment on a hot calendar, in seconds.
pub(crate) const TAKEN: i64 = 15 * 60;
/// Appointments of one customer on a hot calendar.
pub(crate) const OF_CUSTOMER: usize = 10_000;

/// The calendars that the calls use.
#[derive(Clone)]
pub(crate) struct Ground {
    /// The calendar with many appointments, one after the other from `first` on.
    pub(crate) hot: String,
    /// A calendar like `hot`, to be deleted.
    pub(crate) victim: String,
    /// The appointments of each of the two.
    pub(crate) appointments: usize,
    /// The id of an appointment in the middle of `hot`.
    pub(crate) appointment: String,
    /// The address of the customer with many appointments.
    pub(crate) email: String,
    /// The start of the first appointment, in seconds.
    pub(crate) first: i64,
    /// The token of the second page of the list of `hot`.
    pub(crate) token: String,
}

/// Makes the n-th request of a call, from the answer to the call before it in the same case.
type Request = Box<dyn Fn(&Ground, usize, &Value) -> Value + Send + Sync>;

/// The calls that a caller repeats.
pub(crate) struct Case {
    pub(crate) method: &'static str,
    /// What makes the call heavy; contains `refused` if the call must be refused.
    pub(crate) what: &'static str,
    /// The methods and requests of one turn; the last one is measured, an earlier one prepares it.
    pub(crate) calls: Vec<(&'static str, Request)>,
    /// Whether the calls can be made only once.
    pub(crate) is_once: bool,
}

/// A case of one call.
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
    /// Adds a call that prepares the measured one.
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

    /// Makes the case one that can be made only once.
    fn once(mut self) -> Self {
        self.is_once = true;
        self
    }
}

/// All cases. Those that delete the calendars come last.
pub(crate) fn cases() -> Vec<Case> {
    let everything = [
        access(),
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

fn access() -> Vec<Case> {
    vec![
        case("GetPrincipal", "", |_, _| json!({})),
        case(
            "CreateToken",
            "refused, for want of credentials",
            |_, turn| json!({"name": format!("desk {turn}"), "scopes": ["SCOPE_ADMIN"]}),
        ),
        case("ListTokens", "none", |_, _| json!({})),
        case(
            "RevokeToken",
            "refused, there is none",
            |_, _| json!({"token_id": "bookd_aaaaaaaaaa"}),
        ),
    ]
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
