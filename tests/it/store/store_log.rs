//! The data of both stores beside the present state: who sent a change, what it replaced, claims of
//! any length, and times from before a clock reset.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bookd::store::{CommitBatch, RequestRecord, WatchFilter};
use bookd_core::appointment::{Image, Place};
use bookd_core::calendar::availability::{Availability, Override, Window};
use bookd_core::change::{AppointmentEvent, Cause, Change, Event};
use bookd_core::command::{Command, ProfilePatch};
use bookd_core::decide::decide;
use bookd_core::ids::{AppointmentKey, CalendarId, Caller, Revision};
use bookd_core::log::{Earlier, EarlierProfile, LogPosition, Mark};
use bookd_core::time::{DAY, Instant, LocalDate, Minutes};

use crate::stored::{MONDAY, World, always_open, at_hour, booking, id, open, special_type, zones};

/// Both stores, empty.
pub fn both() -> [World; 2] {
    [World::memory(), World::sqlite()]
}

/// The values that the last change replaced, by calendar.
fn replaced(world: &mut World) -> Vec<(CalendarId, Earlier)> {
    let revision = world.state.revision;
    let found = world.store().reader().unwrap().replaced(revision).unwrap();
    found
        .into_iter()
        .map(|it| (it.calendar, it.earlier))
        .collect()
}

fn hours(start: u16, end: u16) -> Override {
    Override {
        windows: vec![Window::new(start, end).unwrap()],
        note: "for Ada's birthday".to_owned(),
    }
}

#[test]
fn what_a_change_replaces_of_hours_settings_and_types_is_kept() {
    for mut world in both() {
        replace_hours_and_settings(&mut world);
        replace_types(&mut world);
        let newest = world.state.revision;
        world.now = MONDAY.plus(1);
        world.store().compact_changes(MONDAY.plus(1), 100).unwrap();
        let mut reader = world.store().reader().unwrap();
        assert_eq!(
            reader.replaced(Revision(2)).unwrap(),
            [],
            "compaction of the log removes it too"
        );
        assert_eq!(reader.replaced(newest).unwrap().len(), 1);
    }
}

/// Opens `ada` and changes its hours and settings; each change keeps the earlier profile.
fn replace_hours_and_settings(world: &mut World) {
    open(world, "ada", "Europe/Paris");
    let mut before = EarlierProfile {
        time_zone: "Europe/Paris".to_owned(),
        paused: false,
        limits: world.state.calendars[&id("ada")].profile.limits,
        rules: Availability::default().rules,
        overrides: BTreeMap::new(),
    };
    assert_eq!(
        replaced(world),
        [(id("ada"), Earlier::Profile(before.clone()))],
        "the calendar had no hours"
    );
    before.rules = always_open();
    let [first, second, third] = [0, 1, 2].map(|days| LocalDate::from_days(20_000 + days));
    let put = |overrides: [(LocalDate, Override); 2]| Command::PutOverrides {
        calendar: id("ada"),
        overrides: BTreeMap::from(overrides),
        etag: None,
    };
    world.run(&put([(first, hours(540, 600)), (second, hours(540, 660))]));
    before.overrides = BTreeMap::from([(first, None), (second, None)]);
    assert_eq!(
        replaced(world),
        [(id("ada"), Earlier::Profile(before.clone()))]
    );
    world.run(&put([(second, hours(600, 660)), (third, hours(600, 660))]));
    before.overrides = BTreeMap::from([(second, Some(hours(540, 660).windows)), (third, None)]);
    assert_eq!(
        replaced(world),
        [(id("ada"), Earlier::Profile(before.clone()))],
        "but for the notes"
    );
    let dates = BTreeSet::from([first]);
    world.run(&Command::DeleteOverrides {
        calendar: id("ada"),
        dates,
        etag: None,
    });
    before.overrides = BTreeMap::from([(first, Some(hours(540, 600).windows))]);
    assert_eq!(
        replaced(world),
        [(id("ada"), Earlier::Profile(before.clone()))]
    );
    let patch = ProfilePatch {
        zone: zones()("Asia/Tokyo"),
        paused: Some(true),
        ..ProfilePatch::default()
    };
    world.run(&Command::UpdateCalendar {
        calendar: id("ada"),
        patch,
        etag: None,
    });
    before.overrides.clear();
    assert_eq!(replaced(world), [(id("ada"), Earlier::Profile(before))]);
}

