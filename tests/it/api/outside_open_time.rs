//! The answer to a change of hours names the upcoming appointments that now lie outside open time.
//!
//! The tests name appointments by their local starts, all on the Monday a week after the clock's.

use bookd::proto::v1 as pb;
use tonic::Status;

use crate::harness::Bookd;
use crate::words::{appointment_type, booking, rule, set_availability};

/// The date of every appointment.
const DATE: &str = "2027-03-08";

/// A change of what is open on the calendar `ada`.
#[derive(Clone)]
enum Change {
    Set(pb::SetAvailabilityRequest),
    PutOverrides(pb::PutOverridesRequest),
    DeleteOverrides(pb::DeleteOverridesRequest),
    Update(pb::UpdateCalendarRequest),
    PutType(pb::PutAppointmentTypeRequest),
}

impl Change {
    /// These hours every day.
    fn hours(start: &str, end: &str) -> Self {
        Self::Set(set_availability("ada", "", vec![rule(start, end)]))
    }

    /// Closes the date.
    fn closed() -> Self {
        let overrides = vec![pb::AvailabilityOverride {
            date: DATE.into(),
            ..Default::default()
        }];
        Self::PutOverrides(pb::PutOverridesRequest {
            calendar_id: "ada".into(),
            overrides,
            ..Default::default()
        })
    }

    /// Gives the date back to the weekly rules.
    fn reopened() -> Self {
        let (calendar_id, dates) = ("ada".into(), vec![DATE.into()]);
        Self::DeleteOverrides(pb::DeleteOverridesRequest {
            calendar_id,
            dates,
            ..Default::default()
        })
    }

    fn calendar(calendar: pb::Calendar) -> Self {
        let calendar = Some(calendar);
        Self::Update(pb::UpdateCalendarRequest {
            calendar_id: "ada".into(),
            calendar,
            ..Default::default()
        })
    }

    fn zone(time_zone: &str) -> Self {
        Self::calendar(pb::Calendar {
            time_zone: time_zone.into(),
            ..Default::default()
        })
    }

    fn of_type(appointment_type: pb::AppointmentType) -> Self {
        let appointment_type = Some(appointment_type);
        Self::PutType(pb::PutAppointmentTypeRequest {
            calendar_id: "ada".into(),
            appointment_type,
            ..Default::default()
        })
    }

    /// A type of 60 minutes with hours of its own, or with the calendar's if there are none.
    fn type_hours(appointment_type_id: &str, hours: Option<(&str, &str)>) -> Self {
        let rules = hours.iter().map(|(start, end)| rule(start, end)).collect();
        Self::of_type(pb::AppointmentType {
            rules,
            ..appointment_type(appointment_type_id, 60)
        })
    }

    fn validated(mut self) -> Self {
        *self.terms().1 = true;
        self
    }

    fn requested(mut self, request_id: &str) -> Self {
        *self.terms().0 = request_id.into();
        self
    }

    fn terms(&mut self) -> (&mut String, &mut bool) {
        match self {
            Self::Set(it) => (&mut it.request_id, &mut it.validate_only),
            Self::PutOverrides(it) => (&mut it.request_id, &mut it.validate_only),
            Self::DeleteOverrides(it) => (&mut it.request_id, &mut it.validate_only),
            Self::Update(it) => (&mut it.request_id, &mut it.validate_only),
            Self::PutType(it) => (&mut it.request_id, &mut it.validate_only),
        }
    }

    /// Sends the change; returns the appointments that its answer names, and its revision.
    async fn answer(self, bookd: &Bookd) -> Result<(Vec<pb::Appointment>, i64), Status> {
        Ok(match self {
            Self::Set(it) => {
                let answer = bookd
                    .availability()
                    .set_availability(it)
                    .await?
                    .into_inner();
                (answer.appointments_outside, answer.revision)
            }
            Self::PutOverrides(it) => {
                let answer = bookd.availability().put_overrides(it).await?.into_inner();
                (answer.appointments_outside, answer.revision)
            }
            Self::DeleteOverrides(it) => {
                let answer = bookd
                    .availability()
                    .delete_overrides(it)
                    .await?
                    .into_inner();
                (answer.appointments_outside, answer.revision)
            }
            Self::Update(it) => {
                let answer = bookd.calendars().update_calendar(it).await?.into_inner();
                (answer.appointments_outside, answer.revision)
            }
            Self::PutType(it) => {
                let answer = bookd
                    .calendars()
                    .put_appointment_type(it)
                    .await?
                    .into_inner();
                (answer.appointments_outside, answer.revision)
            }
        })
    }

