//! The model in plain words: what each command leads to, by the definition and the table of states alone.
//!
//! Meant to be read beside scheduling.md. Whether a time can be had is asked of the checker, minute by minute; nothing
//! here searches, shares or remembers more than a list of what was booked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bookd_core::appointment::{AppointmentState as S, Assignment, IgnoredRules};
use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::calendar::claims::{Claim, Claims};
use bookd_core::ids::{AppointmentKey, CalendarId, TypeId};
use bookd_core::time::{HOUR, Instant, Minutes, Seconds};

use crate::checker::{Checker, Mates};

/// Why a command is refused, as far as the order of reasons goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Refused {
    Invalid,
    NotFound,
    Exists,
    HoldExpired,
    State,
    TooLate,
    Rule,
    Race,
}

/// What was booked.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Kept {
    pub(crate) key: AppointmentKey,
    pub(crate) calendars: Vec<CalendarId>,
    pub(crate) buffers: Vec<(Minutes, Minutes)>,
    pub(crate) type_id: TypeId,
    pub(crate) start: Instant,
    pub(crate) duration: Minutes,
    pub(crate) state: S,
    pub(crate) blocks: bool,
    pub(crate) expiry: Option<Instant>,
    pub(crate) made: Instant,
    pub(crate) is_named: bool,
    pub(crate) ignored: IgnoredRules,
}

impl Kept {
    fn state_at(&self, now: Instant) -> S {
        if self.expiry.is_some_and(|expiry| expiry <= now) {
            S::Expired
        } else {
            self.state
        }
    }

    fn is_active(&self, now: Instant) -> bool {
        match self.state_at(now) {
            S::Held | S::Confirmed | S::NoShow | S::Completed => true,
            S::Pending => self.blocks,
            S::Cancelled | S::Declined | S::Expired => false,
        }
    }
}

/// A time that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) calendars: Vec<CalendarId>,
    pub(crate) assignment: Assignment,
    pub(crate) type_id: TypeId,
    pub(crate) start: Instant,
    pub(crate) duration: Option<Minutes>,
    pub(crate) ignored: IgnoredRules,
}

/// What a command leads to: whether anything changed.
pub(crate) type Outcome = Result<bool, Refused>;

#[derive(Clone)]
pub(crate) struct Reference {
    /// Their settings; nothing booked is in them.
    pub(crate) calendars: BTreeMap<CalendarId, Calendar>,
    pub(crate) kept: BTreeMap<u128, Kept>,
    pub(crate) next_key: AppointmentKey,
    pub(crate) now: Instant,
}

impl Reference {
    fn type_of(&self, calendar: &CalendarId, id: &TypeId) -> Result<Arc<AppointmentType>, Refused> {
        self.calendars[calendar]
            .types
            .find(id)
            .cloned()
            .ok_or(Refused::NotFound)
    }

    /// The calendar with what is active of it.
    fn with_claims(&self, id: &CalendarId) -> Calendar {
        let mut claims = Vec::new();
        for kept in self.kept.values().filter(|kept| kept.is_active(self.now)) {
            for (calendar, (before, after)) in kept.calendars.iter().zip(&kept.buffers) {
                if calendar == id {
                    let number = self.calendars[id].types.find(&kept.type_id).unwrap().number;
                    let Kept {
                        key,
                        start,
                        duration,
                        state,
                        expiry,
                        ..
                    } = *kept;
                    // Who shares a session is told by `mates`, and not by the claims.
                    claims.push(Claim::new(
                        key, number, start, duration, *before, *after, state, expiry,
                    ));
                }
            }
        }
        Calendar {
            claims: Claims::from_unordered(claims),
            ..self.calendars[id].clone()
        }
    }

    /// The active appointments of a type that begin and end like this and take this very set of calendars.
    fn mates(
        &self,
        type_id: &TypeId,
        start: Instant,
        duration: Minutes,
        calendars: &[CalendarId],
    ) -> Mates {
        let set = |calendars: &[CalendarId]| calendars.iter().cloned().collect::<BTreeSet<_>>();
        let wanted = set(calendars);
        let is_mate = |kept: &&Kept| {
            kept.is_active(self.now)
                && (&kept.type_id, kept.start, kept.duration) == (type_id, start, duration)
                && set(&kept.calendars) == wanted
        };
        Mates::Keys(
            self.kept
                .values()
                .filter(is_mate)
                .map(|kept| kept.key)
                .collect(),
        )
    }

