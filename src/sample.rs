//! An appointment for unit tests of the layers above the core.

use bookd_core::appointment::{Appointment, AppointmentState, IgnoredRules, Image, Person, Place};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, TypeId, TypeNumber};
use bookd_core::time::{Instant, Minutes, Wall};

/// A CONFIRMED appointment of an hour on this many calendars.
pub(crate) fn appointment_on(calendars: u16) -> Appointment {
    let (start, duration) = (Instant::from_seconds(0), Minutes::new(60).expect("an hour"));
    let place = |need: u16| Place {
        calendar: CalendarId::parse(&format!("calendar-{need}")).expect("an id"),
        since: Revision(1),
        type_number: TypeNumber(0),
        need,
        start,
        duration,
        before: Minutes::ZERO,
        after: Minutes::ZERO,
        units: 1,
    };
    let key = AppointmentKey(1);
    let image = Image {
        places: (0..calendars).map(place).collect(),
        type_id: TypeId::default_type(),
        start,
        duration,
        time_zone: "UTC".into(),
        local_start: Wall::from_seconds(0),
        state: AppointmentState::Confirmed,
        blocks: true,
        expire_time: None,
        session: key,
        sequence: 0,
        ignored_rules: IgnoredRules::default(),
        update_time: start,
        revision: Revision(1),
    };
    let id = AppointmentId(uuid::Uuid::from_u128(1));
    Appointment {
        id,
        key,
        create_time: start,
        occurrence: None,
        person: Person::default(),
        image,
    }
}
