//! The reference: the outcome of each command by the definition of what is bookable, in the plainest
//! code.
//!
//! The checker decides minute by minute whether a slot can be booked. Nothing here searches or
//! caches, and the only state is a list of appointments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bookd_core::appointment::{AppointmentState as S, Assignment, IgnoredRules};
use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::AppointmentType;
use bookd_core::calendar::claims::{Claim, Claims};
use bookd_core::ids::{AppointmentKey, CalendarId, TypeId};
use bookd_core::time::{Instant, Minutes, Seconds};

use crate::checker::{Checker, Mates};

/// The class of a refusal, in the order in which they are checked.
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

/// An appointment of the reference.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Booked {
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

impl Booked {
    pub(crate) fn state_at(&self, now: Instant) -> S {
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

/// The time that a booking or a move asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) calendars: Vec<CalendarId>,
    pub(crate) assignment: Assignment,
    pub(crate) type_id: TypeId,
    pub(crate) start: Instant,
    pub(crate) duration: Option<Minutes>,
    pub(crate) ignored: IgnoredRules,
}

/// The outcome of a command: whether anything changed, or the refusal.
pub(crate) type Outcome = Result<bool, Refused>;

/// The calendars that take a wish, the buffers that each keeps free before and after it, and its
/// duration.
pub(crate) struct Taken {
    pub(crate) calendars: Vec<CalendarId>,
    pub(crate) buffers: Vec<(Minutes, Minutes)>,
    pub(crate) duration: Minutes,
}

/// The state of the reference.
#[derive(Clone)]
pub(crate) struct Reference {
    /// The calendars with their settings, without claims.
    pub(crate) calendars: BTreeMap<CalendarId, Calendar>,
    pub(crate) appointments: BTreeMap<u128, Booked>,
    pub(crate) next_key: AppointmentKey,
    pub(crate) now: Instant,
}

/// The appointments other than the moved one that start on the local date of `start`.
fn load(calendar: &Calendar, start: Instant, moved: Option<&Booked>) -> usize {
    let zone = calendar.zone();
    let date = zone.wall(start).date();
    let is_other = |claim: &&Claim| moved.is_none_or(|moved| moved.key != claim.key());
    let starts_then = |claim: &&Claim| zone.wall(claim.start()).date() == date;
    let others = calendar.claims.iter().filter(is_other);
    others.filter(starts_then).count()
}

impl Reference {
    pub(crate) fn type_of(
        &self,
        calendar: &CalendarId,
        id: &TypeId,
    ) -> Result<Arc<AppointmentType>, Refused> {
        self.calendars[calendar]
            .types
            .find(id)
            .cloned()
            .ok_or(Refused::NotFound)
    }

    /// The calendar with the claims of its active appointments.
    pub(crate) fn with_claims(&self, id: &CalendarId) -> Calendar {
        let mut claims = Vec::new();
        for booked in self
            .appointments
            .values()
            .filter(|booked| booked.is_active(self.now))
        {
            for (calendar, (before, after)) in booked.calendars.iter().zip(&booked.buffers) {
                if calendar == id {
                    let number = self.calendars[id]
                        .types
                        .find(&booked.type_id)
                        .unwrap()
                        .number;
                    let Booked {
                        key,
                        start,
                        duration,
                        state,
                        expiry,
                        ..
                    } = *booked;
                    // Sessions come from `mates`, not from the claims.
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

    /// The active appointments of a type with this start and duration and exactly this set of
    /// calendars.
    pub(crate) fn mates(
        &self,
        type_id: &TypeId,
        start: Instant,
        duration: Minutes,
        calendars: &[CalendarId],
    ) -> Mates {
        let set = |calendars: &[CalendarId]| calendars.iter().cloned().collect::<BTreeSet<_>>();
        let wanted = set(calendars);
        let is_mate = |booked: &&Booked| {
            booked.is_active(self.now)
                && (&booked.type_id, booked.start, booked.duration) == (type_id, start, duration)
                && set(&booked.calendars) == wanted
        };
        Mates::Keys(
            self.appointments
                .values()
                .filter(is_mate)
                .map(|booked| booked.key)
                .collect(),
        )
    }

    /// The calendars of a wish that take it and what they keep free, and its duration; or the
    /// weightier refusal.
    pub(crate) fn take(&self, wish: &Wish, moved: Option<&Booked>) -> Result<Taken, Refused> {
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
            // If one of the types has a single seat, no session is shared.
            let is_shared = is_any || types.iter().all(|it| it.capacity > 1);
            checker.mates = if is_shared {
                self.mates(&wish.type_id, wish.start, duration, together)
            } else {
                Mates::Keys(BTreeSet::new())
            };
            if checker.is_within_rules(wish.start, is_any || index == 0) {
                within_rules += 1;
                if checker.is_available(wish.start) {
                    let load = load(&calendar, wish.start, moved);
                    takers.push((load, id.clone(), checker.buffers(wish.start), duration));
                }
            }
        }
        let is_enough = |count: usize| count > 0 && (is_any || count == types.len());
        if !is_enough(takers.len()) {
            return Err(if is_enough(within_rules) {
                Refused::Race
            } else {
                Refused::Rule
            });
        }
        if is_any {
            takers.sort_unstable_by_key(|(load, id, ..)| (*load, id.clone()));
            takers.truncate(1);
        }
        Ok(Taken {
            duration: takers[0].3,
            calendars: takers.iter().map(|it| it.1.clone()).collect(),
            buffers: takers.iter().map(|it| it.2).collect(),
        })
    }

    /// The state of a new appointment on these calendars, whether it blocks, and its expiry.
    pub(crate) fn new_state(
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

    /// Books an appointment, or holds it for `ttl`.
    pub(crate) fn claim(&mut self, id: u128, wish: &Wish, ttl: Option<Seconds>) -> Outcome {
        let types = wish
            .calendars
            .iter()
            .map(|id| self.type_of(id, &wish.type_id));
        let types: Vec<_> = types.collect::<Result<_, _>>()?;
        // Invalid fields are refused before an id that exists already.
        let is_one = types.iter().all(|it| it.duration == types[0].duration);
        if wish.duration.is_none() && wish.assignment == Assignment::All && !is_one {
            return Err(Refused::Invalid);
        }
        if self.appointments.contains_key(&id) {
            return Err(Refused::Exists);
        }
        let Taken {
            calendars,
            buffers,
            duration,
        } = self.take(wish, None)?;
        let (state, blocks, expiry) = match ttl {
            Some(ttl) => (S::Held, true, Some(self.now.plus(ttl.seconds()))),
            None => self.new_state(&calendars, &wish.type_id, wish.start),
        };
        let booked = Booked {
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
        self.appointments.insert(id, booked);
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
}
