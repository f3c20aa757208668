//! Calendars for tests: zones by name, instants from text, and a calendar from the settings that
//! matter.

use std::sync::{Arc, OnceLock};

use bookd_core::appointment::AppointmentState;
use bookd_core::calendar::appointment_type::{AppointmentType, Stamps};
use bookd_core::calendar::availability::{Availability, Rule, Weekdays, Window};
use bookd_core::calendar::claims::{Claim, Claims};
use bookd_core::calendar::{Busy, Calendar, Profile, Types};
use bookd_core::ids::{AppointmentKey, CalendarId, Revision, TypeNumber};
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::Zone;
use bookd_core::time::{Instant, Minutes};

use crate::zones::{Zones, bundled_names};

/// The bundled release of the tz database, read once.
fn zones() -> &'static Zones {
    static ZONES: OnceLock<Zones> = OnceLock::new();
    ZONES.get_or_init(Zones::bundled)
}

pub(crate) fn zone(name: &str) -> Arc<Zone> {
    zones()
        .zone(name)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn minutes(minutes: u16) -> Minutes {
    Minutes::new(minutes.into()).unwrap()
}

/// Reads `2027-03-14T07:00:00Z`.
pub(crate) fn instant(text: &str) -> Instant {
    let utc = chrono::DateTime::parse_from_rfc3339(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    Instant::from_seconds(utc.timestamp())
}

/// Reads `09:00` as minutes after midnight.
pub(crate) fn clock(text: &str) -> u16 {
    let (hours, minutes) = text.split_once(':').unwrap();
    hours.parse::<u16>().unwrap() * 60 + minutes.parse::<u16>().unwrap()
}

pub(crate) fn window(start: &str, end: &str) -> Window {
    Window::new(clock(start), clock(end)).unwrap()
}

/// A rule that repeats every week, without a first or last date.
pub(crate) fn rule(weekdays: Weekdays, start: &str, end: &str) -> Rule {
    Rule {
        weekdays,
        window: window(start, end),
        first_date: None,
        last_date: None,
    }
}

pub(crate) fn calendar(
    zone: Arc<Zone>,
    availability: Availability,
    types: impl IntoIterator<Item = AppointmentType>,
    busy: Vec<Interval>,
    claims: Vec<Claim>,
) -> Calendar {
    let profile = Profile::open(zone, availability);
    Calendar {
        id: CalendarId::parse("ada").unwrap(),
        since: Revision(0),
        profile: Arc::new(profile),
        stamps: Stamps::default(),
        types: Arc::new(Types::new(types, [])),
        busy: Arc::new(Busy::new([("external".to_owned(), busy)])),
        claims: Claims::from_unordered(claims),
        requests: Arc::default(),
        kept_from: Instant::MIN,
        version: Revision(0),
    }
}

/// The name of every zone of the release.
pub(crate) fn zone_names() -> Vec<String> {
    bundled_names().into_iter().map(str::to_owned).collect()
}

/// The claim of an appointment of an hour with a quarter of an hour after it.
pub(crate) fn claim_in_state(
    key: u64,
    start: &str,
    state: AppointmentState,
    expire_time: Option<Instant>,
) -> Claim {
    Claim::new(
        AppointmentKey(key),
        TypeNumber(0),
        instant(start),
        minutes(60),
        minutes(0),
        minutes(15),
        state,
        expire_time,
    )
}
