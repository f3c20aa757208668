//! Progress bars for long work: on standard error, and on a terminal alone.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of so many of something.
pub(super) fn bar(length: u64, what: &'static str) -> ProgressBar {
    ProgressBar::new(length).with_style(style("{msg} {bar:40} {human_pos}/{human_len} {eta}")).with_message(what)
}

/// A bar of so many bytes.
pub(super) fn bytes(length: u64, what: &'static str) -> ProgressBar {
    let style = style("{msg} {bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(length).with_style(style).with_message(what)
}

/// A counter of something that may have no end.
pub(super) fn counter(what: &'static str) -> ProgressBar {
    ProgressBar::new_spinner().with_style(style("{spinner} {msg} {human_pos}")).with_message(what)
}

fn style(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).expect("the template was written with this program")
}