    /// Of the calendars that are wished for, those that take it and what they keep free; or the weightier refusal.
    fn take(
        &self,
        wish: &Wish,
        moved: Option<&Kept>,
    ) -> Result<(Vec<CalendarId>, Vec<(Minutes, Minutes)>, Minutes), Refused> {
        let types: Vec<_> = wish
            .calendars
            .iter()
            .map(|id| self.type_of(id, &wish.type_id))
            .collect::<Result<_, _>>()?;
        let is_any = wish.assignment == Assignment::Any;
        let (mut takers, mut within_rules) = (Vec::new(), 0);
        for (index, (id, of_type)) in wish.calendars.iter().zip(&types).enumerate() {
            let calendar = self.with_claims(id);
            let duration = wish.duration.unwrap_or(of_type.duration);
            let mut checker = Checker::new(&calendar, of_type, duration, self.now);
            checker.ignore = moved.map(|it| it.key);
            checker.present_duration = moved.map(|it| it.duration);
            checker.ignored_rules = wish.ignored;
            let together = if is_any {
                std::slice::from_ref(id)
            } else {
                &wish.calendars
            };
            // Where one of them seats one at a time, nobody shares anything.
            let is_shared = is_any || types.iter().all(|it| it.capacity > 1);
            checker.mates = match is_shared {
                true => self.mates(&wish.type_id, wish.start, duration, together),
                false => Mates::Keys(BTreeSet::new()),
            };
            if checker.is_within_rules(wish.start, is_any || index == 0) {
                within_rules += 1;
                if checker.is_to_be_had(wish.start) {
                    let zone = calendar.zone();
                    let date = zone.wall(wish.start).date();
                    let starts_then = |it: &&Claim| zone.wall(it.start()).date() == date;
                    let is_other = |it: &&Claim| moved.is_none_or(|moved| moved.key != it.key());
                    let load = calendar
                        .claims
                        .iter()
                        .filter(is_other)
                        .filter(starts_then)
                        .count();
                    takers.push((load, id.clone(), checker.buffers(wish.start), duration));
                }
            }
        }
        let is_taken = if is_any {
            !takers.is_empty()
        } else {
            takers.len() == types.len()
        };
        let is_rule_kept = if is_any {
            within_rules > 0
        } else {
            within_rules == types.len()
        };
        match (is_taken, is_rule_kept) {
            (true, _) if is_any => {
                let (_, id, buffers, duration) = takers
                    .into_iter()
                    .min_by_key(|it| (it.0, it.1.clone()))
                    .unwrap();
                Ok((vec![id], vec![buffers], duration))
            }
            (true, _) => {
                let duration = takers[0].3;
                Ok((
                    wish.calendars.clone(),
                    takers.into_iter().map(|it| it.2).collect(),
                    duration,
                ))
            }
            (false, true) => Err(Refused::Race),
            (false, false) => Err(Refused::Rule),
        }
    }

    /// State, whether it blocks and until when, of what is booked of these calendars.
    fn booked(
        &self,
        calendars: &[CalendarId],
        type_id: &TypeId,
        start: Instant,
    ) -> (S, bool, Option<Instant>) {
        let types: Vec<_> = calendars
            .iter()
            .map(|id| self.type_of(id, type_id).unwrap())
            .collect();
        if types.iter().all(|it| !it.requires_approval) {
            return (S::Confirmed, true, None);
        }
        let blocks = types
            .iter()
            .any(|it| it.requires_approval && it.pending_blocks);
        (S::Pending, blocks, Some(start.max(self.now.plus(1))))
    }

