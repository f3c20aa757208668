//! THE predicate: whether a time can be claimed, and if not, everything that is in the way.
//!
//! Listing, explaining, holding, booking, moving and approving all go by this file; `slots.rs` only walks faster
//! through the same questions.

use super::appointment::{AppointmentState, IgnoredRules};
use super::appointment_type::{AppointmentType, Limits};
use super::availability::{Hours, Window};
use super::calendar::Calendar;
use super::claims::Claim;
use super::ids::AppointmentKey;
use super::interval::{Interval, first_overlap};
use super::refusal::{CONFLICTS_MAX, Violation, ViolationCode};
use super::time::{DAY, Instant, LocalDate, Minutes};

/// A question: can this time be claimed of this calendar, as this type, now?
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Of which calendar.
    pub calendar: &'a Calendar,
    /// As which type of it.
    pub appointment_type: &'a AppointmentType,
    /// From when.
    pub start: Instant,
    /// For how long.
    pub duration: Minutes,
    /// The moment of asking.
    pub now: Instant,
    /// The appointment that is being moved: it is not in its own way.
    pub ignore: Option<AppointmentKey>,
    /// Its present duration, which stays allowed.
    pub present_duration: Option<Minutes>,
    /// What staff override.
    pub ignored_rules: IgnoredRules,
    /// Under ALL the grid is judged on the first calendar alone.
    pub is_grid_judged: bool,
}

/// All that fail, in the order of scheduling.md; none = it can be claimed.
pub fn violations(ask: &Ask<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    broken_rules(ask, &mut found);
    found.extend(race_violations(ask));
    found
}

fn violation(ask: &Ask<'_>, code: ViolationCode, rule: String) -> Violation {
    Violation { code, calendar: ask.calendar.id.clone(), rule, interval: None, conflicts: Vec::new() }
}

fn broken_rules(ask: &Ask<'_>, found: &mut Vec<Violation>) {
    use ViolationCode as Code;
    let (calendar, appointment_type, ignored) = (ask.calendar, ask.appointment_type, ask.ignored_rules);
    let zone = calendar.zone();
    if calendar.profile.paused {
        found.push(violation(ask, Code::CalendarPaused, "the calendar is paused".to_owned()));
    }
    if !is_duration_allowed(appointment_type, ask.duration, ask.present_duration) {
        let options = appointment_type.duration_options.iter().map(|option| format!(", {}", option.minutes()));
        let options: String = options.collect();
        let allowed = appointment_type.duration.minutes();
        found.push(violation(ask, Code::Duration, format!("durations allowed, in minutes: {allowed}{options}")));
    }
    let earliest = earliest_start(appointment_type, ask.now);
    if ask.start < ask.now {
        found.push(violation(ask, Code::InThePast, format!("it is {} now", ask.now)));
    } else if ask.start < earliest && !ignored.notice {
        let notice = appointment_type.min_notice.seconds();
        let rule = format!("min_notice is {notice} s: the earliest start is {earliest}, {} there", zone.wall(earliest));
        found.push(violation(ask, Code::Notice, rule));
    }
    let last = last_date(calendar, appointment_type, ask.now);
    if zone.wall(ask.start).date() > last && !ignored.horizon {
        let rule = format!("horizon_days is {}: the last date is {last}", appointment_type.horizon_days);
        found.push(violation(ask, Code::Horizon, rule));
    }
    let hours = Hours::new(&calendar.profile.availability, Some(appointment_type));
    let interval = Interval::new(ask.start, ask.start.plus(ask.duration.seconds()));
    if !ignored.outside_availability && !is_open(calendar, Some(appointment_type), interval) {
        let rule =
            format!("{} is open {}", zone.wall(ask.start).date(), describe_hours(hours, zone.wall(ask.start).date()));
        found.push(violation(ask, Code::OutsideAvailability, rule));
    }
    if ask.is_grid_judged && !ignored.misaligned {
        let grid = grid_at(calendar, hours, appointment_type.step(), ask.start);
        if grid == Grid::Misaligned {
            let rule = format!(
                "starts are {} minutes apart, from the start of each window",
                appointment_type.step().minutes()
            );
            found.push(violation(ask, Code::Misaligned, rule));
        }
    }
}

fn describe_hours(hours: Hours<'_>, date: LocalDate) -> String {
    let mut windows = Vec::new();
    hours.windows(date, &mut windows);
    let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let list: Vec<String> =
        windows.iter().map(|it| format!("{}-{}", clock(it.start_minutes()), clock(it.end_minutes()))).collect();
    if list.is_empty() { "at no time".to_owned() } else { list.join(", ") }
}

