//! Imports: all or nothing, no time twice, and all violations reported at once.

use bookd_core::appointment::{AppointmentState, IgnoredRules, Person};
use bookd_core::calendar::Profile;
use bookd_core::calendar::appointment_type::{AppointmentType, Stamps};
use bookd_core::calendar::availability::Availability;
use bookd_core::command::{Command, ImportedAppointment, ImportedCalendar, NewId, Start};
use bookd_core::decide::{IMPORT_VIOLATIONS_MAX, decide};
use bookd_core::ids::{AppointmentId, CalendarId, Caller, TypeId};
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::Instant;
use bookd_core::time::interval::Interval;
use uuid::Uuid;

use crate::world::{instant, minutes, zone};

const NOW: &str = "2027-03-01T08:00:00Z";

fn calendar(
    id: &str,
    types: Vec<AppointmentType>,
    appointments: Vec<ImportedAppointment>,
) -> ImportedCalendar {
    let profile = Profile::open(zone("Europe/Paris"), Availability::default());
    let (deleted_types, busy) = (vec![(TypeId::parse("gone").unwrap(), None)], Vec::new());
    let calendar = CalendarId::parse(id).unwrap();
    ImportedCalendar {
        calendar,
        profile,
        types,
        deleted_types,
        busy,
        appointments,
        origin: id.to_owned(),
    }
}

fn at(number: u128, start: &str, kind: &str) -> ImportedAppointment {
    ImportedAppointment {
        id: NewId::Brought(AppointmentId(Uuid::from_u128(number))),
        further_calendars: Vec::new(),
        type_id: TypeId::parse(kind).unwrap(),
        start: Start::At(instant(start)),
        duration: None,
        buffers: (None, None),
        recorded: None,
        state: AppointmentState::Confirmed,
        person: Person::default(),
        series: None,
        original_start: None,
        sequence: 0,
        ignored_rules: IgnoredRules::default(),
        origin: format!("[{number}]"),
    }
}

fn kind(id: &str) -> AppointmentType {
    AppointmentType {
        id: TypeId::parse(id).unwrap(),
        ..AppointmentType::default_type(Stamps::default())
    }
}

/// The state after an import into an empty one.
fn imported(calendars: Vec<ImportedCalendar>) -> Result<State, Refusal> {
    let mut state = State::default();
    let decision = decide(&state, &Command::Import(calendars), instant(NOW))?;
    let change = decision
        .change(&state, instant(NOW), Caller::default())
        .unwrap();
    state.apply(&change);
    Ok(state)
}

fn fields(refusal: Refusal) -> Vec<String> {
    let Refusal::FieldInvalid(found) = refusal else {
        panic!("{refusal:?}")
    };
    found.into_iter().map(|it| it.field).collect()
}

#[test]
fn an_import_stands_over_busy_time_and_deleted_types_keep_their_appointments() {
    let mut ada = calendar(
        "ada",
        Vec::new(),
        vec![
            at(1, "2027-03-02T10:00:00Z", "default"),
            at(2, "2027-03-02T12:00:00Z", "gone"),
        ],
    );
    let (from, to) = (
        instant("2027-03-02T09:00:00Z"),
        instant("2027-03-02T15:00:00Z"),
    );
    ada.busy = vec![("google".to_owned(), vec![Interval::new(from, to)])];
    let state = imported(vec![ada]).unwrap();
    let ada = &state.calendars[&CalendarId::parse("ada").unwrap()];
    assert_eq!(ada.claims.ending_after(Instant::MIN).count(), 2);
    assert_eq!(
        ada.types
            .deleted()
            .map(|(id, _)| id.as_str())
            .collect::<Vec<_>>(),
        ["gone"]
    );
    assert!(ada.types.find(&TypeId::parse("gone").unwrap()).is_none());
    assert!(
        ada.types.deleted().all(|(_, it)| it.last.is_none()),
        "the last definition is not known"
    );
}

#[test]
fn what_was_booked_of_a_deleted_type_keeps_the_buffers_of_its_last_definition_on_every_calendar() {
    let last = AppointmentType {
        buffer_before: minutes(20),
        buffer_after: minutes(40),
        ..kind("gone")
    };
    let rooms = ["ada", "room"].map(|id| {
        let appointment = ImportedAppointment {
            further_calendars: vec![CalendarId::parse("room").unwrap()],
            buffers: (Some(minutes(5)), None),
            ..at(1, "2027-03-02T12:00:00Z", "gone")
        };
        let booked = if id == "ada" {
            vec![appointment]
        } else {
            Vec::new()
        };
        let deleted_types = vec![(last.id.clone(), Some(last.clone()))];
        ImportedCalendar {
            deleted_types,
            ..calendar(id, Vec::new(), booked)
        }
    });
    let state = imported(rooms.into()).unwrap();
    let places = &state.appointments.values().next().unwrap().places;
    let buffers: Vec<_> = places
        .iter()
        .map(|it| (it.before.minutes(), it.after.minutes()))
        .collect();
    assert_eq!(buffers, [(5, 40), (20, 40)]);
}

