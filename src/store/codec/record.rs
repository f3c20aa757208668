//! What lies in the store's blobs: messages written by tag, so that old files stay readable as fields are added.
//!
//! A blob that cannot be read back is damage, and never a panic.

use std::collections::BTreeMap;
use std::fmt::Display;

use prost::Message;

use bookd_core::appointment::IgnoredRules;
use bookd_core::calendar::appointment_type::{
    AppointmentType, CAPACITY_MAX, HORIZON_DAYS_MAX, Limits, Stamps,
};
use bookd_core::calendar::availability::{Availability, Override, Rule, Weekdays, Window};
use bookd_core::calendar::{Owner, Profile};
use bookd_core::ids::{AppointmentKey, CalendarId, Revision, TypeId, TypeNumber};
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::OFFSET_MAX;
use bookd_core::time::{Instant, LocalDate, Minutes, Seconds, Wall};

use crate::store::{StoreError, ZoneLookup};

pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} cannot be read"))
}

/// The same, where it is damage, with the row that has it.
pub(crate) fn in_row(table: &str, row: impl Display, error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(what) => {
            StoreError::Damaged(format!("{what}, in row {row} of table {table}"))
        }
        other => other,
    }
}

/// A message from bytes; what cannot be one is damage.
pub(crate) fn decode<M: Message + Default>(bytes: &[u8], what: &str) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|_| damaged(what))
}

/// The largest revision and the largest key that are read: a column holds the one after it, too.
const COUNTED_MAX: u64 = i64::MAX as u64 - 1;

/// A revision as it is stored, in a column or in a blob: 0 to `COUNTED_MAX`; 0 is that of no change.
pub(crate) fn revision(value: impl TryInto<u64>) -> Result<Revision, StoreError> {
    counted(value, 0)
        .map(Revision)
        .ok_or_else(|| damaged("a revision"))
}

/// The revision of a change that was made: 1 to `COUNTED_MAX`.
pub(crate) fn revision_of_change(value: impl TryInto<u64>) -> Result<Revision, StoreError> {
    counted(value, 1)
        .map(Revision)
        .ok_or_else(|| damaged("the revision of a change"))
}

/// The key of an appointment as it is stored: 1 to `COUNTED_MAX`.
pub(crate) fn key(value: impl TryInto<u64>) -> Result<AppointmentKey, StoreError> {
    counted(value, 1)
        .map(AppointmentKey)
        .ok_or_else(|| damaged("the key of an appointment"))
}

fn counted(value: impl TryInto<u64>, first: u64) -> Option<u64> {
    value
        .try_into()
        .ok()
        .filter(|it| (first..=COUNTED_MAX).contains(it))
}

/// An instant as it is stored, in seconds UTC: one that a timestamp can say.
pub(crate) fn instant(seconds: i64) -> Result<Instant, StoreError> {
    let instant = Instant::from_seconds(seconds);
    if (Instant::MIN..=Instant::MAX).contains(&instant) {
        Ok(instant)
    } else {
        Err(damaged("a time"))
    }
}

/// What a clock showed, as it is stored, in seconds of that clock: what one of some zone may show at an instant.
pub(crate) fn wall(seconds: i64) -> Result<Wall, StoreError> {
    let furthest = i64::from(OFFSET_MAX);
    let shown = Instant::MIN.plus(-furthest).seconds()..=Instant::MAX.plus(furthest).seconds();
    if shown.contains(&seconds) {
        Ok(Wall::from_seconds(seconds))
    } else {
        Err(damaged("a wall time"))
    }
}

/// A local date as it is stored, in days: one that `YYYY-MM-DD` can say.
pub(crate) fn date(days: i32) -> Result<LocalDate, StoreError> {
    let date = LocalDate::from_days(days);
    if (LocalDate::MIN..=LocalDate::MAX).contains(&date) {
        Ok(date)
    } else {
        Err(damaged("a date"))
    }
}

/// A number as it is stored, within the limits of what it counts.
fn within(range: std::ops::RangeInclusive<u32>, value: u32, what: &str) -> Result<u32, StoreError> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(damaged(what))
    }
}

/// How long something lasts: at least a minute.
pub(crate) fn duration(value: u32) -> Result<Minutes, StoreError> {
    minutes(value).and_then(|it| {
        if it == Minutes::ZERO {
            Err(damaged("a duration"))
        } else {
            Ok(it)
        }
    })
}

/// What is kept free before or after.
pub(crate) fn buffer(value: u32) -> Result<Minutes, StoreError> {
    minutes(value).and_then(|it| {
        if it <= Minutes::ASKED_MAX {
            Ok(it)
        } else {
            Err(damaged("a buffer"))
        }
    })
}

pub(crate) fn minutes(value: u32) -> Result<Minutes, StoreError> {
    Minutes::new(value).ok_or_else(|| damaged("a length of time"))
}

fn seconds(value: i64) -> Result<Seconds, StoreError> {
    Seconds::new(value).ok_or_else(|| damaged("a length of time"))
}

pub(crate) fn calendar_id(text: &str) -> Result<CalendarId, StoreError> {
    CalendarId::parse(text).map_err(|_| damaged("a calendar's id"))
}

pub(crate) fn type_id(text: &str) -> Result<TypeId, StoreError> {
    TypeId::parse(text).map_err(|_| damaged("a type's id"))
}

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
    /// Start and end in turn.
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
        // A Vec collected from results has room for at least four rules, and most calendars have one.
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

/// Busy periods: start and end in turn, seconds.
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
                // An earlier version rounded the fraction of the last second up to one that no timestamp can say.
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

/// A `metadata` map.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetadataRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) entries: BTreeMap<String, String>,
}

/// What a remembered request was about.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SubjectRecord {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) appointments: Vec<Vec<u8>>,
    #[prost(string, optional, tag = "2")]
    pub(crate) calendar: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) type_id: Option<String>,
}

/// The ignored rules as bits.
pub(crate) fn ignored_bits(rules: IgnoredRules) -> u32 {
    let IgnoredRules {
        outside_availability,
        misaligned,
        notice,
        horizon,
        limit,
    } = rules;
    let bits = [outside_availability, misaligned, notice, horizon, limit];
    bits.iter()
        .zip(0..)
        .map(|(bit, position)| u32::from(*bit) << position)
        .sum()
}

/// The bits as ignored rules; a bit of no rule is damage.
pub(crate) fn ignored_rules(bits: u32) -> Result<IgnoredRules, StoreError> {
    let bit = |position: u32| bits >> position & 1 == 1;
    let rules = IgnoredRules {
        outside_availability: bit(0),
        misaligned: bit(1),
        notice: bit(2),
        horizon: bit(3),
        limit: bit(4),
    };
    if ignored_bits(rules) == bits {
        Ok(rules)
    } else {
        Err(damaged("the ignored rules"))
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
    fn a_wall_time_is_what_a_clock_of_some_zone_may_show() {
        let furthest = i64::from(OFFSET_MAX);
        let (first, last) = (
            Instant::MIN.seconds() - furthest,
            Instant::MAX.seconds() + furthest,
        );
        for (seconds, is_sound) in [
            (first, true),
            (first - 1, false),
            (last, true),
            (last + 1, false),
        ] {
            assert_eq!(wall(seconds).is_ok(), is_sound, "{seconds}");
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
