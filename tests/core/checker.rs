//! The definition of a bookable slot, evaluated minute by minute and word by word: slow, and meant
//! to be obvious.
//!
//! Of the code under test it uses the types and `Zone::wall`, and nothing that searches, merges or
//! caches.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bookd_core::appointment::IgnoredRules;
use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::{AppointmentType, Limits};
use bookd_core::calendar::availability::Rule;
use bookd_core::calendar::claims::Claim;
use bookd_core::ids::AppointmentKey;
use bookd_core::time::interval::Interval;
use bookd_core::time::{Instant, LocalDate, Minutes};
use chrono::Datelike;

/// The appointments that take the same set of calendars as the claim.
pub(crate) enum Mates {
    /// All appointments on this calendar alone.
    Alone,
    /// The appointments with these keys.
    Keys(BTreeSet<AppointmentKey>),
}

/// Judges the starts of one calendar, type and duration.
pub(crate) struct Checker<'a> {
    pub(crate) calendar: &'a Calendar,
    pub(crate) appointment_type: &'a AppointmentType,
    pub(crate) duration: Minutes,
    pub(crate) now: Instant,
    pub(crate) ignore: Option<AppointmentKey>,
    pub(crate) present_duration: Option<Minutes>,
    pub(crate) ignored_rules: IgnoredRules,
    /// The appointments that may share a session with the claim, if type, start and duration are
    /// the same.
    pub(crate) mates: Mates,
    /// The windows of each date in minutes, cached because every minute needs them.
    windows: BTreeMap<LocalDate, Vec<(i64, i64)>>,
    /// Whether each minute is open, cached for the same reason.
    minutes: HashMap<Instant, bool>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(
        calendar: &'a Calendar,
        appointment_type: &'a AppointmentType,
        duration: Minutes,
        now: Instant,
    ) -> Self {
        let (windows, minutes) = (BTreeMap::new(), HashMap::new());
        let ignored_rules = IgnoredRules::default();
        Self {
            calendar,
            appointment_type,
            duration,
            now,
            ignore: None,
            present_duration: None,
            ignored_rules,
            mates: Mates::Alone,
            windows,
            minutes,
        }
    }

    /// Every offered start of the range, with the seats that are left.
    pub(crate) fn offered(&mut self, range: Interval) -> Vec<(Instant, u32)> {
        let mut starts = Vec::new();
        let mut start = range.start.plus((-range.start.seconds()).rem_euclid(60));
        while start < range.end {
            if self.is_offered(start, true) {
                starts.push((start, self.seats_remaining(start)));
            }
            start = start.plus(60);
        }
        starts
    }

    pub(crate) fn is_offered(&mut self, start: Instant, is_grid_judged: bool) -> bool {
        self.is_within_rules(start, is_grid_judged) && self.is_available(start)
    }

    /// Whether it could be booked without the other appointments and busy periods.
    pub(crate) fn is_within_rules(&mut self, start: Instant, is_grid_judged: bool) -> bool {
        let is_judged = is_grid_judged && !self.ignored_rules.misaligned;
        self.keeps_the_rules(start)
            && self.is_open_throughout(start)
            // The grid is judged only where the start is open.
            && (!is_judged || self.open_through(start).is_empty() || self.is_candidate(start))
    }

    /// Whether the other appointments and busy periods leave it free, with a seat and within the
    /// limits.
    pub(crate) fn is_available(&self, start: Instant) -> bool {
        self.is_free(start)
            && self.seats_remaining(start) > 0
            && (self.ignored_rules.limit || self.is_within_limits(start))
    }

    /// The buffers before and after the slot: a seat takes those of its session.
    pub(crate) fn buffers(&self, start: Instant) -> (Minutes, Minutes) {
        match self.session(start).first() {
            Some(seat) => (seat.before(), seat.after()),
            None => (
                self.appointment_type.buffer_before,
                self.appointment_type.buffer_after,
            ),
        }
    }

    fn date(&self, instant: Instant) -> LocalDate {
        self.calendar.zone().wall(instant).date()
    }

    fn keeps_the_rules(&self, start: Instant) -> bool {
        let of_type = self.appointment_type;
        let is_allowed = self.duration == of_type.duration
            || of_type.duration_options.contains(&self.duration)
            || self.present_duration == Some(self.duration);
        let notice = if self.ignored_rules.notice {
            0
        } else {
            of_type.min_notice.seconds()
        };
        let horizon = i64::from(self.date(self.now).days()) + i64::from(of_type.horizon_days);
        !self.calendar.profile.paused
            && is_allowed
            && start >= self.now
            && start.seconds() >= self.now.seconds() + notice
            && (self.ignored_rules.horizon || i64::from(self.date(start).days()) <= horizon)
    }

    /// `windows(d)` in minutes after midnight; windows that overlap or touch are merged.
    fn windows(&mut self, date: LocalDate) -> Vec<(i64, i64)> {
        if let Some(known) = self.windows.get(&date) {
            return known.clone();
        }
        let availability = &self.calendar.profile.availability;
        let own = &self.appointment_type.rules;
        let rules: &[Rule] = if own.is_empty() {
            &availability.rules
        } else {
            own
        };
        let mut is_open = vec![false; 48 * 60];
        let windows = match availability.overrides.get(&date) {
            Some(of_date) => of_date.windows.clone(),
            None => rules
                .iter()
                .filter(|rule| {
                    rule.weekdays
                        .contains(date.civil().unwrap().weekday().num_days_from_monday() as u8)
                })
                .filter(|rule| rule.first_date.is_none_or(|first| first <= date))
                .filter(|rule| rule.last_date.is_none_or(|last| date <= last))
                .map(|rule| rule.window)
                .collect(),
        };
        for window in windows {
            is_open[usize::from(window.start_minutes())..usize::from(window.end_minutes())]
                .fill(true);
        }
        let mut merged = Vec::new();
        let mut minute = 0;
        while minute < is_open.len() {
            let start = minute;
            while minute < is_open.len() && is_open[minute] {
                minute += 1;
            }
            if start < minute {
                merged.push((start as i64, minute as i64));
            }
            minute += 1;
        }
        self.windows.insert(date, merged.clone());
        merged
    }

    /// The windows that contain `instant`, as the seconds since each began by the clock.
    fn open_through(&mut self, instant: Instant) -> Vec<i64> {
        let wall = self.calendar.zone().wall(instant);
        let (date, clock) = (wall.date(), wall.clock());
        let of_date = self
            .windows(date)
            .into_iter()
            .map(|window| (window, clock))
            .collect::<Vec<_>>();
        let mut asked = of_date;
        if !self
            .calendar
            .profile
            .availability
            .overrides
            .contains_key(&date)
        {
            asked.extend(
                self.windows(date.plus(-1))
                    .into_iter()
                    .map(|window| (window, clock + 86_400)),
            );
        }
        asked
            .into_iter()
            .filter(|((start, end), clock)| start * 60 <= *clock && *clock < end * 60)
            .map(|((start, _), clock)| clock - start * 60)
            .collect()
    }

    fn is_candidate(&mut self, start: Instant) -> bool {
        let step = self
            .appointment_type
            .slot_step
            .unwrap_or(self.appointment_type.duration)
            .seconds();
        self.open_through(start)
            .into_iter()
            .any(|since| since % step == 0)
    }

    pub(crate) fn is_open_throughout(&mut self, start: Instant) -> bool {
        let minutes = i64::from(self.duration.minutes());
        self.ignored_rules.outside_availability
            || (0..minutes).all(|minute| self.is_minute_open(start.plus(minute * 60)))
    }

    /// Whether the first and the last second of a minute are open; windows and the gaps between
    /// them have whole minutes.
    fn is_minute_open(&mut self, minute: Instant) -> bool {
        if let Some(known) = self.minutes.get(&minute) {
            return *known;
        }
        let is_open =
            !self.open_through(minute).is_empty() && !self.open_through(minute.plus(59)).is_empty();
        self.minutes.insert(minute, is_open);
        is_open
    }

    fn active(&self) -> Vec<Claim> {
        let is_active =
            |claim: &&Claim| claim.is_alive(self.now) && self.ignore != Some(claim.key());
        self.calendar
            .claims
            .iter()
            .filter(is_active)
            .copied()
            .collect()
    }

    fn session(&self, start: Instant) -> Vec<Claim> {
        let is_seat = |claim: &Claim| {
            self.appointment_type.capacity > 1
                && claim.type_number() == self.appointment_type.number
                && claim.start() == start
                && claim.duration() == self.duration
                && match &self.mates {
                    Mates::Alone => claim.session().places == 1,
                    Mates::Keys(keys) => keys.contains(&claim.key()),
                }
        };
        self.active().into_iter().filter(is_seat).collect()
    }

    pub(crate) fn seats_remaining(&self, start: Instant) -> u32 {
        self.appointment_type
            .capacity
            .saturating_sub(self.session(start).len() as u32)
    }

    fn is_free(&self, start: Instant) -> bool {
        let session = self.session(start);
        let (before, after) = self.buffers(start);
        let from = start.seconds() - before.seconds();
        let to = start.seconds() + self.duration.seconds() + after.seconds();
        let is_met = |taken: Interval| taken.start.seconds() < to && from < taken.end.seconds();
        let others = self
            .active()
            .into_iter()
            .filter(|claim| !session.iter().any(|seat| seat.key() == claim.key()));
        let is_claimed = others.into_iter().any(|claim| is_met(claim.padded()));
        !is_claimed
            && !self
                .calendar
                .busy
                .sources()
                .any(|(_, periods)| periods.iter().any(|period| is_met(*period)))
    }

    fn is_within_limits(&self, start: Instant) -> bool {
        let number = self.appointment_type.number;
        let all = &self.calendar.profile.limits;
        self.keeps(&self.appointment_type.limits, start, |claim| {
            claim.type_number() == number
        }) && self.keeps(all, start, |_| true)
    }

    fn keeps(&self, limits: &Limits, start: Instant, is_counted: impl Fn(&Claim) -> bool) -> bool {
        let date = |instant: Instant| self.date(instant).civil().unwrap();
        let count = |is_same_period: &dyn Fn(chrono::NaiveDate, chrono::NaiveDate) -> bool| {
            let counted = self.active().into_iter().filter(|claim| is_counted(claim));
            let counted = counted.filter(|claim| is_same_period(date(claim.start()), date(start)));
            let mut sessions: BTreeSet<_> = counted
                .map(|claim| (claim.type_number(), claim.start(), claim.duration()))
                .collect();
            sessions.insert((self.appointment_type.number, start, self.duration));
            sessions.len() as u32
        };
        limits
            .per_day
            .is_none_or(|limit| count(&|a, b| a == b) <= limit)
            && limits
                .per_week
                .is_none_or(|limit| count(&|a, b| a.iso_week() == b.iso_week()) <= limit)
            && limits.per_month.is_none_or(|limit| {
                count(&|a, b| (a.year(), a.month()) == (b.year(), b.month())) <= limit
            })
            && limits
                .per_year
                .is_none_or(|limit| count(&|a, b| a.year() == b.year()) <= limit)
    }
}
