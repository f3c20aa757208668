//! The refusal of a time, of one slot or of the occurrences of a series: violated rules and the
//! nearest free slots.
//!
//! A broken rule is SLOT_UNAVAILABLE, a lost race for the time SLOT_TAKEN.

use tonic::Code;

use super::error_answer::{Detail, ErrorAnswer, Precondition};
use super::{MESSAGE_VIOLATIONS_MAX, VIOLATIONS_MAX, shortened};
use crate::proto::v1::ErrorReason;
use bookd_core::appointment::series::{Occurrence, SeriesReport};
use bookd_core::slots::violation::{SlotRefusal, Violation};
use bookd_core::time::interval::Interval;

/// Bytes of the violations that the refusal of a series spells out. The header list must hold the
/// indices of the refused occurrences as well, which may be as many.
const SERIES_VIOLATION_BYTES_MAX: usize = 3 * 1_024;

/// The refusal of one slot.
pub(super) fn slot_refused(slot: &SlotRefusal) -> ErrorAnswer {
    let (code, reason) = code_and_reason(slot.is_rule_broken());
    let spelled_out = slot.violations.iter().take(VIOLATIONS_MAX);
    let spelled_out = spelled_out
        .map(|violation| Precondition {
            kind: violation.code.name(),
            subject: violation.calendar.as_str().to_owned(),
            description: shortened(&violation.rule),
        })
        .collect();
    let codes: Vec<&str> = slot
        .violations
        .iter()
        .map(|violation| violation.code.name())
        .take(VIOLATIONS_MAX)
        .collect();
    let after = slot
        .nearest_after
        .map(|nearest| format!("; the next free slot is {}", nearest.start))
        .unwrap_or_default();
    let verb = if slot.is_rule_broken() {
        "cannot be booked"
    } else {
        "is taken"
    };
    let (start, codes) = (slot.slot.start, codes.join(", "));
    let answer = ErrorAnswer::new(code, reason, format!("{start} {verb}: {codes}{after}"));
    near(slot, answer).detailed(preconditions(spelled_out, slot.violations.len()))
}

/// The refusal of a series. The metadata has the indices of all occurrences that cannot be booked;
/// the first violations are spelled out, each with its occurrence and the nearest slots, and
/// further ones are counted.
pub(super) fn series_refused(report: &SeriesReport) -> ErrorAnswer {
    let (code, reason) = code_and_reason(report.is_rule_broken());
    let refused: Vec<(&Occurrence, &SlotRefusal)> = report.refused().collect();
    let indices: Vec<String> = refused
        .iter()
        .map(|(occurrence, _)| occurrence.index.to_string())
        .collect();
    let violations = refused.iter().map(|(_, slot)| slot.violations.len()).sum();
    let starts: Vec<String> = refused
        .iter()
        .take(MESSAGE_VIOLATIONS_MAX)
        .map(|(occurrence, _)| occurrence.moment.local_start.to_string())
        .collect();
    let more = if refused.len() > MESSAGE_VIOLATIONS_MAX {
        ", …"
    } else {
        ""
    };
    let verb = if report.is_rule_broken() {
        "cannot be booked"
    } else {
        "are taken"
    };
    let (count, all) = (refused.len(), report.occurrences.len());
    let starts = starts.join(", ");
    let message = format!("{count} of {all} occurrences {verb}: {starts}{more}");
    let answer = ErrorAnswer::new(code, reason, message).with("occurrences", indices.join(","));
    let answer = match refused.first() {
        Some((_, slot)) => near(slot, answer),
        None => answer,
    };
    answer.detailed(preconditions(first_of_series(&refused), violations))
}

/// A broken rule stays broken, so FAILED_PRECONDITION; a taken time was lost to another call, so
/// ABORTED.
fn code_and_reason(is_rule_broken: bool) -> (Code, ErrorReason) {
    if is_rule_broken {
        (Code::FailedPrecondition, ErrorReason::SlotUnavailable)
    } else {
        (Code::Aborted, ErrorReason::SlotTaken)
    }
}

/// The violations that are spelled out, and how many of `all` are not.
fn preconditions(mut spelled_out: Vec<Precondition>, all: usize) -> Detail {
    let further = all.saturating_sub(spelled_out.len());
    if further > 0 {
        spelled_out.push(Precondition {
            kind: "",
            subject: String::new(),
            description: format!("and {further} more"),
        });
    }
    Detail::Preconditions(spelled_out)
}

/// The first violations of a series, as many as `VIOLATIONS_MAX` and `SERIES_VIOLATION_BYTES_MAX`
/// allow.
fn first_of_series(refused: &[(&Occurrence, &SlotRefusal)]) -> Vec<Precondition> {
    let all = refused.iter().flat_map(|(occurrence, slot)| {
        slot.violations
            .iter()
            .map(move |violation| of_occurrence(occurrence, slot, violation))
    });
    let mut bytes = 0;
    all.take(VIOLATIONS_MAX)
        .take_while(|spelled_out| {
            bytes +=
                spelled_out.kind.len() + spelled_out.subject.len() + spelled_out.description.len();
            bytes <= SERIES_VIOLATION_BYTES_MAX
        })
        .collect()
}

fn of_occurrence(
    occurrence: &Occurrence,
    slot: &SlotRefusal,
    violation: &Violation,
) -> Precondition {
    let rule = format!(
        "occurrence {} at {}{}: {}",
        occurrence.index,
        occurrence.moment.local_start,
        nearest(slot),
        violation.rule
    );
    Precondition {
        kind: violation.code.name(),
        subject: violation.calendar.as_str().to_owned(),
        description: shortened(&rule),
    }
}

/// Adds the slot that was asked for and the nearest free ones, as metadata for programs.
fn near(slot: &SlotRefusal, answer: ErrorAnswer) -> ErrorAnswer {
    let shown = |interval: Interval| format!("{}/{}", interval.start, interval.end);
    let mut answer = answer.with("slot", shown(slot.slot));
    let nearest = [
        ("nearest_before", slot.nearest_before),
        ("nearest_after", slot.nearest_after),
    ];
    for (key, interval) in nearest {
        if let Some(interval) = interval {
            answer = answer.with(key, shown(interval));
        }
    }
    // A missing slot means that there is none within so many days, and no more than that.
    if slot.nearest_days > 0 && (slot.nearest_before.is_none() || slot.nearest_after.is_none()) {
        answer = answer.with("nearest_days", slot.nearest_days.to_string());
    }
    answer
}

/// The nearest free slots, as text for people; empty where none is known.
fn nearest(slot: &SlotRefusal) -> String {
    if slot.nearest_before.or(slot.nearest_after).is_none() {
        return String::new();
    }
    let shown = |interval: Option<Interval>| {
        interval.map_or_else(|| "none".to_owned(), |interval| interval.start.to_string())
    };
    format!(
        " (free before {}, after {})",
        shown(slot.nearest_before),
        shown(slot.nearest_after)
    )
}
