//! The input of the model: calendars with every kind of setting, and steps that are a few numbers.
//!
//! A step refers to what exists when it runs, so that it stays meaningful while proptest removes
//! steps before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::calendar::availability::{Availability, Override, Rule};
use bookd_core::ids::CalendarId;
use bookd_core::time::{HOUR, Instant, LocalDate, Seconds};
use proptest::prelude::*;

use crate::random::{limits, overrides, rules, two_types};
use crate::world::{calendar as calendar_of, zone};

/// A few numbers, whose meaning depends on the state in which the step runs.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Whether the step runs; proptest shrinks it to a step that does not.
    pub(crate) is_run: bool,
    pub(crate) kind: u8,
    pub(crate) wait: i64,
    pub(crate) id: u16,
    pub(crate) calendars: u8,
    pub(crate) start: u16,
    pub(crate) minute: i16,
    pub(crate) ignored: u8,
    pub(crate) rules: Vec<Rule>,
    pub(crate) overrides: BTreeMap<LocalDate, Override>,
}

pub(crate) fn step(around: Instant) -> impl Strategy<Value = Step> {
    let wait =
        prop_oneof![8 => Just(0), 8 => 1..120i64, 2 => 120..2 * HOUR, 1 => 2 * HOUR..8 * HOUR];
    let numbers = (
        0..48u8,
        wait,
        any::<u16>(),
        any::<u8>(),
        any::<u16>(),
        any::<i16>(),
    );
    let ignored = prop_oneof![5 => Just(0u8), 1 => 1..32u8];
    // Few steps change hours, so that few of them have some.
    let hours = (
        proptest::option::weighted(0.1, rules(around)),
        proptest::option::weighted(0.1, overrides(around)),
    );
    let is_run = proptest::bool::weighted(0.999);
    (is_run, numbers, ignored, hours).prop_map(|(is_run, numbers, ignored, (rules, overrides))| {
        let (kind, wait, id, calendars, start, minute) = numbers;
        let (rules, overrides) = (rules.unwrap_or_default(), overrides.unwrap_or_default());
        Step {
            is_run,
            kind,
            wait,
            id,
            calendars,
            start,
            minute,
            ignored,
            rules,
            overrides,
        }
    })
}

/// The type with approval and cut-offs by the bits of `terms`.
pub(crate) fn with_terms(of_type: AppointmentType, terms: u8) -> AppointmentType {
    let cut_off =
        |bits: u8| [None, Seconds::new(0), Seconds::new(HOUR), None][usize::from(bits % 4)];
    AppointmentType {
        requires_approval: terms.is_multiple_of(3),
        pending_blocks: terms.is_multiple_of(2),
        cancel_notice: cut_off(terms / 4),
        reschedule_notice: cut_off(terms / 16),
        ..of_type
    }
}

pub(crate) fn some_calendar(
    name: &'static str,
    of: String,
    around: Instant,
) -> impl Strategy<Value = Calendar> {
    let parts = (
        rules(around),
        overrides(around),
        two_types(around),
        any::<[u8; 2]>(),
        limits(),
    );
    parts.prop_map(move |(rules, overrides, types, terms, limits)| {
        let types = types
            .into_iter()
            .zip(terms)
            .map(|(of_type, terms)| with_terms(of_type, terms));
        let availability = Availability { rules, overrides };
        let mut calendar = calendar_of(zone(&of), availability, types, Vec::new(), Vec::new());
        calendar.id = CalendarId::parse(name).unwrap();
        Arc::make_mut(&mut calendar.profile).limits = limits;
        calendar
    })
}
