//! A calendar's settings, types and busy periods as messages: what the store keeps of a calendar in
//! blobs.
//!
//! What no calendar and no type can have is damage.

use std::collections::BTreeMap;

use prost::Message;

use super::record::{buffer, damaged, date, duration, instant, revision, seconds, type_id, within};
use crate::store::{StoreError, ZoneLookup};
use bookd_core::calendar::appointment_type::{
    AppointmentType, CAPACITY_MAX, HORIZON_DAYS_MAX, Limits, Stamps,
};
use bookd_core::calendar::availability::{Availability, Override, Rule, Weekdays, Window};
use bookd_core::calendar::{Owner, Profile};
use bookd_core::ids::TypeNumber;
use bookd_core::time::interval::Interval;
use bookd_core::time::{Instant, LocalDate, Minutes, Seconds};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LimitsRecord {
    #[prost(uint32, optional, tag = "1")]
    per_day: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    per_week: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    per_month: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    per_year: Option<u32>,
}

impl LimitsRecord {
    pub(crate) fn new(limits: Limits) -> Self {
        let Limits {
            per_day,
            per_week,
            per_month,
            per_year,
        } = limits;
        Self {
            per_day,
            per_week,
            per_month,
            per_year,
        }
    }

    pub(crate) fn read(&self) -> Limits {
        let Self {
            per_day,
            per_week,
            per_month,
            per_year,
        } = *self;
        Limits {
            per_day,
            per_week,
            per_month,
            per_year,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuleRecord {
    #[prost(uint32, tag = "1")]
    weekdays: u32,
    #[prost(uint32, tag = "2")]
    start: u32,
    #[prost(uint32, tag = "3")]
    end: u32,
    #[prost(sint32, optional, tag = "4")]
    first_date: Option<i32>,
    #[prost(sint32, optional, tag = "5")]
    last_date: Option<i32>,
}

fn window(start: u32, end: u32) -> Result<Window, StoreError> {
    let minute = |value: u32| u16::try_from(value).map_err(|_| damaged("a window"));
    Window::new(minute(start)?, minute(end)?).map_err(|_| damaged("a window"))
}

impl RuleRecord {
    pub(crate) fn new(rule: &Rule) -> Self {
        Self {
            weekdays: u32::from(rule.weekdays.bits()),
            start: u32::from(rule.window.start_minutes()),
            end: u32::from(rule.window.end_minutes()),
            first_date: rule.first_date.map(LocalDate::days),
            last_date: rule.last_date.map(LocalDate::days),
        }
    }

    pub(crate) fn read(&self) -> Result<Rule, StoreError> {
        Ok(Rule {
            weekdays: Weekdays::from_bits(
                u8::try_from(self.weekdays).map_err(|_| damaged("a weekday"))?,
            ),
            window: window(self.start, self.end)?,
            first_date: self.first_date.map(date).transpose()?,
            last_date: self.last_date.map(date).transpose()?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OverrideRecord {
    #[prost(sint32, tag = "1")]
    date: i32,
    /// Start and end of each window in turn, in minutes of the day.
    #[prost(uint32, repeated, tag = "2")]
    windows: Vec<u32>,
    #[prost(string, tag = "3")]
    note: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProfileRecord {
    #[prost(string, tag = "1")]
    display_name: String,
    #[prost(string, tag = "2")]
    owner_name: String,
    #[prost(string, tag = "3")]
    owner_email: String,
    #[prost(string, tag = "4")]
    time_zone: String,
    #[prost(bool, tag = "5")]
    paused: bool,
    #[prost(message, optional, tag = "6")]
    limits: Option<LimitsRecord>,
    #[prost(btree_map = "string, string", tag = "7")]
    metadata: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "8")]
    rules: Vec<RuleRecord>,
    #[prost(message, repeated, tag = "9")]
    overrides: Vec<OverrideRecord>,
    /// Whether the deletion of a tenant left the calendar, which is deleted. No other profile has
    /// this field.
    #[prost(bool, tag = "10")]
    is_remnant: bool,
}

impl OverrideRecord {
    pub(crate) fn new(date: LocalDate, windows: &[Window], note: &str) -> Self {
        let bounds = windows
            .iter()
            .flat_map(|it| [u32::from(it.start_minutes()), u32::from(it.end_minutes())]);
        Self {
            date: date.days(),
            windows: bounds.collect(),
            note: note.to_owned(),
        }
    }

    pub(crate) fn read(self) -> Result<(LocalDate, Override), StoreError> {
        let windows = self.windows.chunks(2).map(|pair| match pair {
            [start, end] => window(*start, *end),
            _ => Err(damaged("an override")),
        });
        let windows = windows.collect::<Result<_, _>>()?;
        Ok((
            date(self.date)?,
            Override {
                windows,
                note: self.note,
            },
        ))
    }
}

impl ProfileRecord {
    /// The profile of a deleted calendar of which the deletion of its tenant left nothing but times.
    pub(crate) fn remnant() -> Self {
        Self {
            time_zone: "UTC".to_owned(),
            is_remnant: true,
            ..Self::default()
        }
    }

    pub(crate) fn is_remnant(&self) -> bool {
        self.is_remnant
    }

    pub(crate) fn new(profile: &Profile) -> Self {
        let overrides = profile.availability.overrides.iter();
        let overrides =
            overrides.map(|(date, hours)| OverrideRecord::new(*date, &hours.windows, &hours.note));
        Self {
            display_name: profile.display_name.clone(),
            owner_name: profile.owner.name.clone(),
            owner_email: profile.owner.email.clone(),
            time_zone: profile.zone.name().to_owned(),
            paused: profile.paused,
            limits: (!profile.limits.is_unlimited()).then(|| LimitsRecord::new(profile.limits)),
            metadata: profile.metadata.clone(),
            rules: profile
                .availability
                .rules
                .iter()
                .map(RuleRecord::new)
                .collect(),
            overrides: overrides.collect(),
            is_remnant: false,
        }
    }

    pub(crate) fn read(self, zones: &ZoneLookup) -> Result<Profile, StoreError> {
        let zone = zones(&self.time_zone).ok_or(StoreError::UnknownZone(self.time_zone))?;
        let overrides = self
            .overrides
            .into_iter()
            .map(OverrideRecord::read)
            .collect::<Result<_, _>>()?;
        let mut rules = self
            .rules
            .iter()
            .map(RuleRecord::read)
            .collect::<Result<Vec<_>, _>>()?;
        // A Vec that is collected from results has capacity for at least four rules, and most
        // calendars have one.
        rules.shrink_to_fit();
        Ok(Profile {
            display_name: self.display_name,
            owner: Owner {
                name: self.owner_name,
                email: self.owner_email,
            },
            zone,
            paused: self.paused,
            limits: self.limits.map(|it| it.read()).unwrap_or_default(),
            metadata: self.metadata,
            availability: Availability { rules, overrides },
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TypeRecord {
    #[prost(string, tag = "1")]
    display_name: String,
    #[prost(uint32, tag = "2")]
    duration: u32,
    #[prost(uint32, repeated, tag = "3")]
    duration_options: Vec<u32>,
    #[prost(uint32, optional, tag = "4")]
    slot_step: Option<u32>,
    #[prost(uint32, tag = "5")]
    buffer_before: u32,
    #[prost(uint32, tag = "6")]
    buffer_after: u32,
    #[prost(int64, tag = "7")]
    min_notice: i64,
    #[prost(uint32, tag = "8")]
    horizon_days: u32,
    #[prost(uint32, tag = "9")]
    capacity: u32,
    #[prost(message, optional, tag = "10")]
    limits: Option<LimitsRecord>,
    #[prost(bool, tag = "11")]
    requires_approval: bool,
    #[prost(bool, tag = "12")]
    pending_blocks: bool,
    #[prost(int64, optional, tag = "13")]
    cancel_notice: Option<i64>,
    #[prost(int64, optional, tag = "14")]
    reschedule_notice: Option<i64>,
    #[prost(message, repeated, tag = "15")]
    rules: Vec<RuleRecord>,
    #[prost(int64, tag = "16")]
    create_time: i64,
    #[prost(int64, tag = "17")]
    update_time: i64,
    #[prost(uint64, tag = "18")]
    revision: u64,
}

impl TypeRecord {
    pub(crate) fn new(it: &AppointmentType) -> Self {
        Self {
            display_name: it.display_name.clone(),
            duration: it.duration.minutes(),
            duration_options: it
                .duration_options
                .iter()
                .map(|option| option.minutes())
                .collect(),
            slot_step: it.slot_step.map(Minutes::minutes),
            buffer_before: it.buffer_before.minutes(),
            buffer_after: it.buffer_after.minutes(),
            min_notice: it.min_notice.seconds(),
            horizon_days: it.horizon_days,
            capacity: it.capacity,
            limits: (!it.limits.is_unlimited()).then(|| LimitsRecord::new(it.limits)),
            requires_approval: it.requires_approval,
            pending_blocks: it.pending_blocks,
            cancel_notice: it.cancel_notice.map(Seconds::seconds),
            reschedule_notice: it.reschedule_notice.map(Seconds::seconds),
            rules: it.rules.iter().map(RuleRecord::new).collect(),
            create_time: it.stamps.create_time.seconds(),
            update_time: it.stamps.update_time.seconds(),
            revision: it.stamps.revision.0,
        }
    }

    pub(crate) fn read(self, id: &str, number: TypeNumber) -> Result<AppointmentType, StoreError> {
        Ok(AppointmentType {
            id: type_id(id)?,
            number,
            display_name: self.display_name,
            duration: duration(self.duration)?,
            duration_options: self
                .duration_options
                .into_iter()
                .map(duration)
                .collect::<Result<_, _>>()?,
            slot_step: self.slot_step.map(duration).transpose()?,
            buffer_before: buffer(self.buffer_before)?,
            buffer_after: buffer(self.buffer_after)?,
            min_notice: seconds(self.min_notice)?,
            horizon_days: within(0..=HORIZON_DAYS_MAX, self.horizon_days, "a horizon")?,
            capacity: within(1..=CAPACITY_MAX, self.capacity, "a capacity")?,
            limits: self.limits.map(|it| it.read()).unwrap_or_default(),
            requires_approval: self.requires_approval,
            pending_blocks: self.pending_blocks,
            cancel_notice: self.cancel_notice.map(seconds).transpose()?,
            reschedule_notice: self.reschedule_notice.map(seconds).transpose()?,
            rules: self
                .rules
                .iter()
                .map(RuleRecord::read)
                .collect::<Result<_, _>>()?,
            stamps: Stamps {
                create_time: instant(self.create_time)?,
                update_time: instant(self.update_time)?,
                revision: revision(self.revision)?,
            },
        })
    }
}

/// Busy periods: start and end of each in turn, in seconds UTC.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PeriodsRecord {
    #[prost(sint64, repeated, tag = "1")]
    bounds: Vec<i64>,
}

impl PeriodsRecord {
    pub(crate) fn new(periods: &[Interval]) -> Self {
        Self {
            bounds: periods
                .iter()
                .flat_map(|it| [it.start.seconds(), it.end.seconds()])
                .collect(),
        }
    }

    pub(crate) fn read(&self) -> Result<Vec<Interval>, StoreError> {
        let period = |pair: &[i64]| match pair {
            [start, end] if start < end => {
                // An earlier version rounded a fraction of the last second up, to a second beyond
                // the range of timestamps.
                let is_rounded_up = *end == Instant::MAX.plus(1).seconds();
                let end = if is_rounded_up {
                    Instant::MAX
                } else {
                    instant(*end)?
                };
                Ok(Interval::new(instant(*start)?, end))
            }
            _ => Err(damaged("a busy period")),
        };
        self.bounds.chunks(2).map(period).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn what_no_type_has_is_damage() {
        type Damage = fn(&mut TypeRecord);
        let damages: [Damage; 16] = [
            |it| it.duration = 0,
            |it| it.duration = u32::MAX,
            |it| it.duration_options = vec![0],
            |it| it.slot_step = Some(0),
            |it| it.buffer_before = Minutes::ASKED_MAX.minutes() + 1,
            |it| it.buffer_after = Minutes::ASKED_MAX.minutes() + 1,
            |it| it.min_notice = -1,
            |it| it.horizon_days = HORIZON_DAYS_MAX + 1,
            |it| it.capacity = 0,
            |it| it.capacity = CAPACITY_MAX + 1,
            |it| it.cancel_notice = Some(i64::MAX),
            |it| it.reschedule_notice = Some(i64::MIN),
            |it| {
                it.rules = vec![RuleRecord {
                    end: 60,
                    first_date: Some(i32::MIN),
                    ..RuleRecord::default()
                }]
            },
            |it| it.create_time = i64::MIN,
            |it| it.update_time = i64::MAX,
            |it| it.revision = u64::MAX,
        ];
        let sound = TypeRecord::new(&AppointmentType::default_type(Stamps::default()));
        let read = |it: TypeRecord| it.read("default", TypeNumber(0));
        assert!(read(sound.clone()).is_ok());
        for (number, damage) in damages.into_iter().enumerate() {
            let mut it = sound.clone();
            damage(&mut it);
            assert!(
                matches!(read(it), Err(StoreError::Damaged(_))),
                "damage {number}"
            );
        }
    }

    #[test]
    fn dates_and_busy_periods_end_with_the_years_that_can_be_said() {
        for days in [LocalDate::MIN.days() - 1, LocalDate::MAX.days() + 1] {
            assert!(
                OverrideRecord {
                    date: days,
                    ..OverrideRecord::default()
                }
                .read()
                .is_err(),
                "{days}"
            );
        }
        let last = Instant::MAX.seconds();
        for (bounds, is_sound) in [
            ([0, last + 1], true),
            ([0, last + 2], false),
            ([i64::MIN, 0], false),
        ] {
            assert_eq!(
                PeriodsRecord {
                    bounds: bounds.to_vec()
                }
                .read()
                .is_ok(),
                is_sound,
                "{bounds:?}"
            );
        }
    }
}
