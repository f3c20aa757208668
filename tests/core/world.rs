//! Calendars for tests, in few words.

use std::collections::BTreeMap;
use std::sync::Arc;

use bookd::domain::appointment::{AppointmentState, IgnoredRules};
use bookd::domain::appointment_type::{AppointmentType, Stamps};
use bookd::domain::availability::{Availability, Window};
use bookd::domain::calendar::{Busy, Calendar, Owner, Profile, Types};
use bookd::domain::claims::{Claim, Claims};
use bookd::domain::ids::{AppointmentKey, CalendarId, Revision, TypeId, TypeNumber};
use bookd::domain::interval::Interval;
use bookd::domain::slots::Search;
use bookd::domain::time::{Instant, Minutes};
use bookd::zones::Zones;

pub fn minutes(minutes: u16) -> Minutes {
    Minutes::new(minutes).unwrap()
}

pub fn instant(text: &str) -> Instant {
    Instant::from_seconds(text.parse::<jiff::Timestamp>().unwrap().as_second())
}

pub fn clock(text: &str) -> u16 {
    let (hour, minute) = text.split_once(':').unwrap();
    hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap()
}

pub fn window(start: &str, end: &str) -> Window {
    Window::new(clock(start), clock(end)).unwrap()
}

pub fn appointment_type(id: &str, number: u16, duration: u16) -> AppointmentType {
    AppointmentType {
        id: TypeId::parse(id).unwrap(),
        number: TypeNumber(number),
        duration: minutes(duration),
        ..AppointmentType::default_type(Stamps::default())
    }
}

pub fn profile(zone: &str, availability: Availability) -> Profile {
    Profile {
        display_name: String::new(),
        owner: Owner::default(),
        zone: Zones::bundled().zone(zone).unwrap(),
        paused: false,
        limits: Default::default(),
        metadata: BTreeMap::new(),
        availability,
    }
}

pub fn calendar(profile: Profile, types: Vec<AppointmentType>, busy: Vec<Interval>, claims: Vec<Claim>) -> Calendar {
    Calendar {
        id: CalendarId::parse("ada").unwrap(),
        since: Revision(1),
        profile: Arc::new(profile),
        stamps: Stamps::default(),
        types: Arc::new(Types::new(types, [])),
        busy: Arc::new(Busy::new([("external".to_owned(), busy)])),
        claims: Claims::from_unordered(claims),
        requests: Arc::default(),
        kept_from: Instant::MIN,
        version: Revision(1),
    }
}

pub fn claim(key: u64, of: &AppointmentType, start: Instant) -> Claim {
    let (before, after) = (of.buffer_before, of.buffer_after);
    let state = AppointmentState::Confirmed;
    Claim::new(AppointmentKey(key), of.number, start, of.duration, before, after, state, None)
}

pub fn search<'a>(calendar: &'a Calendar, of: &'a AppointmentType, range: Interval, now: Instant) -> Search<'a> {
    Search {
        calendar,
        appointment_type: of,
        duration: of.duration,
        range,
        now,
        ignore: None,
        present_duration: None,
        ignored_rules: IgnoredRules::default(),
    }
}