    /// Books, or holds for `ttl`.
    pub(crate) fn claim(&mut self, id: u128, wish: &Wish, ttl: Option<Seconds>) -> Outcome {
        let types = wish
            .calendars
            .iter()
            .map(|id| self.type_of(id, &wish.type_id));
        let types: Vec<_> = types.collect::<Result<_, _>>()?;
        // Fields that only the calendars can judge come before what is there already.
        let is_one = types.iter().all(|it| it.duration == types[0].duration);
        if wish.duration.is_none() && wish.assignment == Assignment::All && !is_one {
            return Err(Refused::Invalid);
        }
        if self.kept.contains_key(&id) {
            return Err(Refused::Exists);
        }
        let (calendars, buffers, duration) = self.take(wish, None)?;
        let (state, blocks, expiry) = match ttl {
            Some(ttl) => (S::Held, true, Some(self.now.plus(ttl.seconds()))),
            None => self.booked(&calendars, &wish.type_id, wish.start),
        };
        let kept = Kept {
            key: self.next_key,
            calendars,
            buffers,
            type_id: wish.type_id.clone(),
            start: wish.start,
            duration,
            state,
            blocks,
            expiry,
            made: self.now,
            is_named: ttl.is_none(),
            ignored: wish.ignored,
        };
        self.next_key = self.next_key.next();
        self.kept.insert(id, kept);
        Ok(true)
    }

    pub(crate) fn batch(&mut self, wishes: &[(u128, Wish)]) -> Outcome {
        let before = self.clone();
        for (id, wish) in wishes {
            if let Err(refused) = self.claim(*id, wish, None) {
                *self = before;
                return Err(refused);
            }
        }
        Ok(true)
    }

    fn find(&self, id: u128) -> Result<(Kept, S), Refused> {
        let kept = self.kept.get(&id).ok_or(Refused::NotFound)?;
        Ok((kept.clone(), kept.state_at(self.now)))
    }

    fn put(&mut self, id: u128, kept: Kept) -> Outcome {
        self.kept.insert(id, kept);
        Ok(true)
    }

    fn hold(&self, id: u128) -> Result<(Kept, S), Refused> {
        match self.find(id)? {
            (kept, S::Expired) if kept.expiry.is_some() => Err(Refused::HoldExpired),
            found => Ok(found),
        }
    }

    /// Turns a hold into an appointment, with the invitee's name or with the hold's.
    pub(crate) fn confirm(&mut self, id: u128, brings_name: bool) -> Outcome {
        let (kept, state) = self.hold(id)?;
        match state {
            S::Held if !brings_name && !kept.is_named => Err(Refused::Invalid),
            S::Held => {
                let (state, blocks, expiry) =
                    self.booked(&kept.calendars, &kept.type_id, kept.start);
                self.put(
                    id,
                    Kept {
                        state,
                        blocks,
                        expiry,
                        is_named: true,
                        ..kept
                    },
                )
            }
            S::Pending | S::Confirmed if brings_name && !kept.is_named => Err(Refused::State),
            S::Pending | S::Confirmed => Ok(false),
            _ => Err(Refused::State),
        }
    }

    pub(crate) fn extend(&mut self, id: u128, ttl: Seconds) -> Outcome {
        let (kept, state) = self.hold(id)?;
        let expiry = Some(self.now.plus(ttl.seconds()).min(kept.made.plus(2 * HOUR)));
        match state {
            S::Held if expiry == kept.expiry => Ok(false),
            S::Held => self.put(id, Kept { expiry, ..kept }),
            _ => Err(Refused::State),
        }
    }

    pub(crate) fn release(&mut self, id: u128) -> Outcome {
        let (kept, state) = self.hold(id)?;
        match state {
            S::Held => self.put(
                id,
                Kept {
                    state: S::Cancelled,
                    expiry: None,
                    ..kept
                },
            ),
            S::Cancelled => Ok(false),
            _ => Err(Refused::State),
        }
    }

    pub(crate) fn approve(&mut self, id: u128) -> Outcome {
        let (kept, state) = self.find(id)?;
        match state {
            S::Pending => {
                let mut buffers = kept.buffers.clone();
                let types = kept
                    .calendars
                    .iter()
                    .map(|id| self.type_of(id, &kept.type_id));
                let types = types.collect::<Result<Vec<_>, _>>()?;
                let is_shared = types.iter().all(|it| it.capacity > 1);
                for (calendar, buffers) in kept
                    .calendars
                    .iter()
                    .zip(&mut buffers)
                    .filter(|_| !kept.blocks)
                {
                    let (calendar, of_type) = (
                        self.with_claims(calendar),
                        self.type_of(calendar, &kept.type_id)?,
                    );
                    let mut checker = Checker::new(&calendar, &of_type, kept.duration, self.now);
                    checker.ignored_rules = kept.ignored;
                    checker.mates = match is_shared {
                        true => {
                            self.mates(&kept.type_id, kept.start, kept.duration, &kept.calendars)
                        }
                        false => Mates::Keys(BTreeSet::new()),
                    };
                    if !checker.is_to_be_had(kept.start) {
                        return Err(Refused::Race);
                    }
                    *buffers = checker.buffers(kept.start);
                }
                self.put(
                    id,
                    Kept {
                        state: S::Confirmed,
                        blocks: true,
                        expiry: None,
                        buffers,
                        ..kept
                    },
                )
            }
            S::Confirmed => Ok(false),
            _ => Err(Refused::State),
        }
    }

