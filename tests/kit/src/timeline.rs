//! The revisions that an answer can show: not older than what an earlier answer showed, not newer
//! than what calls had asked for.

use std::collections::BTreeMap;

use super::history::{Moment, Op};
use super::log::Log;

/// The newest revision that answers had shown by each moment, and the oldest that calls could still
/// make.
pub struct Timeline {
    /// The moments of answers in order, each with the newest revision that was answered by then.
    shown: Vec<(Moment, i64)>,
    /// The moments at which calls began that made changes, in order, each with the oldest revision
    /// made by a call that began then or later.
    begun: Vec<(Moment, i64)>,
    last: i64,
}

impl Timeline {
    pub fn new(ops: &[Op], log: &Log) -> Self {
        let mut shown: Vec<(Moment, i64)> = ops
            .iter()
            .flat_map(Op::answers)
            .map(|(_, at, answered)| (at, answered.revision))
            .collect();
        shown.sort_unstable();
        let mut newest = 0;
        for (_, revision) in &mut shown {
            newest = newest.max(*revision);
            *revision = newest;
        }
        // Of several calls with one request the first may have made the change.
        let mut makers: BTreeMap<i64, Moment> = BTreeMap::new();
        for op in ops {
            for revision in op.made(log) {
                let since = makers.entry(revision).or_insert(op.invoked);
                *since = op.invoked.min(*since);
            }
        }
        let mut begun: Vec<(Moment, i64)> = makers
            .into_iter()
            .map(|(revision, since)| (since, revision))
            .collect();
        begun.sort_unstable();
        let mut oldest = i64::MAX;
        for (_, revision) in begun.iter_mut().rev() {
            oldest = oldest.min(*revision);
            *revision = oldest;
        }
        Self {
            shown,
            begun,
            last: log.last(),
        }
    }

    /// The first and the last revision that an answer can show which was asked for after one moment
    /// and answered at the other.
    pub fn between(&self, asked: Moment, answered: Moment) -> (i64, i64) {
        let shown = self.shown.partition_point(|(at, _)| *at < asked);
        let first = shown.checked_sub(1).map_or(0, |at| self.shown[at].1);
        let later = self.begun.partition_point(|(at, _)| *at <= answered);
        let last = self
            .begun
            .get(later)
            .map_or(self.last, |(_, revision)| revision - 1);
        (first, last.max(first))
    }
}