/// Puts, changes and deletes a type of `ada`; a row that another type takes keeps the earlier one.
fn replace_types(world: &mut World) {
    let put = |capacity| Command::PutAppointmentType {
        calendar: id("ada"),
        appointment_type: bookd_core::calendar::appointment_type::AppointmentType {
            capacity,
            ..special_type()
        },
        etag: None,
    };
    world.run(&put(3));
    assert_eq!(replaced(world), [], "a new type replaces nothing");
    let first = (**world.state.calendars[&id("ada")]
        .types
        .find(&special_type().id)
        .unwrap())
    .clone();
    world.run(&put(2));
    world.reopen();
    assert_eq!(
        replaced(world),
        [(id("ada"), Earlier::Type(Box::new(first)))]
    );
    let second = (**world.state.calendars[&id("ada")]
        .types
        .find(&special_type().id)
        .unwrap())
    .clone();
    world.run(&Command::DeleteAppointmentType {
        calendar: id("ada"),
        type_id: special_type().id,
        etag: None,
    });
    assert_eq!(replaced(world), [], "the deleted type stays in its row");
    world.run(&put(4));
    world.reopen();
    assert_eq!(
        replaced(world),
        [(id("ada"), Earlier::Type(Box::new(second)))],
        "which another has now"
    );
}

/// Commits a change that no command would make, and makes it state.
fn commit_change(world: &mut World, change: &Change) {
    world
        .store()
        .commit(&CommitBatch {
            changes: std::slice::from_ref(change),
            requests: &[],
            expected: &[],
        })
        .unwrap();
    world.state.apply(change);
}

#[test]
fn a_change_says_who_sent_it_and_nobody_is_nobody() {
    for mut world in both() {
        open(&mut world, "ada", "UTC");
        let decision = decide(
            &world.state,
            &Command::Book(booking(1, "ada", at_hour(9))),
            MONDAY,
        );
        for caller in ["", "Zoë of the front desk", "clerk"] {
            let mut change = decision
                .clone()
                .unwrap()
                .change(&world.state, MONDAY, Caller(caller.into()))
                .unwrap();
            if !caller.is_empty() {
                // The change becomes an update of the appointment.
                change.cause = Cause::UpdateAppointment;
                let there = world.state.appointments.values().next().unwrap();
                let image = Image {
                    update_time: MONDAY,
                    revision: change.revision,
                    ..there.image.clone()
                };
                let (before, after) = (Some(Arc::clone(there)), Arc::new(there.with_image(image)));
                change.events = vec![Event::Appointment {
                    kind: AppointmentEvent::Updated,
                    before,
                    after,
                }];
            }
            commit_change(&mut world, &change);
        }
        world.reopen();
        let page = world
            .store()
            .reader()
            .unwrap()
            .changes_from(LogPosition::of(Revision(1)), &WatchFilter::ALL, 1)
            .unwrap();
        let callers: Vec<_> = page
            .changes
            .iter()
            .map(|it| it.entry.caller.0.to_string())
            .collect();
        assert_eq!(
            callers,
            ["clerk", "clerk", "", "Zoë of the front desk", "clerk"]
        );
    }
}

/// Books an appointment on `ada` that lasts so many days from `start` on.
fn book_days(world: &mut World, number: u32, start: Instant, days: u32) -> Change {
    let decision = decide(
        &world.state,
        &Command::Book(booking(u128::from(number), "ada", at_hour(9))),
        MONDAY,
    );
    let mut change = decision
        .unwrap()
        .change(&world.state, MONDAY, Caller::default())
        .unwrap();
    let Event::Appointment { after, .. } = &mut change.events[0] else {
        unreachable!("a booking")
    };
    let duration = Minutes::new(days * 24 * 60).unwrap();
    let places = after
        .places
        .iter()
        .map(|place| Place {
            start,
            duration,
            ..place.clone()
        })
        .collect();
    *after = Arc::new(after.with_image(Image {
        start,
        duration,
        places,
        ..after.image.clone()
    }));
    commit_change(world, &change);
    change
}

