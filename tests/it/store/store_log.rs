//! What stores keep besides what is so now: who sent a change, what it replaced, and claims of any length.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bookd::store::{CalendarFilter, CommitBatch, ListQuery, RequestRecord};
use bookd_core::appointment::{Image, Place};
use bookd_core::calendar::availability::{Availability, Override, Window};
use bookd_core::change::{AppointmentEvent, Cause, Event};
use bookd_core::command::{Command, ProfilePatch};
use bookd_core::decide::decide;
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Caller, Revision};
use bookd_core::log::{Earlier, EarlierProfile, LogPosition, Mark};
use bookd_core::time::{DAY, LocalDate, Minutes};

use crate::stored::{
    MONDAY, World, always_open, appointment_id, at_hour, booking, cancel, history, id, move_to,
    of_calendar, open, query, raw, special_type, zones,
};

fn both() -> [World; 2] {
    [World::memory(), World::sqlite()]
}

/// What the last change replaced.
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
        open(&mut world, "ada", "Europe/Paris");
        let mut before = EarlierProfile {
            time_zone: "Europe/Paris".to_owned(),
            paused: false,
            limits: world.state.calendars[&id("ada")].profile.limits,
            rules: Availability::default().rules,
            overrides: BTreeMap::new(),
        };
        assert_eq!(
            replaced(&mut world),
            [(id("ada"), Earlier::Profile(before.clone()))],
            "hours were none"
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
            replaced(&mut world),
            [(id("ada"), Earlier::Profile(before.clone()))]
        );
        world.run(&put([(second, hours(600, 660)), (third, hours(600, 660))]));
        before.overrides = BTreeMap::from([(second, Some(hours(540, 660).windows)), (third, None)]);
        assert_eq!(
            replaced(&mut world),
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
            replaced(&mut world),
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
        assert_eq!(
            replaced(&mut world),
            [(id("ada"), Earlier::Profile(before))]
        );

        let put = |capacity| Command::PutAppointmentType {
            calendar: id("ada"),
            appointment_type: bookd_core::calendar::appointment_type::AppointmentType {
                capacity,
                ..special_type()
            },
            etag: None,
        };
        world.run(&put(3));
        assert_eq!(replaced(&mut world), [], "it is new");
        let first = (**world.state.calendars[&id("ada")]
            .types
            .find(&special_type().id)
            .unwrap())
        .clone();
        world.run(&put(2));
        world.reopen();
        assert_eq!(
            replaced(&mut world),
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
        assert_eq!(replaced(&mut world), [], "it stays in its row");
        world.run(&put(4));
        world.reopen();
        assert_eq!(
            replaced(&mut world),
            [(id("ada"), Earlier::Type(Box::new(second)))],
            "which another has now"
        );
        let newest = world.state.revision;
        world.now = MONDAY.plus(1);
        world.store().compact_changes(MONDAY.plus(1), 100).unwrap();
        let mut reader = world.store().reader().unwrap();
        assert_eq!(
            reader.replaced(Revision(2)).unwrap(),
            [],
            "what is forgotten of the log takes it along"
        );
        assert_eq!(reader.replaced(newest).unwrap().len(), 1);
    }
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
                // The same as an update of what is there.
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
            world
                .store()
                .commit(&CommitBatch {
                    changes: &[change.clone()],
                    requests: &[],
                    expected: &[],
                })
                .unwrap();
            world.state.apply(&change);
        }
        world.reopen();
        let page = world
            .store()
            .reader()
            .unwrap()
            .changes_from(LogPosition::of(Revision(1)), &CalendarFilter::All, 1)
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