/// Whether the type, or the appointment that is being moved, has that duration.
pub fn is_duration_allowed(appointment_type: &AppointmentType, duration: Minutes, present: Option<Minutes>) -> bool {
    appointment_type.allows(duration) || present == Some(duration)
}

/// The earliest start that the notice allows; the past is never allowed.
pub fn earliest_start(appointment_type: &AppointmentType, now: Instant) -> Instant {
    now.plus(appointment_type.min_notice.seconds())
}

/// The last local date that the horizon allows.
pub fn last_date(calendar: &Calendar, appointment_type: &AppointmentType, now: Instant) -> LocalDate {
    let days = i32::try_from(appointment_type.horizon_days).unwrap_or(i32::MAX);
    calendar.zone().wall(now).date().plus(days)
}

/// The dates through whose windows an instant that shows `date` may be open.
fn dates_at(date: LocalDate) -> [LocalDate; 2] {
    [date.plus(-1), date]
}

/// Whether every instant of the interval is open to the type, or to the calendar itself.
pub fn is_open(calendar: &Calendar, appointment_type: Option<&AppointmentType>, interval: Interval) -> bool {
    let hours = Hours::new(&calendar.profile.availability, appointment_type);
    let zone = calendar.zone();
    let mut windows: Vec<Window> = Vec::new();
    // Windows of several dates may touch or overlap; whichever is open at `open_until` carries it further.
    let mut open_until = interval.start;
    while open_until < interval.end {
        let before = open_until;
        for date in dates_at(zone.wall(open_until).date()) {
            hours.windows(date, &mut windows);
            for window in &windows {
                let (from, to) = hours.stretch(date, *window);
                let piece = zone.instants_of(from, to).find(|piece| piece.contains(open_until));
                open_until = piece.map_or(open_until, |piece| piece.end);
            }
        }
        if open_until == before {
            return false;
        }
    }
    true
}

/// Where an instant stands on the grid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grid {
    /// It is a candidate start.
    Aligned,
    /// It is open, and none.
    Misaligned,
    /// It is not open, and so not judged.
    Closed,
}

/// Whether an instant is a candidate start: on the grid of at least one window through which it is open.
pub fn grid_at(calendar: &Calendar, hours: Hours<'_>, step: Minutes, instant: Instant) -> Grid {
    let wall = calendar.zone().wall(instant);
    let mut grid = Grid::Closed;
    let mut windows: Vec<Window> = Vec::new();
    for date in dates_at(wall.date()) {
        hours.windows(date, &mut windows);
        for window in &windows {
            let (from, to) = hours.stretch(date, *window);
            if from <= wall && wall < to {
                if (wall.seconds() - from.seconds()) % step.seconds() == 0 {
                    return Grid::Aligned;
                }
                grid = Grid::Misaligned;
            }
        }
    }
    grid
}

/// The claims that count at `now`: alive, and not the one being moved.
fn living<'a>(ask: &Ask<'a>, probe: Interval) -> impl Iterator<Item = &'a Claim> + use<'a> {
    let (now, ignore) = (ask.now, ask.ignore);
    ask.calendar.claims.overlapping(probe).filter(move |claim| claim.is_alive(now) && Some(claim.key()) != ignore)
}

/// A living seat of the session that this claim would share.
fn session<'a>(ask: &Ask<'a>) -> Option<&'a Claim> {
    let interval = Interval::new(ask.start, ask.start.plus(ask.duration.seconds()));
    living(ask, interval).find(|claim| claim.shares_session(ask.appointment_type.number, ask.start, ask.duration))
}

/// What the claim keeps free before and after: what the session that it joins keeps, else what the type says.
pub fn buffers(ask: &Ask<'_>) -> (Minutes, Minutes) {
    let own = (ask.appointment_type.buffer_before, ask.appointment_type.buffer_after);
    session(ask).map_or(own, |seat| (seat.before(), seat.after()))
}

/// Seats that are free in the session at that time; of a type with one seat, 1 or 0.
pub fn seats_remaining(ask: &Ask<'_>) -> u32 {
    let interval = Interval::new(ask.start, ask.start.plus(ask.duration.seconds()));
    let is_seat = |claim: &&Claim| claim.shares_session(ask.appointment_type.number, ask.start, ask.duration);
    let taken = living(ask, interval).filter(is_seat).count();
    ask.appointment_type.capacity.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
}