/// Makes the appointment of the last event of `booked` last so many days from the same start on.
fn lengthen(world: &mut World, booked: Change, days: u32) {
    let there = booked.events.last().map(|event| match event {
        Event::Appointment { after, .. } => Arc::clone(after),
        other => unreachable!("{other:?}"),
    });
    let before = there.unwrap();
    let duration = Minutes::new(days * 24 * 60).unwrap();
    let places = before
        .places
        .iter()
        .map(|place| Place {
            duration,
            ..place.clone()
        })
        .collect();
    let revision = world.state.revision.next();
    let image = Image {
        duration,
        places,
        revision,
        ..before.image.clone()
    };
    let event = Event::Appointment {
        kind: AppointmentEvent::Moved,
        after: Arc::new(before.with_image(image)),
        before: Some(before),
    };
    let change = Change {
        cause: Cause::RescheduleAppointment,
        revision,
        events: vec![event],
        ..booked
    };
    commit_change(world, &change);
}

#[test]
fn a_claim_is_loaded_as_long_as_it_lasts_however_long_that_is() {
    for mut world in both() {
        open(&mut world, "ada", "UTC");
        for (number, days) in [(1_u32, 3), (2, 20), (3, 360)] {
            let start = at_hour(0).plus(i64::from(number) * 500 * DAY);
            let booked = book_days(&mut world, number, start, days);
            // An appointment that is lengthened where it is reaches as far as one that was booked
            // with that length.
            let days = days + 40;
            lengthen(&mut world, booked, days);
            let end = start.plus(i64::from(days) * DAY);
            // A year more, for claims are kept as long as limits count them.
            let (before_end, long_after) = (end.plus(-60), end.plus(400 * DAY));
            for _ in 0..2 {
                let mut keys = |now| {
                    let calendar = world
                        .store()
                        .load_calendars(&[id("ada")], now)
                        .unwrap()
                        .remove(0)
                        .unwrap();
                    calendar
                        .claims
                        .iter()
                        .map(|it| it.key())
                        .collect::<Vec<_>>()
                };
                assert_eq!(
                    keys(before_end),
                    [AppointmentKey(u64::from(number))],
                    "{days} days"
                );
                assert_eq!(keys(long_after), []);
                world.reopen();
            }
        }
    }
}

#[test]
fn what_was_made_before_a_clock_reset_counts_as_no_younger_than_that() {
    for mut world in both() {
        open(&mut world, "ada", "Europe/Paris");
        world.now = MONDAY.plus(1_000 * DAY);
        let decision = decide(
            &world.state,
            &Command::Book(booking(1, "ada", at_hour(30_000))),
            world.now,
        )
        .unwrap();
        let request = RequestRecord {
            hash: [1; 16],
            fingerprint: [2; 16],
            revision: world.state.revision.next(),
            time: world.now,
            appointments: decision.outcome.remembered(),
            calendar: None,
            type_id: None,
            token: None,
        };
        world.commit(&decision, &[request]).unwrap();
        world.book(2, "ada", at_hour(30_001));
        let wrong = world.state.revision;
        let first_wrong = Revision(wrong.0 - 1);
        world.reset_clock(MONDAY.plus(DAY));
        world.book(3, "ada", at_hour(50));
        world.reopen();
        assert_eq!(world.store().boot().unwrap().last_time, MONDAY.plus(DAY));
        let compact = |world: &mut World, before| {
            world.store().compact_changes(before, 100).unwrap().unwrap()
        };
        let oldest = compact(&mut world, MONDAY.plus(1));
        assert_eq!(
            (oldest.revision, oldest.time),
            (first_wrong, MONDAY.plus(DAY))
        );
        let behind = LogPosition::after(wrong);
        let page = world
            .store()
            .reader()
            .unwrap()
            .changes_from(behind, &WatchFilter::ALL, 1)
            .unwrap();
        let mark = Mark {
            revision: wrong.next(),
            time: MONDAY.plus(DAY),
            cause: Cause::ClockReset,
        };
        assert_eq!(page.marks, [mark]);
        let oldest = compact(&mut world, MONDAY.plus(DAY));
        assert_eq!(
            oldest.revision, first_wrong,
            "the reset is not old, and so is nothing of the wrong clock"
        );
        let oldest = compact(&mut world, MONDAY.plus(DAY + 1));
        assert_eq!(
            (oldest.revision, oldest.is_followed),
            (world.state.revision, false)
        );
        for (before, forgotten) in [(MONDAY.plus(DAY), 0), (MONDAY.plus(DAY + 1), 1)] {
            assert_eq!(
                world.store().forget_requests(before, 100).unwrap(),
                forgotten
            );
        }
        world.check();
    }
}