#[test]
fn a_conflict_that_buffers_make_is_found_and_requests_that_do_not_block_make_none() {
    let buffered = AppointmentType {
        buffer_after: minutes(30),
        ..kind("buffered")
    };
    let free = AppointmentType {
        pending_blocks: false,
        requires_approval: true,
        ..kind("free")
    };
    let types = || vec![buffered.clone(), free.clone()];
    let beside = vec![
        at(1, "2027-03-02T10:00:00Z", "buffered"),
        at(2, "2027-03-02T11:15:00Z", "buffered"),
    ];
    assert_eq!(
        fields(imported(vec![calendar("ada", types(), beside.clone())]).unwrap_err()),
        ["[2].start_time"]
    );
    let mut shorter = beside;
    shorter[0].buffers.1 = Some(minutes(15));
    imported(vec![calendar("ada", types(), shorter)]).unwrap();
    let pending = |number| ImportedAppointment {
        state: AppointmentState::Pending,
        ..at(number, "2027-03-02T10:00:00Z", "free")
    };
    let state = imported(vec![calendar("ada", types(), vec![pending(1), pending(2)])]).unwrap();
    let ada = &state.calendars[&CalendarId::parse("ada").unwrap()];
    assert_eq!(
        (
            ada.requests.len(),
            ada.claims.ending_after(Instant::MIN).count()
        ),
        (2, 0)
    );
    let over = ImportedAppointment {
        state: AppointmentState::Pending,
        ..at(3, "2027-02-01T10:00:00Z", "free")
    };
    let state = imported(vec![calendar("ada", types(), vec![over])]).unwrap();
    assert!(
        state
            .appointments
            .values()
            .all(|it| it.state == AppointmentState::Expired)
    );
}

#[test]
fn everything_wrong_is_told_at_once_but_no_more_than_so_much() {
    let wrong = vec![
        at(1, "2027-03-02T10:00:00Z", "default"),
        at(2, "2027-03-02T10:30:00Z", "default"),
        at(1, "2027-03-02T12:00:00Z", "default"),
        at(3, "2027-03-02T13:00:00Z", "unknown"),
        ImportedAppointment {
            further_calendars: vec![CalendarId::parse("nobody").unwrap()],
            ..at(4, "2027-03-02T14:00:00Z", "default")
        },
    ];
    let reported = fields(imported(vec![calendar("ada", Vec::new(), wrong)]).unwrap_err());
    assert_eq!(
        reported,
        [
            "[2].start_time",
            "[1].appointment_id",
            "[3].appointment_type_id",
            "[4].calendar_ids"
        ]
    );
    let many = (0..1_000)
        .map(|number| at(number, "2027-03-02T10:00:00Z", "default"))
        .collect();
    assert_eq!(
        fields(imported(vec![calendar("ada", Vec::new(), many)]).unwrap_err()).len(),
        IMPORT_VIOLATIONS_MAX
    );
    let twice = vec![
        calendar("ada", Vec::new(), Vec::new()),
        calendar("ada", Vec::new(), Vec::new()),
    ];
    assert_eq!(fields(imported(twice).unwrap_err()), ["ada.calendar_id"]);
    let state = imported(vec![calendar("ada", Vec::new(), Vec::new())]).unwrap();
    let again = decide(
        &state,
        &Command::Import(vec![calendar("ada", Vec::new(), Vec::new())]),
        instant(NOW),
    );
    assert!(matches!(again, Err(Refusal::CalendarExists(_))));
}

#[test]
fn a_calendar_whose_default_type_was_deleted_comes_without_one() {
    let mut ada = calendar(
        "ada",
        vec![kind("visit")],
        vec![at(1, "2027-03-02T10:00:00Z", "default")],
    );
    ada.deleted_types.push((TypeId::default_type(), None));
    let state = imported(vec![ada]).unwrap();
    let types = &state.calendars[&CalendarId::parse("ada").unwrap()].types;
    assert_eq!(
        types.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(),
        ["visit"]
    );
}

/// Pseudo-random numbers below a bound, the same in every run.
fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