    pub(crate) fn decline(&mut self, id: u128) -> Outcome {
        let (kept, state) = self.find(id)?;
        match state {
            S::Pending => self.put(
                id,
                Kept {
                    state: S::Declined,
                    blocks: true,
                    expiry: None,
                    ..kept
                },
            ),
            S::Declined => Ok(false),
            _ => Err(Refused::State),
        }
    }

    /// Whether it is too late, by the strictest of its types.
    fn is_late(
        &self,
        kept: &Kept,
        state: S,
        notice: impl Fn(&AppointmentType) -> Option<Seconds>,
    ) -> bool {
        let types = kept
            .calendars
            .iter()
            .map(|id| self.type_of(id, &kept.type_id).unwrap());
        let strictest = types.filter_map(|it| notice(&it)).max();
        state != S::Held
            && strictest.is_some_and(|notice| self.now > kept.start.plus(-notice.seconds()))
    }

    pub(crate) fn cancel(&mut self, id: u128) -> Outcome {
        let (kept, state) = self.find(id)?;
        match state {
            S::Held | S::Pending | S::Confirmed
                if self.is_late(&kept, state, |it| it.cancel_notice) =>
            {
                Err(Refused::TooLate)
            }
            S::Held | S::Pending | S::Confirmed => self.put(
                id,
                Kept {
                    state: S::Cancelled,
                    blocks: true,
                    expiry: None,
                    ..kept
                },
            ),
            S::Cancelled => Ok(false),
            _ => Err(Refused::State),
        }
    }

    /// Moves; no calendars = those that it has.
    pub(crate) fn reschedule(&mut self, id: u128, to: &Wish) -> Outcome {
        let (kept, state) = self.find(id)?;
        let stays = to.calendars.is_empty();
        let calendars = if stays {
            kept.calendars.clone()
        } else {
            to.calendars.clone()
        };
        let assignment = if stays {
            Assignment::All
        } else {
            to.assignment
        };
        for calendar in &calendars {
            self.type_of(calendar, &kept.type_id)?;
        }
        if !matches!(state, S::Held | S::Pending | S::Confirmed) {
            return Err(Refused::State);
        }
        if self.is_late(&kept, state, |it| it.reschedule_notice) {
            return Err(Refused::TooLate);
        }
        let duration = to.duration.unwrap_or(kept.duration);
        if (to.start, duration, &calendars) == (kept.start, kept.duration, &kept.calendars) {
            return Ok(false);
        }
        let duration = Some(duration);
        let wish = Wish {
            calendars,
            assignment,
            type_id: kept.type_id.clone(),
            duration,
            ..to.clone()
        };
        let (calendars, buffers, duration) = self.take(&wish, Some(&kept))?;
        let expiry = if state == S::Pending {
            Some(to.start.max(self.now.plus(1)))
        } else {
            kept.expiry
        };
        self.put(
            id,
            Kept {
                calendars,
                buffers,
                duration,
                start: to.start,
                expiry,
                ignored: to.ignored,
                ..kept
            },
        )
    }

    /// Says that it took place, or that the invitee did not come, or takes that back.
    pub(crate) fn attend(&mut self, id: u128, said: S, undo: bool) -> Outcome {
        let (kept, state) = self.find(id)?;
        let (from, to) = if undo {
            (said, S::Confirmed)
        } else {
            (S::Confirmed, said)
        };
        if state == to {
            return Ok(false);
        }
        if state != from || self.now < kept.start {
            return Err(Refused::State);
        }
        self.put(id, Kept { state: to, ..kept })
    }

    /// Records what ran out.
    pub(crate) fn expire(&mut self) {
        let now = self.now;
        for kept in self
            .kept
            .values_mut()
            .filter(|kept| kept.expiry.is_some_and(|expiry| expiry <= now))
        {
            (kept.state, kept.blocks) = (S::Expired, true);
        }
    }
}
