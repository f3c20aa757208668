//! Prefixes of calendar ids, and decisions for callers who may change some calendars only.

use bookd_core::appointment::{Assignment, EmailKey, Invitee};
use bookd_core::command::{Booking, Command, Move, Redacted, SeriesName, SeriesScope};
use bookd_core::decide::{Decision, decide_within};
use bookd_core::ids::{AppointmentId, SeriesId};
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;
use bookd_core::refusal::Refusal;
use bookd_core::state::State;

use crate::decide::{NOW, booking, calendar_id, id, submit, two_calendars, visit};
use crate::world::instant;

fn on(text: &str) -> Prefixes {
    Prefixes::beginning_with(text)
}

fn reach(text: &str) -> Reach {
    Reach::on(on(text))
}

#[test]
fn a_prefix_of_a_grant_ends_in_a_slash() {
    for prefix in ["", "acme/", "acme/north/", "a:b@c.d_e-f+g/"] {
        assert!(Prefixes::parse(prefix).is_ok(), "{prefix}");
    }
    let long = format!("{}/", "x".repeat(128));
    for prefix in ["acme", "/", " ", "acme/ ", "a*/", "ä/", &long] {
        assert!(Prefixes::parse(prefix).is_err(), "{prefix}");
    }
    let acme = Prefixes::parse("acme/").unwrap();
    assert!(acme.has("acme/ada") && acme.has("acme/north/ada"));
    for other in ["acme", "acmeX/ada", "beta/acme/ada", ""] {
        assert!(!acme.has(other), "{other}");
    }
}

#[test]
fn prefixes_are_intersected_and_joined() {
    let both = on("acme/").or(&on("beta/"));
    assert_eq!(both.to_string(), "acme/, beta/");
    assert_eq!(both.or(&on("acme/north/")), both);
    assert_eq!(both.or(&Prefixes::ALL), Prefixes::ALL);
    assert_eq!(both.and(&Prefixes::ALL), both);
    assert_eq!(both.and(&on("a")).to_string(), "acme/");
    assert_eq!(both.and(&on("acme/no")).to_string(), "acme/no");
    assert_eq!(on("acme/no").and(&both).to_string(), "acme/no");
    assert!(both.and(&on("acmeX")).is_nothing());
    assert!(Prefixes::nothing().and(&both).is_nothing());
    assert!(both.include(&on("beta/x")) && !on("beta/x").include(&both));
    assert!(both.include(&Prefixes::nothing()) && !both.include(&Prefixes::ALL));
    assert!(Prefixes::ALL.include(&both) && Prefixes::ALL.has(""));
    assert!(!Prefixes::nothing().has("acme/ada"));
    assert_eq!(Prefixes::ALL.iter().collect::<Vec<_>>(), [""]);
    assert_eq!(Prefixes::nothing().iter().count(), 0);
    assert_eq!(Prefixes::nothing().to_string(), "no calendars");
}

/// A state with an appointment on `ada`, one on `bob` and one on both, all of one invitee.
fn three_appointments() -> State {
    let mut state = two_calendars();
    let start = |hour: u32| instant(&format!("2027-01-05T{hour:02}:00:00Z"));
    for (number, calendars, hour) in [
        (1, &["ada"][..], 9),
        (2, &["bob"], 9),
        (3, &["ada", "bob"], 12),
    ] {
        let mut booking = booking(number, calendars, Assignment::All, "visit", start(hour));
        booking.person.invitee = Some(grace());
        submit(&mut state, &Command::Book(booking), instant(NOW)).unwrap();
    }
    state
}

fn grace() -> Invitee {
    let mut invitee = Invitee {
        name: "Grace".to_owned(),
        ..Invitee::default()
    };
    invitee.email.key = EmailKey::from_folded("grace@example.com");
    invitee
}

/// What somebody who may change `ada` alone is answered.
fn of_ada(state: &State, command: &Command) -> Result<Decision, Refusal> {
    decide_within(&reach("ada"), state, command, instant(NOW))
}

fn commands(appointment: AppointmentId) -> [Command; 7] {
    let (etag, reason) = (None, String::new());
    [
        Command::Cancel {
            appointment,
            reason: reason.clone(),
            etag,
        },
        Command::ReleaseHold { appointment, etag },
        Command::Approve { appointment, etag },
        Command::Confirm {
            appointment,
            invitee: None,
            etag,
        },
        Command::Redact(Redacted::Appointment(appointment)),
        Command::Reschedule(Move {
            appointment,
            start: None,
            duration: None,
            calendars: vec![calendar_id("ada")],
            assignment: Assignment::All,
            ignored_rules: Default::default(),
            etag,
        }),
        Command::CancelSeries {
            scope: SeriesScope::One(appointment),
            reason,
        },
    ]
}

