//! Reads the start of a claim as an instant.
//!
//! A local start must exist exactly once in its zone and be a whole minute of UTC. The refusal of
//! one that is in a gap or a fold names the instants to choose from.

use crate::calendar::claims::Claim;
use crate::command::Start;
use crate::field_violation::FieldViolation;
use crate::refusal::Refusal;
use crate::time::Instant;
use crate::time::zone::{LocalInstants, Zone};

/// The instant of a start. Refuses a local time that does not exist exactly once, is no whole
/// minute of UTC, or lies outside the years of claims.
pub fn resolve(start: &Start, calendar_zone: &Zone) -> Result<Instant, Refusal> {
    let (wall, zone) = match start {
        Start::At(instant) => return Ok(*instant),
        Start::Local { wall, zone } => (*wall, zone.as_deref().unwrap_or(calendar_zone)),
    };
    let name = zone.name();
    let description = match zone.instants(wall) {
        LocalInstants::One(instant) if !instant.is_whole_minute() => {
            format!("{wall} in {name} is {instant}, which is not a whole minute; use start_time")
        }
        LocalInstants::One(instant)
            if instant < Claim::START_MIN || instant >= Claim::START_END =>
        {
            format!("{wall} lies outside the years 1 to 5999")
        }
        LocalInstants::One(instant) => return Ok(instant),
        LocalInstants::None { before, after } => {
            let (first, second) = (before.min(after), before.max(after));
            format!(
                "{wall} does not exist in {name}, where the clock skips it; choose start_time {first} ({}) or {second} ({})",
                zone.wall(first),
                zone.wall(second)
            )
        }
        LocalInstants::Two(first, second) => {
            format!(
                "{wall} exists twice in {name}, where the clock is set back; choose start_time {first} or {second}"
            )
        }
    };
    Err(Refusal::FieldInvalid(vec![FieldViolation::new(
        "local_start",
        description,
    )]))
}