    /// The local clock times of the appointments that the answer names.
    async fn names(self, bookd: &Bookd) -> Vec<String> {
        let (named, _) = self.answer(bookd).await.unwrap();
        named
            .iter()
            .map(|appointment| {
                appointment
                    .local_start
                    .strip_prefix(&format!("{DATE}T"))
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }
}

async fn booked(bookd: &Bookd, clock: &str, appointment_type_id: &str) -> pb::Appointment {
    let request = booking("ada", &format!("{DATE}T{clock}"));
    bookd
        .book(pb::BookAppointmentRequest {
            appointment_type_id: appointment_type_id.into(),
            ..request
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn another_zone_of_a_calendar_names_what_it_leaves_outside_and_moves_none() {
    let bookd = Bookd::with_ada().await;
    let early = booked(&bookd, "09:00", "default").await;
    booked(&bookd, "16:00", "default").await;
    let new_york = Change::zone("America/New_York");
    assert_eq!(
        new_york.clone().validated().names(&bookd).await,
        ["09:00"],
        "a dry run names them"
    );
    assert_eq!(
        Change::zone("Europe/Paris").names(&bookd).await,
        Vec::<String>::new(),
        "and changes nothing"
    );
    let (named, revision) = new_york.clone().answer(&bookd).await.unwrap();
    assert_eq!(
        named,
        std::slice::from_ref(&early),
        "the answer has the whole appointment, unmoved"
    );
    assert_eq!(bookd.appointment(&early.appointment_id).await, early);
    let (again, same_revision) = new_york.answer(&bookd).await.unwrap();
    assert_eq!(
        (again, same_revision),
        (named, revision),
        "nothing changed, and it lies outside still"
    );
    let renamed = Change::calendar(pb::Calendar {
        display_name: "Ada".into(),
        ..Default::default()
    });
    assert_eq!(
        renamed.names(&bookd).await,
        ["09:00"],
        "a change of another setting names them too"
    );
    assert_eq!(
        Change::zone("Europe/Paris").names(&bookd).await,
        Vec::<String>::new()
    );
    bookd.stop().await;
}

#[tokio::test]
async fn other_hours_of_a_type_name_the_appointments_of_that_type_alone() {
    let bookd = Bookd::with_ada().await;
    assert_eq!(
        Change::type_hours("visit", None).names(&bookd).await,
        Vec::<String>::new(),
        "a new type has none"
    );
    for (clock, of_type) in [
        ("09:00", "default"),
        ("10:00", "visit"),
        ("14:00", "visit"),
        ("15:00", "default"),
    ] {
        booked(&bookd, clock, of_type).await;
    }
    let afternoon = Change::type_hours("visit", Some(("13:00", "17:00")));
    assert_eq!(
        afternoon.clone().validated().names(&bookd).await,
        ["10:00"],
        "a dry run names them"
    );
    assert_eq!(
        Change::type_hours("visit", None).names(&bookd).await,
        Vec::<String>::new(),
        "and changes nothing"
    );
    assert_eq!(afternoon.clone().names(&bookd).await, ["10:00"]);
    assert_eq!(
        afternoon.clone().names(&bookd).await,
        ["10:00"],
        "nothing changed, and it lies outside still"
    );
    assert_eq!(
        Change::hours("13:00", "17:00").names(&bookd).await,
        ["09:00", "10:00"],
        "hours are of every type"
    );
    assert_eq!(
        Change::type_hours("default", None).names(&bookd).await,
        ["09:00"]
    );
    assert_eq!(afternoon.names(&bookd).await, ["10:00"]);
    bookd.stop().await;
}

#[tokio::test]
async fn a_repeated_change_of_hours_names_again_what_lies_outside_now() {
    let bookd = Bookd::with_ada().await;
    booked(&bookd, "09:00", "default").await;
    let late = booked(&bookd, "16:00", "default").await;
    let changes: [(Change, &[&str]); 5] = [
        (
            Change::hours("13:00", "17:00").requested("hours"),
            &["09:00"],
        ),
        (Change::closed().requested("closed"), &["09:00", "16:00"]),
        (Change::reopened().requested("reopened"), &["09:00"]),
        (
            Change::zone("America/New_York").requested("zone"),
            &["09:00", "16:00"],
        ),
        (
            Change::type_hours("default", Some(("01:00", "05:00"))).requested("type"),
            &["16:00"],
        ),
    ];
    let mut revisions = Vec::new();
    for (change, expected) in &changes {
        let first = change.clone().answer(&bookd).await.unwrap();
        assert_eq!(
            first,
            change.clone().answer(&bookd).await.unwrap(),
            "a repeated request has the same answer"
        );
        assert_eq!(change.clone().names(&bookd).await, *expected);
        revisions.push(first.1);
    }
    // 09:00 in Paris is 03:00 in New York, which is within the hours that were set last.
    for (change, _) in &changes {
        assert_eq!(
            change.clone().names(&bookd).await,
            ["16:00"],
            "a repeat shows the current state"
        );
    }
    bookd.cancel(&late.appointment_id).await;
    for ((change, _), revision) in changes.into_iter().zip(revisions) {
        assert_eq!(change.answer(&bookd).await.unwrap(), (Vec::new(), revision));
    }
    bookd.stop().await;
}

#[tokio::test]
async fn a_request_that_takes_no_time_is_named_as_any_other_appointment() {
    let bookd = Bookd::with_ada().await;
    let asked = pb::AppointmentType {
        requires_approval: true,
        pending_blocks: Some(false),
        ..appointment_type("asked", 60)
    };
    bookd.put_type("ada", asked.clone()).await;
    let request = booked(&bookd, "10:00", "asked").await;
    booked(&bookd, "10:00", "default").await;
    assert_eq!(request.state(), pb::AppointmentState::Pending);
    for change in [
        Change::hours("13:00", "17:00"),
        Change::closed(),
        Change::zone("Asia/Tokyo"),
    ] {
        assert_eq!(change.names(&bookd).await, ["10:00", "10:00"]);
    }
    let of_its_own = pb::AppointmentType {
        rules: vec![rule("09:00", "12:00")],
        ..asked
    };
    assert_eq!(
        Change::of_type(of_its_own).answer(&bookd).await.unwrap().0,
        [request]
    );
    bookd.stop().await;
}