/// What others have done to that time: BUSY, CAPACITY and LIMIT.
pub fn race_violations(ask: &Ask<'_>) -> Vec<Violation> {
    use ViolationCode as Code;
    let session = session(ask);
    let is_joining = ask.appointment_type.capacity > 1 && session.is_some();
    let (before, after) = buffers(ask);
    let padded =
        Interval::new(ask.start, ask.start.plus(ask.duration.seconds())).padded(before.seconds(), after.seconds());
    let is_seat =
        |claim: &Claim| is_joining && claim.shares_session(ask.appointment_type.number, ask.start, ask.duration);
    let mut found: Vec<Violation> = Vec::new();
    for claim in living(ask, padded).filter(|claim| !is_seat(claim)) {
        let is_hold = claim.state() == AppointmentState::Held;
        let code = if is_hold { Code::BusyHold } else { Code::BusyBooking };
        let index = found.iter().position(|violation| violation.code == code).unwrap_or_else(|| {
            let what = if is_hold { "a hold" } else { "an appointment" };
            let rule = format!(
                "{what} has this time, with {} min kept free before and {} after",
                before.minutes(),
                after.minutes()
            );
            found.push(Violation { interval: Some(claim.padded()), ..violation(ask, code, rule) });
            found.len() - 1
        });
        if found[index].conflicts.len() < CONFLICTS_MAX {
            found[index].conflicts.push(claim.key());
        }
    }
    found.sort_by_key(|violation| violation.code);
    if let Some(period) = first_overlap(ask.calendar.busy.merged(), padded) {
        let rule = "an external calendar has this time".to_owned();
        found.push(Violation { interval: Some(period), ..violation(ask, Code::BusyExternal, rule) });
    }
    if is_joining && seats_remaining(ask) == 0 {
        let rule = format!("all {} seats are taken", ask.appointment_type.capacity);
        let interval = session.map(|seat| seat.interval());
        found.push(Violation { interval, ..violation(ask, Code::Capacity, rule) });
    }
    if !is_joining && !ask.ignored_rules.limit {
        limit_violations(ask, &mut found);
    }
    found
}

/// The periods that limits count, each with how many sessions it may have.
fn periods(limits: &Limits, date: LocalDate) -> impl Iterator<Item = (&'static str, u32, LocalDate, LocalDate)> {
    let week = date.first_of_week();
    let month = date.first_of_month();
    let year = date.first_of_year();
    [
        ("day", limits.per_day, date, date.plus(1)),
        ("week", limits.per_week, week, week.plus(7)),
        ("month", limits.per_month, month, month.plus(31).first_of_month()),
        ("year", limits.per_year, year, year.plus(366).first_of_year()),
    ]
    .into_iter()
    .filter_map(|(name, limit, first, end)| limit.map(|limit| (name, limit, first, end)))
}

fn limit_violations(ask: &Ask<'_>, found: &mut Vec<Violation>) {
    let date = ask.calendar.zone().wall(ask.start).date();
    let own = Some(ask.appointment_type.number);
    let scopes = [("type", &ask.appointment_type.limits, own), ("calendar", &ask.calendar.profile.limits, None)];
    for (scope, limits, number) in scopes {
        for (name, limit, first, end) in periods(limits, date) {
            let count = sessions(ask, first, end, number);
            if count >= u64::from(limit) {
                let rule = format!("the {scope} may have {limit} a {name}, and has {count} from {first} on");
                found.push(violation(ask, ViolationCode::Limit, rule));
            }
        }
    }
}

/// Sessions that start on the local dates `[first, end)`: of one type or of all.
fn sessions(ask: &Ask<'_>, first: LocalDate, end: LocalDate, number: Option<super::ids::TypeNumber>) -> u64 {
    let zone = ask.calendar.zone();
    // No local date begins more than two days from its midnight in UTC; padding reaches seven days.
    let from = Instant::from_seconds(first.midnight().seconds() - 2 * DAY);
    let until = Instant::from_seconds(end.midnight().seconds() + 9 * DAY);
    let mut last = None;
    let mut count = 0;
    for claim in ask.calendar.claims.ending_after(from).take_while(|claim| claim.padded().start < until) {
        let is_counted = claim.is_alive(ask.now)
            && Some(claim.key()) != ask.ignore
            && number.is_none_or(|number| claim.type_number() == number);
        let session = (claim.type_number(), claim.start(), claim.duration());
        if !is_counted || last == Some(session) {
            continue;
        }
        let date = zone.wall(claim.start()).date();
        if first <= date && date < end {
            count += 1;
            last = Some(session);
        }
    }
    count
}

/// Whether a limit refuses one more session at that time. All starts of one local date have one answer.
pub(super) fn is_limit_reached(ask: &Ask<'_>) -> bool {
    let mut found = Vec::new();
    limit_violations(ask, &mut found);
    !found.is_empty()
}
