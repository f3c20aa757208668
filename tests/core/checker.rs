//! The definition of what is offered, minute by minute and as plainly as it is written; the code is held against it.
//!
//! It shares nothing with the search but the calendar's data and `Zone::wall`.

use std::collections::{BTreeSet, HashMap};

use bookd::domain::appointment_type::Limits;
use bookd::domain::availability::Window;
use bookd::domain::claims::Claim;
use bookd::domain::ids::TypeNumber;
use bookd::domain::interval::Interval;
use bookd::domain::slots::{Search, Slot};
use bookd::domain::time::{Instant, LocalDate};
use chrono::Datelike;

/// `windows(d)`, merged.
fn windows(search: &Search<'_>, date: LocalDate) -> Vec<(u16, u16)> {
    let availability = &search.calendar.profile.availability;
    let own = &search.appointment_type.rules;
    let rules = if own.is_empty() { &availability.rules } else { own };
    let mut minutes = [false; 2_881];
    let mut mark = |window: &Window| {
        (window.start_minutes()..window.end_minutes()).for_each(|minute| minutes[usize::from(minute)] = true);
    };
    match availability.overrides.get(&date) {
        Some(hours) => hours.windows.iter().for_each(&mut mark),
        None => {
            for rule in rules {
                let weekday = date.civil().unwrap().weekday().num_days_from_monday();
                let is_on = rule.weekdays.contains(u8::try_from(weekday).unwrap());
                let is_in = rule.first_date.is_none_or(|it| it <= date) && rule.last_date.is_none_or(|it| it >= date);
                if is_on && is_in {
                    mark(&rule.window);
                }
            }
        }
    }
    // Windows of one date that overlap or touch are one, however long: the runs of marked minutes.
    let mut found = Vec::new();
    let mut minute = 0_u16;
    while minute < 2_880 {
        let start = minute;
        while minutes[usize::from(minute)] {
            minute += 1;
        }
        if minute > start {
            found.push((start, minute));
        }
        minute += 1;
    }
    found
}

/// The windows of the dates asked about so far.
type Known = HashMap<LocalDate, Vec<(u16, u16)>>;

/// Of each window through which `t` is open: seconds since the window's start.
fn open_through(search: &Search<'_>, known: &mut Known, t: Instant) -> Vec<i64> {
    let wall = search.calendar.zone().wall(t);
    let date = wall.date();
    let mut found = Vec::new();
    let is_cut = search.calendar.profile.availability.overrides.contains_key(&date);
    for (of, clock) in [(date, wall.clock()), (date.plus(-1), wall.clock() + 86_400)] {
        if of != date && is_cut {
            continue;
        }
        for (a, b) in known.entry(of).or_insert_with(|| windows(search, of)) {
            let (a, b) = (i64::from(*a) * 60, i64::from(*b) * 60);
            if a <= clock && clock < b {
                found.push(clock - a);
            }
        }
    }
    found
}

fn period(limits: &Limits, t: LocalDate, other: LocalDate) -> [(Option<u32>, bool); 4] {
    let (t, other) = (t.civil().unwrap(), other.civil().unwrap());
    [
        (limits.per_day, t == other),
        (limits.per_week, t.iso_week() == other.iso_week()),
        (limits.per_month, (t.year(), t.month()) == (other.year(), other.month())),
        (limits.per_year, t.year() == other.year()),
    ]
}

fn is_limit_reached(
    search: &Search<'_>,
    living: &[Claim],
    limits: &Limits,
    of: Option<TypeNumber>,
    t: Instant,
) -> bool {
    let date = |instant| search.calendar.zone().wall(instant).date();
    (0..4).any(|index| {
        let sessions: BTreeSet<_> = living
            .iter()
            .filter(|claim| of.is_none_or(|of| of == claim.type_number()))
            .filter(|claim| period(limits, date(t), date(claim.start()))[index].1)
            .map(|claim| (claim.start(), claim.type_number(), claim.duration()))
            .collect();
        period(limits, date(t), date(t))[index].0.is_some_and(|limit| sessions.len() as u64 + 1 > u64::from(limit))
    })
}

/// The slot at `t`, if it is offered.
fn offered(search: &Search<'_>, known: &mut Known, t: Instant) -> Option<Slot> {
    let (calendar, of, now) = (search.calendar, search.appointment_type, search.now);
    let duration = search.duration.seconds();
    let end = t.plus(duration);
    let date = |instant| calendar.zone().wall(instant).date();
    let is_allowed = search.duration == of.duration || of.duration_options.contains(&search.duration);
    let in_time = t >= now && t >= now.plus(of.min_notice.seconds());
    let in_horizon = date(t).days() <= date(now).days() + i32::try_from(of.horizon_days).unwrap();
    let is_candidate = open_through(search, known, t).iter().any(|since| since % of.step().seconds() == 0);
    if calendar.profile.paused || !is_allowed || !in_time || !in_horizon || !is_candidate {
        return None;
    }
    if (t.seconds()..end.seconds())
        .step_by(60)
        .any(|second| open_through(search, known, Instant::from_seconds(second)).is_empty())
    {
        return None;
    }
    let living: Vec<Claim> = calendar.claims.iter().filter(|claim| claim.is_alive(now)).copied().collect();
    let is_seat =
        |claim: &&Claim| claim.type_number() == of.number && claim.start() == t && claim.duration() == search.duration;
    let seats: Vec<&Claim> = living.iter().filter(is_seat).collect();
    let is_joining = of.capacity > 1 && !seats.is_empty();
    let (before, after) =
        seats.first().map_or((of.buffer_before, of.buffer_after), |seat| (seat.before(), seat.after()));
    let padded = Interval::new(t.plus(-before.seconds()), end.plus(after.seconds()));
    let is_taken = living.iter().any(|claim| !(is_joining && is_seat(&claim)) && claim.padded().overlaps(padded));
    let is_busy = calendar.busy.merged().iter().any(|period| period.overlaps(padded));
    let is_full = is_joining && seats.len() >= of.capacity as usize;
    let is_limited = !is_joining
        && (is_limit_reached(search, &living, &of.limits, Some(of.number), t)
            || is_limit_reached(search, &living, &calendar.profile.limits, None, t));
    if is_taken || is_busy || is_full || is_limited {
        return None;
    }
    let seats_remaining = of.capacity - u32::try_from(seats.len()).unwrap().min(of.capacity);
    Some(Slot { start: t, end, seats_remaining })
}

/// Every offered slot of the range, by asking each minute.
pub fn slots(search: &Search<'_>) -> Vec<Slot> {
    let mut known = Known::new();
    let (from, to) = (search.range.start.seconds(), search.range.end.seconds());
    let minutes = (from..to).filter(|second| second % 60 == 0).map(Instant::from_seconds);
    minutes.filter_map(|minute| offered(search, &mut known, minute)).collect()
}