#[test]
fn whatever_is_imported_no_two_appointments_have_one_time() {
    use AppointmentState as S;
    let (mut whole, mut refused) = (0, 0);
    for seed in 0..2_000 {
        let mut next = numbers(seed);
        let mut below = |most: u64| u16::try_from(next(most)).unwrap();
        let class = AppointmentType {
            capacity: 3,
            buffer_after: minutes(below(3) * 10),
            ..kind("class")
        };
        let free = AppointmentType {
            pending_blocks: false,
            ..kind("free")
        };
        let appointments = (0..4 + below(4)).map(|number| {
            let start = format!("2027-03-02T{:02}:{:02}:00Z", 6 + below(16), below(2) * 30);
            let states = [
                S::Confirmed,
                S::Pending,
                S::Completed,
                S::Cancelled,
                S::NoShow,
                S::Expired,
                S::Declined,
            ];
            let buffer = (below(3) == 0).then(|| minutes(below(3) * 10));
            ImportedAppointment {
                state: states[usize::from(below(7))],
                duration: (below(2) == 0).then(|| minutes(30)),
                buffers: (None, buffer),
                ..at(
                    u128::from(number) + 1,
                    &start,
                    ["class", "gone", "free", "default"][usize::from(below(4))],
                )
            }
        });
        let appointments: Vec<_> = appointments.collect();
        match imported(vec![calendar("ada", vec![class, free], appointments)]) {
            Err(refusal) => refused += usize::from(!fields(refusal).is_empty()),
            Ok(state) => {
                whole += 1;
                let ada = &state.calendars[&CalendarId::parse("ada").unwrap()];
                let claims: Vec<_> = ada.claims.ending_after(Instant::MIN).collect();
                for (n, one) in claims.iter().enumerate() {
                    for other in &claims[n + 1..] {
                        let is_session = one.type_number() == other.type_number()
                            && one.start() == other.start();
                        assert!(
                            is_session || !one.padded().overlaps(other.padded()),
                            "seed {seed}"
                        );
                    }
                }
            }
        }
    }
    assert!(
        whole > 100 && refused > 100,
        "{whole} whole, {refused} refused"
    );
}

#[test]
fn an_imported_request_waits_if_it_starts_later_and_takes_its_time_by_its_type() {
    let own = AppointmentType {
        pending_blocks: false,
        ..kind("own")
    };
    let pending = |number, start| ImportedAppointment {
        state: AppointmentState::Pending,
        ..at(number, start, "own")
    };
    let later = instant(NOW).plus(60).to_string();
    let appointments = vec![
        pending(1, NOW),
        pending(2, &later),
        at(3, "2027-03-02T10:00:00Z", "own"),
    ];
    let state = imported(vec![calendar("ada", vec![own], appointments)]).unwrap();
    let seen = |number| {
        let found = &state.appointments[&AppointmentId(Uuid::from_u128(number))];
        (found.state, found.blocks, found.expire_time.is_some())
    };
    assert_eq!(seen(1), (AppointmentState::Expired, true, false));
    assert_eq!(seen(2), (AppointmentState::Pending, false, true));
    assert_eq!(seen(3), (AppointmentState::Confirmed, true, false));
}

#[test]
fn imported_appointments_that_are_over_have_the_time_of_others() {
    let start = "2027-03-02T10:00:00Z";
    let over = |number, state| ImportedAppointment {
        state,
        ..at(number, start, "default")
    };
    let mut appointments = vec![at(1, start, "default")];
    appointments.push(over(2, AppointmentState::Cancelled));
    appointments.push(over(3, AppointmentState::Declined));
    appointments.push(over(4, AppointmentState::Expired));
    assert!(imported(vec![calendar("ada", Vec::new(), appointments.clone())]).is_ok());
    appointments.push(over(5, AppointmentState::NoShow));
    assert!(imported(vec![calendar("ada", Vec::new(), appointments)]).is_err());
}

#[test]
fn a_calendar_without_types_gets_the_default_one_unless_that_was_deleted() {
    let state = imported(vec![calendar("ada", Vec::new(), Vec::new())]).unwrap();
    let ids = |state: &State| {
        let types = &state.calendars[&CalendarId::parse("ada").unwrap()].types;
        let ids = types.iter().map(|it| it.id.to_string());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&state), ["default"]);
    let mut ada = calendar("ada", vec![kind("visit")], Vec::new());
    ada.deleted_types = vec![(TypeId::default_type(), None)];
    assert_eq!(ids(&imported(vec![ada]).unwrap()), ["visit"]);
    let own = AppointmentType {
        duration: minutes(45),
        ..kind("default")
    };
    let state = imported(vec![calendar("ada", vec![own], Vec::new())]).unwrap();
    let types = &state.calendars[&CalendarId::parse("ada").unwrap()].types;
    let default = types.find(&TypeId::default_type()).unwrap();
    assert_eq!(default.duration, minutes(45), "its own one stays");
}

#[test]
fn an_import_needs_its_calendars_those_that_it_names_and_the_ids_that_it_brings() {
    let mut shared = at(7, "2027-03-02T10:00:00Z", "default");
    shared.further_calendars = vec![CalendarId::parse("room").unwrap()];
    let made = ImportedAppointment {
        id: NewId::Made(AppointmentId(Uuid::from_u128(8))),
        ..at(8, "2027-03-02T12:00:00Z", "default")
    };
    let needs = Command::Import(vec![calendar("ada", Vec::new(), vec![shared, made])]).needs();
    let calendars: Vec<&str> = needs.calendars.iter().map(|it| it.as_str()).collect();
    assert_eq!(calendars, ["ada", "room"]);
    assert_eq!(needs.appointments, [AppointmentId(Uuid::from_u128(7))]);
}
