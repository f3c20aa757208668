//! Small values of the core: names, texts, positions in the log, and what commands need and weigh.

use std::collections::BTreeMap;

use bookd_core::appointment::recurrence::{Frequency, OCCURRENCES_MAX};
use bookd_core::appointment::series::SeriesReport;
use bookd_core::appointment::{
    AppointmentState as S, Assignment, Carried, Email, EmailKey, Invitee, Person, Transition,
};
use bookd_core::calendar::appointment_type::Limits;
use bookd_core::calendar::availability::Weekdays;
use bookd_core::calendar::claims::{Claim, Session};
use bookd_core::change::{Cause, Change};
use bookd_core::command::{
    Booking, Command, Needs, Otherwise, ProfilePatch, Redacted, SeriesName, SeriesScope,
};
use bookd_core::decide::decide;
use bookd_core::ids::{AppointmentId, AppointmentKey, Caller, Revision, SeriesId, TypeNumber};
use bookd_core::log::{Earlier, LogEntry, LogPosition, Replaced};
use bookd_core::slots::free_busy;
use bookd_core::slots::violation::ViolationCode;
use bookd_core::state::State;
use bookd_core::time::interval::Interval;
use bookd_core::time::{HOUR, LocalDate, MINUTE, Wall};

use crate::decide::{NOW, booking, calendar_id, id, series, submit, two_calendars};
use crate::world::{instant, minutes, zone};

fn visit(number: u128, calendars: &[&str]) -> Booking {
    let start = instant(NOW).plus(HOUR);
    booking(number, calendars, Assignment::All, "visit", start)
}

#[test]
fn states_and_causes_have_the_names_of_the_contract() {
    let names = S::ALL.map(|state| state.to_string());
    assert_eq!(
        names.join(" "),
        "HELD PENDING CONFIRMED CANCELLED DECLINED EXPIRED NO_SHOW COMPLETED"
    );
    let over: Vec<S> = S::ALL.into_iter().filter(|it| it.is_over()).collect();
    assert_eq!(over, [S::Cancelled, S::Declined, S::Expired]);
    let expires = instant(NOW);
    assert_eq!(S::Held.at(Some(expires), expires.plus(-1)), S::Held);
    assert_eq!(S::Held.at(Some(expires), expires), S::Expired);
    let asked = Transition::ALL.map(Transition::participle);
    assert_eq!(
        asked.join(", "),
        "confirmed, approved, declined, released, cancelled, expired, marked as no-show, marked as \
         not a no-show, completed, marked as not completed"
    );
    assert_eq!(ViolationCode::BusyHold.to_string(), "BUSY_HOLD");
    for cause in Cause::ALL {
        assert_eq!(cause.name(), format!("{cause:?}"));
    }
}

#[test]
fn ids_dates_and_numbers_are_written_as_they_are_read() {
    let text = "00000000-0000-0000-0000-000000000001";
    assert_eq!(format!("{} {:?}", id(1), id(1)), format!("{text} {text}"));
    assert_eq!(format!("{:?}", zone("Europe/Paris")), "Europe/Paris");
    assert_eq!(Revision(17).to_string(), "17");
    let date: LocalDate = "2027-03-14".parse().unwrap();
    assert_eq!(
        format!("{date:?} {:?}", date.midnight()),
        "2027-03-14 2027-03-14T00:00"
    );
    assert_eq!(
        format!("{:?}", date.midnight().plus(1)),
        "2027-03-14T00:00:01"
    );
    let weekend = Weekdays::NONE.with(5).with(6);
    assert_eq!(weekend.bits(), 0b110_0000);
    assert_eq!(Weekdays::from_bits(weekend.bits()), weekend);
    assert_eq!(format!("{weekend:?}"), "{5, 6}");
    assert_eq!(Wall::from_seconds(0).to_string(), "1970-01-01T00:00");
}

#[test]
fn the_texts_of_a_person_are_counted_in_bytes() {
    let carried = Carried {
        note: "née".to_owned(),
        metadata: BTreeMap::from([("crm".to_owned(), "1700".to_owned())]),
        location: String::new(),
    };
    assert_eq!(
        carried.bytes(),
        [("note", 4), ("metadata", 7), ("location", 0)]
    );
    assert_eq!(carried.said(), ["note", "metadata"]);
    let key = EmailKey::from_folded("a@b");
    assert_eq!((key.as_str(), key.is_empty()), ("a@b", false));
    let none = EmailKey::from_folded("");
    assert_eq!(none, EmailKey::default());
    assert_eq!((none.as_str(), none.is_empty()), ("", true));
    let person = Person {
        invitee: Invitee {
            name: "Ada".to_owned(),
            email: Email {
                written: "A@B".to_owned(),
                key,
            },
            ..Invitee::default()
        },
        carried,
        cancel_reason: "ill".to_owned(),
    };
    assert_eq!(person.text_bytes(), 3 + 3 + 3 + 4 + 7 + 3);
}

