//! The text format of Prometheus, version 0.0.4: families of samples, each with its HELP and TYPE.
//!
//! Every family is written whole, so that no name is there twice. Written by hand, because the
//! libraries either write the other format, OpenMetrics, or keep the figures themselves, behind
//! locks that each call would take.

use std::fmt::{Display, Write};

use bookd_metrics::HistogramValues;

/// The value of `content-type` of this format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Nanoseconds of a second: durations are kept in nanoseconds and shown in seconds.
const NANOSECONDS: f64 = 1e9;

/// A name and a value; both are closed lists in bookd.
type Label<'a> = (&'a str, &'a str);

/// The unit of a histogram's observations.
#[derive(Clone, Copy)]
pub(super) enum SampleUnit {
    /// Nanoseconds, shown in seconds.
    Seconds,
    /// Things, shown as they are.
    Number,
}

impl SampleUnit {
    fn value(self, number: u64) -> f64 {
        // Bounds are exact; sums above 2^53 lose the last digits, which nobody sees.
        let number = number as f64;
        match self {
            Self::Seconds => number / NANOSECONDS,
            Self::Number => number,
        }
    }
}

/// The text so far.
#[derive(Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// A number that only grows. Its name ends with `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// A number that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// A gauge that is 1 for true and 0 for false.
    pub(super) fn flag(&mut self, name: &str, help: &str, is_set: bool) {
        self.gauge(name, help, u8::from(is_set));
    }

    /// A histogram without labels.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        values: &HistogramValues,
        unit: SampleUnit,
    ) {
        self.family(name, "histogram", help);
        self.histogram_samples(name, &[], values, unit);
    }

    /// The head of a family, whose samples follow.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One sample of the family that was begun last.
    pub(super) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        if labels.is_empty() {
            self.line(format_args!("{name} {value}"));
            return;
        }
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
            .collect();
        self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
    }

    /// The samples of one histogram of the family that was begun last.
    pub(super) fn histogram_samples(
        &mut self,
        name: &str,
        labels: &[Label<'_>],
        values: &HistogramValues,
        unit: SampleUnit,
    ) {
        let bucket = format!("{name}_bucket");
        for (bound, total) in values.cumulative() {
            let bound = bound.map_or("+Inf".to_owned(), |it| unit.value(it).to_string());
            let labels: Vec<Label<'_>> = labels.iter().copied().chain([("le", &*bound)]).collect();
            self.sample(&bucket, &labels, total);
        }
        self.sample(&format!("{name}_sum"), labels, unit.value(values.sum()));
        self.sample(&format!("{name}_count"), labels, values.count());
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _always_ok = writeln!(self.0, "{line}");
    }

    /// The whole text.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// The value of a label as it is written between quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use bookd_metrics::Histogram;

    use super::*;

    #[test]
    fn families_are_written_as_the_format_wants_them() {
        let mut text = Exposition::default();
        text.counter("a_total", "Counts\nthings \\ others.", 7);
        text.flag("b", "Is it?", true);
        text.family("c", "gauge", "By label.");
        text.sample("c", &[("x", "1"), ("y", "a\"b\\c\nd")], 0.5);
        assert_eq!(
            text.into_text(),
            "# HELP a_total Counts\\nthings \\\\ others.\n# TYPE a_total counter\na_total 7\n\
             # HELP b Is it?\n# TYPE b gauge\nb 1\n\
             # HELP c By label.\n# TYPE c gauge\nc{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 0.5\n"
        );
    }

    #[test]
    fn a_histogram_has_cumulative_buckets_in_its_unit_a_sum_and_a_count() {
        let histogram = Histogram::new(&[100_000, 2_500_000_000]);
        for nanoseconds in [50_000, 100_001, 3_000_000_000] {
            histogram.observe(nanoseconds);
        }
        let mut text = Exposition::default();
        text.histogram(
            "d_seconds",
            "How long.",
            &histogram.values(),
            SampleUnit::Seconds,
        );
        assert_eq!(
            text.into_text(),
            "# HELP d_seconds How long.\n# TYPE d_seconds histogram\n\
             d_seconds_bucket{le=\"0.0001\"} 1\nd_seconds_bucket{le=\"2.5\"} 2\n\
             d_seconds_bucket{le=\"+Inf\"} 3\nd_seconds_sum 3.000150001\nd_seconds_count 3\n"
        );
    }
}