#[test]
fn a_claim_is_loaded_as_long_as_it_lasts_however_long_that_is() {
    for mut world in both() {
        open(&mut world, "ada", "UTC");
        for (number, days) in [(1_u32, 3), (2, 20), (3, 360)] {
            let start = at_hour(0).plus(i64::from(number) * 500 * DAY);
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
                .map(|it| Place {
                    start,
                    duration,
                    ..it.clone()
                })
                .collect();
            *after = Arc::new(after.with_image(Image {
                start,
                duration,
                places,
                ..after.image.clone()
            }));
            world
                .store()
                .commit(&CommitBatch {
                    changes: &[change.clone()],
                    requests: &[],
                    expected: &[],
                })
                .unwrap();
            world.state.apply(&change);
            // One that becomes longer where it is reaches as far as one that was booked so.
            let there = change.events.last().map(|it| match it {
                Event::Appointment { after, .. } => Arc::clone(after),
                other => unreachable!("{other:?}"),
            });
            let (before, days) = (there.unwrap(), days + 40);
            let duration = Minutes::new(days * 24 * 60).unwrap();
            let places = before
                .places
                .iter()
                .map(|it| Place {
                    duration,
                    ..it.clone()
                })
                .collect();
            let image = Image {
                duration,
                places,
                revision: world.state.revision.next(),
                ..before.image.clone()
            };
            let after = Arc::new(before.with_image(image));
            let kind = AppointmentEvent::Moved;
            let cause = Cause::RescheduleAppointment;
            let revision = world.state.revision.next();
            let event = Event::Appointment {
                kind,
                before: Some(before),
                after,
            };
            let change = bookd_core::change::Change {
                cause,
                revision,
                events: vec![event],
                ..change
            };
            let changes = std::slice::from_ref(&change);
            world
                .store()
                .commit(&CommitBatch {
                    changes,
                    requests: &[],
                    expected: &[],
                })
                .unwrap();
            world.state.apply(&change);
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

/// `ada` with two appointments that have passed, deleted.
fn outlived(world: &mut World) {
    open(world, "ada", "Europe/Paris");
    world.book(1, "ada", at_hour(9));
    world.book(2, "ada", at_hour(12));
    world.now = at_hour(40);
    world.run(&Command::DeleteCalendar {
        calendar: id("ada"),
        force: false,
        etag: None,
        beforehand: None,
    });
}

/// All of `ada`, page by page.
fn listed(world: &World, limit: usize) -> Vec<AppointmentId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = world.list(&ListQuery {
            limit,
            after,
            now: world.now,
            ..query()
        });
        found.extend(page.appointments.iter().map(|it| it.id));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

fn revisions_of_ada(world: &mut World) -> Vec<u64> {
    let mut reader = world.store().reader().unwrap();
    let mut found: Vec<u64> = Vec::new();
    loop {
        let from = found.last().map(|last| Revision(last - 1));
        let page = history(&mut *reader, &of_calendar(&id("ada"), from, 2))
            .unwrap()
            .unwrap();
        found.extend(page.iter().map(|it| it.revision.0));
        if page.len() < 2 {
            return found;
        }
    }
}

#[test]
fn what_happens_to_appointments_of_a_deleted_calendar_is_in_its_lists_and_its_history() {
    for mut world in both() {
        outlived(&mut world);
        world.run(&cancel(appointment_id(1)));
        world.reopen();
        world.run(&Command::MarkNoShow {
            appointment: appointment_id(2),
            undo: false,
            etag: None,
        });
        assert_eq!(listed(&world, 1), [1, 2].map(appointment_id));
        let all: Vec<u64> = (1..=world.state.revision.0).rev().collect();
        assert_eq!(revisions_of_ada(&mut world), all);
        world.check();
        // Then another takes the id.
        open(&mut world, "ada", "Europe/Paris");
        world.run(&Command::MarkNoShow {
            appointment: appointment_id(2),
            undo: true,
            etag: None,
        });
        let all: Vec<u64> = (1..=world.state.revision.0).rev().collect();
        assert_eq!(revisions_of_ada(&mut world), all);
        world.check();
    }
}

#[test]
fn an_appointment_lies_once_in_the_lists_of_an_id_that_was_used_again() {
    for mut world in both() {
        outlived(&mut world);
        open(&mut world, "ada", "Europe/Paris");
        world.run(&move_to(appointment_id(1), at_hour(60)));
        assert_eq!(listed(&world, 1), [2, 1].map(appointment_id));
        world.reopen();
        world.run(&cancel(appointment_id(2)));
        assert_eq!(listed(&world, 100), [2, 1].map(appointment_id));
        assert_eq!(listed(&world, 1), [2, 1].map(appointment_id));
        let all: Vec<u64> = (1..=world.state.revision.0).rev().collect();
        assert_eq!(revisions_of_ada(&mut world), all);
        world.check();
    }
}

#[test]
fn a_calendar_is_deleted_and_its_appointments_are_changed_in_one_batch() {
    for mut world in both() {
        open(&mut world, "ada", "Europe/Paris");
        world.book(1, "ada", at_hour(9));
        world.now = at_hour(40);
        let expected = [(id("ada"), world.state.calendars[&id("ada")].version)];
        let delete = Command::DeleteCalendar {
            calendar: id("ada"),
            force: false,
            etag: None,
            beforehand: None,
        };
        let changes = [delete, cancel(appointment_id(1))].map(|command| {
            let decision = decide(&world.state, &command, world.now).unwrap();
            let change = decision
                .change(&world.state, world.now, Caller::default())
                .unwrap();
            world.state.apply(&change);
            change
        });
        world
            .store()
            .commit(&CommitBatch {
                changes: &changes,
                requests: &[],
                expected: &expected,
            })
            .unwrap();
        assert_eq!(listed(&world, 1), [appointment_id(1)]);
        assert_eq!(revisions_of_ada(&mut world), [5, 4, 3, 2, 1]);
        world.check();
    }
}

/// As the binaries before schema 4 left it: they wrote what was moved and cancelled under the one that has the id now.
#[test]
fn claims_that_lie_under_another_bearer_of_the_id_are_put_right_when_an_older_file_is_opened() {
    let mut world = World::sqlite();
    outlived(&mut world);
    open(&mut world, "ada", "Europe/Paris");
    world.run(&move_to(appointment_id(1), at_hour(60)));
    world.run(&cancel(appointment_id(2)));
    let file = raw(world.folder.as_ref().unwrap().path().join("bookd.db"));
    let claims = || -> Vec<(i64, bool, i64, i64)> {
        let mut select = file
            .prepare("select calendar, is_over, start, key from claims order by 1, 2, 3, 4")
            .unwrap();
        let row =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        select
            .query_map([], row)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let whole = claims();
    assert_eq!(
        whole,
        [
            (1, true, at_hour(12).seconds(), 2),
            (2, false, at_hour(60).seconds(), 1)
        ]
    );
    file.execute("update claims set calendar = 2 where is_over = 1", [])
        .unwrap();
    let stale = "insert into claims select 1, 0, ?1, id, key from appointments where key = ?2";
    for (hour, key) in [(9, 1), (12, 2)] {
        file.execute(stale, [at_hour(hour).seconds(), key]).unwrap();
    }
    assert_eq!(listed(&world, 100).len(), 4);
    file.execute("delete from meta where name = 'rows'", [])
        .unwrap();
    world.reopen();
    assert_eq!(claims(), whole);
    assert_eq!(listed(&world, 1), [2, 1].map(appointment_id));
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
            .changes_from(behind, &CalendarFilter::All, 1)
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
        assert_eq!(
            world
                .store()
                .forget_requests(MONDAY.plus(DAY), 100)
                .unwrap(),
            0
        );
        assert_eq!(
            world
                .store()
                .forget_requests(MONDAY.plus(DAY + 1), 100)
                .unwrap(),
            1
        );
        world.check();
    }
}