#[test]
fn a_claim_says_when_it_expires_and_limits_whether_there_are_any() {
    let claim = |expire_time| {
        let (start, none) = (instant(NOW), minutes(0));
        let (key, number) = (AppointmentKey(1), TypeNumber(0));
        Claim::new(
            key,
            number,
            start,
            minutes(60),
            none,
            none,
            S::Held,
            expire_time,
        )
    };
    assert_eq!(claim(None).expire_time(), None);
    assert_eq!(claim(Some(instant(NOW))).expire_time(), Some(instant(NOW)));
    let session = Session::own(AppointmentKey(7), 2);
    assert_eq!(claim(None).in_session(session).session(), session);
    assert!(Limits::default().is_unlimited());
    let one = Limits {
        per_year: Some(1),
        ..Limits::default()
    };
    assert!(!one.is_unlimited());
}

#[test]
fn a_position_within_a_change_is_after_its_first_event() {
    let first = LogPosition::of(Revision(3));
    assert!(!first.is_within_change());
    assert!(LogPosition { event: 1, ..first }.is_within_change());
    assert_eq!(LogPosition::after(Revision(2)), first);
}

/// The change that the command makes.
fn change(state: &State, command: &Command) -> Change {
    let decision = decide(state, command, instant(NOW)).unwrap();
    decision
        .change(state, instant(NOW), Caller::default())
        .unwrap()
}

#[test]
fn a_log_entry_names_the_calendars_that_a_change_touched_and_the_versions_that_it_replaced() {
    let state = two_calendars();
    let ada = calendar_id("ada");
    let pause = Command::UpdateCalendar {
        calendar: ada.clone(),
        patch: ProfilePatch {
            paused: Some(true),
            ..ProfilePatch::default()
        },
        etag: None,
    };
    let paused = change(&state, &pause);
    let replaced = Replaced::by(&paused);
    assert_eq!(replaced.len(), 1);
    assert_eq!(replaced[0].calendar, ada);
    let Earlier::Profile(earlier) = &replaced[0].earlier else {
        panic!("{replaced:?}")
    };
    assert!(!earlier.paused && earlier.overrides.is_empty());

    let booked = change(&state, &Command::Book(visit(1, &["bob", "ada"])));
    assert_eq!(booked.events[0].calendars(), [&ada, &calendar_id("bob")]);
    assert_eq!(Replaced::by(&booked), []);
    let entry = LogEntry::of(&booked);
    let logged: Vec<_> = entry.appointments().collect();
    assert_eq!(logged.len(), 1);
    assert_eq!((logged[0].id, &logged[0].before), (id(1), &None));
    assert_eq!(entry.touched().count(), 2);
    assert_eq!(LogEntry::of(&paused).appointments().count(), 0);

    assert_eq!(entry.mark(), None);
    for cause in [
        Cause::Restore,
        Cause::ClockReset,
        Cause::CreateToken,
        Cause::RevokeToken,
        Cause::TenantDeletion,
    ] {
        let mark = LogEntry {
            cause,
            ..entry.clone()
        };
        assert_eq!(mark.mark().map(|it| it.cause), Some(cause));
    }
}

#[test]
fn only_the_overrides_that_a_change_touches_are_kept_beside_the_log() {
    let mut state = two_calendars();
    let dates = ["2027-02-01", "2027-02-02", "2027-02-03"].map(|it| it.parse().unwrap());
    let put = |dates: &[LocalDate]| Command::PutOverrides {
        calendar: calendar_id("ada"),
        overrides: dates.iter().map(|it| (*it, Default::default())).collect(),
        etag: None,
    };
    submit(&mut state, &put(&dates[..2]), instant(NOW)).unwrap();
    let remove = Command::DeleteOverrides {
        calendar: calendar_id("ada"),
        dates: [dates[1]].into(),
        etag: None,
    };
    let overrides = |command: &Command| match Replaced::by(&change(&state, command)).remove(0) {
        Replaced {
            earlier: Earlier::Profile(earlier),
            ..
        } => earlier.overrides,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        overrides(&remove),
        BTreeMap::from([(dates[1], Some(Vec::new()))])
    );
    assert_eq!(overrides(&put(&dates)), BTreeMap::from([(dates[2], None)]));
}

