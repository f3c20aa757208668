//! What a change of hours leaves outside is what the definition says, claim by claim.

use std::sync::Arc;

use bookd::domain::calendar::Calendar;
use bookd::domain::command::Command;
use bookd::domain::decide::{OUTSIDE_MAX, decide};
use bookd::domain::ids::AppointmentKey;
use bookd::domain::state::State;
use bookd::domain::time::Instant;
use proptest::prelude::*;

use crate::checker::Checker;
use crate::random::question;
use crate::world::zone;

/// The upcoming claims that do not lie in open time, evaluated minute by minute.
fn outside(calendar: &Calendar, now: Instant) -> Vec<AppointmentKey> {
    let upcoming = calendar.claims.iter().filter(|it| it.is_alive(now) && it.start() >= now);
    let mut outside: Vec<_> = upcoming
        .filter(|claim| {
            let of_type = calendar.types.numbered(claim.type_number()).unwrap();
            !Checker::new(calendar, of_type, claim.duration(), now).is_open_throughout(claim.start())
        })
        .map(|claim| (claim.start(), claim.key()))
        .collect();
    outside.sort_unstable();
    outside.into_iter().map(|(_, key)| key).take(OUTSIDE_MAX).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn set_availability_names_the_claims_that_the_definition_calls_closed(question in question()) {
        let calendar = question.calendar;
        let rules = calendar.profile.availability.rules.clone();
        let id = calendar.id.clone();
        let expected = outside(&calendar, question.now);
        let calendars = [(id.clone(), Arc::new(calendar))].into();
        let state = State { calendars, ..State::default() };
        let command = Command::SetAvailability { calendar: id, zone: None, utc: zone("UTC"), rules, etag: None };
        let decision = decide(&state, &command, question.now).unwrap();
        prop_assert_eq!(decision.outcome.outside, expected);
    }
}
