//! Progress bars for long work: on standard error, and on a terminal alone.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::admin::{Position, Step};

/// Shows a step of administration until it is over.
pub(super) fn shown(step: Step) -> Position {
    let bar = match step {
        Step::Copying { bytes } => of_bytes(bytes, "copying"),
        Step::Checking { rows } => bar(rows, "checking"),
        Step::Reading => counter("reading"),
        Step::Writing => counter("writing"),
    };
    let bar = bar.with_finish(ProgressFinish::AndClear);
    bar.tick();
    Box::new(move |position| bar.set_position(position))
}

/// A bar of so many of something.
pub(super) fn bar(length: u64, what: &'static str) -> ProgressBar {
    ProgressBar::new(length)
        .with_style(style("{msg} {bar:40} {human_pos}/{human_len} {eta}"))
        .with_message(what)
}

/// A bar of so many bytes.
fn of_bytes(length: u64, what: &'static str) -> ProgressBar {
    let style = style("{msg} {bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(length)
        .with_style(style)
        .with_message(what)
}

/// A counter of something that may have no end.
fn counter(what: &'static str) -> ProgressBar {
    ProgressBar::new_spinner()
        .with_style(style("{spinner} {msg} {human_pos}"))
        .with_message(what)
}

fn style(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).expect("the template was written with this program")
}