#[test]
fn an_appointment_elsewhere_is_not_there_and_one_that_is_also_elsewhere_is_out_of_reach() {
    let state = three_appointments();
    for command in commands(id(2)) {
        let refused = of_ada(&state, &command).unwrap_err();
        assert_eq!(refused, Refusal::AppointmentNotFound(id(2)), "{command:?}");
    }
    for command in commands(id(3)) {
        let refused = of_ada(&state, &command).unwrap_err();
        assert_eq!(refused, Refusal::OutOfReach(id(3)), "{command:?}");
    }
    for command in commands(id(1)) {
        let answered = of_ada(&state, &command);
        assert!(
            !matches!(
                answered,
                Err(Refusal::AppointmentNotFound(_) | Refusal::OutOfReach(_))
            ),
            "{command:?}"
        );
    }
}

#[test]
fn a_hold_elsewhere_cannot_be_booked() {
    let state = three_appointments();
    let booking = Booking {
        hold: Some(id(2)),
        ..visit(9, instant("2027-01-06T09:00:00Z"))
    };
    for command in [
        Command::Book(booking.clone()),
        Command::BatchBook(vec![booking]),
    ] {
        let refused = of_ada(&state, &command).unwrap_err();
        let refused = match refused {
            Refusal::InBatch { refusal, .. } => *refusal,
            refused => refused,
        };
        assert_eq!(refused, Refusal::AppointmentNotFound(id(2)));
    }
}

#[test]
fn a_person_is_removed_from_the_appointments_on_the_callers_calendars_alone() {
    let state = three_appointments();
    let email = EmailKey::from_folded("grace@example.com");
    let removal = Command::Redact(Redacted::Email(email));
    let redacted = of_ada(&state, &removal).unwrap().outcome.appointments;
    let ids: Vec<_> = redacted.iter().map(|it| it.id).collect();
    assert_eq!(ids, [id(1)]);
    let all = decide_within(&Reach::ALL, &state, &removal, instant(NOW)).unwrap();
    assert_eq!(all.outcome.appointments.len(), 3);
}

#[test]
fn a_calendar_is_not_deleted_over_appointments_that_are_also_elsewhere() {
    let state = three_appointments();
    let deletion = |name: &str| Command::DeleteCalendar {
        calendar: calendar_id(name),
        force: true,
        etag: None,
        beforehand: None,
    };
    assert_eq!(
        of_ada(&state, &deletion("ada")).unwrap_err(),
        Refusal::OutOfReach(id(3))
    );
    assert!(decide_within(&reach(""), &state, &deletion("ada"), instant(NOW)).is_ok());
}

#[test]
fn a_series_elsewhere_is_not_there() {
    let state = three_appointments();
    let series = SeriesId(uuid::Uuid::from_u128(77));
    let cancellation = Command::CancelSeries {
        scope: SeriesScope::All(SeriesName::Id(series)),
        reason: String::new(),
    };
    let refused = of_ada(&state, &cancellation).unwrap_err();
    assert_eq!(refused, Refusal::SeriesNotFound(series));
}

#[test]
fn who_sees_a_part_of_an_appointment_sees_its_own_calendars_and_no_person() {
    let state = three_appointments();
    let shared = &state.appointments[&id(3)];
    let seen = reach("ada").show(shared).unwrap();
    let calendars: Vec<_> = seen.calendars().map(|it| it.as_str()).collect();
    assert_eq!(calendars, ["ada"]);
    assert_eq!(seen.person, Default::default());
    assert_eq!((seen.start, seen.state), (shared.start, shared.state));
    assert_eq!(reach("").show(shared).as_ref(), Some(&**shared));
    assert_eq!(reach("ada").show(&state.appointments[&id(2)]), None);
}

#[test]
fn a_customer_reaches_its_own_appointments_alone() {
    let mut state = three_appointments();
    let mut of_eve = booking(
        4,
        &["ada"],
        Assignment::All,
        "visit",
        instant("2027-01-06T09:00:00Z"),
    );
    let key = EmailKey::from_folded("eve@example.com");
    let mut eve = grace();
    eve.email.key = key.clone();
    of_eve.person.invitee = Some(eve);
    submit(&mut state, &Command::Book(of_eve), instant(NOW)).unwrap();
    let own = Reach {
        calendars: Prefixes::ALL,
        customer: Some(key),
    };
    let cancel = |appointment| Command::Cancel {
        appointment,
        reason: String::new(),
        etag: None,
    };
    for number in 1..=3 {
        let refused = decide_within(&own, &state, &cancel(id(number)), instant(NOW)).unwrap_err();
        assert_eq!(refused, Refusal::AppointmentNotFound(id(number)));
        assert_eq!(own.show(&state.appointments[&id(number)]), None);
    }
    assert!(decide_within(&own, &state, &cancel(id(4)), instant(NOW)).is_ok());
    let elsewhere = Reach {
        calendars: on("bob"),
        ..own.clone()
    };
    assert!(decide_within(&elsewhere, &state, &cancel(id(4)), instant(NOW)).is_err());
    assert!(own.includes(&elsewhere) && !elsewhere.includes(&own));
    assert!(Reach::ALL.includes(&own) && !own.includes(&Reach::ALL));
    assert_eq!(own.and(&reach("bob")), elsewhere);
}