#[test]
fn a_command_weighs_as_many_bookings_as_it_is() {
    let calendars: Vec<String> = (0..16).map(|number| format!("c{number}")).collect();
    let names: Vec<&str> = calendars.iter().map(String::as_str).collect();
    let of = |count: usize| visit(1, &names[..count]);
    let weight = |count| Command::Book(of(count)).weight();
    assert_eq!([1, 7, 8, 15, 16].map(weight), [1, 1, 2, 2, 3]);
    let batch = |count: usize| Command::BatchBook(vec![of(8); count]);
    assert_eq!([0, 1, 7, 8].map(|it| batch(it).weight()), [1, 2, 14, 16]);
    assert_eq!(
        [1, 7, 8].map(|it| batch(it).is_refused_dearly()),
        [false, false, true]
    );
    let weekly = series(1, of(8), Frequency::Weekly, 9, Otherwise::Nothing);
    let weekly = Command::BookSeries(Box::new(weekly));
    assert_eq!(weekly.weight(), 18);
    assert!(weekly.is_refused_dearly());
    let all = Command::CancelSeries {
        scope: SeriesScope::One(id(1)),
        reason: String::new(),
    };
    assert_eq!(all.weight(), OCCURRENCES_MAX);
    assert!(all.is_refused_dearly());
    let wide = Command::Redact(Redacted::Email(EmailKey::default()));
    assert!(wide.weight() >= 16 && !wide.is_refused_dearly());
    let narrow = Command::Redact(Redacted::Appointment(id(1)));
    assert_eq!(narrow.weight(), 1);
}

#[test]
fn the_cancellation_of_a_series_needs_the_named_appointment_and_its_series() {
    let (one, whole) = (id(1), SeriesId(uuid::Uuid::from_u128(7)));
    let needs = |scope| {
        let reason = String::new();
        let Needs {
            appointments,
            series,
            ..
        } = Command::CancelSeries { scope, reason }.needs();
        (appointments, series)
    };
    let of_it = Some(SeriesName::Of(one));
    assert_eq!(needs(SeriesScope::One(one)), (vec![one], None));
    assert_eq!(needs(SeriesScope::Following(one)), (vec![one], of_it));
    let all = |name| needs(SeriesScope::All(name));
    assert_eq!(all(SeriesName::Of(one)), (vec![one], of_it));
    let by_id = Some(SeriesName::Id(whole));
    assert_eq!(all(SeriesName::Id(whole)), (Vec::new(), by_id));

    let mut state = two_calendars();
    let daily = series(
        7,
        visit(7, &["ada"]),
        Frequency::Daily,
        2,
        Otherwise::Nothing,
    );
    let daily = Command::BookSeries(Box::new(daily));
    let booked = submit(&mut state, &daily, instant(NOW)).unwrap();
    let series_in = |series| {
        let needs = Needs {
            series,
            ..Needs::default()
        };
        needs.series_in(&state)
    };
    assert_eq!(series_in(None), None);
    assert_eq!(series_in(by_id), Some(whole));
    assert_eq!(series_in(Some(SeriesName::Of(booked[1].id))), Some(whole));
    assert_eq!(series_in(of_it), None, "it was not loaded");
    let find = |id: &AppointmentId| booked.iter().find(|it| it.id == *id);
    let ids = [booked[0].id, id(99), booked[1].id];
    let report = SeriesReport::of_booked(&ids, find).unwrap();
    let indices: Vec<usize> = report.occurrences.iter().map(|it| it.index).collect();
    assert_eq!((report.series, indices), (whole, vec![0, 2]));
    assert_eq!(SeriesReport::of_booked(&ids[1..2], find), None);
}

#[test]
fn free_and_busy_time_are_cut_to_the_range_and_joined() {
    let mut state = two_calendars();
    submit(&mut state, &Command::Book(visit(1, &["ada"])), instant(NOW)).unwrap();
    let ada = &state.calendars[&calendar_id("ada")];
    let range = |from: i64, to: i64| {
        Interval::new(
            instant(NOW).plus(from * MINUTE),
            instant(NOW).plus(to * MINUTE),
        )
    };
    let asked = range(90, 300);
    assert_eq!(free_busy::open(ada, asked), [asked]);
    let busy = |past: &[Interval]| free_busy::busy(ada, asked, instant(NOW), past);
    assert_eq!(busy(&[]), [range(90, 130)], "the buffer included");
    assert_eq!(
        busy(&[range(0, 100), range(60, 90), range(200, 400)]),
        [range(90, 130), range(200, 300)]
    );
}
