//! WatchSlots: the offered slots, and then the slots that are added and removed.
//!
//! The whole search runs again when a change touched one of the calendars, and as time passes. Each
//! message is the difference between two lists that ListSlots would have given.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant as Monotonic;

use crate::engine::{CalendarWatch, Failure, Wait, Wakeup};
use crate::proto::v1 as pb;
use bookd_core::ids::Revision;
use bookd_core::slots::multi_calendar::{self, SharedSlot};
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::Zone;
use bookd_core::time::{Instant, MINUTE};

use crate::api::context::{Answered, Api, Call, Context};
use crate::api::convert::parse::Fields;
use crate::api::convert::render;
use crate::api::services::slot_question::{Asked, Question};
use crate::api::stream::Source;

/// The most slots that one watch may have at a time.
pub const SLOTS_WATCHED_MAX: usize = 5_000;
/// The most bytes of those slots on the wire, estimated. Clients take messages of four times this
/// size by default.
const SLOTS_BYTES_MAX: usize = 1_024 * 1_024;
/// Bytes of one slot on the wire without the ids of its calendars.
const SLOT_BYTES: usize = 72;

/// The messages of one watch.
pub(crate) struct Offers {
    api: Api,
    /// The context of the call, without its deadline and its permit, which are of the first search.
    context: Context,
    question: Question,
    is_by_date: bool,
    touches: CalendarWatch,
    /// The slots that the client knows once it has read every message.
    offered: Offered,
    /// The first message, until it is sent.
    first: Option<pb::WatchSlotsResponse>,
    /// When the slots were last searched.
    searched: Monotonic,
    /// When the last message was made.
    sent: Monotonic,
    is_over: bool,
}

/// The offered slots of one moment.
struct Offered {
    slots: Vec<SharedSlot>,
    ids: Vec<String>,
    shown: Option<Arc<Zone>>,
    revision: Revision,
    now: Instant,
    /// When time alone may change the slots next.
    due: Instant,
}

pub(crate) async fn watch_slots(api: &Api, call: Call<pb::WatchSlotsRequest>) -> Answered<Offers> {
    let Call { context, message } = call;
    let message = listing(message);
    let is_by_date = !message.date.is_empty();
    let mut fields = Fields::default();
    let question = Question::read(api, &message, &mut fields);
    let question = fields.finish(question)?;
    // The subscription comes before the first search, so that no change falls in between.
    context.expect_all(&question.calendars)?;
    let touches = api.engine.touches(question.calendars.clone())?;
    let asked = question.ask(api, &context).await?;
    let offered = search(&question, asked, is_by_date, api, context.wait.deadline).await?;
    let first = Some(offered.message(offered.slots.iter(), [].iter(), &[]));
    let (api, searched, sent) = (api.clone(), Monotonic::now(), Monotonic::now());
    let context = Context {
        wait: Wait::default(),
        ..context
    };
    Ok(Offers {
        api,
        context,
        question,
        is_by_date,
        touches,
        offered,
        first,
        searched,
        sent,
        is_over: false,
    })
}

fn listing(message: pb::WatchSlotsRequest) -> pb::ListSlotsRequest {
    pb::ListSlotsRequest {
        calendar_id: message.calendar_id,
        calendar_ids: message.calendar_ids,
        assignment: message.assignment,
        appointment_type_id: message.appointment_type_id,
        date: message.date,
        start_time: message.start_time,
        end_time: message.end_time,
        duration: message.duration,
        time_zone: message.time_zone,
        ..Default::default()
    }
}

/// All slots of the question as they are now.
async fn search(
    question: &Question,
    asked: Asked,
    is_by_date: bool,
    api: &Api,
    deadline: Option<Monotonic>,
) -> Answered<Offered> {
    let ((_, ranges), shown) = (question.ranges(api, &asked), question.zone.clone());
    let weight = asked.weight(&ranges);
    let offered = api
        .compute(weight, deadline, move || offered(&asked, &ranges, shown))
        .await?;
    let offered = offered.ok_or_else(|| {
        let field = if is_by_date { "date" } else { "end_time" };
        let text = format!(
            "more than {SLOTS_WATCHED_MAX} slots, or too many calendars with them; watch less"
        );
        Fields::wrong_only(field, text)
    })?;
    Ok(offered)
}

