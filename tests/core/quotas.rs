//! Tenants and their quotas: whose a calendar is, and what a batch of changes may take.

use bookd_core::ids::CalendarId;
use bookd_core::quota::{Countable, Quota, QuotaStep, Quotas, Steps, Tenant, Usage};
use bookd_core::time::Instant;

const NOW: Instant = Instant::from_seconds(1_799_020_800);

fn id(text: &str) -> CalendarId {
    CalendarId::parse(text).unwrap()
}

#[test]
fn a_tenant_is_what_stands_before_the_first_slash() {
    for (calendar, tenant) in [
        ("acme/ada", "acme/"),
        ("acme/rooms/1", "acme/"),
        ("acme/", "acme/"),
        ("acmeX/ada", "acmeX/"),
        ("ada", ""),
    ] {
        assert_eq!(Tenant::of(&id(calendar)).as_str(), tenant);
        assert_eq!(Tenant::parse(tenant), Ok(Tenant::of(&id(calendar))));
    }
    for wrong in ["acme", "acme/rooms/", "/", "-/", "a b/", "acme//"] {
        assert!(Tenant::parse(wrong).is_err(), "{wrong}");
    }
    assert!(Tenant::parse(&format!("{}/", "a".repeat(127))).is_ok());
    assert!(Tenant::parse(&format!("{}/", "a".repeat(128))).is_err());
}

#[test]
fn a_batch_is_refused_only_what_it_takes_beyond_the_quota() {
    let quota = |calendars| Quota {
        calendars: Some(calendars),
        ..Quota::default()
    };
    let quotas = Quotas {
        named: [(Tenant::of(&id("acme/ada")), quota(3))].into(),
        others: quota(0),
    };
    let mut usage = Usage::default();
    usage.take(&QuotaStep::calendar(&id("acme/a")), NOW);
    let mut batch = Steps::at(NOW);
    let step = |of: &str| vec![QuotaStep::calendar(&id(of))];
    for calendar in ["acme/b", "acme/c"] {
        batch.expect(&quotas, &usage, &step(calendar)).unwrap();
        batch.add(step(calendar));
    }
    let refused = batch.expect(&quotas, &usage, &step("acme/d")).unwrap_err();
    assert_eq!((refused.limit, refused.has), (3, Some(3)));
    assert_eq!(refused.countable, Countable::Calendars);
    let refused = batch.expect(&quotas, &usage, &step("ada")).unwrap_err();
    assert_eq!((refused.tenant.as_str(), refused.limit), ("", 0));
    batch.expect(&quotas, &usage, &[]).unwrap();
    batch.make(&mut usage);
    assert_eq!(usage.all(NOW), [(Tenant::of(&id("acme/a")), 3, 0)]);
    assert!(Quotas::default().is_empty() && !quotas.is_empty());
}

#[test]
fn a_tenant_has_the_bounds_of_all_where_it_has_none_of_its_own() {
    let quotas = Quotas {
        named: [(
            Tenant::of(&id("acme/ada")),
            Quota {
                upcoming_appointments: Some(9),
                ..Quota::default()
            },
        )]
        .into(),
        others: Quota {
            calendars: Some(0),
            upcoming_appointments: Some(5),
        },
    };
    let (batch, usage) = (Steps::at(NOW), Usage::default());
    let step = [QuotaStep::calendar(&id("acme/ada"))];
    let refused = batch.expect(&quotas, &usage, &step).unwrap_err();
    assert_eq!(
        (refused.countable, refused.limit),
        (Countable::Calendars, 0)
    );
}
