//! Local starts of bookings, and appointments whose zone has new rules.

use std::sync::Arc;

use bookd_core::appointment::zone_drift::{Drift, drift};
use bookd_core::appointment::{Appointment, Assignment, Image};
use bookd_core::command::{Booking, Command, Start};
use bookd_core::decide::{decide, resolve};
use bookd_core::refusal::Refusal;
use bookd_core::time::zone::{LocalInstants, OFFSET_MAX, Zone};
use bookd_core::time::{HOUR, Instant, Wall};

use crate::decide::{NOW, booking, two_calendars};
use crate::world::{instant, zone};

/// Reads `2027-03-14T02:30:00`.
fn wall(text: &str) -> Wall {
    Wall::from_seconds(instant(&format!("{text}Z")).seconds())
}

fn local(text: &str, of: Option<&str>) -> Start {
    Start::Local {
        wall: wall(text),
        zone: of.map(zone),
    }
}

/// The instant of a local start in New York, or the text of the refusal.
fn in_new_york(start: &Start) -> Result<Instant, String> {
    resolve(start, &zone("America/New_York")).map_err(|refusal| match refusal {
        Refusal::FieldInvalid(found) => {
            assert_eq!(found[0].field, "local_start");
            found[0].description.clone()
        }
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_local_start_is_read_in_its_own_zone_or_else_in_that_of_the_calendar() {
    let of_calendar = in_new_york(&local("2027-03-01T09:00:00", None));
    assert_eq!(of_calendar, Ok(instant("2027-03-01T14:00:00Z")));
    let of_its_own = in_new_york(&local("2027-03-01T09:00:00", Some("Asia/Tokyo")));
    assert_eq!(of_its_own, Ok(instant("2027-03-01T00:00:00Z")));
}

#[test]
fn a_local_start_that_the_clock_skips_or_shows_twice_is_refused_with_the_instants_to_choose_from() {
    assert_eq!(
        in_new_york(&local("2027-03-14T02:30:00", None)).unwrap_err(),
        "2027-03-14T02:30 does not exist in America/New_York, where the clock skips it; choose \
         start_time 2027-03-14T06:30:00Z (2027-03-14T01:30) or 2027-03-14T07:30:00Z (2027-03-14T03:30)"
    );
    assert_eq!(
        in_new_york(&local("2027-11-07T01:30:00", None)).unwrap_err(),
        "2027-11-07T01:30 exists twice in America/New_York, where the clock is set back; choose \
         start_time 2027-11-07T05:30:00Z or 2027-11-07T06:30:00Z"
    );
}

#[test]
fn a_local_start_that_is_no_whole_minute_or_outside_the_years_is_refused() {
    let of_sun = in_new_york(&local("1800-01-01T12:00:00", None)).unwrap_err();
    assert!(of_sun.contains("not a whole minute"), "{of_sun}");
    let first = local("0001-01-01T00:00:00", Some("UTC"));
    assert_eq!(in_new_york(&first), Ok(instant("0001-01-01T00:00:00Z")));
    let last = local("5999-12-31T23:59:00", Some("UTC"));
    assert_eq!(in_new_york(&last), Ok(instant("5999-12-31T23:59:00Z")));
    for outside in ["0000-12-31T23:59:00", "6000-01-01T00:00:00"] {
        let refused = in_new_york(&local(outside, Some("UTC"))).unwrap_err();
        assert!(
            refused.ends_with("lies outside the years 1 to 5999"),
            "{refused}"
        );
    }
}

#[test]
fn two_changes_in_a_row_skip_a_local_time_between_the_last_offset_before_and_the_first_after() {
    let (first, second) = (
        instant("2027-06-01T00:00:00Z"),
        instant("2027-06-01T00:30:00Z"),
    );
    let changes = [(first, 3_600), (second, 7_200)];
    let twice = Zone::new("Test/Twice", 0, &changes, None).unwrap();
    let skipped = |text| twice.instants(wall(text));
    assert_eq!(
        skipped("2027-06-01T00:30:00"),
        LocalInstants::None {
            before: instant("2027-06-01T00:30:00Z"),
            after: instant("2027-05-31T23:30:00Z"),
        }
    );
    assert_eq!(
        skipped("2027-06-01T01:30:00"),
        LocalInstants::None {
            before: instant("2027-06-01T00:30:00Z"),
            after: instant("2027-05-31T23:30:00Z"),
        }
    );
}

#[test]
fn a_clock_shows_a_local_time_at_an_instant_only_within_the_widest_offset() {
    let noon = wall("2027-06-01T12:00:00");
    let at = |seconds: i64| Instant::from_seconds(noon.seconds() + seconds);
    let widest = i64::from(OFFSET_MAX);
    for within in [-widest, 0, widest] {
        assert!(Zone::is_shown_somewhere(noon, at(within)), "{within}");
    }
    for beyond in [-widest - 1, widest + 1] {
        assert!(!Zone::is_shown_somewhere(noon, at(beyond)), "{beyond}");
    }
}

/// A visit in Paris at 09:00Z, which is 10:00 there in winter.
fn visit() -> Arc<Appointment> {
    let start = instant("2027-01-05T09:00:00Z");
    let booking: Booking = booking(1, &["ada"], Assignment::All, "visit", start);
    let decision = decide(&two_calendars(), &Command::Book(booking), instant(NOW)).unwrap();
    Arc::clone(&decision.outcome.appointments[0])
}

#[test]
fn an_appointment_drifts_when_its_zone_shows_another_local_time_at_its_start() {
    let visit = visit();
    assert_eq!(drift(&visit, Some(&zone("Europe/Paris"))), None);
    assert_eq!(drift(&visit, Some(&zone("Europe/Berlin"))), None);
    assert_eq!(
        drift(&visit, Some(&zone("UTC"))),
        Some(Drift {
            local_start: Some(wall("2027-01-05T09:00:00")),
            start: Some(visit.start.plus(HOUR)),
        })
    );
    let unknown = Drift {
        local_start: None,
        start: None,
    };
    assert_eq!(drift(&visit, None), Some(unknown));
    let in_a_gap = visit.with_image(Image {
        local_start: wall("2027-03-14T02:30:00"),
        ..visit.image.clone()
    });
    let of_gap = drift(&in_a_gap, Some(&zone("America/New_York"))).unwrap();
    assert_eq!(of_gap.start, None, "no instant has the local time any more");
}
