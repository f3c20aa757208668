//! Limits: how many sessions may start in a local day, week from Monday, month or year, and how
//! many do.
//!
//! A claim counts in the period of its start; all seats of one session count once.

use crate::calendar::Calendar;
use crate::calendar::appointment_type::Limits;
use crate::calendar::claims::Claim;
use crate::ids::{AppointmentKey, TypeNumber};
use crate::time::interval::Interval;
use crate::time::zone::Zone;
use crate::time::{Instant, LocalDate};

/// The kinds of periods that can have a limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeriodKind {
    /// A local date.
    Day,
    /// From a Monday to the Sunday after it.
    Week,
    /// A month of the calendar.
    Month,
    /// From January to December.
    Year,
}

/// A local day, week, month or year.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    /// The kind of the period.
    pub kind: PeriodKind,
    /// Its first date.
    pub first_date: LocalDate,
    /// The first date after it.
    pub end_date: LocalDate,
}

impl Period {
    /// The period that contains `date`.
    pub fn around(kind: PeriodKind, date: LocalDate) -> Self {
        let (first_date, end_date) = match kind {
            PeriodKind::Day => (date, date.plus(1)),
            PeriodKind::Week => (date.first_of_week(), date.first_of_week().plus(7)),
            // 31 days after the first of a month lie in the next month; 366 days after New Year's
            // Day in the next year.
            PeriodKind::Month => (
                date.first_of_month(),
                date.first_of_month().plus(31).first_of_month(),
            ),
            PeriodKind::Year => (
                date.first_of_year(),
                date.first_of_year().plus(366).first_of_year(),
            ),
        };
        Self {
            kind,
            first_date,
            end_date,
        }
    }

    /// Its instants as intervals in order: several where the clock changes.
    fn intervals(self, zone: &Zone) -> Vec<Interval> {
        zone.instants_of(self.first_date.midnight(), self.end_date.midnight())
            .collect()
    }

    /// From its first instant to its last; none for a date that the clock skips.
    pub fn interval(self, zone: &Zone) -> Option<Interval> {
        let intervals = self.intervals(zone);
        Some(Interval::new(
            intervals.first()?.start,
            intervals.last()?.end,
        ))
    }
}

/// One limit of a calendar or of one of its types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// The type whose sessions count; none = all types of the calendar.
    pub of_type: Option<TypeNumber>,
    /// The kind of the period in which they are counted.
    pub kind: PeriodKind,
    /// The most sessions of one period.
    pub sessions_max: u32,
}

/// The limits that apply to a booking of the type: those of the type, then those of the calendar.
pub fn limits_on<'a>(
    calendar: &'a Calendar,
    number: TypeNumber,
    of_type: &'a Limits,
) -> impl Iterator<Item = Limit> {
    [(Some(number), of_type), (None, &calendar.profile.limits)]
        .into_iter()
        .flat_map(|(of_type, limits)| {
            let by_kind = [
                (PeriodKind::Day, limits.per_day),
                (PeriodKind::Week, limits.per_week),
                (PeriodKind::Month, limits.per_month),
                (PeriodKind::Year, limits.per_year),
            ];
            by_kind.into_iter().filter_map(move |(kind, sessions_max)| {
                sessions_max.map(|sessions_max| Limit {
                    of_type,
                    kind,
                    sessions_max,
                })
            })
        })
}

impl Limit {
    /// How many sessions start in the period, of those that the limit counts, without the ignored
    /// appointment.
    pub fn sessions(
        &self,
        calendar: &Calendar,
        period: Period,
        now: Instant,
        ignore: Option<AppointmentKey>,
    ) -> u32 {
        let mut sessions = 0;
        // One seat of each session that has the start of the last claim. Files from before schema 4
        // may have several sessions at one start, whose seats alternate.
        let mut together: Vec<&Claim> = Vec::new();
        for interval in period.intervals(calendar.zone()) {
            let claims = calendar
                .claims
                .ending_after(interval.start)
                .take_while(|claim| claim.padded().start < interval.end);
            for claim in claims {
                let is_counted = interval.contains(claim.start())
                    && claim.is_alive(now)
                    && ignore != Some(claim.key())
                    && self
                        .of_type
                        .is_none_or(|number| number == claim.type_number());
                if !is_counted {
                    continue;
                }
                if together
                    .first()
                    .is_some_and(|it| it.start() != claim.start())
                {
                    together.clear();
                }
                if !together.iter().any(|it| claim.shares_session(it)) {
                    sessions += 1;
                    together.push(claim);
                }
            }
        }
        sessions
    }
}

/// A limit that one more booking would exceed, or that was lowered below the number of sessions
/// that exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeded {
    /// The limit.
    pub limit: Limit,
    /// The period in which it is exceeded.
    pub period: Period,
    /// How many sessions start in the period already.
    pub sessions: u32,
}

/// The limits on one type in a search: whether a date may have one more session, cached for each
/// period.
pub(crate) struct LimitCache {
    limits: Vec<(Limit, Option<(Period, bool)>)>,
    last: Option<(LocalDate, bool)>,
}

impl LimitCache {
    /// An empty cache of these limits.
    pub(crate) fn new(limits: impl Iterator<Item = Limit>) -> Self {
        Self {
            limits: limits.map(|limit| (limit, None)).collect(),
            last: None,
        }
    }

    /// Whether a session may be added on `date`. Most calendars have no limits, and searches ask
    /// for every stretch.
    #[inline]
    pub(crate) fn allows(
        &mut self,
        date: LocalDate,
        calendar: &Calendar,
        now: Instant,
        ignore: Option<AppointmentKey>,
    ) -> bool {
        self.limits.is_empty() || self.allows_by_limits(date, calendar, now, ignore)
    }

    fn allows_by_limits(
        &mut self,
        date: LocalDate,
        calendar: &Calendar,
        now: Instant,
        ignore: Option<AppointmentKey>,
    ) -> bool {
        if let Some((_, is_allowed)) = self.last.filter(|(last, _)| *last == date) {
            return is_allowed;
        }
        let is_allowed = self.limits.iter_mut().all(|(limit, known)| {
            if let Some((_, is_allowed)) =
                known.filter(|(period, _)| period.first_date <= date && date < period.end_date)
            {
                return is_allowed;
            }
            let period = Period::around(limit.kind, date);
            let is_allowed = limit.sessions(calendar, period, now, ignore) < limit.sessions_max;
            *known = Some((period, is_allowed));
            is_allowed
        });
        self.last = Some((date, is_allowed));
        is_allowed
    }
}
