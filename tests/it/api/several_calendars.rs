//! Appointments on several calendars: all of them, as a doctor and a room, or any that is free.
//!
//! With ALL every calendar is taken or none.

use bookd::proto::v1 as pb;
use tonic::Code;

use crate::harness::{Bookd, minutes};
use crate::words::{appointment_type, booking, grace, holding, refused};

const DAY: &str = "2027-03-02";

fn ids(calendars: &[&str]) -> Vec<String> {
    calendars.iter().map(|it| (*it).to_owned()).collect()
}

fn list(calendars: &[&str], assignment: pb::Assignment) -> pb::ListSlotsRequest {
    pb::ListSlotsRequest {
        calendar_ids: ids(calendars),
        assignment: assignment.into(),
        date: DAY.into(),
        time_zone: "Europe/Paris".into(),
        ..Default::default()
    }
}

fn book(calendars: &[&str], assignment: pb::Assignment, clock: &str) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        calendar_ids: ids(calendars),
        assignment: assignment.into(),
        local_start: format!("{DAY}T{clock}"),
        invitee: grace(),
        ..Default::default()
    }
}

fn explain(calendars: &[&str], assignment: pb::Assignment, clock: &str) -> pb::ExplainSlotRequest {
    pb::ExplainSlotRequest {
        calendar_ids: ids(calendars),
        assignment: assignment.into(),
        local_start: format!("{DAY}T{clock}"),
        time_zone: "Europe/Paris".into(),
        ..Default::default()
    }
}

impl Bookd {
    /// A doctor from 09:00 to 13:00 and two rooms, of which the first is closed before 11:00.
    async fn with_practice() -> Self {
        let bookd = Self::start_at(crate::words::NOW).await;
        bookd
            .hours("doctor", "Europe/Paris", &[("09:00", "13:00")])
            .await;
        bookd
            .hours("room/1", "Europe/Paris", &[("11:00", "18:00")])
            .await;
        bookd
            .hours("room/2", "Europe/Paris", &[("08:00", "18:00")])
            .await;
        bookd
    }

    async fn explained(&self, request: pb::ExplainSlotRequest) -> pb::ExplainSlotResponse {
        self.slots()
            .explain_slot(request)
            .await
            .unwrap()
            .into_inner()
    }
}

fn clock(slot: &pb::Slot) -> &str {
    slot.local_start.split_once('T').unwrap().1
}

#[tokio::test]
async fn all_of_them_are_taken_at_once_or_none_is() {
    use pb::Assignment::All;
    let bookd = Bookd::with_practice().await;
    let both = ["doctor", "room/1"];
    assert_eq!(bookd.starts_of(list(&both, All)).await, ["11:00", "12:00"]);
    bookd.booked("room/1", "2027-03-02T12:00").await;
    let taken = refused(bookd.book(book(&both, All, "12:00")).await);
    assert!(
        taken.is(Code::Aborted, "SLOT_TAKEN") && taken.codes() == ["BUSY_BOOKING"],
        "{taken:?}"
    );
    assert_eq!(
        bookd.starts("doctor", "Europe/Paris", DAY).await,
        ["09:00", "10:00", "11:00", "12:00"],
        "a refused booking takes no time"
    );
    let closed = refused(bookd.book(book(&both, All, "10:00")).await);
    assert!(
        closed.is(Code::FailedPrecondition, "SLOT_UNAVAILABLE")
            && closed.codes() == ["OUTSIDE_AVAILABILITY"]
    );
    let booked = bookd.book(book(&both, All, "11:00")).await.unwrap();
    assert_eq!(booked.calendar_ids, both);
    assert!(bookd.starts_of(list(&both, All)).await.is_empty());
    // A move takes both calendars along; after the move to the other room the first one is free.
    let to_other_room = pb::RescheduleAppointmentRequest {
        appointment_id: booked.appointment_id.clone(),
        local_start: format!("{DAY}T09:00"),
        calendar_ids: ids(&["doctor", "room/2"]),
        assignment: All.into(),
        ..Default::default()
    };
    let moved = bookd
        .booking()
        .reschedule_appointment(to_other_room)
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    assert_eq!(
        (moved.calendar_ids, moved.sequence),
        (ids(&["doctor", "room/2"]), 1)
    );
    assert!(
        bookd
            .starts("room/1", "Europe/Paris", DAY)
            .await
            .contains(&"11:00".to_owned())
    );
    assert!(
        !bookd
            .starts("room/2", "Europe/Paris", DAY)
            .await
            .contains(&"09:00".to_owned())
    );
    bookd.cancel(&booked.appointment_id).await;
    assert_eq!(bookd.starts("doctor", "Europe/Paris", DAY).await.len(), 4);
    bookd.stop().await;
}

