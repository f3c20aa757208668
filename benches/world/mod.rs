//! The calendars of the benchmarks of the core: New York hours, a 30-minute grid, an appointment in
//! every second slot until there are enough.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a benchmark stops when it cannot go on, and none needs all of this"
)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bookd_core::appointment::{AppointmentState, Assignment, IgnoredRules, Invitee, PersonDetails};
use bookd_core::calendar::appointment_type::{AppointmentType, Limits, Stamps};
use bookd_core::calendar::availability::{Availability, Rule, Weekdays, Window};
use bookd_core::calendar::claims::{Claim, Claims};
use bookd_core::calendar::{Busy, Calendar, Owner, Profile, Types};
use bookd_core::command::{Booking, NewId, Start};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, TypeNumber};
use bookd_core::slots::multi_calendar;
use bookd_core::slots::search::Search;
use bookd_core::slots::visit;
use bookd_core::time::interval::Interval;
use bookd_core::time::{DAY, Instant, Minutes};
use zones::Zones;

/// The zones of bookd, compiled here again, so that a benchmark of the core builds nothing else of
/// bookd.
#[allow(unreachable_pub, reason = "it is public where it belongs")]
#[path = "../../src/zones.rs"]
mod zones;

/// 2027-01-04T00:00:00Z, a Monday.
pub(crate) const NOW: Instant = Instant::from_seconds(1_799_020_800);

pub(crate) fn half_hour() -> Minutes {
    Minutes::new(30).unwrap()
}

/// A calendar with this many appointments, in every second slot from `NOW` on.
pub(crate) fn calendar(appointments: usize, limits: Limits) -> Calendar {
    let weekdays = Weekdays::from_bits(0b1_1111);
    let window = Window::new(9 * 60, 17 * 60).unwrap();
    let rules = vec![Rule {
        weekdays,
        window,
        first_date: None,
        last_date: None,
    }];
    let profile = Profile {
        display_name: String::new(),
        owner: Owner::default(),
        zone: Zones::bundled().zone("America/New_York").unwrap(),
        paused: false,
        limits: Limits::default(),
        metadata: BTreeMap::new(),
        availability: Availability {
            rules,
            overrides: BTreeMap::new(),
        },
    };
    let of_type = AppointmentType {
        duration: half_hour(),
        horizon_days: 10_000,
        limits,
        ..AppointmentType::default_type(Stamps::default())
    };
    let mut calendar = Calendar {
        since: Revision(0),
        id: CalendarId::parse("ada").unwrap(),
        profile: Arc::new(profile),
        stamps: Stamps::default(),
        types: Arc::new(Types::new([of_type], [])),
        busy: Arc::new(Busy::default()),
        claims: Claims::default(),
        requests: Arc::default(),
        kept_from: Instant::MIN,
        version: Revision(0),
    };
    let starts = starts(&calendar)
        .into_iter()
        .zip(0..)
        .filter(|(_, index)| index % 2 == 0)
        .take(appointments);
    let claim = |(start, index)| {
        let (key, state) = (AppointmentKey(index), AppointmentState::Confirmed);
        Claim::new(
            key,
            TypeNumber(0),
            start,
            half_hour(),
            Minutes::ZERO,
            Minutes::ZERO,
            state,
            None,
        )
    };
    calendar.claims = Claims::from_unordered(starts.map(claim).collect());
    calendar
}

/// The free starts of ten years.
pub(crate) fn starts(calendar: &Calendar) -> Vec<Instant> {
    let mut starts = Vec::new();
    visit(&search(calendar, 10 * 365), &mut |slot| {
        starts.push(slot.start);
        ControlFlow::Continue(())
    });
    starts
}

/// A hundred calendars with the same appointments. No calendar rules a slot out early, which is the
/// most work for a search on all of them.
pub(crate) fn hundred_calendars(appointments: usize) -> Vec<Calendar> {
    (0..100)
        .map(|_| calendar(appointments, Limits::default()))
        .collect()
}

/// A search of the calendar from `NOW` on, for `days`.
pub(crate) fn search(calendar: &Calendar, days: i64) -> Search<'_> {
    Search {
        calendar,
        appointment_type: calendar.types.iter().next().unwrap(),
        duration: half_hour(),
        range: Interval::new(NOW, NOW.plus(days * DAY)),
        now: NOW,
        ignore: None,
        present_duration: None,
        ignored_rules: IgnoredRules::default(),
    }
}

/// Counts the slots of a search.
pub(crate) fn count(search: &Search<'_>) -> u32 {
    let mut slots = 0;
    visit(search, &mut |slot| {
        std::hint::black_box(slot);
        slots += 1;
        ControlFlow::Continue(())
    });
    slots
}

/// Counts the slots of a search on several calendars.
pub(crate) fn count_several(searches: &[Search<'_>], assignment: Assignment) -> u32 {
    let mut slots = 0;
    multi_calendar::visit(searches, assignment, &mut |slot| {
        std::hint::black_box(slot);
        slots += 1;
        ControlFlow::Continue(())
    });
    slots
}

/// A booking on one calendar, for an invitee with a name.
pub(crate) fn booking(id: AppointmentId, calendar: &CalendarId, start: Instant) -> Booking {
    Booking {
        id: NewId::Made(id),
        calendars: vec![calendar.clone()],
        assignment: Assignment::All,
        type_id: None,
        start: Some(Start::At(start)),
        duration: None,
        person: PersonDetails {
            invitee: Some(Invitee {
                name: "Grace Hopper".to_owned(),
                ..Invitee::default()
            }),
            ..PersonDetails::default()
        },
        hold: None,
        ignored_rules: IgnoredRules::default(),
        occurrence: None,
    }
}