/// The slots of these ranges; none when there are too many.
fn offered(asked: &Asked, ranges: &[Interval], shown: Option<Arc<Zone>>) -> Option<Offered> {
    let ids: Vec<String> = asked
        .view
        .calendars
        .iter()
        .map(|calendar| calendar.id.to_string())
        .collect();
    let mut found = Vec::new();
    let (mut bytes, mut is_too_much) = (0, false);
    for range in ranges {
        multi_calendar::visit(
            &asked.searches(*range),
            asked.assignment,
            &mut |slot: SharedSlot| {
                bytes += SLOT_BYTES
                    + slot
                        .calendars
                        .iter()
                        .map(|index| ids[index].len() + 2)
                        .sum::<usize>();
                found.push(slot);
                is_too_much |= found.len() > SLOTS_WATCHED_MAX || bytes > SLOTS_BYTES_MAX;
                if is_too_much {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        if is_too_much {
            return None;
        }
    }
    let due = due(asked, found.first(), asked.view.now);
    let (revision, now) = (asked.view.revision, asked.view.now);
    Some(Offered {
        slots: found,
        ids,
        shown,
        revision,
        now,
        due,
    })
}

/// When time alone may change the offered slots: at the next whole minute or the second after it,
/// when slots and days end, and earlier when the notice of the first slot is over.
fn due(asked: &Asked, first: Option<&SharedSlot>, now: Instant) -> Instant {
    let past = now.seconds().rem_euclid(MINUTE);
    let minute = now.plus(if past == 0 { 1 } else { MINUTE - past });
    let notices = asked.types.iter().map(|it| it.min_notice.seconds());
    let gone = notices.filter_map(|notice| Some(first?.slot.start.plus(1 - notice)));
    gone.filter(|gone| *gone > now).fold(minute, Instant::min)
}

impl Offered {
    fn message<'a>(
        &self,
        added: impl Iterator<Item = &'a SharedSlot>,
        removed: impl Iterator<Item = &'a SharedSlot>,
        ids_before: &[String],
    ) -> pb::WatchSlotsResponse {
        let message = |shared: &SharedSlot, ids: &[String]| {
            let calendars = shared
                .calendars
                .iter()
                .map(|index| ids[index].clone())
                .collect();
            render::slot(
                shared.slot.interval(),
                shared.slot.seats_remaining,
                calendars,
                self.shown.as_deref(),
            )
        };
        pb::WatchSlotsResponse {
            added: added.map(|slot| message(slot, &self.ids)).collect(),
            removed: removed.map(|slot| message(slot, ids_before)).collect(),
            revision: render::revision(self.revision),
            read_time: Some(render::timestamp(self.now)),
        }
    }

    /// The message that turns the slots of `before` into these.
    fn since(&self, before: &Self) -> pb::WatchSlotsResponse {
        let (added, removed) = difference(&before.slots, &self.slots);
        self.message(added.into_iter(), removed.into_iter(), &before.ids)
    }
}

/// The slots that are only in `after`, and those that are only in `before`. Both lists are ordered
/// by start, with each start once.
fn difference<'a>(
    before: &'a [SharedSlot],
    after: &'a [SharedSlot],
) -> (Vec<&'a SharedSlot>, Vec<&'a SharedSlot>) {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    let order = |before: &mut Peekable<std::slice::Iter<'a, SharedSlot>>,
                 after: &mut Peekable<std::slice::Iter<'a, SharedSlot>>| {
        match (before.peek(), after.peek()) {
            (None, None) => None,
            (Some(_), None) => Some(Ordering::Less),
            (None, Some(_)) => Some(Ordering::Greater),
            (Some(old), Some(new)) => Some(old.slot.start.cmp(&new.slot.start)),
        }
    };
    while let Some(order) = order(&mut before, &mut after) {
        match order {
            Ordering::Less => removed.extend(before.next()),
            Ordering::Greater => added.extend(after.next()),
            Ordering::Equal => {
                let (old, new) = (before.next(), after.next());
                // A slot with other seats or other calendars is another slot.
                if old != new {
                    removed.extend(old);
                    added.extend(new);
                }
            }
        }
    }
    (added, removed)
}

impl Offers {
    /// Searches again; returns the difference.
    async fn search_again(&mut self) -> Answered<pb::WatchSlotsResponse> {
        tokio::time::sleep_until(self.searched + self.touches.settings().slots_pause).await;
        let asked = self.question.ask(&self.api, &self.context).await?;
        let offered = search(&self.question, asked, self.is_by_date, &self.api, None).await?;
        self.searched = Monotonic::now();
        let message = offered.since(&self.offered);
        self.offered = offered;
        Ok(message)
    }

    async fn follow(&mut self) -> Answered<pb::WatchSlotsResponse> {
        loop {
            let progress = self.sent + self.touches.settings().progress;
            let seconds = self
                .offered
                .due
                .since(self.api.engine.now())
                .max(0)
                .unsigned_abs();
            // The engine's clock counts whole seconds, so that the wait may be 0: then the search
            // runs at once.
            let until = Monotonic::now() + Duration::from_secs(seconds);
            let woken = self.touches.woken(until.min(progress)).await;
            let is_progress = Monotonic::now() >= progress;
            let is_due = self.api.engine.now() >= self.offered.due;
            match woken {
                Wakeup::Closed => {
                    self.is_over = true;
                    return Ok(self.offered.message([].iter(), [].iter(), &[]));
                }
                Wakeup::Cut => {
                    return Err(self.api.engine.lagged(self.offered.revision).await.into());
                }
                Wakeup::Touched => {}
                Wakeup::Time if is_progress || is_due => {}
                Wakeup::Time => continue,
            }
            let message = self.search_again().await?;
            if is_progress || !message.added.is_empty() || !message.removed.is_empty() {
                return Ok(message);
            }
        }
    }
}

impl Source for Offers {
    type Message = pb::WatchSlotsResponse;

    async fn next(&mut self) -> Answered<pb::WatchSlotsResponse> {
        self.touches.end_idle();
        if self.is_over {
            return Err(Failure::ShuttingDown.into());
        }
        let message = match self.first.take() {
            Some(first) => first,
            None => self.follow().await?,
        };
        self.sent = Monotonic::now();
        self.touches.begin_idle();
        Ok(message)
    }
}