#[tokio::test]
async fn any_takes_the_least_loaded_then_the_first_by_id_and_says_why() {
    use pb::Assignment::Any;
    let bookd = Bookd::with_practice().await;
    let rooms = ["room/2", "room/1"];
    let mut taken = Vec::new();
    for clock in ["12:00", "12:00", "13:00", "09:00"] {
        let answer = bookd
            .booking()
            .book_appointment(book(&rooms, Any, clock))
            .await
            .unwrap()
            .into_inner();
        taken.extend(answer.appointment.unwrap().calendar_ids);
        let chosen: Vec<_> = answer
            .candidates
            .iter()
            .filter(|it| it.chosen)
            .map(|it| it.calendar_id.clone())
            .collect();
        assert_eq!(
            (answer.candidates.len(), chosen.as_slice()),
            (2, &taken[taken.len() - 1..])
        );
        assert!(answer.candidates.iter().all(|it| !it.reason.is_empty()));
    }
    assert_eq!(taken, ["room/1", "room/2", "room/1", "room/2"]);
    let full = refused(bookd.book(book(&rooms, Any, "12:00")).await);
    assert!(full.is(Code::Aborted, "SLOT_TAKEN"), "{full:?}");
    let race = refused(bookd.book(book(&rooms, Any, "09:00")).await);
    assert!(
        race.is(Code::Aborted, "SLOT_TAKEN"),
        "one is closed, the other merely taken: {race:?}"
    );
    let closed = refused(bookd.book(book(&rooms, Any, "07:00")).await);
    assert!(
        closed.is(Code::FailedPrecondition, "SLOT_UNAVAILABLE"),
        "{closed:?}"
    );
    bookd.stop().await;
}

#[tokio::test]
async fn a_hold_on_any_keeps_the_one_that_it_took() {
    use pb::Assignment::Any;
    let bookd = Bookd::with_practice().await;
    let hold = pb::HoldAppointmentRequest {
        calendar_id: String::new(),
        calendar_ids: ids(&["room/1", "room/2"]),
        assignment: Any.into(),
        ..holding("", &format!("{DAY}T12:00"))
    };
    let held = bookd
        .booking()
        .hold_appointment(hold)
        .await
        .unwrap()
        .into_inner()
        .appointment
        .unwrap();
    assert_eq!(held.calendar_ids, ["room/1"]);
    let booked = bookd
        .book(pb::BookAppointmentRequest {
            hold_id: held.appointment_id,
            invitee: grace(),
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(booked.calendar_ids, ["room/1"]);
    bookd.stop().await;
}

#[tokio::test]
async fn another_calendar_of_any_never_removes_a_slot() {
    use pb::Assignment::Any;
    let bookd = Bookd::with_practice().await;
    bookd.booked("room/2", "2027-03-02T12:00").await;
    bookd
        .put_type(
            "doctor",
            pb::AppointmentType {
                slot_step: Some(minutes(20)),
                ..appointment_type("default", 60)
            },
        )
        .await;
    let all = ["room/1", "room/2", "doctor"];
    for count in 1..all.len() {
        let (fewer, more) = (list(&all[..count], Any), list(&all[..count + 1], Any));
        let (fewer, more) = (bookd.starts_of(fewer).await, bookd.starts_of(more).await);
        assert!(
            fewer.iter().all(|it| more.contains(it)),
            "{fewer:?} {more:?}"
        );
        assert!(fewer.len() < more.len());
    }
    bookd.stop().await;
}

#[tokio::test]
async fn an_explanation_names_who_could_take_it_and_the_nearest_slots_as_they_are_listed() {
    use pb::Assignment::{All, Any};
    let bookd = Bookd::with_practice().await;
    bookd.booked("room/2", "2027-03-02T12:00").await;
    let free = bookd
        .explained(explain(&["room/1", "room/2"], Any, "12:00"))
        .await;
    assert!(free.bookable && free.violations.is_empty());
    assert_eq!(
        free.slot.unwrap().calendar_ids,
        ["room/1"],
        "the other one is taken"
    );
    assert_eq!(
        (
            clock(&free.previous_slot.clone().unwrap()),
            free.previous_slot.unwrap().calendar_ids
        ),
        ("11:00", ids(&["room/1", "room/2"]))
    );
    let early = bookd
        .explained(explain(&["doctor", "room/1"], All, "10:00"))
        .await;
    assert!(!early.bookable);
    assert_eq!(
        early
            .violations
            .iter()
            .map(|it| (&it.calendar_id[..], it.code()))
            .collect::<Vec<_>>(),
        [("room/1", pb::ViolationCode::OutsideAvailability)]
    );
    assert_eq!(clock(&early.next_slot.unwrap()), "11:00");
    assert_eq!(early.slot.unwrap().calendar_ids, ["doctor", "room/1"]);
    bookd.stop().await;
}

#[tokio::test]
async fn one_query_shows_open_and_taken_time_of_100_calendars_and_of_no_more() {
    let bookd = Bookd::with_practice().await;
    bookd.booked("doctor", "2027-03-02T09:00").await;
    let query = |calendar_ids: Vec<String>| pb::QueryFreeBusyRequest {
        calendar_ids,
        start_time: Some(crate::harness::timestamp("2027-03-02T00:00:00Z")),
        end_time: Some(crate::harness::timestamp("2027-03-03T00:00:00Z")),
    };
    let many: Vec<String> = (0..100).map(|number| format!("desk/{number}")).collect();
    for desk in &many {
        bookd
            .hours(desk, "Europe/Paris", &[("09:00", "17:00")])
            .await;
    }
    let answer = bookd
        .slots()
        .query_free_busy(query(many.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        answer
            .calendars
            .iter()
            .map(|it| it.open.len())
            .sum::<usize>(),
        100
    );
    let too_many = many.into_iter().chain(["doctor".to_owned()]).collect();
    assert_eq!(
        refused(bookd.slots().query_free_busy(query(too_many)).await).fields(),
        ["calendar_ids"]
    );
    let doctor = bookd
        .slots()
        .query_free_busy(query(ids(&["doctor"])))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(doctor.calendars[0].busy.len(), 1);
    assert!(
        bookd
            .book(booking("doctor", "2027-03-02T10:00"))
            .await
            .is_ok()
    );
    bookd.stop().await;
}
