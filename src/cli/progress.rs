//! Progress bars of long commands, on standard error, and only if that is a terminal.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::admin::{Position, Step};

/// Shows a bar for a step of administration; the bar is removed when the function that is returned
/// is dropped.
pub(super) fn shown(step: Step) -> Position {
    let bar = match step {
        Step::Copying { bytes } => of_bytes(bytes, "copying"),
        Step::Checking { rows } => bar(rows, "checking"),
        Step::Reading => counter("reading"),
        Step::Writing => counter("writing"),
        Step::Searching { rows } => bar(rows, "searching"),
        Step::Erasing { rows } => bar(rows, "erasing"),
    };
    let bar = bar.with_finish(ProgressFinish::AndClear);
    bar.tick();
    Box::new(move |position| bar.set_position(position))
}

/// A bar of `length` items.
pub(super) fn bar(length: u64, what: &'static str) -> ProgressBar {
    ProgressBar::new(length)
        .with_style(style("{msg} {bar:40} {human_pos}/{human_len} {eta}"))
        .with_message(what)
}

/// A bar of `length` bytes.
fn of_bytes(length: u64, what: &'static str) -> ProgressBar {
    let style = style("{msg} {bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(length)
        .with_style(style)
        .with_message(what)
}

/// A counter without a known end.
fn counter(what: &'static str) -> ProgressBar {
    ProgressBar::new_spinner()
        .with_style(style("{spinner} {msg} {human_pos}"))
        .with_message(what)
}

fn style(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).expect("the template was written with this program")
}
