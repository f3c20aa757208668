//! What stores keep besides what is so now: who sent a change, what it replaced, and claims of any length.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bookd::domain::appointment::{Image, Place};
use bookd::domain::availability::{Availability, Override, Window};
use bookd::domain::change::{AppointmentEvent, Cause, Event};
use bookd::domain::command::{Command, ProfilePatch};
use bookd::domain::ids::{AppointmentKey, CalendarId, Caller, Revision};
use bookd::domain::log::{Earlier, EarlierProfile};
use bookd::domain::time::{DAY, LocalDate, Minutes};
use bookd::store::{Batch, CalendarFilter};

use crate::stored::{MONDAY, World, always_open, at_hour, booking, id, open, special_type, zones};

fn both() -> [World; 2] {
    [World::memory(), World::sqlite()]
}

/// What the last change replaced.
fn replaced(world: &mut World) -> Vec<(CalendarId, Earlier)> {
    let revision = world.state.revision;
    let found = world.store().reader().unwrap().replaced(revision).unwrap();
    found.into_iter().map(|it| (it.calendar, it.earlier)).collect()
}

fn hours(start: u16, end: u16) -> Override {
    Override { windows: vec![Window::new(start, end).unwrap()], note: "for Ada's birthday".to_owned() }
}

#[test]
fn what_a_change_replaces_of_hours_settings_and_types_is_kept() {
    for mut world in both() {
        open(&mut world, "ada", "Europe/Paris");
        let mut before = EarlierProfile {
            time_zone: "Europe/Paris".to_owned(),
            paused: false,
            limits: world.state.calendars[&id("ada")].profile.limits,
            rules: Availability::default().rules,
            overrides: BTreeMap::new(),
        };
        assert_eq!(replaced(&mut world), [(id("ada"), Earlier::Profile(before.clone()))], "hours were none");
        before.rules = always_open();
        let [first, second, third] = [0, 1, 2].map(|days| LocalDate::from_days(20_000 + days));
        let put = |overrides: [(LocalDate, Override); 2]| Command::PutOverrides {
            calendar: id("ada"),
            overrides: BTreeMap::from(overrides),
            etag: None,
        };
        world.run(&put([(first, hours(540, 600)), (second, hours(540, 660))]));
        before.overrides = BTreeMap::from([(first, None), (second, None)]);
        assert_eq!(replaced(&mut world), [(id("ada"), Earlier::Profile(before.clone()))]);
        world.run(&put([(second, hours(600, 660)), (third, hours(600, 660))]));
        before.overrides = BTreeMap::from([(second, Some(hours(540, 660).windows)), (third, None)]);
        assert_eq!(replaced(&mut world), [(id("ada"), Earlier::Profile(before.clone()))], "but for the notes");
        let dates = BTreeSet::from([first]);
        world.run(&Command::DeleteOverrides { calendar: id("ada"), dates, etag: None });
        before.overrides = BTreeMap::from([(first, Some(hours(540, 600).windows))]);
        assert_eq!(replaced(&mut world), [(id("ada"), Earlier::Profile(before.clone()))]);
        let patch = ProfilePatch { zone: zones()("Asia/Tokyo"), paused: Some(true), ..ProfilePatch::default() };
        world.run(&Command::UpdateCalendar { calendar: id("ada"), patch, etag: None });
        before.overrides.clear();
        assert_eq!(replaced(&mut world), [(id("ada"), Earlier::Profile(before))]);

        let put = |capacity| Command::PutAppointmentType {
            calendar: id("ada"),
            appointment_type: bookd::domain::appointment_type::AppointmentType { capacity, ..special_type() },
            etag: None,
        };
        world.run(&put(3));
        assert_eq!(replaced(&mut world), [], "it is new");
        let first = (**world.state.calendars[&id("ada")].types.find(&special_type().id).unwrap()).clone();
        world.run(&put(2));
        world.reopen();
        assert_eq!(replaced(&mut world), [(id("ada"), Earlier::Type(Box::new(first)))]);
        let newest = world.state.revision;
        world.now = MONDAY.plus(1);
        world.store().compact_changes(MONDAY.plus(1), 100).unwrap();
        let mut reader = world.store().reader().unwrap();
        assert_eq!(reader.replaced(Revision(2)).unwrap(), [], "what is forgotten of the log takes it along");
        assert_eq!(reader.replaced(newest).unwrap().len(), 1);
    }
}

#[test]
fn a_change_says_who_sent_it_and_nobody_is_nobody() {
    for mut world in both() {
        open(&mut world, "ada", "UTC");
        let decision =
            bookd::domain::decide::decide(&world.state, &Command::Book(booking(1, "ada", at_hour(9))), MONDAY);
        for caller in ["", "Zoë of the front desk", "clerk"] {
            let mut change = decision.clone().unwrap().change(&world.state, MONDAY, Caller(caller.into())).unwrap();
            if caller != "" {
                // The same as an update of what is there.
                change.cause = Cause::UpdateAppointment;
                let there = world.state.appointments.values().next().unwrap();
                let image = Image { update_time: MONDAY, revision: change.revision, ..there.image.clone() };
                let (before, after) = (Some(Arc::clone(there)), Arc::new(there.with_image(image)));
                change.events = vec![Event::Appointment { kind: AppointmentEvent::Updated, before, after }];
            }
            world.store().commit(&Batch { changes: &[change.clone()], requests: &[], expected: &[] }).unwrap();
            world.state.apply(&change);
        }
        world.reopen();
        let page = world.store().reader().unwrap().changes_after(Revision(0), &CalendarFilter::All).unwrap();
        let callers: Vec<_> = page.changes.iter().map(|it| it.entry.caller.0.to_string()).collect();
        assert_eq!(callers, ["clerk", "clerk", "", "Zoë of the front desk", "clerk"]);
    }
}

#[test]
fn a_claim_is_loaded_as_long_as_it_lasts_however_long_that_is() {
    for mut world in both() {
        open(&mut world, "ada", "UTC");
        for (number, days) in [(1_u32, 3), (2, 20), (3, 400)] {
            let start = at_hour(0).plus(i64::from(number) * 500 * DAY);
            let decision = bookd::domain::decide::decide(
                &world.state,
                &Command::Book(booking(u128::from(number), "ada", at_hour(9))),
                MONDAY,
            );
            let mut change = decision.unwrap().change(&world.state, MONDAY, Caller::default()).unwrap();
            let Event::Appointment { after, .. } = &mut change.events[0] else { unreachable!("a booking") };
            let duration = Minutes::new(days * 24 * 60).unwrap();
            let places = after.places.iter().map(|it| Place { start, duration, ..it.clone() }).collect();
            *after = Arc::new(after.with_image(Image { start, duration, places, ..after.image.clone() }));
            world.store().commit(&Batch { changes: &[change.clone()], requests: &[], expected: &[] }).unwrap();
            world.state.apply(&change);
            let end = start.plus(i64::from(days) * DAY);
            // A year more, for claims are kept as long as limits count them.
            let (before_end, long_after) = (end.plus(-60), end.plus(400 * DAY));
            for _ in 0..2 {
                let mut keys = |now| {
                    let calendar = world.store().load_calendars(&[id("ada")], now).unwrap().remove(0).unwrap();
                    calendar.claims.iter().map(|it| it.key()).collect::<Vec<_>>()
                };
                assert_eq!(keys(before_end), [AppointmentKey(u64::from(number))], "{days} days");
                assert_eq!(keys(long_after), []);
                world.reopen();
            }
        }
    }
}
